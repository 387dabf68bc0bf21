//! The caller's side of a connection: bytes in and out, with two eyes on them.
//!
//! One notices progress, for the time-outs. The other looks for what the HTTP library drops without a
//! word: a fragment in a request target (`GET /a#b`), which DESIGN §4.3 refuses. It cannot know where
//! heads begin, so it keeps every line that ends in an HTTP version and has a `#` before it; the guard
//! then asks whether the request it was given is one of those.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::unparsed::Unparsed;

/// Longest start of a line that is kept between two reads; past it, a `#` makes the whole connection suspect.
const LINE_KEPT: usize = 16 << 10;
/// Most suspect lines kept for one connection; past it everything on the connection is suspect.
const SUSPECTS_KEPT: usize = 16;

/// What was seen of a connection's bytes, shared between the wire and the requests on it.
///
/// It stays on one thread; that it could be shared with others is what the HTTP library asks of a connection that
/// may leave HTTP.
#[derive(Debug, Default)]
pub struct Seen {
    reads: AtomicU64,
    writes: AtomicU64,
    write_blocked: AtomicBool,
    /// A request is being served.
    busy: AtomicBool,
    /// Not all of an answer has been written.
    owes: AtomicBool,
    /// There are no HTTP/1 heads to look at, or none any more.
    opaque: AtomicBool,
    suspects: Mutex<Suspects>,
}

#[derive(Debug, Default)]
struct Suspects {
    /// The last line so far, if it has not ended.
    tail: Vec<u8>,
    /// What is known of the part of that line that was not kept.
    beyond: Beyond,
    /// `METHOD target` of lines with a fragment, the fragment cut off; before that may stand the end of the body that came
    /// before, which need not end with its line.
    lines: Vec<Vec<u8>>,
    overflow: bool,
}

/// The part of a line past [`LINE_KEPT`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Beyond {
    /// There is none.
    #[default]
    Nothing,
    /// There is some.
    Some,
    /// There is some, with a `#` in it.
    Hash,
}

/// A connection whose bytes are looked at.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    seen: Arc<Seen>,
    unparsed: Option<Unparsed>,
    /// Bytes read before the wire was made (to tell HTTP/2 from HTTP/1).
    before: Vec<u8>,
    taken: usize,
}

// ===== impl Seen =====

impl Seen {
    /// A connection without HTTP/1 heads: only its progress is of interest.
    #[must_use]
    pub fn opaque() -> Self {
        Self { opaque: AtomicBool::new(true), ..Self::default() }
    }

    /// No heads come any more.
    pub fn close_eyes(&self) {
        self.opaque.store(true, Relaxed);
        self.busy.store(true, Relaxed);
    }

    /// A request head is here whole.
    pub fn asked(&self) {
        self.busy.store(true, Relaxed);
        self.owes.store(true, Relaxed);
    }

    /// The answer has been handed to the connection.
    pub fn answered(&self) {
        self.busy.store(false, Relaxed);
    }

    /// Whether every request so far has had its answer, to the last byte.
    #[must_use]
    pub fn owes_nothing(&self) -> bool {
        !self.owes.load(Relaxed)
    }

    /// Everything there was to write has been written.
    fn flushed(&self) {
        self.write_blocked.store(false, Relaxed);
        if !self.busy.load(Relaxed) {
            self.owes.store(false, Relaxed);
        }
    }

    /// A number that changes whenever bytes came in.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Relaxed)
    }

    /// A number that changes whenever bytes went out.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Relaxed)
    }

    /// Whether the peer takes nothing more at the moment.
    #[must_use]
    pub fn write_blocked(&self) -> bool {
        self.write_blocked.load(Relaxed)
    }

    /// Whether nothing suspicious came on this connection, the usual case.
    #[must_use]
    pub fn clear(&self) -> bool {
        let suspects = self.suspects();
        suspects.lines.is_empty() && !suspects.overflow
    }

    /// Whether `METHOD target` came with a fragment that the HTTP library cut off. The target is compared from its path on:
    /// scheme and authority of an absolute one may be written in ways that the library evens out.
    #[must_use]
    pub fn had_fragment(&self, method: &str, path_and_query: &str) -> bool {
        let suspects = self.suspects();
        suspects.overflow
            || suspects.lines.iter().any(|line| {
                let target = memmem::find_iter(line, method).find_map(|at| line.get(at + method.len()..)?.strip_prefix(b" "));
                target.is_some_and(|target| path_and_query == "/" || target.ends_with(path_and_query.as_bytes()))
            })
    }

    fn wrote(&self, done: &Poll<io::Result<usize>>) {
        self.write_blocked.store(done.is_pending(), Relaxed);
        if done.is_ready() {
            self.writes.store(self.writes.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    fn suspects(&self) -> MutexGuard<'_, Suspects> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, bytes: &[u8]) {
        if self.opaque.load(Relaxed) {
            return;
        }
        let mut suspects = self.suspects();
        let Some(last) = memchr::memrchr(b'\n', bytes) else {
            suspects.keep(bytes);
            return;
        };
        if memchr::memchr(b'#', bytes).is_some() || memchr::memchr(b'#', &suspects.tail).is_some() || suspects.beyond == Beyond::Hash {
            suspects.sift(bytes);
        }
        suspects.tail.clear();
        suspects.beyond = Beyond::Nothing;
        suspects.keep(bytes.get(last + 1..).unwrap_or_default());
    }
}

impl Suspects {
    /// Keeps the beginning of a line that has not ended.
    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_KEPT.saturating_sub(self.tail.len());
        let (kept, beyond) = bytes.split_at(room.min(bytes.len()));
        self.tail.extend_from_slice(kept);
        if memchr::memchr(b'#', beyond).is_some() {
            self.beyond = Beyond::Hash;
        } else if !beyond.is_empty() && self.beyond == Beyond::Nothing {
            self.beyond = Beyond::Some;
        }
    }

    fn sift(&mut self, bytes: &[u8]) {
        let mut first = true;
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            if !piece.ends_with(b"\n") {
                break;
            }
            let joined;
            let line = if first && !self.tail.is_empty() {
                joined = [self.tail.as_slice(), piece].concat();
                joined.as_slice()
            } else {
                piece
            };
            let beyond = if first { self.beyond } else { Beyond::Nothing };
            first = false;
            let line = line.trim_ascii_end();
            let Some(request) = line.strip_suffix(b" HTTP/1.1").or_else(|| line.strip_suffix(b" HTTP/1.0")) else { continue };
            let cut = memchr::memchr(b'#', request);
            let cut = if beyond == Beyond::Hash { Some(cut.unwrap_or(0)) } else { cut };
            let Some(cut) = cut else { continue };
            if self.lines.len() >= SUSPECTS_KEPT || beyond != Beyond::Nothing {
                self.overflow = true;
                return;
            }
            self.lines.push(request.get(..cut).unwrap_or_default().trim_ascii_start().to_vec());
        }
    }
}

// ===== impl Wire =====

impl<S> Wire<S> {
    /// What is seen of it.
    #[must_use]
    pub fn seen(&self) -> &Arc<Seen> {
        &self.seen
    }

    /// Looks at `stream`, of which `before` was read already; `unparsed` stands in for the library's own refusals.
    pub fn new(stream: S, before: Vec<u8>, seen: Arc<Seen>, unparsed: Option<Unparsed>) -> Self {
        seen.look(&before);
        Self { stream, seen, unparsed, before, taken: 0 }
    }
}

impl<S> Wire<S> {
    /// The connection itself, and what was read of it and not yet taken.
    pub fn into_parts(mut self) -> (S, Vec<u8>) {
        self.before.drain(..self.taken);
        (self.stream, self.before)
    }
}

impl<S: AsyncRead + Unpin> Read for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(rest) = this.before.get(this.taken..).filter(|rest| !rest.is_empty()) {
            let n = rest.len().min(buf.remaining());
            buf.put_slice(rest.get(..n).unwrap_or_default());
            this.taken += n;
            if this.taken == this.before.len() {
                this.before = Vec::new();
                this.taken = 0;
            }
            return Poll::Ready(Ok(()));
        }
        // SAFETY: `as_mut` gives the unfilled part of hyper's buffer, which may be uninitialised; tokio's ReadBuf
        // keeps track of what is filled, never reads what is not, and `advance` is told exactly that number.
        let n = unsafe {
            let mut inner = ReadBuf::uninit(buf.as_mut());
            match Pin::new(&mut this.stream).poll_read(cx, &mut inner) {
                Poll::Ready(Ok(())) => {
                    let filled = inner.filled();
                    if !filled.is_empty() {
                        this.seen.reads.store(this.seen.reads.load(Relaxed).wrapping_add(1), Relaxed);
                        this.seen.look(filled);
                    }
                    filled.len()
                }
                other => return other,
            }
        };
        // SAFETY: `n` bytes were filled just above.
        unsafe { buf.advance(n) };
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Write for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(unparsed) = &mut this.unparsed
            && let Some(()) = ready!(unparsed.stand_in(&mut this.stream, &this.seen, cx, buf))?
        {
            return Poll::Ready(Ok(buf.len()));
        }
        let done = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.seen.wrote(&done);
        done
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let first = bufs.first().map_or(&b""[..], |buf| buf);
        if let Some(unparsed) = &mut this.unparsed
            && let Some(()) = ready!(unparsed.stand_in(&mut this.stream, &this.seen, cx, first))?
        {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let done = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.seen.wrote(&done);
        done
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The library flushes once its own buffers are empty.
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_flush(cx);
        match &done {
            Poll::Ready(Ok(())) => this.seen.flushed(),
            Poll::Ready(Err(_)) => {}
            // What was written last still waits for the peer.
            Poll::Pending => this.seen.write_blocked.store(true, Relaxed),
        }
        done
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(pieces: &[&[u8]]) -> Seen {
        let seen = Seen::default();
        for piece in pieces {
            seen.look(piece);
        }
        seen
    }

    #[test]
    fn a_fragment_in_a_request_line_is_seen_however_it_is_cut() {
        let head = b"GET /dataset/2/Ac1/Vendors/list?a=1#frag HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 0..head.len() {
            let seen = seen(&[&head[..cut], &head[cut..]]);
            assert!(seen.had_fragment("GET", "/dataset/2/Ac1/Vendors/list?a=1"), "cut at {cut}");
            assert!(!seen.had_fragment("GET", "/dataset/2/Ac1/Vendors/list"));
        }
    }

    #[test]
    fn a_fragment_far_down_a_long_line_is_seen_too() {
        let long = "a".repeat(LINE_KEPT * 2);
        let line = format!("GET /{long}#frag HTTP/1.1\r\n");
        for piece in [1 << 10, LINE_KEPT - 1, LINE_KEPT * 2 + 6, LINE_KEPT * 4] {
            let pieces: Vec<&[u8]> = line.as_bytes().chunks(piece).collect();
            assert!(seen(&pieces).had_fragment("GET", &format!("/{long}")), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_fragment_of_an_absolute_target_is_seen_however_its_beginning_is_written() {
        for target in ["HTTP://vicar.test/a?b", "http://vicar.test:80/a?b"] {
            assert!(seen(&[format!("GET {target}#c HTTP/1.1\r\n").as_bytes()]).had_fragment("GET", "/a?b"), "{target}");
        }
        assert!(seen(&[b"GET http://vicar.test#c HTTP/1.1\r\n"]).had_fragment("GET", "/"));
    }

    #[test]
    fn a_body_before_a_request_line_hides_nothing() {
        for body in [&b"{}"[..], b"GET ", b"{\"a\":\n1}", b"GE"] {
            for pieces in [&[body, b"GET /a?b#c HTTP/1.1\r\n"][..], &[&[body, b"GET /a?b#c HTTP/1.1\r\n"].concat()]] {
                assert!(seen(pieces).had_fragment("GET", "/a?b"), "{:?}", body.escape_ascii());
            }
        }
    }

    #[test]
    fn a_hash_elsewhere_is_no_fragment() {
        let seen = seen(&[b"GET /a HTTP/1.1\r\nHost: x\r\nX-Note: #1 HTTP/1.1 fan\r\n\r\n", b"{\"colour\": \"#fff\"}"]);
        assert!(!seen.had_fragment("GET", "/a"));
    }

    #[test]
    fn a_second_request_in_the_same_read_is_looked_at_too() {
        let seen = seen(&[b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b#c HTTP/1.1\r\nHost: x\r\n\r\n"]);
        assert!(!seen.had_fragment("GET", "/a"));
        assert!(seen.had_fragment("GET", "/b"));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_looked_at_without_harm(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let seen = Seen::default();
            for piece in &pieces {
                seen.look(piece);
            }
            prop_assert!(seen.suspects().tail.len() <= LINE_KEPT);
        }
    }
}
