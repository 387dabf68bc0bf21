//! An HTTP/1.1 client that sends what it is told, byte for byte.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use serde_json::Value;

use super::{Key, PATIENCE, fields, head_end, named, shown};

/// One connection to a sidecar.
#[derive(Debug)]
pub struct Connection {
    stream: Line,
    unread: Vec<u8>,
}

/// What a connection goes over.
#[derive(Debug)]
enum Line {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// One answer, body whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The head as it came.
    pub head: Vec<u8>,
    /// Interim answers (100, 103) that came before, by status.
    pub interim: Vec<u16>,
}

/// A request under construction: `Call::get("/user/2/Ac1").with(&key).send(address)`.
#[derive(Debug, Clone)]
pub struct Call {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

// ===== connection =====

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        Self { stream: Line::Tcp(tcp(address)), unread: Vec::new() }
    }

    /// Over a Unix socket.
    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap_or_else(|e| panic!("cannot connect to {}: {e}", path.display()));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: Line::Unix(stream), unread: Vec::new() }
    }

    /// Under TLS, to a server called `localhost`; an error when the handshake fails.
    pub fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        Self::tls_after(address, b"", config)
    }

    /// Under TLS, with something said in the clear before it.
    pub fn tls_after(address: SocketAddr, before: &[u8], config: Arc<ClientConfig>) -> std::io::Result<Self> {
        let mut stream = tcp(address);
        stream.write_all(before)?;
        let connection = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream: Line::Tls(Box::new(stream)), unread: Vec::new() })
    }

    /// What TLS agreed on.
    pub fn session(&self) -> &ClientConnection {
        match &self.stream {
            Line::Tls(stream) => &stream.conn,
            Line::Tcp(_) | Line::Unix(_) => panic!("no TLS here"),
        }
    }

    /// Sends bytes. A peer that has already closed is no failure here: what it answered is what counts.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        let _ = match &mut self.stream {
            Line::Tcp(stream) => stream.write_all(bytes),
            Line::Unix(stream) => stream.write_all(bytes),
            Line::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
        self
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&mut self) -> &mut Self {
        let _ = match &mut self.stream {
            Line::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Line::Unix(stream) => stream.shutdown(Shutdown::Write),
            Line::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()
            }
        };
        self
    }

    /// The next final answer.
    pub fn answer(&mut self) -> Answer {
        self.try_answer().unwrap_or_else(|so_far| panic!("the connection closed before a whole answer; got {}", shown(&so_far)))
    }

    /// The answer to a HEAD: it has no body, whatever its length says.
    pub fn answer_to_head(&mut self) -> Answer {
        self.read_answer(true).unwrap_or_else(|so_far| panic!("the connection closed before a whole answer; got {}", shown(&so_far)))
    }

    /// The next final answer, or what came of it before the connection closed.
    pub fn try_answer(&mut self) -> Result<Answer, Vec<u8>> {
        self.read_answer(false)
    }

    /// Everything that comes until the peer closes.
    pub fn rest(mut self) -> Vec<u8> {
        while self.more() {}
        self.unread
    }

    /// Waits for bytes and says whether the peer closed (or reset) instead of sending some.
    pub fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !self.more()
    }

    /// At least `count` further raw bytes of the answer, or all there are before the close.
    pub fn read_some(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count && self.more() {}
        std::mem::take(&mut self.unread)
    }

    fn read_answer(&mut self, to_head: bool) -> Result<Answer, Vec<u8>> {
        let mut interim = Vec::new();
        loop {
            let head = self.until(head_end)?;
            let text = String::from_utf8_lossy(&head).into_owned();
            let status: u16 = text
                .split(' ')
                .nth(1)
                .and_then(|s| s.get(..3))
                .and_then(|s| s.parse().ok())
                .unwrap_or_else(|| panic!("no status in {text:?}"));
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let headers = fields(&head);
            let bodyless = to_head || status == 101 || status == 204 || status == 304;
            let (body, trailers) = if bodyless { (Vec::new(), Vec::new()) } else { self.body(&headers, &head)? };
            return Ok(Answer { status, headers, body, trailers, head, interim });
        }
    }

    #[allow(clippy::type_complexity)]
    fn body(&mut self, headers: &[(String, String)], head: &[u8]) -> Result<(Vec<u8>, Vec<(String, String)>), Vec<u8>> {
        let cut = |so_far: Vec<u8>| [head, &so_far].concat();
        if named(headers, "transfer-encoding").iter().any(|v| v.eq_ignore_ascii_case("chunked")) {
            let mut body = Vec::new();
            loop {
                let line = self.until(line_end).map_err(cut)?;
                let size = String::from_utf8_lossy(&line);
                let size = usize::from_str_radix(size.trim().split(';').next().unwrap(), 16)
                    .unwrap_or_else(|_| panic!("no chunk size in {size:?}"));
                if size == 0 {
                    let mut trailers = b"\r\n".to_vec();
                    loop {
                        let line = self.until(line_end).map_err(cut)?;
                        if line == b"\r\n" {
                            return Ok((body, fields(&trailers)));
                        }
                        trailers.extend(line);
                    }
                }
                let chunk = self.exactly(size + 2).map_err(|more| cut([&body[..], &more].concat()))?;
                body.extend(&chunk[..size]);
            }
        }
        match named(headers, "content-length").first() {
            Some(length) => Ok((self.exactly(length.parse().unwrap()).map_err(cut)?, Vec::new())),
            None => {
                while self.more() {}
                Ok((std::mem::take(&mut self.unread), Vec::new()))
            }
        }
    }

    fn until(&mut self, end: impl Fn(&[u8]) -> Option<usize>) -> Result<Vec<u8>, Vec<u8>> {
        loop {
            if let Some(at) = end(&self.unread) {
                return Ok(self.unread.drain(..at).collect());
            }
            if !self.more() {
                return Err(std::mem::take(&mut self.unread));
            }
        }
    }

    fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Vec<u8>> {
        self.until(|bytes| (bytes.len() >= count).then_some(count))
    }

    /// Reads once; `false` when the peer has closed.
    fn more(&mut self) -> bool {
        let mut piece = vec![0; 64 << 10];
        let read = match &mut self.stream {
            Line::Tcp(stream) => stream.read(&mut piece),
            Line::Unix(stream) => stream.read(&mut piece),
            Line::Tls(stream) => stream.read(&mut piece),
        };
        match read {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend(&piece[..count]);
                true
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?}; so far {}", shown(&self.unread))
            }
            Err(_) => false,
        }
    }
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|w| w == b"\r\n").map(|at| at + 2)
}

/// Sends raw bytes on a connection of their own and reads one answer.
pub fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    Connection::open(address).send(bytes).answer()
}

// ===== answer =====

impl Answer {
    /// The one value of a header; fails when it is there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = named(&self.headers, name);
        assert!(all.len() < 2, "{name} is there {} times: {all:?}", all.len());
        all.first().copied()
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        named(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", shown(&self.body)))
    }

    /// The `code` of a problem answer; empty when it is none.
    pub fn code(&self) -> String {
        let problem = self.header("content-type").is_some_and(|v| v.starts_with("application/problem+json"));
        let code = problem.then(|| self.json()["code"].as_str().map(str::to_owned)).flatten();
        code.unwrap_or_default()
    }

    /// Vicar's id of the request.
    pub fn request_id(&self) -> String {
        self.header("x-request-id").unwrap_or_else(|| panic!("no X-Request-Id in {}", shown(&self.head))).to_owned()
    }

    /// Fails unless the answer is this problem; shows what it was instead.
    #[track_caller]
    pub fn expect(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}{}", shown(&self.head), shown(&self.body));
        self
    }

    /// Fails unless the answer has this status; shows what it was instead.
    #[track_caller]
    pub fn expect_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}{}", shown(&self.head), shown(&self.body));
        self
    }
}

// ===== call =====

impl Call {
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: None }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    /// Signs in with the two headers.
    #[must_use]
    pub fn with(self, key: &Key) -> Self {
        self.header("X-Access-Key-Id", &key.id).header("X-Access-Key-Secret", &key.secret)
    }

    #[must_use]
    pub fn on_behalf_of(self, user: &str) -> Self {
        self.header("X-Impersonate-User", user)
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        self.header("Content-Type", "application/json").body(value.to_string())
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The request as it goes out. `Host` and `Content-Length` are added unless they were given.
    pub fn bytes(&self) -> Vec<u8> {
        let given = |name| !named(&self.headers, name).is_empty();
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        if !given("host") {
            out.extend(b"Host: vicar.test\r\n");
        }
        for (name, value) in &self.headers {
            out.extend(format!("{name}: {value}\r\n").as_bytes());
        }
        let body = self.body.as_deref().unwrap_or_default();
        if self.body.is_some() && !given("content-length") && !given("transfer-encoding") {
            out.extend(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        out.extend(b"\r\n");
        out.extend(body);
        out
    }

    /// Sends it on a connection of its own.
    pub fn send(&self, address: SocketAddr) -> Answer {
        self.send_on(&mut Connection::open(address))
    }

    /// Sends it on an open connection.
    pub fn send_on(&self, connection: &mut Connection) -> Answer {
        connection.send(self.bytes());
        if self.method == "HEAD" { connection.answer_to_head() } else { connection.answer() }
    }
}
