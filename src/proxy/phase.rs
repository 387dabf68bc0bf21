//! Where a connection stands between two requests, so that none can hold it for nothing.

use std::{cell::Cell, sync::Arc, time::Duration};

use super::{deadline::Deadline, wire::Seen};
use crate::settings::Timeouts;

/// How long a connection is kept ready for its next request; after that it rests, and takes hardly any memory.
pub(super) const READY_FOR: Duration = Duration::from_secs(1);

/// The phase of one HTTP/1 connection, and its deadline.
#[derive(Debug)]
pub struct Phase {
    at: Cell<At>,
    body: Cell<BodyOf>,
    seen: Arc<Seen>,
    deadline: Deadline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Kept alive; `reads` is how often bytes had come when that began.
    Idle { reads: u64, patience: Patience },
    /// A head has begun to come.
    Head,
    /// A request is served; `writes` is how often bytes had gone out when the peer stopped taking them.
    Busy { stuck_at: Option<u64> },
}

/// How long an idle connection is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Until it may rest.
    Short,
    /// To its end.
    Long,
}

/// Whether the last request had a body. Where it had, the rest of that body may still be to come: what a caller sends
/// next need not be a request, and only the HTTP library knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyOf {
    /// None.
    Nothing,
    /// Some.
    Something,
}

/// What becomes of a connection whose deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It is idle and owes nothing: it may rest.
    Rest,
    /// It has more time after all.
    Wait,
    /// It ends.
    Close,
}

impl Phase {
    /// A connection that has just come, and owes a request head.
    #[must_use]
    pub fn new(deadline: Deadline, seen: Arc<Seen>, timeouts: &Timeouts) -> Self {
        deadline.arm(timeouts.head.0);
        Self { at: Cell::new(At::Head), body: Cell::new(BodyOf::Nothing), seen, deadline }
    }

    /// The deadline of the phase it is in.
    #[must_use]
    pub const fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// A request head is here whole.
    pub(super) fn asked(&self, body: BodyOf) {
        self.body.set(body);
        self.at.set(At::Busy { stuck_at: None });
        self.seen.asked();
        self.deadline.disarm();
    }

    /// The answer has been handed to the connection. The deadline is set at the next [`Phase::review`].
    pub fn answered(&self) {
        self.seen.answered();
        self.at.set(At::Idle { reads: u64::MAX, patience: Patience::Short });
    }

    /// Looks at what has moved and sets the deadline that fits.
    pub fn review(&self, timeouts: &Timeouts) {
        let seen = &self.seen;
        match self.at.get() {
            At::Idle { reads: u64::MAX, patience } => {
                self.at.set(At::Idle { reads: seen.reads(), patience });
                self.deadline.arm(timeouts.keep_alive.0.min(READY_FOR));
            }
            At::Idle { reads, .. } if reads != seen.reads() => {
                self.at.set(At::Head);
                self.deadline.arm(timeouts.head.0);
            }
            At::Idle { .. } | At::Head => {}
            At::Busy { stuck_at } => match (stuck_at, seen.write_blocked()) {
                (None, false) => {}
                (Some(_), false) => {
                    self.at.set(At::Busy { stuck_at: None });
                    self.deadline.disarm();
                }
                (Some(before), true) if before == seen.writes() => {}
                (_, true) => {
                    self.at.set(At::Busy { stuck_at: Some(seen.writes()) });
                    self.deadline.arm(timeouts.body.0);
                }
            },
        }
    }

    /// What becomes of the connection now that the deadline has passed.
    pub(super) fn overdue(&self, timeouts: &Timeouts) -> Overdue {
        let At::Idle { reads, patience: Patience::Short } = self.at.get() else { return Overdue::Close };
        let Some(left) = timeouts.keep_alive.0.checked_sub(READY_FOR).filter(|left| !left.is_zero()) else { return Overdue::Close };
        if self.seen.owes_nothing() && self.body.get() == BodyOf::Nothing {
            return Overdue::Rest;
        }
        self.at.set(At::Idle { reads, patience: Patience::Long });
        self.deadline.arm(left);
        Overdue::Wait
    }
}
