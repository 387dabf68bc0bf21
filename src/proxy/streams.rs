//! The streams of one HTTP/2 connection: how many are open, and which of them stand still.
//!
//! An HTTP/1 caller that takes nothing of its answer stops its connection, and `phase` sees that. Over HTTP/2 it can
//! stop one stream and answer pings on the connection all the same; the answer's body is then not asked for again,
//! so somebody else has to look. The library holds such a stream until the connection ends; here it is open no longer, so
//! that it does not hold the connection.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::{
    body::{Body, BodyError},
    connection::longer,
    deadline::Deadlines,
    wire::Seen,
};
use crate::settings::Timeouts;

/// Requests that a caller may open and take back at once before it counts as an attack (CVE-2023-44487).
const TAKEN_BACK: u32 = 200;

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    open: Cell<u32>,
    /// Requests taken back before they were answered; each answered one pays for one of them.
    taken_back: Cell<u32>,
    /// When a stream was last opened or ended.
    moved: Cell<u64>,
    /// Writes so far and when that was, while the peer takes nothing.
    stuck: Cell<Option<(u64, u64)>>,
    watched: RefCell<Vec<Weak<Watched>>>,
    deadlines: Deadlines,
}

/// One open stream, until dropped.
#[derive(Debug)]
pub(super) struct Open {
    streams: Rc<Streams>,
    answered: bool,
}

/// The body of an answer on a stream.
#[derive(Debug)]
pub(super) enum StreamBody {
    /// None, so nothing to wait for.
    None { _open: Open },
    /// Some, for the caller to take.
    Watched(Rc<Watched>),
}

/// An answer that is let go when nobody takes it.
#[derive(Debug)]
pub(super) struct Watched {
    answer: RefCell<Option<Answer>>,
    /// Since when the caller owes a sign that it takes more.
    owed_since: Cell<Option<u64>>,
}

#[derive(Debug)]
struct Answer {
    body: Body,
    open: Open,
}

/// What a look at the streams found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// All is well.
    Well,
    /// There has been nothing to do for too long, or nothing but to wait for one of Vicar's own answers to be taken.
    Idle,
    /// The peer takes nothing at all.
    Stuck,
    /// The peer opens requests only to take them back.
    Flooding,
}

// ===== impl Streams =====

impl Streams {
    pub(super) fn new(deadlines: Deadlines) -> Self {
        Self {
            open: Cell::new(0),
            taken_back: Cell::new(0),
            moved: Cell::new(deadlines.tick()),
            stuck: Cell::new(None),
            watched: RefCell::default(),
            deadlines,
        }
    }

    /// A request has come.
    pub(super) fn open(self: &Rc<Self>) -> Open {
        self.open.set(self.open.get() + 1);
        self.moved.set(self.deadlines.tick());
        Open { streams: self.clone(), answered: false }
    }

    /// A stream has been agreed to leave HTTP, and outlives its answer.
    pub(super) fn left_http(self: &Rc<Self>) -> Open {
        let mut open = self.open();
        open.answered = true;
        open
    }

    /// Looks at the streams, and lets go of answers that nobody takes.
    pub(super) fn review(&self, seen: &Seen, timeouts: &Timeouts) -> Found {
        let now = self.deadlines.tick();
        let mut own_untaken = false;
        self.watched.borrow_mut().retain(|watched| {
            let Some(watched) = watched.upgrade() else { return false };
            if watched.owed_since.get().is_some_and(|since| longer(now.saturating_sub(since), timeouts.body.0)) {
                // The upstream's connection closes and the record says `interrupted`; the stream is reset when it is next asked.
                let untaken = watched.answer.borrow_mut().take();
                own_untaken |= untaken.is_some_and(|answer| matches!(answer.body, Body::Full(_)));
                return false;
            }
            true
        });
        if self.taken_back.get() > TAKEN_BACK {
            return Found::Flooding;
        }
        match (seen.write_blocked(), self.stuck.get()) {
            (false, _) => self.stuck.set(None),
            (true, Some((writes, since))) if writes == seen.writes() => {
                if longer(now.saturating_sub(since), timeouts.body.0) {
                    return Found::Stuck;
                }
            }
            (true, _) => self.stuck.set(Some((seen.writes(), now))),
        }
        if self.open.get() == 0 && (own_untaken || longer(now.saturating_sub(self.moved.get()), timeouts.keep_alive.0)) {
            return Found::Idle;
        }
        Found::Well
    }
}

// ===== impl Open =====

impl Open {
    /// The answer's body, which keeps the stream open.
    pub(super) fn carry(mut self, body: Body) -> StreamBody {
        self.answered = true;
        self.streams.taken_back.set(self.streams.taken_back.get().saturating_sub(1));
        match body {
            Body::Empty => StreamBody::None { _open: self },
            // One of Vicar's own is small, and still nothing that a closed window lets through.
            Body::Full(_) | Body::Relayed(_) => {
                let streams = self.streams.clone();
                let watched = Rc::new(Watched { answer: RefCell::new(Some(Answer { body, open: self })), owed_since: Cell::new(None) });
                streams.watched.borrow_mut().push(Rc::downgrade(&watched));
                StreamBody::Watched(watched)
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.open.set(self.streams.open.get().saturating_sub(1));
        self.streams.moved.set(self.streams.deadlines.tick());
        if !self.answered {
            self.streams.taken_back.set(self.streams.taken_back.get() + 1);
        }
    }
}

// ===== impl StreamBody =====

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::None { .. } => Poll::Ready(None),
            Self::Watched(watched) => watched.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None { .. } => true,
            Self::Watched(watched) => watched.answer.borrow().as_ref().is_some_and(|answer| answer.body.is_end_stream()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None { .. } => SizeHint::with_exact(0),
            Self::Watched(watched) => watched.answer.borrow().as_ref().map_or_else(SizeHint::default, |answer| answer.body.size_hint()),
        }
    }
}

impl Watched {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.owed_since.set(None);
        let mut answer = self.answer.borrow_mut();
        let Some(Answer { body, open }) = &mut *answer else { return Poll::Ready(Some(Err(BodyError::Silent))) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.owed_since.set(Some(open.streams.deadlines.tick()));
        }
        polled
    }
}
