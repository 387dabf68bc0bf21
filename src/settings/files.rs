//! Which fields are references and which are paths, so that each is treated alike wherever it stands.

use std::path::{Path, PathBuf};

use super::{Settings, Text, Tls, UpstreamTls, check::Desk, places::Way};

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileUse {
    /// A policy or a catalog, which its own reader looks into.
    Document,
    /// What Vicar writes itself.
    Own,
    /// PEM with certificates.
    Certificate,
    /// PEM with a private key.
    Key,
}

/// The fields of settings, by what they hold.
pub(super) trait Fields {
    /// The texts that may hold references.
    fn texts(&mut self) -> Vec<(Way, &mut Text)>;
    /// The paths.
    fn paths(&mut self) -> Vec<(Way, &mut PathBuf, FileUse)>;
}

impl Fields for Settings {
    fn texts(&mut self) -> Vec<(Way, &mut Text)> {
        let mut texts = Vec::new();
        for (number, listen) in self.listen.iter_mut().enumerate() {
            texts.push((Way::to("listen").item(number).field("address"), &mut listen.address));
        }
        texts.push((Way::to("upstream.url"), &mut self.upstream.url));
        for (number, url) in self.upstream.also.iter_mut().enumerate() {
            texts.push((Way::to("upstream.also").item(number), url));
        }
        for (name, value) in &mut self.upstream.headers {
            texts.push((Way::to("upstream.headers").field(name), value));
        }
        texts.extend(self.directory.redis.as_mut().map(|url| (Way::to("directory.redis"), url)));
        texts.extend(self.audit.stream.as_mut().map(|stream| (Way::to("audit.stream.redis"), &mut stream.redis)));
        texts.push((Way::to("admin.address"), &mut self.admin.address));
        texts.extend(self.log.otlp.as_mut().map(|url| (Way::to("log.otlp"), url)));
        texts
    }

    fn paths(&mut self) -> Vec<(Way, &mut PathBuf, FileUse)> {
        let mut paths = vec![(Way::to("policy"), &mut self.policy.value, FileUse::Document)];
        for (number, catalog) in self.catalog.iter_mut().enumerate() {
            paths.push((Way::to("catalog").item(number), &mut catalog.value, FileUse::Document));
        }
        for (number, listen) in self.listen.iter_mut().enumerate() {
            server(&mut paths, &Way::to("listen").item(number).field("tls"), listen.tls.as_mut());
        }
        client(&mut paths, &Way::to("upstream.tls"), &mut self.upstream.tls);
        paths.extend(self.directory.file.as_mut().map(|file| (Way::to("directory.file"), &mut file.value, FileUse::Own)));
        client(&mut paths, &Way::to("directory.tls"), &mut self.directory.tls);
        if let Some(assertion) = &mut self.impersonation.assertion {
            let way = Way::to("impersonation.assertion");
            paths.push((way.field("key"), &mut assertion.key.value, FileUse::Key));
            paths.extend(assertion.previous.as_mut().map(|key| (way.field("previous"), &mut key.value, FileUse::Key)));
        }
        paths.push((Way::to("audit.journal.path"), &mut self.audit.journal.path, FileUse::Own));
        if let Some(stream) = &mut self.audit.stream {
            client(&mut paths, &Way::to("audit.stream.tls"), &mut stream.tls);
        }
        paths.extend(self.audit.checkpoint.as_mut().map(|c| (Way::to("audit.checkpoint.key"), &mut c.key.value, FileUse::Key)));
        server(&mut paths, &Way::to("admin.tls"), self.admin.tls.as_mut());
        paths
    }
}

fn server<'s>(paths: &mut Vec<(Way, &'s mut PathBuf, FileUse)>, way: &Way, tls: Option<&'s mut Tls>) {
    let Some(tls) = tls else { return };
    paths.push((way.field("certificate"), &mut tls.certificate, FileUse::Certificate));
    paths.push((way.field("key"), &mut tls.key, FileUse::Key));
    paths.extend(tls.client_ca.as_mut().map(|ca| (way.field("client_ca"), ca, FileUse::Certificate)));
}

fn client<'s>(paths: &mut Vec<(Way, &'s mut PathBuf, FileUse)>, way: &Way, tls: &'s mut UpstreamTls) {
    for (name, file, kind) in [
        ("ca", &mut tls.ca, FileUse::Certificate),
        ("certificate", &mut tls.certificate, FileUse::Certificate),
        ("key", &mut tls.key, FileUse::Key),
    ] {
        paths.extend(file.as_mut().map(|file| (way.field(name), file, kind)));
    }
}

impl FileUse {
    /// Whether the file is there and is what it should be. What is in it in detail is for whoever uses it.
    pub(super) fn check(self, way: &Way, file: &Path, desk: &mut Desk<'_>) {
        let (block, what) = match self {
            Self::Document | Self::Own => return,
            Self::Certificate => ("CERTIFICATE-----", "certificate"),
            Self::Key => ("PRIVATE KEY-----", "private key"),
        };
        match std::fs::read(file) {
            Err(cause) => {
                desk.error(way, format!("{} cannot be read: {cause}", file.display()))
                    .help("a path is relative to the settings file; Vicar's user must be able to read it");
            }
            Ok(bytes) if !String::from_utf8_lossy(&bytes).contains(block) => {
                desk.error(way, format!("{} holds no {what} in PEM", file.display()))
                    .help(format!("a PEM file has a line that ends in {block}"));
            }
            Ok(_) => {}
        }
    }
}
