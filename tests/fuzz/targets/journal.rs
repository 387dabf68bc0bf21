//! Any bytes as what the log is read from. The first byte says as what: a segment as it is; an export; frames that are
//! whole and hold anything; or a good journal with a few bytes changed.
//!
//! Everything that reads the log is tried, then the journal is opened for writing: what was verified before is verified
//! after, and what is written then can be read.

#![no_main]

use std::{fs, ops::ControlFlow, path::Path, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use vicar::{
    audit::{Audit, Event, Filter, Format, Line, LogSource, Order, Page, Writer, export, read, verify},
    settings,
};
use twox_hash::XxHash3_64;

const SEGMENT: &str = "000000000001.journal";
const SEGMENT_HEAD: usize = 512;
const FRAME_HEAD: usize = 16;
/// Beyond this the reader's own bounds are met, and nothing else is new.
const INPUT_MAX: usize = 64 << 10;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| match tokio::runtime::Builder::new_current_thread().enable_time().build() {
    Ok(runtime) => runtime,
    Err(error) => panic!("{error}"),
});

/// A journal as it is written, cut to what was used of it.
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = folder();
    let audit = open(folder.path()).unwrap_or_else(|error| panic!("{error}"));
    for n in 0..8 {
        audit.record_event(Event::system("fuzz").detail(format!("record {n}")));
    }
    RUNTIME.block_on(audit.close());
    drop(audit);
    fs::read(segment_of(folder.path())).unwrap_or_else(|error| panic!("{error}"))
});

fuzz_target!(|bytes: &[u8]| {
    let Some((as_what, bytes)) = bytes.split_first().filter(|(_, bytes)| bytes.len() <= INPUT_MAX) else { return };
    let folder = folder();
    match as_what % 4 {
        0 => put_segment(folder.path(), bytes),
        1 => {
            let file = folder.path().join("export.jsonl");
            write(&file, bytes);
            all_readers(&LogSource::File(file));
            return;
        }
        2 => put_segment(folder.path(), &forged(bytes)),
        _ => put_segment(folder.path(), &changed(&GOOD, bytes)),
    }
    let journal = LogSource::Journal(folder.path().to_owned());
    let good_before = all_readers(&journal);
    let Ok(audit) = open(folder.path()) else { return };
    audit.record_event(Event::system("fuzz").detail("after all"));
    RUNTIME.block_on(audit.close());
    drop(audit);
    let good_after = all_readers(&journal);
    // An action under way that cannot be read is found by the start, and told of from then on.
    let under_way = as_what % 4 == 2 && bytes.windows(5).any(|word| word == b"open ");
    assert!(good_after || !good_before || under_way, "opening it broke what was whole");
    let mut last = String::new();
    let _ = RUNTIME.block_on(read(&journal, &Filter::default(), Page::default(), &mut |line| {
        last = line.record.detail.clone().unwrap_or_default();
        ControlFlow::Continue(())
    }));
    assert_eq!(last, "after all", "what was written is not read");
});

/// Whether the log verifies. Both orders give the same records.
fn all_readers(source: &LogSource) -> bool {
    RUNTIME.block_on(async {
        let verified = verify(source, None, &mut |_| {}).await;
        let read_through = async |order| {
            let mut ids = Vec::new();
            let mut each = |line: Line<'_>| {
                ids.push((line.record.sidecar.clone(), line.record.seq, line.record.id.clone()));
                ControlFlow::Continue(())
            };
            read(source, &Filter::default(), Page { order, limit: None }, &mut each).await.ok()?;
            Some(ids)
        };
        if let (Some(mut forwards), Some(mut backwards)) = (read_through(Order::OldestFirst).await, read_through(Order::NewestFirst).await) {
            forwards.sort_unstable();
            backwards.sort_unstable();
            assert_eq!(forwards, backwards, "not the same in both orders");
        }
        for format in [Format::Jsonl, Format::Csv, Format::Ocsf] {
            let _ = export(source, &Filter::default(), format, &mut std::io::sink(), &mut |_| {}).await;
        }
        verified.is_ok_and(|verified| verified.ok)
    })
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap_or_else(|error| panic!("{error}"))
}

/// The operators' journal: it is the same, and has no threads.
fn open(folder: &Path) -> Result<Audit, vicar::audit::AuditError> {
    let mut settings = settings::Audit::default();
    settings.journal.path = folder.to_owned();
    Audit::open(&settings, "fuzz", Writer::Operator)
}

fn segment_of(folder: &Path) -> std::path::PathBuf {
    folder.join("operator").join(SEGMENT)
}

fn put_segment(folder: &Path, bytes: &[u8]) {
    if let Err(error) = fs::create_dir(folder.join("operator")) {
        panic!("{error}");
    }
    write(&segment_of(folder), bytes);
}

fn write(file: &Path, bytes: &[u8]) {
    if let Err(error) = fs::write(file, bytes) {
        panic!("{error}");
    }
}

/// A segment with a frame for each line of `bytes`, whose checksums hold. A line that begins with `open ` is an open
/// frame's.
fn forged(bytes: &[u8]) -> Vec<u8> {
    let mut segment = GOOD.get(..SEGMENT_HEAD).unwrap_or_default().to_vec();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let at = segment.len() as u64;
        let letter = if line.starts_with(b"open ") { b'o' } else { b'r' };
        let commit = line.len() as u64 | u64::from(letter) << 32 | 0x5C_A7_01 << 40;
        let place = (1u64.rotate_left(40) ^ at ^ u64::from(letter).rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let check = (XxHash3_64::oneshot(line) ^ place) >> 8 | u64::from(b'\n') << 56;
        segment.extend_from_slice(&commit.to_le_bytes());
        segment.extend_from_slice(&check.to_le_bytes());
        segment.extend_from_slice(line);
        let span = (FRAME_HEAD + line.len() + 1).next_multiple_of(8);
        segment.push(b'\n');
        segment.resize(usize::try_from(at).unwrap_or_default() + span, 0);
    }
    segment
}

/// `good`, with three bytes of `changes` for each change: where (two of them), and what to put there. A change to
/// beyond its end cuts it.
fn changed(good: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for [high, low, to] in changes.as_chunks::<3>().0 {
        let at = usize::from(u16::from_be_bytes([*high, *low]));
        match bytes.get_mut(at) {
            Some(byte) => *byte = *to,
            None => bytes.truncate(at % good.len()),
        }
    }
    bytes
}
