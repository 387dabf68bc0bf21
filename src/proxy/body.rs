//! What callers get: the body of an answer, and the entry that it closes.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::{
    deadline::Deadline, limits::Permit, outbox, phase::Phase, rewrite::Rewriting, span::Recording, upload::UploadState, upstream::Lease,
};
use crate::{audit::Entry, directory::Refused};

/// The body of an answer to a caller.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// A short text of Vicar's own, or an answer that came whole.
    Full(Option<Bytes>),
    /// The upstream's, as it comes. In a box, for the others are moved more often than this one is made.
    Relayed(Box<Relay>),
}

/// The upstream's answer on its way to the caller. It owns the audit entry: when the last byte has been handed on
/// the entry closes as completed, and when it is dropped before that, as interrupted.
#[derive(Debug)]
pub struct Relay {
    /// What had come of it when its head was handed on.
    first: Option<Frame<Bytes>>,
    from: Incoming,
    entry: Option<Entry>,
    _permit: Permit,
    _span: Option<Box<Recording>>,
    lease: Option<Lease>,
    upload: Option<Rc<UploadState>>,
    idle: Idle,
    phase: Option<Rc<Phase>>,
    revoked: Option<Revoked>,
}

/// What has come of an answer's body with its head.
#[derive(Debug)]
pub enum Begun {
    /// All there is, if there is anything.
    Whole(Option<Bytes>),
    /// The first of it, or nothing yet.
    Coming(Option<Frame<Bytes>>),
}

/// Resolves when the caller's key no longer holds.
struct Revoked(Pin<Box<dyn Future<Output = Refused>>>);

impl std::fmt::Debug for Revoked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Revoked")
    }
}

/// What a request holds until its answer is through.
#[derive(Debug)]
pub struct Held {
    /// Its place in the audit log.
    pub entry: Entry,
    /// Its share of the limits.
    pub permit: Permit,
    /// Its span, where spans are exported.
    pub span: Option<Box<Recording>>,
}

/// How long the upstream may be silent, and the exchange may last.
#[derive(Debug)]
pub struct Idle {
    /// The exchange's deadline.
    pub deadline: Rc<Deadline>,
    /// Between two pieces of the answer.
    pub each: Duration,
    /// When the exchange has to be over, if it is bounded.
    pub end: Option<Instant>,
}

/// Why a body did not pass whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The other side's HTTP broke off.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// Nothing came for too long.
    #[error("the peer was silent for too long")]
    Silent,
    /// More came than may.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// The answer is there already.
    #[error("the answer did not wait for the body")]
    Unwanted,
    /// The key that asked for it is no longer good.
    #[error("the key no longer holds")]
    Revoked,
}

// ===== impl Body =====

impl Body {
    /// A short text.
    #[must_use]
    pub const fn full(bytes: Bytes) -> Self {
        Self::Full(Some(bytes))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relayed(relay) => relay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Full(None) => true,
            Self::Full(Some(bytes)) => bytes.is_empty(),
            Self::Relayed(relay) => relay.first.is_none() && relay.from.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Full(None) => SizeHint::with_exact(0),
            Self::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Relayed(relay) => relay.size_hint(),
        }
    }
}

// ===== impl Begun =====

impl Begun {
    /// Looks at what has come, and waits for nothing: a head must not wait for its body. What is longer than `small` is
    /// not taken for the whole of it.
    ///
    /// # Errors
    /// When what has come is no body.
    pub fn look(from: &mut Incoming, small: usize) -> Result<Self, hyper::Error> {
        if from.is_end_stream() {
            return Ok(Self::Whole(None));
        }
        // Whoever takes the rest of it asks again, and is the one to be told.
        let Poll::Ready(first) = Pin::new(&mut *from).poll_frame(&mut Context::from_waker(Waker::noop())) else {
            return Ok(Self::Coming(None));
        };
        let Some(first) = first.transpose()? else { return Ok(Self::Whole(None)) };
        let whole = from.is_end_stream() && first.data_ref().is_some_and(|data| data.len() <= small);
        match if whole { first.into_data() } else { Err(first) } {
            Ok(all) => Ok(Self::Whole(Some(all))),
            Err(first) => Ok(Self::Coming(Some(first))),
        }
    }
}

// ===== impl Relay =====

impl Relay {
    /// Hands on `first` and the rest of `from`, keeping the books in `entry`; the upstream connection goes back when all is
    /// through.
    pub fn new(
        first: Option<Frame<Bytes>>,
        from: Incoming,
        held: Held,
        lease: Lease,
        upload: Option<Rc<UploadState>>,
        idle: Idle,
        phase: Option<Rc<Phase>>,
    ) -> Self {
        idle.rearm();
        Self {
            first,
            from,
            entry: Some(held.entry),
            _permit: held.permit,
            _span: held.span,
            lease: Some(lease),
            upload,
            idle,
            phase,
            revoked: None,
        }
    }

    /// Breaks off when `revoked` resolves: for an answer that has no end of its own.
    #[must_use]
    pub fn until(mut self, revoked: impl Future<Output = Refused> + 'static) -> Self {
        self.revoked = Some(Revoked(Box::pin(revoked)));
        self
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.from.size_hint();
        let first = self.first.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        match rest.exact() {
            Some(rest) => SizeHint::with_exact(rest.saturating_add(first)),
            None => rest,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(Revoked(revoked)) = &mut self.revoked
            && revoked.as_mut().poll(cx).is_ready()
        {
            self.revoked = None;
            self.interrupt();
            return Poll::Ready(Some(Err(BodyError::Revoked)));
        }
        let polled = match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => Pin::new(&mut self.from).poll_frame(cx),
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(entry) = &mut self.entry
                    && let Some(data) = frame.data_ref()
                {
                    entry.sent(data.len() as u64);
                }
                // Nothing comes behind trailers, and nobody asks again.
                if self.from.is_end_stream() || frame.is_trailers() {
                    self.finish();
                } else {
                    self.idle.rearm();
                }
                let frame = match frame.into_trailers() {
                    Ok(mut trailers) => {
                        Rewriting::answer_trailers(&mut trailers);
                        Frame::trailers(trailers)
                    }
                    Err(data) => data,
                };
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.fail();
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => match self.idle.deadline.poll_passed(cx) {
                Poll::Ready(()) => {
                    self.fail();
                    Poll::Ready(Some(Err(BodyError::Silent)))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn finish(&mut self) {
        self.idle.deadline.disarm();
        if let Some(lease) = self.lease.take() {
            lease.give_back(self.upload.as_deref());
        }
        if let Some(upload) = &self.upload {
            upload.leave();
        }
        if let Some(entry) = self.entry.take() {
            outbox::complete(entry);
        }
    }

    /// Dropped unfinished, an entry says that it was interrupted.
    fn interrupt(&mut self) {
        self.idle.deadline.disarm();
        drop(self.lease.take());
        drop(self.entry.take());
    }

    fn fail(&mut self) {
        self.idle.deadline.disarm();
        drop(self.lease.take());
        if let Some(entry) = self.entry.take() {
            entry.fail();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.idle.deadline.disarm();
        drop(self.entry.take());
        if let Some(phase) = &self.phase {
            phase.answered();
        }
    }
}

impl Idle {
    fn rearm(&self) {
        let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        self.deadline.arm(left.map_or(self.each, |left| left.min(self.each)));
    }
}
