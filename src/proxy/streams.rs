//! The streams of one HTTP/2 connection: how many are open, and which of them stand still.
//!
//! An HTTP/1 caller that takes nothing of its answer stops its connection, and `phase` sees that. Over HTTP/2 it can
//! stop one stream and answer pings on the connection all the same; the answer's body is then not asked for again,
//! so somebody else has to look.

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
    /// Nothing to wait for.
    Short { bytes: Option<Bytes>, _open: Open },
    /// The upstream's.
    Watched { relayed: Rc<Watched>, _open: Open },
}

/// An answer that is let go when nobody takes it.
#[derive(Debug)]
pub(super) struct Watched {
    body: RefCell<Option<Body>>,
    /// Since when the caller owes a sign that it takes more.
    owed_since: Cell<Option<u64>>,
    streams: Weak<Streams>,
}

/// What a look at the streams found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// All is well.
    Well,
    /// There has been nothing to do for too long.
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

    /// Looks at the streams, and lets go of answers that nobody takes.
    pub(super) fn review(&self, seen: &Seen, timeouts: &Timeouts) -> Found {
        let now = self.deadlines.tick();
        self.watched.borrow_mut().retain(|watched| {
            let Some(watched) = watched.upgrade() else { return false };
            if watched.owed_since.get().is_some_and(|since| longer(now.saturating_sub(since), timeouts.body.0)) {
                // The upstream's connection closes and the record says `interrupted`; the stream is reset when it is next asked.
                drop(watched.body.borrow_mut().take());
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
        if self.open.get() == 0 && longer(now.saturating_sub(self.moved.get()), timeouts.keep_alive.0) {
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
            Body::Empty => StreamBody::Short { bytes: None, _open: self },
            Body::Full(bytes) => StreamBody::Short { bytes: bytes.filter(|bytes| !bytes.is_empty()), _open: self },
            Body::Relayed(_) => {
                let streams = Rc::downgrade(&self.streams);
                let relayed = Rc::new(Watched { body: RefCell::new(Some(body)), owed_since: Cell::new(None), streams });
                self.streams.watched.borrow_mut().push(Rc::downgrade(&relayed));
                StreamBody::Watched { relayed, _open: self }
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
            Self::Short { bytes, .. } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Watched { relayed, .. } => relayed.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Short { bytes, .. } => bytes.is_none(),
            Self::Watched { relayed, .. } => relayed.body.borrow().as_ref().is_some_and(HttpBody::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Short { bytes, .. } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Watched { relayed, .. } => relayed.body.borrow().as_ref().map_or_else(SizeHint::default, HttpBody::size_hint),
        }
    }
}

impl Watched {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.owed_since.set(None);
        let mut body = self.body.borrow_mut();
        let Some(relayed) = &mut *body else { return Poll::Ready(Some(Err(BodyError::Silent))) };
        let polled = Pin::new(relayed).poll_frame(cx);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.owed_since.set(self.streams.upgrade().map(|streams| streams.deadlines.tick()));
        }
        polled
    }
}
