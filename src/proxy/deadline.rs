//! Deadlines that cost nothing while they are kept.
//!
//! A timer of the runtime is taken and given back for each request; here a request writes a number into
//! a slot instead, and one task a thread looks at all slots every [`TICK`]. A deadline is therefore up
//! to one tick late, which is nothing beside time-outs of seconds.
//!
//! What is counted is time in which the thread ran. A machine that was put to sleep, or a container that was frozen, would
//! otherwise find that all its callers had been too slow, those who have just come among them.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// How often deadlines are looked at.
pub const TICK: Duration = Duration::from_millis(50);

/// Ticks between two looks beyond which the thread did not run, rather than being busy.
const STANDSTILL: u64 = 10;

const UNARMED: u64 = u64::MAX;

/// All deadlines of one thread.
#[derive(Debug, Clone)]
pub struct Deadlines {
    all: Rc<RefCell<Vec<Rc<Slot>>>>,
    now: Rc<Cell<u64>>,
    /// Ticks that passed while the thread stood still.
    lost: Rc<Cell<u64>>,
}

/// One deadline, armed and disarmed as its owner goes from phase to phase.
#[derive(Debug)]
pub struct Deadline {
    slot: Rc<Slot>,
    owner: Deadlines,
}

#[derive(Debug)]
struct Slot {
    /// Tick after which it has passed.
    due: Cell<u64>,
    /// Where it stands in the list, so that it can leave without a search.
    index: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

// ===== impl Deadlines =====

impl Deadlines {
    /// No deadlines yet.
    #[must_use]
    pub fn new() -> Self {
        Self { all: Rc::default(), now: Rc::default(), lost: Rc::default() }
    }

    /// A new deadline, not armed.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        let mut all = self.all.borrow_mut();
        let slot = Rc::new(Slot { due: Cell::new(UNARMED), index: Cell::new(all.len()), waker: RefCell::new(None) });
        all.push(slot.clone());
        Deadline { slot, owner: self.clone() }
    }

    /// The number of the present tick.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.now.get()
    }

    /// How many ticks there are in a span.
    #[must_use]
    pub fn ticks_in(span: Duration) -> u64 {
        ticks(span)
    }

    /// Looks at all deadlines for as long as the thread serves.
    pub async fn keep(self) {
        let begin = Instant::now();
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            self.look(ticks(begin.elapsed()));
        }
    }

    /// Looks at all deadlines, `passed` ticks after the beginning.
    fn look(&self, passed: u64) {
        let (seen, now) = (self.now.get(), passed.saturating_sub(self.lost.get()));
        let stood = now.saturating_sub(seen.saturating_add(STANDSTILL));
        self.lost.set(self.lost.get() + stood);
        let now = now - stood;
        self.now.set(now);
        // Woken tasks run later, so nothing changes the list under this loop.
        for slot in self.all.borrow().iter() {
            if slot.due.get() <= now
                && let Some(waker) = slot.waker.borrow_mut().take()
            {
                waker.wake();
            }
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self::new()
    }
}

fn ticks(span: Duration) -> u64 {
    u64::try_from(span.as_millis() / TICK.as_millis()).unwrap_or(UNARMED - 1)
}

// ===== impl Deadline =====

impl Deadline {
    /// Passes `after` from now, whatever was set before.
    pub fn arm(&self, after: Duration) {
        self.slot.due.set(self.owner.now.get().saturating_add(ticks(after)).saturating_add(1));
    }

    /// Never passes, until armed again.
    pub fn disarm(&self) {
        self.slot.due.set(UNARMED);
    }

    /// Whether it is set.
    #[must_use]
    pub fn armed(&self) -> bool {
        self.slot.due.get() != UNARMED
    }

    /// Whether it has passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.slot.due.get() <= self.owner.now.get()
    }

    /// Ready once it has passed; the task is woken when it does.
    pub fn poll_passed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.passed() {
            return Poll::Ready(());
        }
        let mut waker = self.slot.waker.borrow_mut();
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits for `work`, or until the deadline passes.
    pub async fn bound<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.bound_pinned(pin!(work)).await
    }

    /// The same for work that has its place: neither it nor what it comes to is moved more often than it must be.
    pub fn bound_pinned<'d, T>(&'d self, mut work: Pin<&'d mut impl Future<Output = T>>) -> impl Future<Output = Option<T>> {
        poll_fn(move |cx| match work.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.poll_passed(cx).map(|()| None),
        })
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut all = self.owner.all.borrow_mut();
        let index = self.slot.index.get();
        if index < all.len() {
            all.swap_remove(index);
        }
        if let Some(moved) = all.get(index) {
            moved.index.set(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_once_its_time_has_come_and_not_before() {
        let deadlines = Deadlines::new();
        let deadline = deadlines.deadline();
        deadline.arm(TICK * 4);
        deadlines.look(4);
        assert!(!deadline.passed());
        deadlines.look(5);
        assert!(deadline.passed());
        deadline.disarm();
        assert!(!deadline.passed());
    }

    #[test]
    fn nobody_is_late_for_a_standstill() {
        let deadlines = Deadlines::new();
        let deadline = deadlines.deadline();
        deadlines.look(1);
        deadline.arm(TICK * 200);
        deadlines.look(100_000);
        assert!(!deadline.passed(), "it stood still");
        for tick in 100_001..100_191 {
            deadlines.look(tick);
            assert!(!deadline.passed(), "{tick}");
        }
        deadlines.look(100_192);
        assert!(deadline.passed(), "its whole time has come");
    }

    #[test]
    fn deadlines_leave_the_list_in_any_order() {
        let deadlines = Deadlines::new();
        let mut all: Vec<_> = (0..10).map(|_| deadlines.deadline()).collect();
        for at in [3, 0, 7, 1, 2, 0, 0, 2, 0, 0] {
            drop(all.remove(at.min(all.len() - 1)));
            for (index, slot) in deadlines.all.borrow().iter().enumerate() {
                assert_eq!(slot.index.get(), index);
            }
        }
        assert!(deadlines.all.borrow().is_empty());
    }
}
