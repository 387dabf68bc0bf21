//! Edits: noticed within a second, taken whole or not at all.
//!
//! The folders of the settings, the policy and the catalogs are watched, not the files: editors and Kubernetes
//! replace a file by a rename or by swapping a symlink above it. Since a notice can get lost, the files are also
//! looked at twice a second by their times and size. What was not taken is read again now and then, and told again only
//! if something else is wrong with it: a file that could not be read, for want of descriptors say, shows no change. An
//! edit of several files is waited for until nothing has moved for a moment; then everything is read again, the policy's
//! tests run, and the rules are swapped as one. Files that moved while they were read are read once more: half of one
//! edit and half of another is never in force. What is edited while the sidecar starts, which takes a while where its
//! directory is slow, is found by how the files looked [before they were first read](First).
//!
//! No request takes longer for it: reading and compiling give way to the threads that serve, and what is replaced is
//! freed by none of them.

use std::{
    collections::BTreeSet,
    fs::Metadata,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use notify::{EventKind, RecursiveMode, Watcher as _, event::ModifyKind};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{InForce, Status},
    audit::Event,
    proxy::{rules::Rules, server::Shared},
    settings::{Loaded, Overrides, Settings},
    source::{Complaints, Look, Source, Span},
};

/// How often files are looked at without a notice.
const POLL: Duration = Duration::from_millis(500);
/// How long before what was not taken is read again: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(120));
/// How long nothing may have moved before an edit counts as finished: editors and copies over a network pause between
/// two writes. With [`POLL`] it stays well within the second that an edit may take.
const WRITTEN: Duration = Duration::from_millis(300);
/// The same where all that moved are files that were put in place whole; several of them may be one edit.
const MOVED: Duration = Duration::from_millis(60);
/// By how much the reading of an edit is nicer than what serves: a tenth of a processor is left to it even where
/// serving could use all of it (sched(7)).
const NICER: i32 = 10;

/// How the files looked before what is in force at the start was read from them.
pub(super) struct First {
    files: Vec<PathBuf>,
    looks: Vec<Option<Look>>,
}

impl First {
    /// To be called before the policy and the catalogs that `loaded` names are read.
    pub(super) fn look(loaded: &Loaded) -> Self {
        let files = files(loaded);
        let mut looks = looks(&files);
        // The settings have been read by now; if they are others already, they look like nothing that is there.
        let same = Source::read(&loaded.path).is_ok_and(|source| source.text == loaded.source.text);
        if !same && let Some(settings) = looks.first_mut() {
            *settings = None;
        }
        Self { files, looks }
    }
}

/// Takes edits into force until `stop`.
pub(super) async fn watch(shared: Arc<Shared>, status: Arc<Status>, loaded: Loaded, first: First, stop: CancellationToken) {
    let (tell, mut told) = mpsc::channel::<()>(1);
    let First { mut files, looks: mut seen } = first;
    let named = Arc::new(ArcSwap::from_pointee(files.clone()));
    let mut watcher = notify::recommended_watcher({
        let named = named.clone();
        move |event| {
            if concerns(&event, &named.load()) {
                let _ = tell.try_send(());
            }
        }
    })
    .map_err(|error| tracing::warn!(%error, "files are not watched, only looked at now and then"))
    .ok();
    let mut hangup = signal(SignalKind::hangup()).ok();
    let mut overrides = loaded.overrides.clone();
    let mut watched = BTreeSet::new();
    let mut replaced = Replaced::default();
    let mut refused: Option<Refusal> = None;
    loop {
        replaced.free().await;
        if let Some(watcher) = &mut watcher {
            for folder in files.iter().filter_map(|file| file.parent()).map(Path::to_owned) {
                if watched.insert(folder.clone()) {
                    let _ = watcher.watch(&folder, RecursiveMode::NonRecursive);
                }
            }
        }
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(POLL) => false,
            _ = told.recv() => false,
            () = hung_up(&mut hangup) => true,
        };
        let moved = asked || looks(&files) != seen;
        if !moved && refused.as_ref().is_none_or(|refused| Instant::now() < refused.again) {
            continue;
        }
        if moved {
            super::notify::reloading();
        }
        let read = loop {
            seen = settled(&files, &seen).await;
            let (path, over) = (loaded.path.clone(), overrides.clone());
            let known = files.clone();
            let read = aside(move || read(&path, &over, &known)).await;
            let now_named = match &read {
                Ok(Ok(fresh)) => self::files(&fresh.loaded),
                Ok(Err(_)) | Err(_) => files.clone(),
            };
            let same = now_named == files && looks(&files) == seen;
            files = now_named;
            if same || stop.is_cancelled() {
                break read;
            }
        };
        named.store(Arc::new(files.clone()));
        match read {
            Ok(Ok(mut fresh)) => {
                fresh.in_force.next_start = at_next_start(&loaded.settings, &fresh.in_force.settings);
                if !fresh.in_force.next_start.is_empty() {
                    let settings = fresh.in_force.next_start.join(", ");
                    tracing::warn!(settings, "edits of these settings take effect at the next start");
                }
                overrides.clone_from(&fresh.loaded.overrides);
                replaced.held.push(take(&shared, fresh.rules));
                status.taken(fresh.in_force);
                refused = None;
            }
            Ok(Err(complaints)) => {
                let complaints = complaints.errors();
                if moved || refused.as_ref().is_none_or(|refused| refused.complaints != complaints) {
                    status.refused(Timestamp::now(), &complaints);
                    refuse(&shared, &complaints);
                }
                refused = Some(Refusal::new(complaints, refused.as_ref().filter(|_| !moved)));
            }
            Err(error) => {
                tracing::error!(%error, "the reload failed");
                refused = Some(Refusal::new(Complaints::default(), refused.as_ref().filter(|_| !moved)));
            }
        }
        if moved {
            super::notify::ready();
        }
    }
}

/// An edit that was not taken.
struct Refusal {
    /// When it is read again though nobody has touched it, and how long that was put off.
    again: Instant,
    pause: Duration,
    complaints: Complaints,
}

impl Refusal {
    /// After `before`, if nobody has touched anything since: then less and less is to be hoped for.
    fn new(complaints: Complaints, before: Option<&Self>) -> Self {
        let pause = before.map_or(AGAIN.0, |before| (before.pause * 2).min(AGAIN.1));
        Self { again: Instant::now() + pause, pause, complaints }
    }
}

/// Does `work` on a thread of its own that gives way to those that serve.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::io::Result<T> {
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("reload".to_owned());
    thread.spawn(move || {
        // Linux has a niceness for each thread, whatever POSIX says.
        let nice = rustix::process::getpriority_process(None).unwrap_or_default() + NICER;
        if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), nice.min(19)) {
            tracing::debug!(%error, "an edit is read as if it were a request");
        }
        let _ = tell.send(work());
    })?;
    told.await.map_err(std::io::Error::other)
}

/// Rules that an edit replaced. Whoever is the last to hold them frees them, which takes a while where the policy is
/// large; so they are held here until no request does.
#[derive(Default)]
struct Replaced {
    held: Vec<Arc<Rules>>,
}

impl Replaced {
    async fn free(&mut self) {
        let last: Vec<_> = self.held.extract_if(.., |rules| Arc::strong_count(rules) == 1).collect();
        if !last.is_empty()
            && let Err(error) = aside(move || drop(last)).await
        {
            tracing::debug!(%error, "rules that were replaced are freed here");
        }
    }
}

/// Sections of the settings that differ from what this process was started with, and that only a start takes in.
fn at_next_start(started: &Settings, now: &Settings) -> Vec<&'static str> {
    /// Of the limits, what each request is bound by anew.
    const LIVE: [&str; 2] = ["body", "timeouts"];
    let (started, now) = (started.in_force(), now.in_force());
    let section = |settings: &serde_json::Value, name: &str| {
        let mut section = settings.get(name).cloned().unwrap_or_default();
        if let (true, Some(limits)) = (name == "limits", section.as_object_mut()) {
            limits.retain(|name, _| !LIVE.contains(&name.as_str()));
        }
        section
    };
    let sections = ["listen", "directory", "audit", "admin", "limits", "workers", "sidecar", "log"];
    sections.into_iter().filter(|name| section(&started, name) != section(&now, name)).collect()
}

/// Waits until nothing has moved for a moment, and says how things then look. `seen` is how they looked before.
async fn settled(files: &[PathBuf], seen: &[Option<Look>]) -> Vec<Option<Look>> {
    let mut before = looks(files);
    loop {
        tokio::time::sleep(moment(seen, &before)).await;
        let after = looks(files);
        if after == before {
            return after;
        }
        before = after;
    }
}

/// How long what moved has to hold still.
fn moment(seen: &[Option<Look>], now: &[Option<Look>]) -> Duration {
    let whole = |(seen, now): (&Option<Look>, &Option<Look>)| match (seen, now) {
        (Some(seen), Some(now)) => seen == now || now.was_moved_over(seen),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    if seen.len() == now.len() && seen.iter().zip(now).all(whole) { MOVED } else { WRITTEN }
}

/// Whether a notice may be about these files. Something may have been put in a folder's place, or taken away; but
/// what is only written to, a log say, counts if it is one of them.
fn concerns(event: &notify::Result<notify::Event>, files: &[PathBuf]) -> bool {
    let Ok(event) = event else { return true };
    let only_written = match event.kind {
        EventKind::Access(_) => return false,
        EventKind::Modify(ModifyKind::Name(_)) | EventKind::Create(_) | EventKind::Remove(_) | EventKind::Any | EventKind::Other => false,
        EventKind::Modify(_) => true,
    };
    !only_written || event.paths.iter().any(|path| files.contains(path))
}

async fn hung_up(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

struct Fresh {
    loaded: Loaded,
    rules: Rules,
    in_force: InForce,
}

/// Reads everything anew. `known` is what was read before: what has become of it is looked at before it is opened.
fn read(path: &Path, overrides: &Overrides, known: &[PathBuf]) -> Result<Fresh, Complaints> {
    let mut complaints = Complaints::default();
    refuse_pipes(known, &mut complaints);
    if complaints.has_errors() {
        return Err(complaints);
    }
    let loaded = Settings::load(path, overrides)?;
    refuse_pipes(&files(&loaded), &mut complaints);
    if complaints.has_errors() {
        return Err(complaints);
    }
    let now = Timestamp::now();
    let documents = super::documents(&loaded.settings, now, &mut complaints).ok_or_else(|| complaints.clone())?;
    let rules = super::rules(&loaded, documents.catalog, documents.policy, &mut complaints).ok_or_else(|| complaints.clone())?;
    let (settings, policy) = (loaded.settings.clone(), documents.policy_source);
    let in_force = InForce { settings, policy, warnings: complaints, next_start: Vec::new(), since: now };
    Ok(Fresh { loaded, rules, in_force })
}

/// Opening a pipe waits for somebody to write to it, and no edit would be taken in any more. What else is no file says so
/// when it is read.
fn refuse_pipes(files: &[PathBuf], complaints: &mut Complaints) {
    for file in files {
        let endless = |meta: &Metadata| !meta.is_file() && !meta.is_dir();
        if std::fs::metadata(file).is_ok_and(|meta| endless(&meta)) {
            complaints
                .error(&Source::new(file.display().to_string(), ""), Span::default(), "is no file but a pipe, a socket or a device")
                .help("put a file in its place");
        }
    }
}

/// Puts `rules` in force; those that were.
fn take(shared: &Shared, rules: Rules) -> Arc<Rules> {
    let new = rules.policy.digest().to_owned();
    let rules = rules.after(&shared.rules.load());
    let before = shared.rules.swap(Arc::new(rules));
    let old = before.policy.digest();
    tracing::info!(old, new, "an edit is in force");
    let observes = shared.rules.load().policy.observes();
    if let Some(words) = &observes {
        tracing::warn!("{words}");
    }
    let observes = observes.map(|words| format!("; {words}")).unwrap_or_default();
    let what = if old == new { format!("files read again, policy {new} as before") } else { format!("policy {old} replaced by {new}") };
    shared.audit.record_event(Event::system("reload").detail(format!("{what}{observes}")));
    before
}

fn refuse(shared: &Shared, complaints: &Complaints) {
    let first = complaints
        .iter()
        .next()
        .map(|complaint| format!("{}:{}: {}", complaint.file, complaint.line, complaint.message))
        .unwrap_or_default();
    tracing::error!(mistakes = complaints.len(), first, "an edit was not taken; what was in force stays in force");
    shared.audit.record_event(Event::system("reload-refused").detail(first));
}

fn files(loaded: &Loaded) -> Vec<PathBuf> {
    let settings = &loaded.settings;
    let documents = settings.catalog.iter().map(|path| path.value.clone());
    let others = loaded.files.iter().cloned();
    std::iter::once(loaded.path.clone()).chain([settings.policy.value.clone()]).chain(documents).chain(others).collect()
}

fn looks(files: &[PathBuf]) -> Vec<Option<Look>> {
    files.iter().map(|file| Look::at(file).unwrap_or_default()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, time::SystemTime};

    use super::*;

    #[test]
    fn a_file_that_is_written_to_is_waited_for_longer_than_one_that_is_moved_into_place() {
        let folder = tempfile::tempdir().unwrap();
        let [policy, other, fresh] = ["policy.yaml", "catalog.yaml", "fresh"].map(|name| folder.path().join(name));
        let write = |file: &Path| fs::write(file, "version: 1\n").unwrap();
        write(&policy);
        write(&other);
        let files = [policy.clone(), other.clone()];
        let seen = looks(&files);
        assert_eq!(moment(&seen, &looks(&files)), MOVED, "nothing has moved");
        // Written before it is moved: its clock is too coarse to tell the two apart by themselves.
        write(&fresh);
        fs::File::options().write(true).open(&fresh).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fs::rename(&fresh, &policy).unwrap();
        let moved = looks(&files);
        assert_eq!(moment(&seen, &moved), MOVED);
        fs::write(&other, "version: 1\nkinds: {}\n").unwrap();
        assert_eq!(moment(&seen, &looks(&files)), WRITTEN, "one of them is written in place");
        let seen = looks(&files);
        fs::remove_file(&policy).unwrap();
        assert_eq!(moment(&seen, &looks(&files)), WRITTEN, "it has gone");
        write(&policy);
        assert_eq!(moment(&moved, &looks(&files)), WRITTEN, "another one, that may still be written to");
        const { assert!(POLL.as_millis() + WRITTEN.as_millis() < 1_000) };
    }
}
