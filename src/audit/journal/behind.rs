//! What has been written is let go of: handed to the disk, and its memory given back.
//!
//! A busy sidecar writes tens of megabytes a second. Left alone, they stay in memory until the system's own writing
//! back gets to them, half a minute later: gigabytes that count against the container, and each page of the journal
//! is a page that nobody has touched yet, which costs a virtual machine more than all else the journal does. Letting
//! go early, the same few pages come back again and again. Only the keeper calls this, and it does not wait for disks.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use super::segment::Mapped;

/// Let go of at once. Shipping reads the last of what was written, so the newest part is kept.
const PART: usize = 2 << 20;
/// How many parts may wait for a slow disk; further ones are left to the system.
const WAITING: usize = 16;
/// After so many parts a part has probably been written, and its memory is asked for again.
const LATER: usize = 4;
/// ... or after so long.
const AT_LAST: Duration = Duration::from_secs(1);

/// Lets go of what lies behind the journal's end, on a thread of its own: handing pages to a disk may block.
#[derive(Debug)]
pub(super) struct Behind {
    parts: SyncSender<Part>,
    /// Which segment, and up to where it has been let go of.
    reached: (u64, usize),
}

#[derive(Debug)]
struct Part {
    mapped: Arc<Mapped>,
    from: usize,
    to: usize,
}

impl Behind {
    pub(super) fn start() -> std::io::Result<Self> {
        let (parts, waiting) = sync_channel(WAITING);
        std::thread::Builder::new().name("audit-let-go".into()).spawn(move || let_go(&waiting))?;
        Ok(Self { parts, reached: (0, 0) })
    }

    /// Frames of `mapped` end at `end` now.
    pub(super) fn written(&mut self, mapped: &Arc<Mapped>, end: usize) {
        let keep = end.saturating_sub(PART) / PART * PART;
        self.let_go(mapped, keep);
    }

    /// The segment is full, and ends at `end`.
    pub(super) fn full(&mut self, mapped: &Arc<Mapped>, end: usize) {
        self.let_go(mapped, end);
    }

    fn let_go(&mut self, mapped: &Arc<Mapped>, to: usize) {
        let (ordinal, reached) = self.reached;
        let from = if ordinal == mapped.ordinal { reached } else { 0 };
        if to > from {
            let _ = self.parts.try_send(Part { mapped: mapped.clone(), from, to });
            self.reached = (mapped.ordinal, to);
        }
    }
}

fn let_go(waiting: &Receiver<Part>) {
    let mut begun: VecDeque<Part> = VecDeque::with_capacity(LATER + 1);
    loop {
        // Nothing is kept open for long because nothing more is written.
        let keep = match waiting.recv_timeout(if begun.is_empty() { Duration::MAX } else { AT_LAST }) {
            Ok(part) => {
                part.mapped.forget(part.from, part.to);
                begun.push_back(part);
                LATER
            }
            Err(RecvTimeoutError::Timeout) => 0,
            // The keeper has ended.
            Err(RecvTimeoutError::Disconnected) => return,
        };
        while begun.len() > keep
            && let Some(part) = begun.pop_front()
        {
            part.mapped.forget(part.from, part.to);
        }
    }
}
