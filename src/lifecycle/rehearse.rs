//! What a start would stumble over that is in no document, found without starting: for `vicar check`.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::Access;

use crate::{
    audit::CheckpointKey,
    proxy::{assertion::Signer, tls::ServerTls, upstream::Service},
    settings::Loaded,
    source::{Complaints, Source, Span},
};

/// Complains of keys, certificates and folders that `loaded` names and that [`super::start`] would refuse, and warns of
/// files that anybody may write to.
pub fn rehearse(loaded: &Loaded, complaints: &mut Complaints) {
    let settings = &loaded.settings;
    let mut tried = |field: &str, tried: Result<(), String>| {
        if let Err(why) = tried {
            loaded.complain(field, why, complaints);
        }
    };
    tried("upstream.url", Service::new(&settings.upstream).map(drop).map_err(|error| error.to_string()));
    if let Some(assertion) = &settings.impersonation.assertion {
        tried("impersonation.assertion", Signer::load(assertion).map(drop).map_err(|error| error.to_string()));
    }
    if let Some(checkpoint) = &settings.audit.checkpoint {
        tried("audit.checkpoint", CheckpointKey::load_private(&checkpoint.key).map_err(|error| error.to_string()));
    }
    let listeners = settings.listen.iter().filter_map(|listen| listen.tls.as_ref()).map(|tls| ("listen", tls));
    for (field, tls) in listeners.chain(settings.admin.tls.as_ref().map(|tls| ("admin.tls", tls))) {
        tried(field, ServerTls::load(tls).map(drop).map_err(|error| error.to_string()));
    }
    let journal = &settings.audit.journal.path;
    if let Some((folder, why)) = no_way_in(journal) {
        let words = format!("whoever runs this cannot write to {}: {why}; a sidecar run as the same user does not start", folder.display());
        loaded.warn("audit.journal.path", words, complaints);
    }
    let documents = std::iter::once(loaded.path.clone()).chain([settings.policy.value.clone()]);
    let documents = documents.chain(settings.catalog.iter().map(|path| path.value.clone()));
    for path in documents.chain(settings.directory.file.as_ref().map(|path| path.value.clone())) {
        if std::fs::metadata(&path).is_ok_and(|meta| meta.mode() & 0o002 != 0) {
            let file = Source::new(path.display().to_string(), "");
            complaints
                .warning(&file, Span::default(), "anybody on this machine may write to it")
                .help(format!("chmod o-w {}", path.display()));
        }
    }
}

/// The folder that stands in the way of writing below `path`, and why.
fn no_way_in(path: &Path) -> Option<(PathBuf, std::io::Error)> {
    let there = path.ancestors().find(|folder| folder.is_dir())?;
    let refused = rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).err()?;
    Some((there.to_owned(), refused.into()))
}
