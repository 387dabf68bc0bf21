//! Counts that every request adds to, without the serving threads waiting for one another's cache lines.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    Hit,
    NegativeHit,
    Miss,
    Stale,
    Unavailable,
    Question,
    Change,
    Resync,
}

const KINDS: usize = 8;
const LANES: usize = 16;

/// A cache line of its own (two, for processors that fetch pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane([AtomicU64; KINDS]);

#[derive(Debug, Default)]
pub(super) struct Counters {
    lanes: [Lane; LANES],
}

thread_local! {
    static LANE: Cell<usize> = const { Cell::new(usize::MAX) };
}

impl Counters {
    pub(super) fn add(&self, what: Count) {
        if let Some(count) = self.lanes.get(lane()).and_then(|lane| lane.0.get(what as usize)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self, what: Count) -> u64 {
        self.lanes.iter().filter_map(|lane| lane.0.get(what as usize)).map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    LANE.with(|lane| {
        if lane.get() == usize::MAX {
            lane.set(NEXT.fetch_add(1, Ordering::Relaxed) % LANES);
        }
        lane.get()
    })
}
