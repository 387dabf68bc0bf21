//! An upstream that records what reaches it, byte for byte, and answers as it is told.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{eventually, fields, head_end, named, shown};

/// Bytes of a body that are kept; all are counted.
const KEPT: usize = 4 << 20;

/// A service on a free loopback port. Dropping it closes every connection.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// One request as it arrived.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// Names as they were sent.
    pub headers: Vec<(String, String)>,
    /// The body without its chunk framing, up to a few MiB.
    pub body: Vec<u8>,
    /// How long it was in all.
    pub body_len: u64,
    pub trailers: Vec<(String, String)>,
    /// The head as it came.
    pub head: Vec<u8>,
    /// Which connection, counted from 0.
    pub connection: usize,
    /// Whether the body came to its end.
    pub whole: bool,
}

/// An answer to give.
#[derive(Debug, Clone)]
pub struct Reply {
    head: Option<Vec<u8>>,
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    trailers: Vec<(String, String)>,
    wait: Duration,
    pause: Duration,
    early: bool,
    then: Then,
}

#[derive(Debug, Clone)]
enum Body {
    Sized(Vec<u8>),
    /// So many bytes of `x`, never held at once.
    Long(u64),
    Chunked(Vec<Vec<u8>>),
    /// Bytes as they are, after the head.
    Raw(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    KeepAlive,
    Close,
    /// Keeps the connection open and says nothing more.
    Hang,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    queued: Mutex<VecDeque<Reply>>,
    usual: Mutex<Reply>,
    open: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    /// Bytes of body that have arrived, of all requests, as they arrive.
    arrived: AtomicUsize,
    over: AtomicBool,
}

// ===== replies =====

impl Default for Reply {
    fn default() -> Self {
        Self::json(&serde_json::json!({"ok": true}))
    }
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self {
            head: None,
            status,
            headers: Vec::new(),
            body: Body::Sized(Vec::new()),
            trailers: Vec::new(),
            wait: Duration::ZERO,
            pause: Duration::ZERO,
            early: false,
            then: Then::KeepAlive,
        }
    }

    pub fn json(value: &Value) -> Self {
        Self::status(200).header("Content-Type", "application/json").body(value.to_string())
    }

    /// Exactly these bytes, then the end of the connection.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { head: Some(bytes.into()), body: Body::Raw(Vec::new()), then: Then::Close, ..Self::status(200) }
    }

    /// The connection ends without a byte.
    pub fn nothing() -> Self {
        Self::raw("")
    }

    /// Not a byte, and the connection stays open.
    pub fn hang() -> Self {
        Self { then: Then::Hang, ..Self::raw("") }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Sized(body.into());
        self
    }

    /// A body of so many bytes that is never held at once.
    #[must_use]
    pub fn long(mut self, length: u64) -> Self {
        self.body = Body::Long(length);
        self
    }

    #[must_use]
    pub fn chunked<C: Into<Vec<u8>>>(mut self, chunks: impl IntoIterator<Item = C>) -> Self {
        self.body = Body::Chunked(chunks.into_iter().map(Into::into).collect());
        self
    }

    /// A trailer field, after a chunked body.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Says `Content-Length: declared`, sends these bytes only, and closes.
    #[must_use]
    pub fn cut_short(self, declared: usize, sent: impl Into<Vec<u8>>) -> Self {
        let mut reply = self.header("Content-Length", &declared.to_string());
        reply.body = Body::Raw(sent.into());
        reply.then = Then::Close;
        reply
    }

    /// Waits before the first byte.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Waits between chunks.
    #[must_use]
    pub fn slowly(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Answers before the request's body is read.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    #[must_use]
    pub fn then_close(mut self) -> Self {
        self.then = Then::Close;
        self
    }

    /// Sends what it has and then keeps the connection open in silence.
    #[must_use]
    pub fn then_hang(mut self) -> Self {
        self.then = Then::Hang;
        self
    }

    fn write(&self, stream: &mut TcpStream, to_head: bool) -> std::io::Result<()> {
        thread::sleep(self.wait);
        if let Some(raw) = &self.head {
            return stream.write_all(raw);
        }
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let bodyless = self.status == 204 || self.status == 304 || self.status < 200;
        match &self.body {
            Body::Sized(body) if !bodyless => head.push_str(&format!("Content-Length: {}\r\n", body.len())),
            Body::Long(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
            Body::Chunked(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
            Body::Sized(_) | Body::Raw(_) => {}
        }
        if self.then == Then::Close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        if to_head || bodyless {
            return Ok(());
        }
        match &self.body {
            Body::Sized(body) | Body::Raw(body) => stream.write_all(body),
            Body::Long(length) => {
                let piece = vec![b'x'; 256 << 10];
                let mut left = *length;
                while left > 0 {
                    let now = left.min(piece.len() as u64) as usize;
                    stream.write_all(&piece[..now])?;
                    left -= now as u64;
                }
                Ok(())
            }
            Body::Chunked(chunks) => {
                for chunk in chunks {
                    stream.write_all(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())?;
                    thread::sleep(self.pause);
                }
                let trailers: String = self.trailers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
                stream.write_all(format!("0\r\n{trailers}\r\n").as_bytes())
            }
        }
    }
}

// ===== the upstream =====

impl Upstream {
    /// Starts one that answers 200 and `{"ok":true}` to everything.
    pub fn start() -> Self {
        Self::on("127.0.0.1:0".parse().unwrap())
    }

    /// Starts one on a given address, for instance where another has just stopped.
    pub fn on(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let inner = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if inner.over.load(Ordering::SeqCst) {
                    return;
                }
                inner.open.lock().unwrap().extend(stream.try_clone());
                let number = inner.connections.fetch_add(1, Ordering::SeqCst);
                let inner = Arc::clone(&inner);
                thread::spawn(move || inner.serve(stream, number));
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers everything like this from now on.
    pub fn always(&self, reply: Reply) -> &Self {
        *self.shared.usual.lock().unwrap() = reply;
        self
    }

    /// Answers the next request like this; several queue up.
    pub fn next(&self, reply: Reply) -> &Self {
        self.shared.queued.lock().unwrap().push_back(reply);
        self
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The only request so far.
    #[track_caller]
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.into_iter().next().unwrap()
    }

    /// The last request so far.
    #[track_caller]
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("nothing has reached the upstream")
    }

    /// Waits until so many requests have arrived.
    pub fn wait_for(&self, count: usize) -> Vec<Seen> {
        eventually("requests reach the upstream", || Some(self.seen()).filter(|seen| seen.len() >= count))
    }

    /// Forgets what it has seen.
    pub fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
    }

    /// Fails when anything has arrived.
    #[track_caller]
    pub fn saw_nothing(&self) {
        let seen = self.seen();
        assert!(seen.is_empty(), "reached the upstream: {}", seen.iter().map(|s| shown(&s.head)).collect::<Vec<_>>().join("\n"));
    }

    /// How many connections have been made to it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many bytes of bodies have arrived, unfinished ones included.
    pub fn arrived(&self) -> usize {
        self.shared.arrived.load(Ordering::SeqCst)
    }

    /// Cuts every open connection; new ones are served.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it is over and lets go of the port.
        let _ = TcpStream::connect(self.address);
        self.cut();
    }
}

impl Seen {
    /// The one value of a header; fails when it is there twice.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = named(&self.headers, name);
        assert!(all.len() < 2, "{name} is there {} times: {all:?}", all.len());
        all.first().copied()
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        named(&self.headers, name)
    }

    /// Whether any header has this name when `-` and `_` are one and case does not count.
    pub fn has_folded(&self, name: &str) -> bool {
        let fold = |n: &str| n.to_ascii_lowercase().replace('_', "-");
        self.headers.iter().any(|(n, _)| fold(n) == fold(name))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

// ===== one connection =====

impl Shared {
    fn serve(&self, mut stream: TcpStream, connection: usize) {
        let mut unread = Vec::new();
        while let Some(end) = read_until(&mut stream, &mut unread, head_end) {
            let head: Vec<u8> = unread.drain(..end).collect();
            let line = String::from_utf8_lossy(&head).split("\r\n").next().unwrap_or_default().to_owned();
            let mut words = line.split(' ').map(str::to_owned);
            let headers = fields(&head);
            let mut seen = Seen {
                method: words.next().unwrap_or_default(),
                target: words.next().unwrap_or_default(),
                headers,
                head,
                connection,
                ..Seen::default()
            };
            let reply = self.queued.lock().unwrap().pop_front().unwrap_or_else(|| self.usual.lock().unwrap().clone());
            let to_head = seen.method == "HEAD";
            if reply.early && reply.write(&mut stream, to_head).is_err() {
                return;
            }
            if seen.header("expect").is_some() && !reply.early {
                let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            seen.whole = self.read_body(&mut stream, &mut unread, &mut seen).is_some();
            let whole = seen.whole;
            self.seen.lock().unwrap().push(seen);
            let written = reply.early || reply.write(&mut stream, to_head).is_ok();
            match reply.then {
                Then::KeepAlive if whole && written => {}
                Then::Hang => {
                    let _ = read_until(&mut stream, &mut unread, |_| None);
                    return;
                }
                Then::KeepAlive | Then::Close => {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
            }
        }
    }

    /// `None` when the connection ended inside the body.
    fn read_body(&self, stream: &mut TcpStream, unread: &mut Vec<u8>, seen: &mut Seen) -> Option<()> {
        let chunked = seen.headers("transfer-encoding").iter().any(|v| v.to_ascii_lowercase().contains("chunked"));
        if chunked {
            loop {
                let line = take_line(stream, unread)?;
                let size = u64::from_str_radix(String::from_utf8_lossy(&line).trim().split(';').next()?, 16).ok()?;
                if size == 0 {
                    let mut trailers = b"\r\n".to_vec();
                    loop {
                        let line = take_line(stream, unread)?;
                        if line == b"\r\n" {
                            seen.trailers = fields(&trailers);
                            return Some(());
                        }
                        trailers.extend(line);
                    }
                }
                self.take_body(stream, unread, seen, size)?;
                take_line(stream, unread)?;
            }
        }
        let length = seen.headers("content-length").first().and_then(|v| v.parse().ok()).unwrap_or(0);
        self.take_body(stream, unread, seen, length)
    }

    fn take_body(&self, stream: &mut TcpStream, unread: &mut Vec<u8>, seen: &mut Seen, mut left: u64) -> Option<()> {
        while left > 0 {
            if unread.is_empty() && !read_more(stream, unread) {
                return None;
            }
            let now = unread.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let room = KEPT.saturating_sub(seen.body.len()).min(now);
            seen.body.extend(&unread[..room]);
            unread.drain(..now);
            seen.body_len += now as u64;
            self.arrived.fetch_add(now, Ordering::SeqCst);
            left -= now as u64;
        }
        Some(())
    }
}

fn take_line(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = read_until(stream, unread, |bytes| bytes.windows(2).position(|w| w == b"\r\n").map(|at| at + 2))?;
    Some(unread.drain(..end).collect())
}

fn read_until(stream: &mut TcpStream, unread: &mut Vec<u8>, end: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    loop {
        if let Some(at) = end(unread) {
            return Some(at);
        }
        if !read_more(stream, unread) {
            return None;
        }
    }
}

fn read_more(stream: &mut TcpStream, unread: &mut Vec<u8>) -> bool {
    let mut piece = vec![0; 64 << 10];
    match stream.read(&mut piece) {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            unread.extend(&piece[..count]);
            true
        }
    }
}
