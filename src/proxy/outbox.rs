//! Small pieces for TCP peers, sent together.
//!
//! A send on the same machine is half of what a request costs, and a good part of that is waking the peer's process and
//! getting the system's code back into the processor. A thread that serves many connections therefore keeps what is
//! small until every task that was ready has had its turn, and then sends it all in one go: the code is still there for
//! the second piece, and a peer that is awake for the first need not be woken for the next. With few requests under way
//! there is nothing to wait for, and each piece goes out at once.
//!
//! Records of requests that ended in such a turn are written together as well, before anything more is sent: who has its
//! answer finds the record.
//!
//! To its owner a piece that is kept has been written, as it would have been to the system's own buffer. Where the peer
//! does not take it, the owner is told at its next write or flush, and further writes wait.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::stream::{JOINED, join};
use crate::audit::{Closings, Entry};

/// No more than so many bytes are kept for one connection; longer pieces go out at once.
pub(super) const KEPT: usize = JOINED;
/// With fewer requests under way on the thread nothing is kept.
const CROWD: usize = 8;
/// Buffers that are kept for further pieces.
const SPARE: usize = 128;

thread_local! {
    static OUTBOX: Outbox = const {
        Outbox {
            runs: Cell::new(false),
            under_way: Cell::new(0),
            closings: RefCell::new(Closings::new()),
            waker: RefCell::new(None),
            called: Cell::new(false),
            waiting: RefCell::new(Vec::new()),
            spare: RefCell::new(Vec::new()),
        }
    };
}

/// What a thread has to send.
struct Outbox {
    /// Whether anybody sends it.
    runs: Cell<bool>,
    /// Requests for which the upstream is waited for.
    under_way: Cell<usize>,
    /// Requests that all went through, and have no record yet.
    closings: RefCell<Closings>,
    waker: RefCell<Option<Waker>>,
    /// Whether it was woken since it was last sent.
    called: Cell<bool>,
    waiting: RefCell<Vec<Arc<Mutex<Out>>>>,
    spare: RefCell<Vec<Vec<u8>>>,
}

/// A TCP connection whose small pieces go through the outbox of its thread, where that runs one.
#[derive(Debug)]
pub struct Tcp {
    reads: OwnedReadHalf,
    /// Only the thread that serves the connection looks at it; the HTTP library wants it to be fit for several.
    out: Arc<Mutex<Out>>,
    /// Something was kept since the last flush that found nothing.
    kept: bool,
}

/// The way out of one connection.
#[derive(Debug)]
struct Out {
    /// Until the connection is dropped.
    half: Option<OwnedWriteHalf>,
    waiting: Vec<u8>,
    /// It stands in the outbox.
    listed: bool,
    /// The peer took nothing more when it was last tried.
    blocked: bool,
    failed: Option<io::Error>,
    /// Whom to tell of that.
    owner: Option<Waker>,
}

/// The outbox of this thread is sent, until dropped.
struct Runs;

impl Runs {
    fn begin() -> Self {
        OUTBOX.with(|outbox| outbox.runs.set(true));
        Self
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        OUTBOX.with(|outbox| {
            outbox.runs.set(false);
            outbox.closings.borrow_mut().write();
        });
    }
}

/// A request that is under way on this thread, until dropped.
#[derive(Debug)]
pub(super) struct UnderWay(PhantomData<*const ()>);

/// Counts a request as under way.
pub(super) fn under_way() -> UnderWay {
    OUTBOX.with(|outbox| outbox.under_way.set(outbox.under_way.get() + 1));
    UnderWay(PhantomData)
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        OUTBOX.with(|outbox| outbox.under_way.set(outbox.under_way.get().saturating_sub(1)));
    }
}

/// All of this entry's request went through.
pub(super) fn complete(entry: Entry) {
    OUTBOX.with(|outbox| {
        if outbox.keeps() {
            outbox.closings.borrow_mut().complete(entry);
            outbox.call();
        } else {
            entry.complete();
        }
    });
}

/// Sends what the connections of this thread keep, whenever the tasks that were ready have had their turn. One of these
/// runs on each serving thread.
pub(super) async fn run() {
    let _runs = Runs::begin();
    let mut taken = Vec::new();
    poll_fn(|cx| {
        OUTBOX.with(|outbox| {
            outbox.called.set(false);
            outbox.closings.borrow_mut().write();
            std::mem::swap(&mut taken, &mut outbox.waiting.borrow_mut());
            for out in taken.drain(..) {
                lock(&out).send_kept(outbox);
            }
            let mut waker = outbox.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        });
        Poll::Pending
    })
    .await
}

/// Writes the records of what has ended on this thread.
fn write_records() {
    // A connection may outlive what its thread had.
    let _ = OUTBOX.try_with(|outbox| outbox.closings.borrow_mut().write());
}

fn lock(out: &Mutex<Out>) -> MutexGuard<'_, Out> {
    out.lock().unwrap_or_else(PoisonError::into_inner)
}

// ===== impl Outbox, Out =====

impl Outbox {
    /// Whether it is worth while to keep what is written now.
    fn keeps(&self) -> bool {
        self.runs.get() && self.under_way.get() >= CROWD
    }

    fn add(&self, out: Arc<Mutex<Out>>) {
        self.waiting.borrow_mut().push(out);
        self.call();
    }

    /// Sees to it that what is kept is sent.
    fn call(&self) {
        if !self.called.get()
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
            self.called.set(true);
        }
    }
}

impl Out {
    fn half(&mut self) -> io::Result<Pin<&mut OwnedWriteHalf>> {
        self.half.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Sends as much as the peer takes without waiting for it.
    fn send_kept(&mut self, outbox: &Outbox) {
        self.listed = false;
        self.try_send();
        if (self.blocked || self.failed.is_some())
            && let Some(owner) = self.owner.take()
        {
            owner.wake();
        }
        if self.waiting.is_empty() {
            let mut spare = outbox.spare.borrow_mut();
            let buffer = std::mem::take(&mut self.waiting);
            if spare.len() < SPARE && buffer.capacity() > 0 {
                spare.push(buffer);
            }
        }
    }

    fn try_send(&mut self) {
        let Some(half) = &self.half else { return };
        while !self.waiting.is_empty() {
            match half.try_write(&self.waiting) {
                Ok(sent) => drop(self.waiting.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return;
                }
                Err(error) => {
                    self.waiting.clear();
                    self.failed = Some(error);
                    return;
                }
            }
        }
        self.blocked = false;
    }

    /// Sends all that is kept, waiting for the peer to take it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(failed) = self.failed.take() {
            return Poll::Ready(Err(failed));
        }
        while !self.waiting.is_empty() {
            let Some(half) = &mut self.half else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
            match Pin::new(half).poll_write(cx, &self.waiting) {
                Poll::Ready(Ok(sent)) => drop(self.waiting.drain(..sent)),
                Poll::Ready(Err(error)) => {
                    self.waiting.clear();
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    self.blocked = true;
                    return Poll::Pending;
                }
            }
        }
        self.blocked = false;
        Poll::Ready(Ok(()))
    }
}

// ===== impl Tcp =====

impl Tcp {
    /// A connection that stands.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        let (reads, half) = stream.into_split();
        let out = Out { half: Some(half), waiting: Vec::new(), listed: false, blocked: false, failed: None, owner: None };
        Self { reads, out: Arc::new(Mutex::new(out)), kept: false }
    }

    /// Sends what is kept, so that what is written next may go out at once.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.kept {
            ready!(lock(&self.out).poll_send(cx))?;
            self.kept = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().reads).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let whole: usize = bufs.iter().map(|buf| buf.len()).sum();
        OUTBOX.with(|outbox| {
            if whole > KEPT || !outbox.keeps() {
                write_records();
                ready!(this.poll_first(cx))?;
                let mut out = lock(&this.out);
                return match join(bufs, &mut [0; JOINED]) {
                    Some(joined) => out.half()?.poll_write(cx, joined),
                    None => out.half()?.poll_write_vectored(cx, bufs),
                };
            }
            let mut out = lock(&this.out);
            if out.blocked || out.failed.is_some() || out.waiting.len() + whole > KEPT {
                ready!(out.poll_send(cx))?;
            }
            if out.waiting.capacity() == 0 {
                out.waiting = outbox.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(KEPT));
            }
            for buf in bufs {
                out.waiting.extend_from_slice(buf);
            }
            if !out.owner.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                out.owner = Some(cx.waker().clone());
            }
            this.kept = true;
            if !std::mem::replace(&mut out.listed, true) {
                outbox.add(this.out.clone());
            }
            Poll::Ready(Ok(whole))
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.kept {
            return Poll::Ready(Ok(()));
        }
        let mut out = lock(&this.out);
        if out.blocked || out.failed.is_some() {
            ready!(out.poll_send(cx))?;
        }
        this.kept = !out.waiting.is_empty();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        write_records();
        let mut out = lock(&self.out);
        ready!(out.poll_send(cx))?;
        out.half()?.poll_shutdown(cx)
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        write_records();
        let mut out = lock(&self.out);
        out.try_send();
        if let Some(half) = out.half.take() {
            // Both directions end with the half that reads.
            half.forget();
        }
    }
}

#[cfg(test)]
mod tests;
