//! What the upstream gets: the body of a request, as far as it is allowed to come.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::{
    body::BodyError,
    deadline::Deadline,
    names::{Fate, may_trail},
    problem::Afterwards,
    rules::Rules,
};
use crate::audit::Passed;

/// The body of a request to the upstream.
#[derive(Debug)]
pub enum UpstreamBody {
    /// Nothing.
    Empty,
    /// Bytes that were read to find the subject in them.
    Full(Option<Bytes>),
    /// The caller's, as it comes.
    Relayed(Upload),
}

/// The caller's body on its way to the upstream.
#[derive(Debug)]
pub struct Upload {
    rules: Arc<Rules>,
    state: Rc<UploadState>,
    /// For the caller to send more.
    deadline: Deadline,
    /// For the upstream to take more, and then to answer.
    exchange: Rc<Deadline>,
    /// When all of the exchange has to be over, if it is bounded.
    end: Option<Instant>,
}

/// What is known of an upload from outside.
#[derive(Debug, Default)]
pub struct UploadState {
    /// Where it comes from, as long as somebody wants it. It outlives the request to the service: what that did not take is
    /// still to be read.
    from: RefCell<Option<Incoming>>,
    /// How much of it may come, in bytes.
    pub limit: u64,
    /// Whether the rest is read when the answer is there first; over HTTP/2 each stream ends by itself.
    lingers: bool,
    /// Counts the bytes that went through.
    pub passed: Arc<Passed>,
    /// How it went.
    pub ended: Cell<UploadEnd>,
}

/// How an upload went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UploadEnd {
    /// Still under way.
    #[default]
    Open,
    /// To its last byte.
    Whole,
    /// It went over the limit.
    TooLarge,
    /// The caller stopped sending.
    Silent,
    /// The caller went away.
    Broken,
}

// ===== impl UpstreamBody =====

impl HttpBody for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relayed(upload) => upload.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Full(None) => true,
            Self::Full(Some(bytes)) => bytes.is_empty(),
            Self::Relayed(upload) => upload.state.from.borrow().as_ref().is_none_or(Incoming::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Full(None) => SizeHint::with_exact(0),
            Self::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Relayed(upload) => upload.state.from.borrow().as_ref().map_or_else(SizeHint::default, Incoming::size_hint),
        }
    }
}

// ===== impl Upload =====

impl Upload {
    /// Hands on what `state` says, as long as its pieces come in time.
    pub fn new(rules: Arc<Rules>, state: Rc<UploadState>, deadline: Deadline, exchange: (Rc<Deadline>, Option<Instant>)) -> Self {
        let (exchange, end) = exchange;
        Self { rules, state, deadline, exchange, end }
    }

    /// It is the service that is waited for now.
    fn await_service(&self) {
        self.deadline.disarm();
        let first_byte = self.rules.timeouts.first_byte.0;
        self.exchange.arm(self.left().map_or(first_byte, |left| left.min(first_byte)));
    }

    /// It is the caller who is waited for now, and no longer than all may take.
    fn await_caller(&self) {
        match self.left() {
            Some(left) => self.exchange.arm(left),
            None => self.exchange.disarm(),
        }
        self.deadline.arm(self.rules.timeouts.body.0);
    }

    fn left(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (polled, ended) = match &mut *self.state.from.borrow_mut() {
            Some(from) => (Pin::new(&mut *from).poll_frame(cx), from.is_end_stream()),
            None => return Poll::Ready(Some(Err(BodyError::Unwanted))),
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                let frame = match frame.into_data() {
                    Ok(data) => {
                        let total = self.state.passed.receive(data.len() as u64);
                        if total > self.state.limit {
                            return Poll::Ready(Some(Err(self.broke(UploadEnd::TooLarge, BodyError::TooLarge))));
                        }
                        Frame::data(data)
                    }
                    // A trailer can carry an identity as well as a header can, and some servers join the two.
                    Err(other) => match other.into_trailers() {
                        Ok(mut trailers) => {
                            let strays: Vec<_> = trailers
                                .keys()
                                .filter(|name| !may_trail(name) || self.rules.names.fate(name) != Fate::Keep)
                                .cloned()
                                .collect();
                            for name in strays {
                                trailers.remove(&name);
                            }
                            Frame::trailers(trailers)
                        }
                        Err(frame) => frame,
                    },
                };
                self.await_service();
                if ended || frame.is_trailers() {
                    self.state.ended.set(UploadEnd::Whole);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.await_service();
                self.state.ended.set(UploadEnd::Whole);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.broke(UploadEnd::Broken, error.into())))),
            Poll::Pending => {
                if !self.deadline.armed() {
                    self.await_caller();
                }
                match self.deadline.poll_passed(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(self.broke(UploadEnd::Silent, BodyError::Silent)))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn broke(&self, end: UploadEnd, error: BodyError) -> BodyError {
        self.deadline.disarm();
        self.state.ended.set(end);
        error
    }
}

// ===== impl UploadState =====

impl UploadState {
    /// Of a body that comes `from` a caller, and of which `limit` bytes may; `lingers` where the connection goes on behind it.
    pub fn coming(from: Incoming, limit: u64, lingers: bool) -> Self {
        Self { from: RefCell::new(Some(from)), limit, lingers, ..Self::default() }
    }

    /// Of a body that was read to its end.
    pub fn whole(length: u64) -> Self {
        let state = Self::default();
        state.passed.receive(length);
        state.ended.set(UploadEnd::Whole);
        state
    }

    /// The answer is there, and did not wait for all of the body: the rest of it is read and dropped. Gives what becomes of
    /// the connection.
    pub(super) fn leave(&self) -> Afterwards {
        let mut afterwards = Afterwards::KeepOpen;
        if matches!(self.ended.get(), UploadEnd::Open | UploadEnd::TooLarge)
            && let Some(rest) = self.from.take()
            && self.lingers
        {
            if rest.size_hint().lower() > DISCARDED {
                afterwards = Afterwards::Close;
            }
            tokio::task::spawn_local(discard(rest));
        }
        afterwards
    }
}

/// How much of a body that nobody wants is read, in bytes.
pub(super) const DISCARDED: u64 = 8 << 20;

/// Reads what is still to come of a body that nobody wants. A caller who is still sending would else find its connection
/// closed on it, and lose the answer with it (RFC 9112 section 9.6). How long that may take is bounded by the connection,
/// which waits for its next head by now.
pub(super) async fn discard(mut body: Incoming) {
    let mut left = DISCARDED;
    while let Some(Ok(frame)) = body.frame().await {
        let came = frame.data_ref().map_or(0, |data| data.len() as u64);
        left = left.saturating_sub(came);
        if left == 0 {
            return;
        }
    }
}
