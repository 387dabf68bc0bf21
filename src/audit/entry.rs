//! The open record of one request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    digest::LANES,
    journal::{Closing, Place, Takes},
    line::Ending,
    record::{Opening, Outcome},
    writer::Inner,
};

/// The open record of one request: the journal holds what was known when it was let through. It is closed once, with
/// what became of it; dropped unfinished, it closes as interrupted, and so it does at the next start if this process
/// dies. [`Audit::open_entry`](super::Audit::open_entry) alone makes one, and nothing is forwarded without one.
#[must_use = "an entry that is dropped says that the request was interrupted"]
pub struct Entry {
    inner: Option<Arc<Inner>>,
    /// The record so far, behind the word of an open frame.
    line: Vec<u8>,
    place: Place,
    began: Instant,
    status: Option<u16>,
    sent: u64,
    passed: Option<Arc<Passed>>,
    upstream_us: Option<u64>,
}

/// Bytes that pass while an entry is open, counted where they pass: whatever ends it, its record says how many there were.
#[derive(Debug, Default)]
pub struct Passed {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Passed {
    /// So many more bytes have come from the caller. Gives how many that makes.
    pub fn receive(&self, bytes: u64) -> u64 {
        self.received.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
    }

    /// So many more bytes have gone to the caller.
    pub fn send(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Entry {
    pub(super) fn new(inner: &Arc<Inner>, line: Vec<u8>, place: Place, opening: &Opening<'_>) -> Self {
        Self { inner: Some(inner.clone()), line, place, began: opening.began, status: None, sent: 0, passed: None, upstream_us: None }
    }

    /// For measuring alone.
    pub(super) fn of_nothing() -> Self {
        Self {
            inner: None,
            line: Vec::new(),
            place: Place::Segment(0),
            began: Instant::now(),
            status: None,
            sent: 0,
            passed: None,
            upstream_us: None,
        }
    }

    /// The status that the caller gets.
    pub fn status(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// What passes from now on is counted there.
    pub fn counted_by(&mut self, passed: Arc<Passed>) {
        self.passed = Some(passed);
    }

    /// So many more bytes of the answer's body have gone to the caller.
    pub fn sent(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// How long the upstream took to answer.
    pub fn upstream_us(&mut self, micros: u64) {
        self.upstream_us = Some(micros);
    }

    /// All went through.
    pub fn complete(mut self) {
        self.end(Outcome::Completed);
    }

    /// The upstream did not answer, or broke off.
    pub fn fail(mut self) {
        self.end(Outcome::UpstreamError);
    }

    /// It was not forwarded after all.
    pub(crate) fn refuse(mut self, status: u16) {
        self.status = Some(status);
        self.end(Outcome::Refused);
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some((inner, closing)) = self.close(outcome, Instant::now()) {
            inner.journal.record_or_wait(closing.line, Takes::Closing(closing.place));
        }
    }

    /// Its record, for who writes it.
    fn close(&mut self, outcome: Outcome, now: Instant) -> Option<(Arc<Inner>, Closing)> {
        let inner = self.inner.take()?;
        let mut line = std::mem::take(&mut self.line);
        let passed = self.passed.as_deref();
        let ending = Ending {
            status: self.status,
            outcome,
            bytes_in: passed.map_or(0, |passed| passed.received.load(Ordering::Relaxed)),
            bytes_out: self.sent.saturating_add(passed.map_or(0, |passed| passed.sent.load(Ordering::Relaxed))),
            upstream_us: self.upstream_us,
            total_us: Some(u64::try_from(now.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)),
        };
        ending.write(&mut line);
        Some((inner, Closing { line, place: self.place }))
    }
}

/// Entries of which all went through, whose records are written together, which costs less. Who holds them writes them
/// before it waits for anything; dropped, they are written, and a crash before that leaves them as interrupted.
#[derive(Default)]
pub struct Closings {
    ended: Vec<Entry>,
    /// Empty but while they are written.
    closing: Vec<Closing>,
}

impl Closings {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { ended: Vec::new(), closing: Vec::new() }
    }

    /// All of this entry went through.
    pub fn complete(&mut self, entry: Entry) {
        let of_one_log = |other: &Entry| other.inner.as_ref().map(Arc::as_ptr) == entry.inner.as_ref().map(Arc::as_ptr);
        if !self.ended.first().is_none_or(of_one_log) {
            self.write();
        }
        self.ended.push(entry);
        if self.ended.len() == LANES {
            self.write();
        }
    }

    /// Writes what was not written yet.
    pub fn write(&mut self) {
        if self.ended.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut log = None;
        for mut entry in self.ended.drain(..) {
            if let Some((inner, closing)) = entry.close(Outcome::Completed, now) {
                log = Some(inner);
                self.closing.push(closing);
            }
        }
        if let Some(log) = log {
            log.journal.close_all(&mut self.closing);
        }
    }
}

impl Drop for Closings {
    fn drop(&mut self) {
        self.write();
    }
}

impl std::fmt::Debug for Closings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Closings").field("ended", &self.ended.len()).finish_non_exhaustive()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.end(Outcome::Interrupted);
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("place", &self.place).field("status", &self.status).finish_non_exhaustive()
    }
}
