//! What the log says of itself: what was mended at its start, signed checkpoints, marks, space lost and found.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    chain,
    error::AuditUnavailable,
    event::Event,
    journal::{Notice, Recovery, Takes},
    line::Ending,
    mark::{self, Mark},
    record::Outcome,
    writer::Inner,
};

/// How the record of a start begins to tell of what was damaged. [`verify`](super::verify) looks for it: of an action whose
/// trace is lost, the chain itself shows nothing.
pub(super) const DAMAGE_FOUND: &str = "damage was found, which `vicar audit verify` names: ";

/// How the record of a start tells that the end of the journal is gone. [`verify`](super::verify) looks for it: what comes behind
/// hides that.
pub(super) const LOST: &str = "the journal once reached record ";

/// How the record of a retention begins to tell of what goes. [`verify`](super::verify) looks for it: what else is missing
/// at a journal's beginning was cut off.
pub(super) const RETENTION_TO: &str = "the records up to ";

/// How the record of a start begins whose journal is new though its numbers do not begin at 1.
pub(super) const NEW_JOURNAL: &str = "a new journal: ";

impl Inner {
    /// Closes what a crash left open, and says what was found.
    pub(super) fn recover(&self, recovery: Recovery) {
        let interrupted = recovery.unfinished.len();
        for (place, mut line) in recovery.unfinished {
            let ending =
                Ending { status: None, outcome: Outcome::Interrupted, bytes_in: 0, bytes_out: 0, upstream_us: None, total_us: None };
            ending.write(&mut line);
            self.journal.record_or_wait(line, Takes::Closing(place));
        }
        let mut said = Vec::new();
        if interrupted > 0 {
            said.push(format!("{interrupted} requests were under way when the sidecar last ended, and are recorded as interrupted"));
        }
        if recovery.cut > 0 {
            said.push(format!("{} bytes of a record that was not whole were cut off", recovery.cut));
        }
        match recovery.beyond {
            Some((0, beyond)) => said.push(format!("{NEW_JOURNAL}the stream has records of this sidecar up to {beyond}, and the numbers go on from there")),
            Some((had, beyond)) => said.push(format!(
                "the stream has records of this sidecar up to {beyond} and the journal had them up to {had}: the numbers go on behind the stream's"
            )),
            None => {}
        }
        if let Some(lost) = mark::ahead_of(&self.journal.keeping.folder, self.journal.last().0) {
            said.push(format!("{LOST}{lost}; what came after record {} is lost", self.journal.last().0));
        }
        if !recovery.damage.is_empty() {
            said.push(format!("{DAMAGE_FOUND}{}", recovery.damage.join("; ")));
        }
        if !said.is_empty() {
            let detail = said.join(". ");
            tracing::warn!(detail, "the audit journal was mended");
            self.event(Event::system("recovery").detail(detail));
        }
    }

    /// What the log ends with.
    pub(super) fn last_words(&self) {
        for event in self.flood.tell_all() {
            self.event(event);
        }
        self.checkpoint();
    }

    pub(super) fn checkpoint(&self) {
        let Some(sealer) = &self.sealer else { return };
        let (seq, hash) = self.journal.last();
        if seq == 0 {
            return;
        }
        let mark = sealer.seal(&self.sidecar, seq, chain::text(&hash));
        self.event(Event::system("checkpoint").checkpoint(mark));
    }

    pub(super) fn mark(&self) {
        let (seq, hash) = self.journal.last();
        mark::write(&self.journal.keeping.folder, Mark::Written, seq, chain::text(&hash));
    }
}

/// What the keeper's notices come to.
pub(super) fn keep(inner: Arc<Inner>) -> Box<dyn FnMut(Notice) + Send> {
    let mut marked = (Instant::now(), 0);
    let mut signed = (Instant::now(), 0);
    Box::new(move |notice| match notice {
        Notice::Tick => {
            let now = Instant::now();
            for event in inner.flood.tell(now) {
                inner.event(event);
            }
            let (seq, _) = inner.journal.last();
            if let Some(sealer) = &inner.sealer
                && now.duration_since(signed.0) >= sealer.every()
            {
                // A chain that only its own checkpoint has made longer needs no further one.
                if seq > signed.1 {
                    inner.checkpoint();
                    signed.1 = seq + 1;
                }
                signed.0 = now;
            }
            if now.duration_since(marked.0) >= Duration::from_secs(1) && seq != marked.1 {
                inner.mark();
                marked = (now, seq);
            }
        }
        Notice::TakenAgain { since, trouble } => {
            let (was, is) = match trouble {
                AuditUnavailable::Full => ("had no space", "has space"),
                _ => ("could not be written to its disk", "can be written to its disk"),
            };
            let mut begun = Event::system("degraded").detail(format!("the journal {was}: requests were refused"));
            begun.time = Some(since);
            inner.event(begun);
            inner.event(Event::system("degraded-end").detail(format!("the journal {is} again")));
        }
        Notice::Trimming { segments, bytes, to } => {
            let detail = format!("{RETENTION_TO}{to} are removed from the journal: {segments} old segments of {bytes} bytes");
            inner.event(Event::system("retention").detail(detail));
        }
    })
}
