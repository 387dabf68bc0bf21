//! The journal as its callers see it, on real files. What needs the program stands in `tests/audit.rs`.

use std::{fs, ops::ControlFlow, path::Path, time::Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use tempfile::TempDir;
use ulid::Ulid;

use super::*;
use crate::settings;

mod damage;
mod keeping;
mod reading;
mod tampering;
mod under_way;
mod writing;

/// A journal in a folder of its own.
struct Ground {
    _folder: TempDir,
    settings: settings::Audit,
}

impl Ground {
    fn new() -> Self {
        let folder = folder();
        let mut settings = settings::Audit::default();
        settings.journal.path = folder.path().join("audit");
        settings.journal.segment = settings::Size(1 << 20);
        Self { _folder: folder, settings }
    }

    fn open(&self) -> Audit {
        Audit::open(&self.settings, "one", Writer::Sidecar).unwrap()
    }

    fn journal(&self) -> &Path {
        &self.settings.journal.path
    }

    /// What a crash at this instant would leave: the mapped files are read as they are.
    fn crashed(&self) -> Self {
        let ground = Self::new();
        copy(self.journal(), ground.journal());
        ground
    }

    fn source(&self) -> LogSource {
        LogSource::Journal(self.journal().to_owned())
    }

    fn records(&self) -> Vec<Record> {
        records(&self.source())
    }

    fn verified(&self) -> Verification {
        now(verify(&self.source(), None, &mut |_| {})).unwrap()
    }

    /// The last segment that has been begun.
    fn last_segment(&self) -> std::path::PathBuf {
        let mut files = journal::folder::segments(self.journal()).unwrap();
        files.retain(|(_, path)| fs::read(path).unwrap().iter().any(|b| *b != 0));
        files.pop().unwrap().1
    }
}

/// In memory where that is to be had: these tests open thousands of journals, and a crash of the process, which is
/// what they are about, makes no difference between a disk and memory.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn records(source: &LogSource) -> Vec<Record> {
    let mut all = Vec::new();
    now(read(source, &Filter::default(), Page::default(), &mut |line| {
        all.push(line.record.clone());
        ControlFlow::Continue(())
    }))
    .unwrap();
    all
}

fn opening(n: u64) -> Opening<'static> {
    Opening {
        id: Ulid::from_parts(1_764_000_000_000 + n, u128::from(n)),
        time: Timestamp::from_millisecond(1_764_000_000_000 + i64::try_from(n).unwrap()).unwrap(),
        began: Instant::now(),
        standing: Standing::SignedIn,
        account: Some("app"),
        key: Some("VKAAAAAAAAAAAAAAAAAAAA"),
        subject: Some("zoe@acme.example"),
        method: "GET",
        path: "/dataset/2/Ac1/Vendors/list",
        query: Some("page_number=1"),
        resource: Some(Concerned { kind: "dataset", id: Some("Vendors") }),
        action: Some("list"),
        decision: Decision::Allow,
        reason: "shared",
        share: Some("app/1"),
        policy: "0123456789abcdef",
        stale: false,
        client: "192.0.2.1".parse().unwrap(),
        user_agent: Some(b"curl/8"),
        trace_id: None,
    }
}

fn id(n: u64) -> String {
    Ulid::from_parts(1_764_000_000_000 + n, u128::from(n)).to_string()
}

fn write(audit: &Audit, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let mut entry = now(audit.open_entry(opening(n))).unwrap();
        entry.status(200);
        entry.sent(1000);
        entry.complete();
    }
}
