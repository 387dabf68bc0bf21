//! `vicar health`: asks a running sidecar whether it is ready, for containers that have no curl.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Done, Failure, Options, Output,
    print::{printable_lines, say, say_json},
};
use crate::settings::{Admin, Span};

/// Ask a running sidecar whether it is ready.
#[derive(Debug, Args)]
#[command(
    long_about = "Ask a running sidecar whether it is ready: /readyz on the admin address that the settings name.\n\nExit 0 if it is, 1 if it is not or does not answer. Made for the health check of a container.",
    after_help = "Example:\n  vicar health -c /etc/vicar/vicar.yaml\n  HEALTHCHECK CMD [\"vicar\", \"health\"]"
)]
pub(super) struct HealthArgs {
    /// How long to wait for the answer.
    #[arg(long, value_name = "TIME", default_value = "3s")]
    timeout: Span,
}

/// Longest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 << 10;

pub(super) async fn run(args: HealthArgs, options: &Options) -> Done {
    let admin = options.settings()?.settings.admin;
    let address = admin.address.as_str().to_owned();
    let asked = tokio::time::timeout(args.timeout.0, ask(&admin));
    let (status, body) = asked
        .await
        .map_err(|_| Failure::failed(format!("no answer from {address} within {}", args.timeout)))?
        .map_err(|cause| Failure::failed(format!("{address}: {cause}; is `vicar serve` running with these settings?")))?;
    let ok = status == 200;
    match options.output {
        Output::Json => {
            let detail = serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body));
            say_json(&serde_json::json!({"ok": ok, "status": status, "detail": detail}))?;
        }
        Output::Table => say(format!("{} ({address})\n{}", if ok { "ready" } else { "not ready" }, printable_lines(&body)).trim_end())?,
    }
    Ok(ExitCode::from(u8::from(!ok)))
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("the settings leave its port open (0), so nobody knows where to ask")]
    Port,
    #[error("is no address")]
    Address,
    #[error("TLS: {0}")]
    Tls(String),
    #[error("the admin listener asks for a client certificate, which this command has not")]
    ClientCertificate,
}

async fn ask(admin: &Admin) -> Result<(u16, String), NoAnswer> {
    if let Some(path) = admin.address.strip_prefix("unix:") {
        return get(tokio::net::UnixStream::connect(Path::new(path)).await?, "localhost").await;
    }
    let address: SocketAddr = admin.address.parse().map_err(|_| NoAnswer::Address)?;
    if address.port() == 0 {
        return Err(NoAnswer::Port);
    }
    let address = reachable(address);
    let stream = tokio::net::TcpStream::connect(address).await?;
    match &admin.tls {
        None => get(stream, &address.to_string()).await,
        Some(tls) if tls.client_ca.is_some() => Err(NoAnswer::ClientCertificate),
        Some(tls) => {
            let told = |cause: &dyn std::fmt::Display| NoAnswer::Tls(format!("{}: {cause}", tls.certificate.display()));
            let mut certificates = CertificateDer::pem_file_iter(&tls.certificate).map_err(|e| told(&e))?;
            let expected = certificates.next().ok_or_else(|| told(&"holds no certificate"))?.map_err(|e| told(&e))?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(|e| NoAnswer::Tls(e.to_string()))?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(ThisVeryOne { expected, provider }))
                .with_no_client_auth();
            let name = ServerName::IpAddress(address.ip().into());
            let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
            get(stream, &address.to_string()).await
        }
    }
}

/// Where a listener on any address of this machine can be reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn get<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, host: &str) -> Result<(u16, String), NoAnswer> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = http::Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = http::Uri::from_static("/readyz");
    let host = http::HeaderValue::from_str(host).map_err(|_| NoAnswer::Address)?;
    request.headers_mut().insert(http::header::HOST, host);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(NoAnswer::Body)?.to_bytes();
    connection.abort();
    Ok((head.status.as_u16(), String::from_utf8_lossy(&body).trim().to_owned()))
}

/// Takes the very certificate that the settings name and no other: the question goes to this machine, by address, so
/// neither its name nor who signed it says more.
#[derive(Debug)]
struct ThisVeryOne {
    expected: CertificateDer<'static>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ServerCertVerifier for ThisVeryOne {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("it shows another certificate than the settings name".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        let to = |raw: &str| reachable(raw.parse().unwrap()).to_string();
        assert_eq!(to("0.0.0.0:9090"), "127.0.0.1:9090");
        assert_eq!(to("[::]:9090"), "[::1]:9090");
        assert_eq!(to("10.1.2.3:9090"), "10.1.2.3:9090");
    }
}
