//! What lifecycle tells this room: which documents are in force, what became of edits, and that the end is near.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::{
    settings::Settings,
    source::{Complaints, Source},
};

/// Written by lifecycle, read by every answer; never locked.
#[derive(Debug)]
pub struct Status {
    draining: AtomicBool,
    in_force: ArcSwap<InForce>,
    reloads: ArcSwap<Reloads>,
}

/// The documents that the rules in force were made of.
#[derive(Debug)]
pub struct InForce {
    /// The settings.
    pub settings: Settings,
    /// The policy as it was read.
    pub policy: Source,
    /// What somebody should look at in them.
    pub warnings: Complaints,
    /// Sections of the settings whose edit takes effect at the next start.
    pub next_start: Vec<&'static str>,
    /// Since when they are in force.
    pub since: Timestamp,
}

/// What became of edits.
#[derive(Debug, Clone, Default)]
pub struct Reloads {
    /// Edits taken into force.
    pub taken: u64,
    /// Edits refused.
    pub refused: u64,
    /// The last edit, if it was refused: what is on disk is not what is in force.
    pub pending: Option<RefusedEdit>,
}

/// An edit that was not taken.
#[derive(Debug, Clone)]
pub struct RefusedEdit {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub complaints: Complaints,
}

// ===== impl Status =====

impl Status {
    /// At start, with these documents in force.
    #[must_use]
    pub fn new(in_force: InForce) -> Self {
        Self { draining: AtomicBool::new(false), in_force: ArcSwap::from_pointee(in_force), reloads: ArcSwap::default() }
    }

    /// An edit was taken.
    pub fn taken(&self, in_force: InForce) {
        self.in_force.store(Arc::new(in_force));
        self.reloads.rcu(|reloads| Reloads { taken: reloads.taken + 1, pending: None, ..Reloads::clone(reloads) });
    }

    /// An edit was refused.
    pub fn refused(&self, at: Timestamp, complaints: &Complaints) {
        let edit = RefusedEdit { at, complaints: complaints.clone() };
        self.reloads.rcu(|reloads| Reloads { refused: reloads.refused + 1, pending: Some(edit.clone()), ..Reloads::clone(reloads) });
    }

    /// No new connections are taken from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the sidecar is on its way out.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The documents in force.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// What became of edits so far.
    #[must_use]
    pub fn reloads(&self) -> Arc<Reloads> {
        self.reloads.load_full()
    }
}
