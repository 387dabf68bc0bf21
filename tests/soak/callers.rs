//! Callers of every manner, good and bad, that do not stop until told to.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Runtime,
    task::JoinHandle,
    time::timeout,
};

use super::support::{Key, books::Dice};

const LIST: &str = "/user/2/Ac1";
const ORDER: &str = "/process/2/Ac1/Purchase_Order";
/// How long a caller waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it has to finish in the end.
const GRACE: Duration = Duration::from_secs(2);

/// All of them.
pub(crate) struct Callers {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What they had.
pub(crate) struct Tally {
    /// Ids of requests that were answered with 200, whole.
    pub(crate) answered: Vec<String>,
    pub(crate) good: u64,
    pub(crate) conversations: u64,
    refused: u64,
    failed: u64,
    broken_off: u64,
}

struct Shared {
    over: AtomicBool,
    address: SocketAddr,
    key: Key,
    doomed: Mutex<Key>,
    answered: Mutex<Vec<u128>>,
    good: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    broken_off: AtomicU64,
    conversations: AtomicU64,
}

impl Callers {
    pub(crate) fn start(runtime: &Runtime, address: SocketAddr, key: &Key, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            over: AtomicBool::new(false),
            address,
            key: key.clone(),
            doomed: Mutex::new(key.clone()),
            answered: Mutex::default(),
            good: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            broken_off: AtomicU64::new(0),
            conversations: AtomicU64::new(0),
        });
        let mut tasks = Vec::new();
        for number in 0..20 {
            let (shared, mut dice) = (shared.clone(), Dice(seed ^ (number + 1) << 20));
            tasks.push(runtime.spawn(async move {
                while !shared.over.load(Relaxed) {
                    // Whatever breaks is the point.
                    let _ = match number {
                        0..8 => timeout(PATIENCE, steady(&shared, &mut dice)).await,
                        8..12 => timeout(PATIENCE, second(&shared, &mut dice)).await,
                        12..16 => timeout(PATIENCE, rude(&shared, &mut dice)).await,
                        _ => timeout(PATIENCE, converse(&shared, &mut dice)).await,
                    };
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }));
        }
        Self { shared, tasks }
    }

    /// A key that some use from now on, and that will not live long.
    pub(crate) fn doom(&self, key: Option<Key>) {
        if let Some(key) = key {
            *self.shared.doomed.lock().unwrap() = key;
        }
    }

    pub(crate) fn end(self, runtime: &Runtime) -> Tally {
        self.shared.over.store(true, Relaxed);
        runtime.block_on(async {
            let end = tokio::time::Instant::now() + GRACE;
            for mut task in self.tasks {
                match tokio::time::timeout_at(end, &mut task).await {
                    Ok(ended) => ended.unwrap(),
                    // It waits for an answer that is not worth waiting for.
                    Err(_) => task.abort(),
                }
            }
        });
        let count = |of: &AtomicU64| of.load(Relaxed);
        Tally {
            answered: self.shared.answered.lock().unwrap().iter().map(|id| ulid::Ulid(*id).to_string()).collect(),
            good: count(&self.shared.good),
            conversations: count(&self.shared.conversations),
            refused: count(&self.shared.refused),
            failed: count(&self.shared.failed),
            broken_off: count(&self.shared.broken_off),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { good, refused, failed, broken_off, conversations, .. } = self;
        write!(
            f,
            "{good} answers of the service, {refused} refusals of Vicar, {failed} without a whole answer, {broken_off} broken off by callers, {conversations} WebSockets"
        )
    }
}

fn request(shared: &Shared, dice: &mut Dice, base: &str) -> Request<Full<Bytes>> {
    let key = if dice.below(8) == 0 { shared.doomed.lock().unwrap().clone() } else { shared.key.clone() };
    let mut request = if dice.below(4) == 0 {
        let body = vec![b' '; usize::try_from(dice.below(40_000)).unwrap()];
        Request::post(format!("{base}{ORDER}")).header("content-type", "application/json").body(Full::from(body))
    } else {
        Request::get(format!("{base}{LIST}?n={}", dice.below(1000))).body(Full::default())
    }
    .unwrap();
    let headers = request.headers_mut();
    headers.insert("host", "vicar.test".parse().unwrap());
    // Some get it wrong.
    if dice.below(50) != 0 {
        headers.insert("x-access-key-id", key.id.parse().unwrap());
    }
    headers.insert("x-access-key-secret", key.secret.parse().unwrap());
    if dice.below(3) == 0 {
        headers.insert("x-impersonate-user", "zoe@acme.example".parse().unwrap());
    }
    if base.is_empty() {
        return request;
    }
    request.headers_mut().remove("host");
    request
}

/// Takes an answer to its end, and writes down what it came to.
async fn take(shared: &Shared, answer: Result<Response<Incoming>, hyper::Error>) -> Result<(), hyper::Error> {
    let answer = answer.inspect_err(|_| _ = shared.failed.fetch_add(1, Relaxed))?;
    let (head, body) = answer.into_parts();
    let problem = head.headers.get("content-type").is_some_and(|is| is == "application/problem+json");
    let id = head.headers.get("x-request-id").and_then(|id| id.to_str().ok()?.parse::<ulid::Ulid>().ok());
    body.collect().await.inspect_err(|_| _ = shared.failed.fetch_add(1, Relaxed))?;
    if problem {
        shared.refused.fetch_add(1, Relaxed);
    } else {
        shared.good.fetch_add(1, Relaxed);
        shared.answered.lock().unwrap().push(id.expect("every answer has an id").0);
    }
    Ok(())
}

/// One request after the other over HTTP/1.1.
async fn steady(shared: &Shared, dice: &mut Dice) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(shared.address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    for _ in 0..1 + dice.below(300) {
        if shared.over.load(Relaxed) || sender.ready().await.is_err() {
            break;
        }
        let answer = sender.send_request(request(shared, dice, "")).await;
        take(shared, answer).await?;
    }
    connection.abort();
    Ok(())
}

/// Several at once over HTTP/2; some are given up on.
async fn second(shared: &Shared, dice: &mut Dice) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(shared.address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    for _ in 0..1 + dice.below(60) {
        if shared.over.load(Relaxed) || connection.is_finished() {
            break;
        }
        let mut streams = Vec::new();
        for _ in 0..8 {
            let (mut sender, request) = (sender.clone(), request(shared, dice, "http://vicar.test"));
            let patience = if dice.below(10) == 0 { Duration::from_micros(dice.below(5000)) } else { PATIENCE };
            streams.push(async move {
                if timeout(patience, async { take(shared, sender.send_request(request).await).await }).await.is_err() {
                    // Dropped, it is reset.
                    shared.broken_off.fetch_add(1, Relaxed);
                }
            });
        }
        futures_util::future::join_all(streams).await;
    }
    connection.abort();
    Ok(())
}

/// Somebody who breaks off somewhere, or sends what is no request.
async fn rude(shared: &Shared, dice: &mut Dice) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut stream = TcpStream::connect(shared.address).await?;
    let Key { id, secret, .. } = &shared.key;
    let signed = format!("Host: x\r\nX-Access-Key-Id: {id}\r\nX-Access-Key-Secret: {secret}\r\n");
    let get = format!("GET {LIST} HTTP/1.1\r\n{signed}\r\n");
    let post =
        format!("POST {ORDER} HTTP/1.1\r\n{signed}Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{}", " ".repeat(5000));
    let whole = match dice.below(8) {
        0 => post.replace("Content-Length: 5000", "Content-Length: 5000\r\nTransfer-Encoding: chunked"),
        1 => format!("GET {LIST}/../x HTTP/1.1\r\n{signed}\r\n"),
        2 => format!("{get}{get}{post}{get}"),
        3 => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense that is no frame".to_owned(),
        4 => format!("GET {LIST} HTTP/1.1\r\n{signed}X: {}\r\n\r\n", "y".repeat(100_000)),
        5 => get,
        _ => post,
    };
    let cut = usize::try_from(dice.below(whole.len() as u64 + 1)).unwrap();
    let sent = if dice.below(3) == 0 { whole.len() } else { cut };
    stream.write_all(&whole.as_bytes()[..sent]).await?;
    match dice.below(3) {
        0 => {}
        1 => tokio::time::sleep(Duration::from_millis(dice.below(20))).await,
        _ => _ = timeout(Duration::from_millis(50), stream.read(&mut [0; 512])).await,
    }
    if dice.below(2) == 0 {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    shared.broken_off.fetch_add(1, Relaxed);
    Ok(())
}

/// A WebSocket that lasts a while, if its key does.
async fn converse(shared: &Shared, dice: &mut Dice) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut stream = TcpStream::connect(shared.address).await?;
    stream.set_nodelay(true)?;
    let Key { id, secret, .. } = if dice.below(2) == 0 { shared.doomed.lock().unwrap().clone() } else { shared.key.clone() };
    let ask = format!(
        "GET {LIST} HTTP/1.1\r\nHost: x\r\nX-Access-Key-Id: {id}\r\nX-Access-Key-Secret: {secret}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await?;
    let mut read = Vec::new();
    while !read.windows(4).any(|w| w == b"\r\n\r\n") {
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    }
    if !read.starts_with(b"HTTP/1.1 101") {
        return Ok(());
    }
    shared.conversations.fetch_add(1, Relaxed);
    let mut buffer = vec![0; 4096];
    for _ in 0..dice.below(100) {
        if shared.over.load(Relaxed) {
            break;
        }
        stream.write_all(b"word").await?;
        if stream.read(&mut buffer).await? == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(dice.below(20))).await;
    }
    if dice.below(3) == 0 {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}
