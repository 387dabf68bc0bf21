//! The connections of one serving thread to one address.
//!
//! HTTP/1.1 connections carry one request at a time and rest here between two, the newest on top. HTTP/2 connections
//! are shared by many requests.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures_util::future::Either;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};

use super::heard::Heard;
use crate::proxy::{
    deadline::{Deadline, Deadlines},
    upload::UpstreamBody,
};

/// Most idle connections kept.
const IDLE_KEPT: usize = 1024;
/// How long a connection may rest unused.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// How old a connection may get: the service may have moved to other machines behind the same name.
const OLDEST: Duration = Duration::from_secs(300);
/// Requests at once on one HTTP/2 connection; what servers commonly allow.
const STREAMS: usize = 100;
/// A connection that has rested for longer may have been closed by the service this moment.
const COLD_TICKS: u64 = 2;

/// The connections to one address.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: RefCell<Vec<Resting>>,
    shared: RefCell<Vec<Rc<Multiplexed>>>,
    /// One HTTP/2 connection is made at a time: those who wait will share it.
    pub(super) connecting: tokio::sync::Mutex<()>,
}

/// A connection that a request is on.
#[derive(Debug)]
pub(super) enum Link {
    /// HTTP/1.1: nobody else is.
    Alone { sender: http1::SendRequest<UpstreamBody>, born: u64, heard: Heard },
    /// HTTP/2.
    Shared(Joined),
}

/// What comes of a request on one connection.
pub(super) type Sent = Result<Response<Incoming>, TrySendError<Request<UpstreamBody>>>;

/// How long ago a connection was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Made for this request.
    New,
    /// Used a moment ago.
    Warm,
    /// Not used for a while.
    Cold,
}

#[derive(Debug)]
struct Resting {
    sender: http1::SendRequest<UpstreamBody>,
    born: u64,
    since: u64,
    heard: Heard,
}

/// A place on a shared connection, until dropped.
#[derive(Debug)]
pub(super) struct Joined(Rc<Multiplexed>);

#[derive(Debug)]
struct Multiplexed {
    sender: http2::SendRequest<UpstreamBody>,
    born: u64,
    used: Cell<u64>,
    in_flight: Cell<usize>,
}

// ===== impl Pool =====

impl Pool {
    /// A connection that can take a request now, if the newest that is still good can.
    pub(super) fn take_ready(&self, now: u64) -> Option<(Link, Freshness)> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let sender = &idle.last()?.sender;
            if sender.is_ready() {
                return idle.pop().map(|resting| resting.link(now));
            }
            if !sender.is_closed() {
                // Its last request is still going out.
                return None;
            }
            idle.pop();
        }
    }

    /// A connection that is still good, if there is one.
    pub(super) async fn take(&self, now: u64, deadline: &Deadline, patience: Duration) -> Option<(Link, Freshness)> {
        loop {
            let mut resting = self.idle.borrow_mut().pop()?;
            if !resting.sender.is_ready() {
                if resting.sender.is_closed() {
                    continue;
                }
                // Its last request is still going out.
                deadline.arm(patience);
                if !matches!(deadline.bound(resting.sender.ready()).await, Some(Ok(()))) {
                    continue;
                }
            }
            return Some(resting.link(now));
        }
    }

    /// A shared connection with room for one more request, if there is one.
    pub(super) fn join(&self, now: u64) -> Option<Link> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|link| !link.sender.is_closed());
        let link = shared.iter().filter(|link| link.in_flight.get() < STREAMS).max_by_key(|link| link.in_flight.get())?;
        Some(Link::Shared(Joined::new(link, now)))
    }

    /// Takes in a new shared connection, and is the first on it.
    pub(super) fn share(&self, sender: http2::SendRequest<UpstreamBody>, now: u64) -> Link {
        let link = Rc::new(Multiplexed { sender, born: now, used: Cell::new(now), in_flight: Cell::new(0) });
        let joined = Joined::new(&link, now);
        self.shared.borrow_mut().push(link);
        Link::Shared(joined)
    }

    /// Takes back a connection whose answer has been read to the end.
    pub(super) fn give_back(&self, link: &mut Option<Link>, now: u64) {
        if matches!(link, Some(Link::Alone { .. }))
            && let Some(Link::Alone { sender, born, heard }) = link.take()
        {
            let mut idle = self.idle.borrow_mut();
            if !sender.is_closed() && idle.len() < IDLE_KEPT && young(born, now) {
                idle.push(Resting { sender, born, since: now, heard });
            }
        }
    }

    /// Lets go of connections that rested too long or got too old.
    pub(super) fn sweep(&self, now: u64) {
        let rested = |since: u64| now.saturating_sub(since) > Deadlines::ticks_in(LONGEST_REST);
        self.idle.borrow_mut().retain(|resting| !resting.sender.is_closed() && !rested(resting.since) && young(resting.born, now));
        // Requests that are still on one keep it until they are through.
        self.shared
            .borrow_mut()
            .retain(|link| !link.sender.is_closed() && young(link.born, now) && (link.in_flight.get() > 0 || !rested(link.used.get())));
    }

    /// How many connections rest here.
    pub(super) fn resting(&self) -> usize {
        self.idle.borrow().len()
    }
}

fn young(born: u64, now: u64) -> bool {
    now.saturating_sub(born) < Deadlines::ticks_in(OLDEST)
}

// ===== impl Resting, Link, Joined =====

impl Resting {
    fn link(self, now: u64) -> (Link, Freshness) {
        let Self { sender, born, since, heard } = self;
        let freshness = if now.saturating_sub(since) < COLD_TICKS { Freshness::Warm } else { Freshness::Cold };
        (Link::Alone { sender, born, heard }, freshness)
    }
}

impl Link {
    /// Sends a request; one that did not get onto the wire comes back in the error. It is on its way when this returns,
    /// not when the future is first polled: so the future need not hold it.
    pub(super) fn send(&mut self, request: Request<UpstreamBody>) -> impl Future<Output = Sent> + use<> {
        match self {
            Self::Alone { sender, heard, .. } => {
                heard.forget();
                Either::Left(sender.try_send_request(request))
            }
            Self::Shared(Joined(link)) => Either::Right(link.sender.clone().try_send_request(request)),
        }
    }

    /// Whether the service cannot have begun to answer what was sent last, and failed with `error`.
    pub(super) fn is_unanswered(&self, error: &hyper::Error) -> bool {
        match self {
            Self::Alone { heard, .. } => !heard.anything(),
            Self::Shared(_) => {
                let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
                // The connection is gone, or the service has said that it did not look at the request (RFC 9113 section 8.7).
                cause.is_some_and(|cause| cause.is_io() || cause.is_go_away() || cause.reason() == Some(h2::Reason::REFUSED_STREAM))
            }
        }
    }
}

impl Joined {
    fn new(link: &Rc<Multiplexed>, now: u64) -> Self {
        link.in_flight.set(link.in_flight.get() + 1);
        link.used.set(now);
        Self(link.clone())
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection whose other end does nothing.
    async fn sender() -> http1::SendRequest<UpstreamBody> {
        let (near, far) = tokio::io::duplex(64);
        let (sender, connection) = http1::handshake(hyper_util::rt::TokioIo::new(near)).await.unwrap();
        tokio::task::spawn_local(async move {
            let _far = far;
            let _ = connection.await;
        });
        sender
    }

    #[tokio::test]
    async fn a_connection_that_rested_too_long_or_is_too_old_is_let_go() {
        let scene = async {
            let (rest, old) = (Deadlines::ticks_in(LONGEST_REST), Deadlines::ticks_in(OLDEST));
            let pool = Pool::default();
            let back =
                async |born, now| pool.give_back(&mut Some(Link::Alone { sender: sender().await, born, heard: Heard::default() }), now);
            back(0, 10).await;
            pool.sweep(10 + rest);
            assert_eq!(pool.resting(), 1);
            pool.sweep(11 + rest);
            assert_eq!(pool.resting(), 0, "it rested too long");
            back(0, old - 1).await;
            pool.sweep(old - 1);
            assert_eq!(pool.resting(), 1, "used all the time, it is kept until it is too old");
            pool.sweep(old);
            assert_eq!(pool.resting(), 0, "it is too old, however busy");
            back(0, old).await;
            assert_eq!(pool.resting(), 0, "and is not taken back");
        };
        tokio::task::LocalSet::new().run_until(scene).await;
    }
}
