//! Logs that somebody has edited.

use std::time::Duration;

use super::{super::checkpoint::Sealer, *};

/// One way to tamper with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tampering {
    /// A value is changed, the hash left.
    Edit,
    /// A value is changed, and the record's hash made to fit.
    EditAndHash,
    Drop,
    Swap,
    Repeat,
    /// A record of one's own, with a fitting hash, between two others.
    Insert,
    /// A line that is no record.
    InsertNoise,
    /// Everything from here on goes.
    Truncate,
}

const WAYS: [Tampering; 8] = [
    Tampering::Edit,
    Tampering::EditAndHash,
    Tampering::Drop,
    Tampering::Swap,
    Tampering::Repeat,
    Tampering::Insert,
    Tampering::InsertNoise,
    Tampering::Truncate,
];

fn edited(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(line.to_vec()).unwrap();
    let changed = text.replace("\"subject\":\"zoe@", "\"subject\":\"eve@");
    assert_ne!(text, changed);
    changed.into_bytes()
}

/// The line with number and hashes anew.
fn resealed(line: &[u8], seq: u64, prev: &[u8; 64]) -> Vec<u8> {
    let fields = line.windows(7).rposition(|w| w == b",\"seq\":").unwrap();
    let mut line = line[..fields].to_vec();
    let begun = digest::Begun::of(&line);
    chain::seal(&mut line, 0, begun, seq, prev);
    line
}

/// All lines with numbers and hashes anew, as somebody does who has no key.
fn rechain(lines: &mut [Vec<u8>]) {
    let mut prev = chain::GENESIS;
    for (at, line) in lines.iter_mut().enumerate() {
        *line = resealed(line, at as u64 + 1, &prev);
        prev = *chain::Seal::read(line).unwrap().hash;
    }
}

fn tamper(lines: &mut Vec<Vec<u8>>, way: Tampering, at: usize) {
    let seal = chain::Seal::read(&lines[at]).unwrap();
    let (seq, prev) = (seal.seq, *seal.prev);
    match way {
        Tampering::Edit => lines[at] = edited(&lines[at]),
        Tampering::EditAndHash => lines[at] = resealed(&edited(&lines[at]), seq, &prev),
        Tampering::Drop => {
            lines.remove(at);
        }
        Tampering::Swap => lines.swap(at, at + 1),
        Tampering::Repeat => lines.insert(at, lines[at].clone()),
        Tampering::Insert => lines.insert(at, resealed(&edited(&lines[at]), seq, &prev)),
        Tampering::InsertNoise => lines.insert(at, b"{\"id\":\"x\"}".to_vec()),
        Tampering::Truncate => lines.truncate(at),
    }
}

#[test]
fn every_kind_of_tampering_is_found_and_named() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..400);
    now(audit.close());
    drop(audit);
    let lines = journal::forge::lines(&ground.last_segment());
    assert_eq!(lines.len(), 400);
    let file = ground._folder.path().join("export.jsonl");
    let mut place = 17usize;
    for round in 0..20 {
        for way in WAYS {
            place = (place * 31 + 7 * round + 1) % 396;
            let at = place + 2;
            let named = |found: &Verification, what: &str| {
                assert!(!found.ok, "{way:?} at {at} was not found in the {what}");
                let near = |seq: u64| (at as u64).saturating_sub(1) <= seq && seq <= at as u64 + 3;
                let named = found.broken.iter().any(|b| b.seq.is_none_or(near) || way == Tampering::Truncate);
                assert!(named, "{way:?} at {at} in the {what}: {:?}", found.broken);
            };
            let mut tampered = lines.clone();
            tamper(&mut tampered, way, at);
            // In a journal, whose frames were made to fit.
            let forged = ground.crashed();
            journal::forge::rewrite(&forged.last_segment(), &tampered);
            named(&forged.verified(), "journal");
            // In an export.
            let mut text: Vec<u8> = tampered.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
            if way == Tampering::Truncate {
                // A file has no mark beside it; what is found is a line that is not whole.
                text.truncate(text.len() - 1 - (place % 300 + 1));
            }
            fs::write(&file, &text).unwrap();
            named(&now(verify(&LogSource::File(file.clone()), None, &mut |_| {})).unwrap(), "export");
        }
    }
}

#[test]
fn a_segment_that_is_missing_or_moved_is_found() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..6000);
    now(audit.close());
    drop(audit);
    let files = journal::folder::segments(ground.journal()).unwrap();
    assert!(files.len() > 4);
    let without = |gone: usize| {
        let copy = ground.crashed();
        fs::remove_file(copy.journal().join(files[gone].1.file_name().unwrap())).unwrap();
        copy.verified()
    };
    let beginning = without(0);
    assert!(beginning.broken.iter().any(|b| b.problem.contains("its beginning was cut off")), "{beginning:?}");
    assert!(!without(2).ok);
    assert!(!without(files.len() - 1).ok, "the end was cut off");
    let moved = ground.crashed();
    fs::rename(&files[1].1, ground.journal().join("x")).unwrap();
    fs::copy(ground.journal().join("x"), moved.journal().join(files[2].1.file_name().unwrap())).unwrap();
    assert!(!moved.verified().ok);
}

// ===== checkpoints =====

fn key_file(folder: &Path, name: &str, seed: u8) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, crate::signing::tests::pem(seed)).unwrap();
    path
}

#[test]
fn a_chain_that_was_rewritten_whole_is_found_by_its_checkpoints() {
    let mut ground = Ground::new();
    let key = key_file(ground._folder.path(), "checkpoint.pem", 7);
    let other = key_file(ground._folder.path(), "other.pem", 8);
    ground.settings.checkpoint = Some(settings::Checkpoint { key: key.clone().into(), every: settings::Span::seconds(600) });
    let audit = ground.open();
    write(&audit, 0..50);
    now(audit.close());
    drop(audit);
    let (key, other) = (CheckpointKey::load(&key).unwrap(), CheckpointKey::load(&other).unwrap());
    let check = |ground: &Ground, key: &CheckpointKey| now(verify(&ground.source(), Some(key), &mut |_| {})).unwrap();
    let found = check(&ground, &key);
    assert!(found.ok, "{found:?}");
    assert_eq!((found.chains[0].checkpoints, found.chains[0].signed_to), (1, Some(50)));
    assert!(!check(&ground, &other).ok, "another's key");
    // Somebody who has no key edits a record and makes the whole chain fit again.
    let rewritten = ground.crashed();
    let segment = rewritten.last_segment();
    let mut lines = journal::forge::lines(&segment);
    lines[20] = edited(&lines[20]);
    rechain(&mut lines);
    journal::forge::rewrite(&segment, &lines);
    fs::remove_file(rewritten.journal().join("mark")).unwrap();
    assert!(!check(&rewritten, &key).ok);
    // And leaves the checkpoint out: without the key nothing is to be seen.
    lines.pop();
    journal::forge::rewrite(&segment, &lines);
    assert!(rewritten.verified().ok, "{:?}", rewritten.verified());
    assert!(!check(&rewritten, &key).ok);
}

/// A log of records at these seconds, in one chain; those in `signed` are checkpoints over the record before them.
fn log_at(seconds: &[i64], signed: &[usize], sealer: &Sealer) -> Vec<Vec<u8>> {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..1);
    now(audit.close());
    let template = String::from_utf8(journal::forge::lines(&ground.last_segment()).remove(0)).unwrap();
    let (head, rest) = template.split_once("\"time\":\"").unwrap();
    let (_, rest) = rest.split_once('"').unwrap();
    let (rest, _) = rest.rsplit_once(",\"seq\":").unwrap();
    let begin: jiff::Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
    let (mut lines, mut prev) = (Vec::new(), chain::GENESIS);
    for (at, seconds) in seconds.iter().enumerate() {
        let time = begin + jiff::SignedDuration::from_secs(*seconds);
        let mut line = format!("{head}\"time\":\"{time:.3}\"{rest}");
        if signed.contains(&at) {
            let mark = sealer.seal("one", at as u64, chain::text(&prev));
            line.push_str(",\"checkpoint\":");
            line.push_str(&serde_json::to_string(&mark).unwrap());
        }
        let mut line = line.into_bytes();
        let begun = digest::Begun::of(&line);
        chain::seal(&mut line, 0, begun, at as u64 + 1, &prev);
        prev = *chain::Seal::read(&line).unwrap().hash;
        lines.push(line);
    }
    lines
}

fn verified(lines: &[Vec<u8>], key: &CheckpointKey) -> Verification {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export.jsonl");
    fs::write(&file, lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect::<Vec<u8>>()).unwrap();
    now(verify(&LogSource::File(file), Some(key), &mut |_| {})).unwrap()
}

#[test]
fn a_genuine_checkpoint_signs_nothing_but_the_record_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = key_file(folder.path(), "checkpoint.pem", 7);
    let (sealer, key) = (Sealer::load(&path, Duration::from_secs(600)).unwrap(), CheckpointKey::load(&path).unwrap());
    let genuine = log_at(&vec![0; 5001], &[5000], &sealer);
    let found = verified(&genuine, &key);
    assert!(found.ok, "{found:?}");
    assert_eq!(found.chains[0].signed_to, Some(5000));
    for place in [0, 1, 4000, 5000, 5300, 9500] {
        let mut lines = genuine.clone();
        let checkpoint = lines.pop().unwrap();
        for _ in 0..5000 {
            lines.push(lines[0].clone());
        }
        lines[20] = edited(&lines[20]);
        lines.insert(place, checkpoint);
        rechain(&mut lines);
        let found = verified(&lines, &key);
        assert!(!found.ok, "copied to {place}");
        assert_eq!(found.chains[0].signed_to, None, "copied to {place}: {found:?}");
    }
}

#[test]
fn only_a_sidecar_that_was_at_work_without_signing_is_said_to_owe_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let path = key_file(folder.path(), "checkpoint.pem", 7);
    let (sealer, key) = (Sealer::load(&path, Duration::from_secs(600)).unwrap(), CheckpointKey::load(&path).unwrap());
    let day = 86_400;
    let ok = |seconds: &[i64], signed: &[usize]| verified(&log_at(seconds, signed, &sealer), &key).ok;
    assert!(ok(&[0, 1, 2, 600, day, day + 600], &[3, 5]), "idle for a day");
    assert!(ok(&[0, 1, 2, 600, 700, day, day + 590, day + 600], &[3, 7]), "killed, and started a day later");
    assert!(ok(&[0, 1, 2, 600, day, day, day + 600], &[3, 6]), "stopped, and started a day later");
    assert!(ok(&[0, 1, day, day + 600, day - 9000, day + 700, day + 1200], &[1, 3, 6]), "a long request ended");
    let busy: Vec<i64> = (0..200).map(|minute| minute * 60).collect();
    assert!(ok(&busy, &[10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150, 160, 170, 180, 190]), "at work");
    assert!(!ok(&busy, &[10, 20, 30]), "at work for hours, and signed no more");
    // Nor does the last one come again and again.
    let mut lines = log_at(&busy, &[10], &sealer);
    let checkpoint = lines[10].clone();
    for at in (20..200).step_by(10) {
        lines[at] = checkpoint.clone();
    }
    rechain(&mut lines);
    assert!(!verified(&lines, &key).ok, "one checkpoint, repeated");
}

#[test]
fn a_checkpoint_key_that_is_none_is_told_so() {
    let mut ground = Ground::new();
    let path = ground._folder.path().join("key.pem");
    fs::write(&path, "hello").unwrap();
    ground.settings.checkpoint = Some(settings::Checkpoint { key: path.into(), every: settings::Span::seconds(600) });
    let error = Audit::open(&ground.settings, "one", Writer::Sidecar).unwrap_err().to_string();
    assert!(error.contains("openssl genpkey"), "{error}");
}
