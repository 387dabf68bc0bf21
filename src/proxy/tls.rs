//! TLS at both ends: what a listener shows to callers, and how an `https` service is checked.
//!
//! `lifecycle` makes both and lets them look at their files now and then ([`ServerTls::refresh`],
//! [`ClientTls::refresh`]); a new certificate is for new connections, and one that does not hold changes nothing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::stream::Stream;
use crate::{settings, source::Look};

/// TLS towards callers.
#[derive(Debug)]
pub struct ServerTls {
    settings: settings::Tls,
    kept: Kept<ServerConfig>,
}

/// TLS towards the service.
#[derive(Debug)]
pub struct ClientTls {
    settings: settings::UpstreamTls,
    speaks: Alpn,
    kept: Kept<ClientConfig>,
}

/// The HTTP that is spoken under TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
}

/// What a look at the files brought.
#[derive(Debug)]
pub enum Refreshed {
    /// They are as they were.
    Unchanged,
    /// They have changed, and new connections use them.
    Taken,
    /// They have changed and do not hold; what was in force stays in force.
    Refused(TlsError),
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file that is not there or holds something else.
    #[error("{file}: {cause}: it must be a PEM file with {what}", file = file.display())]
    Pem {
        /// Which file.
        file: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// What is wrong with it.
        cause: pem::Error,
    },
    /// Certificate, key and CA do not go together.
    #[error("{file}: {cause}", file = file.display())]
    Unfit {
        /// The certificate.
        file: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A client certificate without its key, or the other way round.
    #[error("upstream.tls: certificate and key go together; name both or none")]
    Half,
    /// The system's trusted roots cannot be had.
    #[error("the system's trusted CAs cannot be used ({0}): name a CA file under upstream.tls.ca")]
    Roots(String),
    /// Not a name that a certificate could be for.
    #[error("{0:?} is no name to check a certificate against: set upstream.tls.server_name")]
    Name(String),
}

/// Something made from files, and made anew when they change.
#[derive(Debug)]
struct Kept<T> {
    now: ArcSwap<T>,
    files: Vec<PathBuf>,
    looks: Mutex<Looks>,
}

#[derive(Debug)]
struct Looks {
    /// What was last taken.
    taken: Vec<Option<Look>>,
    /// What was last refused. It is tried again at each look, since a file that could not be read need not change to be
    /// readable, and told of once.
    refused: Vec<Option<Look>>,
    /// What the last look saw: files are read once two looks agree, when whoever writes them has finished.
    last: Vec<Option<Look>>,
}

// ===== impl ServerTls =====

impl ServerTls {
    /// Reads the files that `settings` name.
    ///
    /// # Errors
    /// [`TlsError`] when they cannot be read or do not go together.
    pub fn load(settings: &settings::Tls) -> Result<Self, TlsError> {
        let files = [Some(&settings.certificate), Some(&settings.key), settings.client_ca.as_ref()];
        let files = files.into_iter().flatten().cloned().collect();
        Ok(Self { settings: settings.clone(), kept: Kept::new(files, || server_config(settings))? })
    }

    /// Looks at the files.
    pub fn refresh(&self) -> Refreshed {
        self.kept.refresh(|| server_config(&self.settings))
    }

    /// The certificate's file, for messages.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.settings.certificate
    }

    /// Shakes hands with a caller.
    ///
    /// # Errors
    /// When the other end speaks no TLS, or none that holds.
    pub async fn accept(&self, stream: Stream) -> io::Result<Stream> {
        let stream = TlsAcceptor::from(self.kept.now.load_full()).accept(stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.kept.now.load_full()
    }
}

// ===== impl ClientTls =====

impl ClientTls {
    /// Reads the files that `settings` name; with no CA among them, the system's are trusted.
    ///
    /// # Errors
    /// [`TlsError`] when they cannot be read or do not go together.
    pub fn load(settings: &settings::UpstreamTls, speaks: Alpn) -> Result<Self, TlsError> {
        let files = [&settings.ca, &settings.certificate, &settings.key].into_iter().flatten().cloned().collect();
        Ok(Self { settings: settings.clone(), speaks, kept: Kept::new(files, || client_config(settings, speaks))? })
    }

    /// Looks at the files.
    pub fn refresh(&self) -> Refreshed {
        self.kept.refresh(|| client_config(&self.settings, self.speaks))
    }

    /// The name that is asked for and checked when `host` is connected to.
    ///
    /// # Errors
    /// When it is no name.
    pub fn name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))
    }

    /// Shakes hands with the service.
    ///
    /// # Errors
    /// When it speaks no TLS, shows a certificate that does not hold, or agrees to no protocol.
    pub async fn connect(&self, name: ServerName<'static>, stream: Stream) -> io::Result<Stream> {
        let stream = TlsConnector::from(self.kept.now.load_full()).connect(name, stream).await.map_err(with_advice)?;
        let stream = Stream::Tls(Box::new(stream.into()));
        match (self.speaks, stream.alpn()) {
            // A server that knows nothing of ALPN speaks HTTP/1.1; HTTP/2 must have been agreed on (RFC 9113 §3.2).
            (Alpn::Http1, None) => Ok(stream),
            (Alpn::Http1, Some(b"http/1.1")) | (Alpn::Http2, Some(b"h2")) => Ok(stream),
            (Alpn::Http1, Some(_)) => Err(io::Error::other("the service does not speak HTTP/1.1 under TLS")),
            (Alpn::Http2, _) => Err(io::Error::other("the service does not speak HTTP/2 under TLS (upstream.http2 asks for it)")),
        }
    }
}

/// A service with a certificate of its owners' own making is a common beginning.
fn with_advice(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(wrong)) => {
            let advice = if is_a_cas(wrong) {
                "the service shows a CA's own certificate; it needs one of its own (openssl makes a self-signed one that is no CA's with -addext basicConstraints=critical,CA:FALSE)"
            } else {
                "upstream.tls.ca names the CA to trust, upstream.tls.server_name the name on the certificate"
            };
            io::Error::new(error.kind(), format!("{error}: {advice}"))
        }
        _ => error,
    }
}

/// Whether a certificate was refused for being one that signs others. The library has no word of its own for that.
fn is_a_cas(wrong: &rustls::CertificateError) -> bool {
    format!("{wrong:?}").contains("CaUsedAsEndEntity")
}

// ===== impl Kept =====

impl<T> Kept<T> {
    fn new(files: Vec<PathBuf>, make: impl FnOnce() -> Result<T, TlsError>) -> Result<Self, TlsError> {
        // Looked at first: a change while the files are read is then seen at the next look.
        let seen = looks(&files);
        let now = ArcSwap::from_pointee(make()?);
        Ok(Self { now, files, looks: Mutex::new(Looks { taken: seen.clone(), refused: Vec::new(), last: seen }) })
    }

    fn refresh(&self, make: impl FnOnce() -> Result<T, TlsError>) -> Refreshed {
        let seen = looks(&self.files);
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let steady = seen == looks.last;
        looks.last.clone_from(&seen);
        if seen == looks.taken || !steady {
            return Refreshed::Unchanged;
        }
        match make() {
            Ok(fresh) => {
                self.now.store(Arc::new(fresh));
                looks.taken = seen;
                Refreshed::Taken
            }
            Err(_) if seen == looks.refused => Refreshed::Unchanged,
            Err(error) => {
                looks.refused = seen;
                Refreshed::Refused(error)
            }
        }
    }
}

fn looks(files: &[PathBuf]) -> Vec<Option<Look>> {
    files.iter().map(|file| Look::at(file).unwrap_or_default()).collect()
}

// ===== configurations =====

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn server_config(settings: &settings::Tls) -> Result<ServerConfig, TlsError> {
    let unfit = |file: &Path, cause: &dyn std::fmt::Display| TlsError::Unfit { file: file.to_owned(), cause: cause.to_string() };
    let chain = certificates(&settings.certificate)?;
    let key = private_key(&settings.key)?;
    let provider = provider();
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit(&settings.certificate, &error))?;
    let config = match &settings.client_ca {
        None => config.with_no_client_auth(),
        Some(file) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(file)?), provider)
                .build()
                .map_err(|error| unfit(file, &error))?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let mut config = config.with_single_cert(chain, key).map_err(|error| unfit(&settings.certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Tickets keep no state here; their keys live as long as this configuration, so a changed CA ends resumption too.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| unfit(&settings.certificate, &error))?;
    Ok(config)
}

fn client_config(settings: &settings::UpstreamTls, speaks: Alpn) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Roots(error.to_string()))?;
    let config = match &settings.ca {
        Some(file) => config.with_root_certificates(roots(file)?),
        None => {
            let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(|error| TlsError::Roots(error.to_string()))?;
            config.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match (&settings.certificate, &settings.key) {
        (None, None) => config.with_no_client_auth(),
        (Some(certificate), Some(key)) => config
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| TlsError::Unfit { file: certificate.clone(), cause: error.to_string() })?,
        (Some(_), None) | (None, Some(_)) => return Err(TlsError::Half),
    };
    config.alpn_protocols = match speaks {
        Alpn::Http1 => vec![b"http/1.1".to_vec()],
        Alpn::Http2 => vec![b"h2".to_vec()],
    };
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |cause| TlsError::Pem { file: file.to_owned(), what: "certificates", cause };
    let found: Vec<_> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(wrong)?;
    if found.is_empty() { Err(wrong(pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(|cause| TlsError::Pem { file: file.to_owned(), what: "a private key", cause })
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| TlsError::Unfit { file: file.to_owned(), cause: error.to_string() })?;
    }
    Ok(roots)
}
