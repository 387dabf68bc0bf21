//! All chains of a log, followed record by record.

use std::collections::HashMap;

use jiff::Timestamp;
use memchr::memmem;
use serde::Deserialize;

use super::{BROKEN_MAX, Broken, ChainSummary, Verification};
use crate::audit::{
    chain::{GENESIS, Seal, text},
    checkpoint::{CheckpointKey, CheckpointMark},
    record::Kind,
    upkeep::{DAMAGE_FOUND, LOST, NEW_JOURNAL, RETENTION_TO},
};

/// How many records back a repeated one is recognised as a copy.
const REMEMBERED: usize = 4096;

/// The chains met so far.
pub(super) struct Chains<'k> {
    key: Option<&'k CheckpointKey>,
    chains: HashMap<String, Chain>,
    order: Vec<String>,
    records: u64,
    broken: Vec<Broken>,
    any: bool,
    shipped: Vec<(String, u64)>,
}

struct Chain {
    first: u64,
    last: u64,
    hash: [u8; 64],
    /// Hashes of the last records, by number modulo [`REMEMBERED`].
    recent: Vec<[u8; 64]>,
    checkpoints: u64,
    signed_to: Option<u64>,
    /// Up to this record, by what the log says, all is gone for a reason.
    removed_to: u64,
    /// The latest time that a record had.
    latest: Timestamp,
    /// Longest time between two signatures while records are written, in milliseconds.
    every: Option<u64>,
    /// Milliseconds that went by since the last signature while records were written.
    unsigned_for: u64,
    overdue: bool,
}

/// What is read of a record beside its seal.
#[derive(Deserialize)]
struct Glance<'l> {
    #[serde(borrow)]
    sidecar: std::borrow::Cow<'l, str>,
    time: Timestamp,
    #[serde(default)]
    checkpoint: Option<CheckpointMark>,
}

/// What the log has to say of itself.
enum Told {
    /// A start has found damage.
    Damage(String),
    /// What stands before this one belonged to another journal.
    NewJournal,
    /// Retention removes all up to this one.
    Removed(u64),
}

/// What this record tells of the log, if it does.
fn told(line: &[u8]) -> Option<Told> {
    #[derive(Deserialize)]
    struct System {
        kind: Kind,
        action: String,
        detail: String,
    }
    // Few records are of this kind, and each is looked at.
    memmem::find(line, br#""kind":"system""#)?;
    let told: System = serde_json::from_str(std::str::from_utf8(line).ok()?).ok()?;
    match (told.kind, told.action.as_str()) {
        (Kind::System, "recovery") => match (told.detail.split_once(DAMAGE_FOUND), told.detail.find(LOST)) {
            (Some((_, damage)), _) => Some(Told::Damage(damage.to_owned())),
            (None, Some(lost)) => Some(Told::Damage(told.detail.get(lost..)?.to_owned())),
            (None, None) => told.detail.starts_with(NEW_JOURNAL).then_some(Told::NewJournal),
        },
        (Kind::System, "retention") => {
            let (to, _) = told.detail.strip_prefix(RETENTION_TO)?.split_once(' ')?;
            Some(Told::Removed(to.parse().ok()?))
        }
        _ => None,
    }
}

impl<'k> Chains<'k> {
    pub(super) fn new(key: Option<&'k CheckpointKey>) -> Self {
        Self { key, chains: HashMap::new(), order: Vec::new(), records: 0, broken: Vec::new(), any: false, shipped: Vec::new() }
    }

    /// Takes note of how far each sidecar had shipped.
    pub(super) fn had_shipped(&mut self, shipped: Vec<(String, u64)>) {
        self.shipped = shipped;
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn complain(&mut self, seq: Option<u64>, sidecar: &str, problem: impl Into<String>) {
        self.any = true;
        if self.broken.len() < BROKEN_MAX {
            self.broken.push(Broken { seq, sidecar: sidecar.to_owned(), problem: problem.into() });
        }
    }

    /// The last record of a chain: its number and hash.
    pub(super) fn last_of(&self, sidecar: &str) -> Option<(u64, &str)> {
        self.chains.get(sidecar).map(|chain| (chain.last, text(&chain.hash)))
    }

    /// Whether the log says that retention has taken all before record `first` of a chain, or that there was nothing.
    pub(super) fn may_begin_at(&self, sidecar: &str, first: u64) -> bool {
        self.chains.get(sidecar).is_none_or(|chain| chain.removed_to >= first.saturating_sub(1))
    }

    /// A line of the log; gives its sidecar and number if it is a record.
    pub(super) fn meet(&mut self, line: &[u8]) -> Option<(String, u64)> {
        self.records += 1;
        let place = self.records;
        let Some(seal) = Seal::read(line) else {
            self.complain(None, "", format!("line {place} is no record: it was inserted, or changed, or cut short"));
            return None;
        };
        let intact = seal.holds();
        let glance = std::str::from_utf8(line).ok().and_then(|line| serde_json::from_str::<Glance<'_>>(line).ok());
        let (sidecar, time, mark) = match glance {
            Some(glance) => (glance.sidecar.into_owned(), glance.time, glance.checkpoint),
            None => {
                self.complain(Some(seal.seq), "", format!("line {place} is no record that can be read: it was inserted or changed"));
                return None;
            }
        };
        if !intact {
            self.complain(Some(seal.seq), &sidecar, "was changed: its hash is not that of what it says");
        }
        if !self.chains.contains_key(&sidecar) {
            self.order.push(sidecar.clone());
            if seal.seq == 1 && *seal.prev != GENESIS {
                self.complain(Some(1), &sidecar, "is the first of its chain, but names one before it");
            }
            self.chains.insert(sidecar.clone(), Chain::begin(&seal, time));
        } else {
            self.follow(&sidecar, &seal, intact, time);
        }
        if let Some(chain) = self.chains.get_mut(&sidecar) {
            chain.wait_until(time);
        }
        if let Some(mark) = mark {
            self.check(&sidecar, seal.seq, &mark);
        }
        let chain = self.chains.get_mut(&sidecar);
        match (told(line), chain) {
            (Some(Told::Damage(damage)), _) => {
                self.complain(Some(seal.seq), &sidecar, format!("tells of damage that a start has found: {damage}"));
            }
            (Some(Told::NewJournal), Some(chain)) => chain.removed_to = chain.removed_to.max(seal.seq.saturating_sub(1)),
            (Some(Told::Removed(to)), Some(chain)) => chain.removed_to = chain.removed_to.max(to),
            (Some(Told::NewJournal | Told::Removed(_)) | None, _) => {}
        }
        Some((sidecar, seal.seq))
    }

    fn follow(&mut self, sidecar: &str, seal: &Seal<'_>, intact: bool, time: Timestamp) {
        let Some(chain) = self.chains.get_mut(sidecar) else { return };
        let mut problems = Vec::new();
        let next = chain.last.saturating_add(1);
        if seal.seq == next {
            if *seal.prev != chain.hash {
                problems.push((
                    seal.seq,
                    format!("does not follow the record {} that stands before it: one of the two was replaced", chain.last),
                ));
            }
        } else if seal.seq > next {
            let missing = if seal.seq - 1 == next {
                format!("record {next} is missing")
            } else {
                format!("records {next} to {} are missing", seal.seq - 1)
            };
            problems.push((next, format!("{missing} before record {}", seal.seq)));
        } else if chain.remembers(seal) {
            problems.push((seal.seq, "stands there twice: it was repeated".to_owned()));
        } else if seal.seq == 1 && *seal.prev == GENESIS {
            problems.push((1, format!("the numbers begin again at 1 after record {}: the journal was lost or replaced", chain.last)));
            *chain = Chain { checkpoints: chain.checkpoints, ..Chain::begin(seal, time) };
        } else {
            problems.push((seal.seq, format!("stands after record {}: it was moved, or inserted", chain.last)));
        }
        if seal.seq > chain.last {
            chain.last = seal.seq;
            chain.hash = *seal.hash;
        } else if intact && seal.seq == chain.last {
            chain.hash = *seal.hash;
        }
        chain.remember(seal);
        for (seq, problem) in problems {
            self.complain(Some(seq), sidecar, problem);
        }
    }

    /// A checkpoint signs what stands before it in this log, and nothing else: a genuine one may have been copied in
    /// front of a chain that was written anew, or far behind the record that it names.
    fn check(&mut self, sidecar: &str, seq: u64, mark: &CheckpointMark) {
        let good = self.key.map(|key| key.accepts(sidecar, mark));
        let Some(chain) = self.chains.get_mut(sidecar) else { return };
        chain.checkpoints += 1;
        let known = chain.knows(mark.seq).map(|hash| text(hash) == mark.hash);
        if good == Some(false) {
            self.complain(Some(seq), sidecar, "is a checkpoint whose signature is not by this key");
        } else if mark.seq >= seq {
            self.complain(
                Some(seq),
                sidecar,
                format!("is a checkpoint over record {}, which did not exist yet: it was moved here", mark.seq),
            );
        } else if known == Some(false) {
            self.complain(
                Some(mark.seq),
                sidecar,
                format!("is not the record that the checkpoint {seq} was signed over: the chain was rewritten"),
            );
        } else if good == Some(true) && known == Some(true) && chain.signed_to.is_none_or(|to| to < mark.seq) {
            chain.signed_to = Some(mark.seq);
            chain.every = Some(mark.every.saturating_mul(1000));
            chain.unsigned_for = 0;
        }
    }

    pub(super) fn conclude(mut self) -> Verification {
        let mut chains = Vec::with_capacity(self.order.len());
        let mut unsigned = Vec::new();
        for name in std::mem::take(&mut self.order) {
            let Some(chain) = self.chains.remove(&name) else { continue };
            // Operators' journals are not signed: they live for one command.
            if self.key.is_some() && !name.ends_with(".operator") {
                if chain.signed_to.is_none() {
                    unsigned.push((
                        chain.last,
                        name.clone(),
                        "no checkpoint of this chain is signed by this key: the whole chain may have been rewritten".to_owned(),
                    ));
                } else if chain.overdue {
                    let to = chain.signed_to.unwrap_or(0);
                    unsigned.push((
                        chain.last,
                        name.clone(),
                        format!("checkpoints were due after record {to} and are missing: what follows may have been rewritten"),
                    ));
                }
            }
            chains.push(ChainSummary {
                sidecar: name,
                first: chain.first,
                last: chain.last,
                hash: text(&chain.hash).to_owned(),
                checkpoints: chain.checkpoints,
                signed_to: chain.signed_to,
            });
        }
        for (seq, name, problem) in unsigned {
            self.complain(Some(seq), &name, problem);
        }
        Verification { ok: !self.any, records: self.records, broken: self.broken, chains, shipped: self.shipped }
    }
}

impl Chain {
    fn begin(seal: &Seal<'_>, time: Timestamp) -> Self {
        let mut chain = Self {
            first: seal.seq,
            last: seal.seq,
            hash: *seal.hash,
            recent: vec![[0; 64]; REMEMBERED],
            checkpoints: 0,
            signed_to: None,
            removed_to: 0,
            latest: time,
            every: None,
            unsigned_for: 0,
            overdue: false,
        };
        chain.remember(seal);
        chain
    }

    /// A record of this time is in the chain. Of the time since the one before it, no more counts than a sidecar may let go by
    /// without signing: it may have been idle, asleep or down.
    fn wait_until(&mut self, time: Timestamp) {
        let waited = u64::try_from(time.duration_since(self.latest).as_millis()).unwrap_or(0);
        self.latest = self.latest.max(time);
        let Some(every) = self.every else { return };
        self.unsigned_for = self.unsigned_for.saturating_add(waited.min(every));
        // Once before the sidecar slept or went down, once for that, once after it; and some: a busy machine signs late.
        self.overdue |= self.unsigned_for > every.saturating_mul(3).saturating_add(60_000);
    }

    fn slot(seq: u64) -> usize {
        usize::try_from(seq % REMEMBERED as u64).unwrap_or(0)
    }

    fn remember(&mut self, seal: &Seal<'_>) {
        if let Some(slot) = self.recent.get_mut(Self::slot(seal.seq)) {
            *slot = *seal.hash;
        }
    }

    fn remembers(&self, seal: &Seal<'_>) -> bool {
        self.recent.get(Self::slot(seal.seq)) == Some(seal.hash)
    }

    /// The hash of a record that is not far back.
    fn knows(&self, seq: u64) -> Option<&[u8; 64]> {
        let near = seq <= self.last && seq >= self.first && self.last - seq < REMEMBERED as u64;
        self.recent.get(Self::slot(seq)).filter(|hash| near && **hash != [0; 64])
    }
}
