//! An HTTP/2 client, a service that speaks HTTP/2, and frames written by hand for what no library would send.

use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    client::conn::http2::{self, SendRequest},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{io::AsyncRead, io::AsyncWrite, runtime::Runtime};

use crate::support::{Answer, Key, PATIENCE, eventually};

/// A body to send.
pub type Body = BoxBody<Bytes, Infallible>;

/// One connection that speaks HTTP/2.
pub struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Body>,
    connection: tokio::task::JoinHandle<()>,
}

impl Http2 {
    /// With prior knowledge, in the clear.
    pub fn clear(address: SocketAddr) -> Self {
        let runtime = runtime();
        let stream = runtime.block_on(tokio::net::TcpStream::connect(address)).unwrap();
        Self::over(runtime, stream)
    }

    /// Under TLS.
    pub fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let runtime = runtime();
        let stream = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            tokio_rustls::TlsConnector::from(config).connect(name, stream).await.unwrap()
        });
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(runtime, stream)
    }

    fn over(runtime: Runtime, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = runtime.block_on(async {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            (sender, tokio::spawn(async move { drop(connection.await) }))
        });
        Self { runtime, sender, connection }
    }

    /// Sends a request and reads the whole answer.
    pub fn send(&mut self, request: Request<Body>) -> Answer {
        self.try_send(request).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    pub fn try_send(&mut self, request: Request<Body>) -> Result<Answer, hyper::Error> {
        let sent = self.sender.send_request(request);
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, async { whole(sent.await?).await }).await.expect("an answer in time") })
    }

    /// Sends all of them at once.
    pub fn send_all(&mut self, requests: Vec<Request<Body>>) -> Vec<Answer> {
        let sent: Vec<_> = requests.into_iter().map(|request| self.sender.send_request(request)).collect();
        self.runtime.block_on(async {
            let mut answers = Vec::new();
            for one in sent {
                answers.push(whole(one.await.unwrap()).await.unwrap());
            }
            answers
        })
    }

    /// Sends a request and leaves the answer's body untaken.
    pub fn begin(&mut self, request: Request<Body>) -> Response<Incoming> {
        let sent = self.sender.send_request(request);
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, sent).await.expect("an answer in time").unwrap() })
    }

    /// Runs something on the connection's runtime.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("in time") })
    }

    /// Whether the other end has closed the connection, waited for.
    pub fn is_closed(&mut self) -> bool {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, &mut self.connection).await.is_ok() })
    }
}

async fn whole(response: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    let text =
        |(name, value): (&http::HeaderName, &http::HeaderValue)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned());
    let collected = body.collect().await?;
    let trailers = collected.trailers().map(|trailers| trailers.iter().map(text).collect()).unwrap_or_default();
    let headers = head.headers.iter().map(text).collect();
    let shown = format!("{head:?}").into_bytes();
    Ok(Answer { status: head.status.as_u16(), headers, body: collected.to_bytes().to_vec(), trailers, head: shown, interim: Vec::new() })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// No body.
pub fn empty() -> Body {
    Full::default().boxed()
}

/// A body, and what is said after it.
pub fn with_trailer(body: &'static str, name: &'static str, value: &'static str) -> Body {
    with_trailers(body, &[(name, value)])
}

/// A body, and all that is said after it.
pub fn with_trailers(body: &'static str, fields: &[(&'static str, &'static str)]) -> Body {
    let trailers = fields.iter().map(|&(name, value)| (name.parse().unwrap(), http::HeaderValue::from_static(value))).collect();
    let frames = [Ok(Frame::data(Bytes::from_static(body.as_bytes()))), Ok(Frame::trailers(trailers))];
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

/// What a [`Service`] has seen of a request.
#[derive(Debug, Clone)]
pub struct Heard {
    pub method: String,
    pub uri: String,
    pub headers: Vec<(String, String)>,
    pub trailers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub version: http::Version,
}

/// A service that speaks HTTP/2 with prior knowledge and answers like a gRPC server: a message, then trailers.
#[derive(Debug)]
pub struct Service {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    connections: Arc<Mutex<usize>>,
}

impl Service {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let (hears, counts) = (heard.clone(), connections.clone());
        thread::spawn(move || {
            runtime().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    *counts.lock().unwrap() += 1;
                    let hears = hears.clone();
                    let service = service_fn(move |request: Request<Incoming>| {
                        let hears = hears.clone();
                        async move {
                            let (head, body) = request.into_parts();
                            let collected = body.collect().await?;
                            let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                            };
                            let trailers = collected.trailers().map(|trailers| trailers.iter().map(text).collect()).unwrap_or_default();
                            hears.lock().unwrap().push(Heard {
                                method: head.method.to_string(),
                                uri: head.uri.to_string(),
                                headers: head.headers.iter().map(text).collect(),
                                trailers,
                                body: collected.to_bytes().to_vec(),
                                version: head.version,
                            });
                            let response = Response::builder().header("content-type", "application/grpc");
                            Ok::<_, hyper::Error>(response.body(with_trailer("message", "grpc-status", "0")).unwrap())
                        }
                    });
                    tokio::spawn(
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
                    );
                }
            });
        });
        Self { address, heard, connections }
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

/// A connection of HTTP/2 frames written by hand.
#[derive(Debug)]
pub struct Frames {
    stream: TcpStream,
    unread: Vec<u8>,
}

pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;

impl Frames {
    /// Says hello.
    pub fn open(address: SocketAddr) -> Self {
        Self::with_settings(address, &[])
    }

    /// Says hello, and that so many bytes of each answer may come before more is asked for.
    pub fn with_window(address: SocketAddr, window: u32) -> Self {
        Self::with_settings(address, &[&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat())
    }

    fn with_settings(address: SocketAddr, settings: &[u8]) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut frames = Self { stream, unread: Vec::new() };
        frames.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.send(SETTINGS, 0, 0, settings);
        frames
    }

    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.raw(&[head.as_slice(), payload].concat())
    }

    /// Sends `frame` of stream after stream until the other end takes no more for a while.
    pub fn send_until_stuck(&mut self, frame: impl Fn(&mut Self, u32) -> bool) {
        self.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut stream = 1;
        while frame(self, stream) {
            stream += 2;
        }
    }

    /// A request without a body, its fields exactly as they are given.
    pub fn request(&mut self, stream: u32, fields: &[(&str, &str)]) -> bool {
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &block(fields))
    }

    /// The next frame: kind, stream, payload; none when the connection is closed.
    pub fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        while self.unread.len() < 9 || self.unread.len() < 9 + length(&self.unread) {
            let mut piece = [0; 16 << 10];
            match self.stream.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.unread.extend(&piece[..count]),
            }
        }
        let payload = length(&self.unread);
        let frame: Vec<u8> = self.unread.drain(..9 + payload).collect();
        let stream = u32::from_be_bytes(frame[5..9].try_into().unwrap());
        Some((frame[3], stream, frame[9..].to_vec()))
    }

    /// What becomes of a stream: its answer's headers, a reset, or the end of the connection.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            match self.next() {
                None => return Outcome::Closed,
                Some((GOAWAY, _, payload)) if payload[4..8] != [0; 4] => return Outcome::Closed,
                Some((HEADERS, of, block)) if of == stream => return Outcome::Answered(status(&block)),
                Some((RST_STREAM, of, _)) if of == stream => return Outcome::Reset,
                Some(_) => {}
            }
        }
    }

    pub fn is_closed(&mut self) -> bool {
        eventually("the connection closes", || match self.next() {
            None | Some((GOAWAY, ..)) => Some(true),
            Some(_) => None,
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered(Option<u16>),
    Reset,
    Closed,
}

fn length(frame: &[u8]) -> usize {
    usize::from(frame[0]) << 16 | usize::from(frame[1]) << 8 | usize::from(frame[2])
}

/// HPACK without compression: each field a literal that is never indexed.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0x10);
        for text in [name, value] {
            number(&mut out, text.len());
            out.extend(text.as_bytes());
        }
    }
    out
}

fn number(out: &mut Vec<u8>, value: usize) {
    if value < 127 {
        out.push(u8::try_from(value).unwrap());
        return;
    }
    out.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// The status at the beginning of an answer's block, where it is one of the static table or a literal of digits.
fn status(block: &[u8]) -> Option<u16> {
    match block.first()? {
        0x88 => Some(200),
        0x89 => Some(204),
        0x8c => Some(400),
        0x8d => Some(404),
        0x8e => Some(500),
        _ => None,
    }
}

/// A GET with a key, as HTTP/2 says it.
pub fn get(path: &str, key: &Key) -> Request<Body> {
    let request = Request::get(format!("http://vicar.test{path}"));
    request.header("x-access-key-id", &key.id).header("x-access-key-secret", &key.secret).body(empty()).unwrap()
}

/// The fields of a GET without a key, to be written by hand.
pub fn keyless(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "GET"), (":scheme", "http"), (":authority", "vicar.test"), (":path", path)]
}

/// The fields of a GET with a key, to be written by hand.
pub fn fields<'f>(path: &'f str, key: &'f Key) -> Vec<(&'f str, &'f str)> {
    let mut fields = keyless(path);
    fields.extend([("x-access-key-id", key.id.as_str()), ("x-access-key-secret", key.secret.as_str())]);
    fields
}
