//! From the file to settings in force: overrides put on top, references resolved, paths taken relative to the file.

use std::path::{Path, PathBuf};

use super::{
    Listen, Settings, Stream, Text,
    check::{self, Desk},
    files::{Fields as _, FileUse},
    places::{Places, Way},
};
use crate::source::{Complaint, Complaints, Source};

/// What the command line sets over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--listen`: replaces every listener. What else the file says of its first one, TLS above all, holds for each of these.
    pub listen: Vec<String>,
    /// `--upstream`: replaces `upstream.url`; `upstream.also` goes with it.
    pub upstream: Option<String>,
    /// `--redis`: directory and stream in this Redis.
    pub redis: Option<String>,
    /// `--policy`: another policy file, relative to the working directory.
    pub policy: Option<PathBuf>,
}

/// Settings that have been checked, and the file they came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings, paths absolute, references resolved.
    pub settings: Settings,
    /// The file, for later complaints and for the watcher.
    pub source: Source,
    /// Its path.
    pub path: PathBuf,
    /// What the command line set over it.
    pub overrides: Overrides,
    /// What else was read for them: secrets, certificates and keys. A change of one of these is a change of the settings.
    pub files: Vec<PathBuf>,
    /// What is taken, and somebody should look at.
    pub warnings: Complaints,
}

/// What settings are read for, and so what must be at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Serving: everything.
    Serve,
    /// Looking after accounts, keys and the audit log: what leads to these. A shell has no secret for the upstream.
    Operate,
}

impl Settings {
    /// Reads, resolves and checks `path`, with `overrides` on top.
    ///
    /// # Errors
    /// Everything that is wrong with the file, at once.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Loaded, Complaints> {
        load(path, overrides, Purpose::Serve)
    }

    /// The same for whoever looks after accounts, keys and the audit log, and forwards nothing: secrets and key files
    /// that are for the request's way alone may be missing here.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_to_operate(path: &Path, overrides: &Overrides) -> Result<Loaded, Complaints> {
        load(path, overrides, Purpose::Operate)
    }
}

impl Settings {
    /// The same of a text that is, or will be, the file at `path`.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn of_source(source: Source, path: &Path, overrides: &Overrides) -> Result<Loaded, Complaints> {
        of_source(source, path, overrides, Purpose::Serve)
    }
}

impl Loaded {
    /// Complains about the value of a field, `upstream.url` or `listen.0.tls.key`, for whoever finds out only later.
    pub fn complain(&self, field: &str, message: impl Into<String>, complaints: &mut Complaints) {
        let places = Places::read(&self.source);
        complaints.error(&self.source, places.value(&Way::to(field)), message);
    }

    /// The same of what holds, but that somebody should look at.
    pub fn warn<'c>(&self, field: &str, message: impl Into<String>, complaints: &'c mut Complaints) -> &'c mut Complaint {
        let places = Places::read(&self.source);
        complaints.warning(&self.source, places.value(&Way::to(field)), message)
    }
}

fn load(path: &Path, overrides: &Overrides, purpose: Purpose) -> Result<Loaded, Complaints> {
    match Source::read(path) {
        Ok(source) => of_source(source, path, overrides, purpose),
        Err(error) => {
            let mut complaints = Complaints::default();
            let complaint = complaints.unreadable(&path.display().to_string(), &error);
            if error.is_missing() {
                complaint.help("name another file with --config, or write one with `vicar init --upstream URL`");
            }
            Err(complaints)
        }
    }
}

fn of_source(source: Source, path: &Path, overrides: &Overrides, purpose: Purpose) -> Result<Loaded, Complaints> {
    let mut complaints = Complaints::default();
    let Some(mut settings) = crate::source::salvage::<Settings>(&source, &mut complaints) else { return Err(complaints) };
    let folder = std::path::absolute(path).ok().and_then(|p| p.parent().map(Path::to_owned)).unwrap_or_default();
    let places = Places::read(&source);
    let mut desk = Desk::new(&source, &places);
    override_with(overrides, &mut settings, &mut desk);
    default_directory(&mut settings);
    settings.name_stream();
    let files = resolve(&mut settings, &folder, purpose, &mut desk);
    check::all(&settings, &mut desk);
    complaints.extend(desk.close());
    if complaints.has_errors() {
        return Err(complaints);
    }
    Ok(Loaded { settings, source, path: path.to_owned(), overrides: overrides.clone(), files, warnings: complaints })
}

fn override_with(overrides: &Overrides, settings: &mut Settings, desk: &mut Desk<'_>) {
    if !overrides.listen.is_empty() {
        let first = settings.listen.first().cloned();
        settings.listen.clear();
        for (number, address) in overrides.listen.iter().enumerate() {
            let mut listen = first.clone().unwrap_or_else(|| Listen { address: "".into(), tls: None, mode: None, proxy_protocol: false });
            listen.address.set(address.clone());
            if !address.starts_with("unix:") {
                listen.mode = None;
            }
            settings.listen.push(listen);
            desk.overridden(Way::to("listen").item(number), "--listen", address);
        }
    }
    if let Some(url) = &overrides.upstream {
        settings.upstream.url.set(url.clone());
        settings.upstream.also.clear();
        desk.overridden(Way::to("upstream.url"), "--upstream", url);
    }
    if let Some(url) = &overrides.redis {
        settings.directory.file = None;
        settings.directory.redis = Some(Text::from(url.as_str()));
        desk.overridden(Way::to("directory"), "--redis", url);
        match &mut settings.audit.stream {
            Some(stream) => stream.redis.set(url.clone()),
            None => settings.audit.stream = Some(Stream::at(url.as_str())),
        }
        desk.overridden(Way::to("audit.stream.redis"), "--redis", url);
    }
    if let Some(policy) = &overrides.policy {
        settings.policy.value = std::path::absolute(policy).unwrap_or_else(|_| policy.clone());
    }
}

/// Accounts and keys live beside the settings unless the file says otherwise.
fn default_directory(settings: &mut Settings) {
    if settings.directory.file.is_none() && settings.directory.redis.is_none() {
        settings.directory.file = Some(PathBuf::from("keys.yaml").into());
    }
}

/// Replaces references, makes paths absolute, and looks whether what must be there is. The files that were read.
fn resolve(settings: &mut Settings, folder: &Path, purpose: Purpose, desk: &mut Desk<'_>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let needed = |way: &Way| purpose == Purpose::Serve || way.is_within("directory") || way.is_within("audit.stream");
    for (way, text) in settings.texts() {
        if let Err(error) = text.resolve(folder, &mut files)
            && needed(&way)
        {
            let help = error.help();
            desk.error(&way, error.to_string()).help(help);
        }
    }
    for (way, file, kind) in settings.paths() {
        if file.as_os_str().is_empty() {
            desk.error(&way, "a path is missing").help("name a file or folder; it is relative to the settings file");
        } else if file.to_string_lossy().contains("${") {
            desk.error(&way, "a path holds no reference").help("write the path itself; ${…} is for secrets, addresses and URLs");
        }
        *file = folder.join(&*file);
        if needed(&way) && !matches!(kind, FileUse::Document | FileUse::Own) {
            files.push(file.clone());
            kind.check(&way, file, desk);
        }
    }
    for address in settings.listen.iter_mut().map(|listen| &mut listen.address).chain([&mut settings.admin.address]) {
        absolute_socket(address, folder);
    }
    absolute_socket(&mut settings.upstream.url, folder);
    for url in &mut settings.upstream.also {
        absolute_socket(url, folder);
    }
    files
}

/// `unix:vicar.sock` stands beside the settings, `unix:///run/vicar.sock` is `unix:/run/vicar.sock`.
fn absolute_socket(address: &mut Text, folder: &Path) {
    if let Some(path) = address.strip_prefix("unix:")
        && !path.is_empty()
    {
        let path = path.strip_prefix("//").unwrap_or(path);
        let absolute = folder.join(path);
        address.set(format!("unix:{}", absolute.display()));
    }
}
