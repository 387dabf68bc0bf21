//! The connections of one serving thread to one address.
//!
//! HTTP/1.1 connections carry one request at a time and rest here between two, the newest on top. Whoever has one
//! drives it: reading and writing are done by the task of the request, which is woken for both, rather than by a task
//! that would have to be woken first and wake the request's in turn. HTTP/2 connections are shared by many requests,
//! and have tasks of their own.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::future::Either;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::TokioIo;

use crate::proxy::{
    body::UpstreamBody,
    deadline::{Deadline, Deadlines},
    stream::Stream,
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
    Alone(Alone),
    /// HTTP/2.
    Shared(Joined),
}

/// A connection for one request at a time.
pub(super) struct Alone {
    sender: http1::SendRequest<UpstreamBody>,
    /// Until it ends.
    connection: Option<Pin<Box<dyn Future<Output = hyper::Result<()>>>>>,
    born: u64,
}

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
    link: Alone,
    since: u64,
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
    /// A connection that is still good, if there is one.
    pub(super) async fn take(&self, now: u64, deadline: &Deadline, patience: Duration) -> Option<(Link, Freshness)> {
        loop {
            let Resting { mut link, since } = self.idle.borrow_mut().pop()?;
            let freshness = if now.saturating_sub(since) < COLD_TICKS { Freshness::Warm } else { Freshness::Cold };
            if !link.sender.is_ready() {
                // Its last request is still going out.
                deadline.arm(patience);
                let ready = poll_fn(|cx| {
                    link.drive(cx);
                    link.sender.poll_ready(cx)
                });
                if !matches!(deadline.bound(ready).await, Some(Ok(()))) {
                    continue;
                }
            }
            return Some((Link::Alone(link), freshness));
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
        if matches!(link, Some(Link::Alone(_)))
            && let Some(Link::Alone(link)) = link.take()
        {
            let mut idle = self.idle.borrow_mut();
            if !link.is_over() && idle.len() < IDLE_KEPT && young(link.born, now) {
                idle.push(Resting { link, since: now });
            }
        }
    }

    /// Lets go of connections that rested too long or got too old.
    pub(super) fn sweep(&self, now: u64) {
        let rested = |since: u64| now.saturating_sub(since) > Deadlines::ticks_in(LONGEST_REST);
        self.idle.borrow_mut().retain_mut(|Resting { link, since }| {
            // Nobody is woken when the service closes one that rests.
            link.drive(&mut Context::from_waker(Waker::noop()));
            !link.is_over() && !rested(*since) && young(link.born, now)
        });
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

// ===== impl Link, Alone, Joined =====

impl Link {
    /// Sends a request; one that did not get onto the wire comes back in the error. It has been handed over when this
    /// returns, not when the future is first polled: so the future need not hold it.
    pub(super) fn send(
        &mut self,
        request: Request<UpstreamBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<UpstreamBody>>>> {
        match self {
            Self::Alone(link) => {
                let answer = link.sender.try_send_request(request);
                Either::Left(async move {
                    let mut answer = pin!(answer);
                    poll_fn(|cx| {
                        link.drive(cx);
                        answer.as_mut().poll(cx)
                    })
                    .await
                })
            }
            Self::Shared(Joined(link)) => Either::Right(link.sender.clone().try_send_request(request)),
        }
    }

    /// Reads and writes what there is to read and write for the exchange that is on it.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Alone(link) => link.drive(cx),
            Self::Shared(_) => {}
        }
    }

    /// Sees what is under way to its end, without anybody to drive it.
    pub(super) fn let_go(self) {
        match self {
            Self::Alone(link) => {
                if let Some(connection) = link.connection {
                    tokio::task::spawn_local(async move { ended(connection.await) });
                }
            }
            Self::Shared(_) => {}
        }
    }
}

impl Alone {
    pub(super) fn new(
        sender: http1::SendRequest<UpstreamBody>,
        connection: http1::Connection<TokioIo<Stream>, UpstreamBody>,
        now: u64,
    ) -> Self {
        Self { sender, connection: Some(Box::pin(connection.with_upgrades())), born: now }
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Poll::Ready(end) = connection.as_mut().poll(cx)
        {
            // With it goes its end of the channel: whoever waits for an answer is told.
            self.connection = None;
            ended(end);
        }
    }

    fn is_over(&self) -> bool {
        self.connection.is_none() || self.sender.is_closed()
    }
}

impl fmt::Debug for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alone").field("born", &self.born).field("over", &self.is_over()).finish_non_exhaustive()
    }
}

fn ended(end: hyper::Result<()>) {
    if let Err(error) = end {
        tracing::debug!(%error, "upstream connection ended");
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
    use tokio::net::UnixStream;

    use super::*;

    /// A connection, and its other end.
    async fn alone(born: u64) -> (Option<Link>, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(Stream::Unix(near))).await.unwrap();
        (Some(Link::Alone(Alone::new(sender, connection, born))), far)
    }

    #[tokio::test]
    async fn a_connection_that_the_service_closes_while_it_rests_is_let_go() {
        let pool = Pool::default();
        let (mut link, service) = alone(0).await;
        pool.give_back(&mut link, 0);
        pool.sweep(1);
        assert_eq!(pool.resting(), 1);
        drop(service);
        // The system tells of it at the next turn.
        tokio::time::sleep(Duration::from_millis(20)).await;
        pool.sweep(2);
        assert_eq!(pool.resting(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_rested_too_long_or_is_too_old_is_let_go() {
        let scene = async {
            let (rest, old) = (Deadlines::ticks_in(LONGEST_REST), Deadlines::ticks_in(OLDEST));
            let pool = Pool::default();
            let services = RefCell::new(Vec::new());
            let back = async |born, now| {
                let (mut link, service) = alone(born).await;
                services.borrow_mut().push(service);
                pool.give_back(&mut link, now);
            };
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
        scene.await;
    }
}
