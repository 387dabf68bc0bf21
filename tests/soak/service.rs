//! A service that does wrong now and then, in every way that a service can.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
};

use super::support::books::Dice;

/// The service. What reaches it is written down by request id.
pub(crate) struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
    cut: watch::Sender<u64>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<u128>>,
    wrongs: AtomicU64,
}

impl Service {
    pub(crate) fn start(runtime: &Runtime, seed: u64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, _) = watch::channel(0);
        let (shared, cuts) = (Arc::new(Shared::default()), cut.subscribe());
        let inner = shared.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut number = seed;
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let (inner, mut cuts, dice) = (inner.clone(), cuts.clone(), Dice(number));
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = serve(stream, &inner, dice) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { address, shared, cut }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Drops every connection, whatever is under way on it.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// The ids of all requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().iter().map(|id| ulid::Ulid(*id).to_string()).collect()
    }

    /// How many answers were no good.
    pub(crate) fn wrongs(&self) -> u64 {
        self.shared.wrongs.load(Ordering::Relaxed)
    }
}

/// Closes with a reset instead of a goodbye.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn serve(mut stream: TcpStream, shared: &Shared, mut dice: Dice) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
        read.drain(..end);
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let id = header("x-request-id:").expect("Vicar names every request").to_uppercase();
        shared.seen.lock().unwrap().push(ulid::Ulid::from_string(&id).unwrap().0);
        if header("upgrade:").is_some() {
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await?;
            return converse(stream, dice).await;
        }
        let way = dice.below(60);
        if way == 0 {
            // An answer before the body has come.
            shared.wrongs.fetch_add(1, Ordering::Relaxed);
            return stream.write_all(b"HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
        }
        match header("content-length:").map(|length| length.parse().unwrap()) {
            Some(length) => {
                while read.len() < length {
                    if stream.read_buf(&mut read).await? == 0 {
                        return Ok(());
                    }
                }
                read.drain(..length);
            }
            None if header("transfer-encoding:").is_some() => {
                let end = loop {
                    if let Some(at) = read.windows(5).position(|w| w == b"0\r\n\r\n") {
                        break at + 5;
                    }
                    if stream.read_buf(&mut read).await? == 0 {
                        return Ok(());
                    }
                };
                read.drain(..end);
            }
            None => {}
        }
        if (1..=8).contains(&way) {
            shared.wrongs.fetch_add(1, Ordering::Relaxed);
        }
        let last: &[u8] = match way {
            1 => return Ok(()),
            2 => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").await?;
                reset(&stream);
                return Ok(());
            }
            3 => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nnot so much").await?;
                reset(&stream);
                return Ok(());
            }
            4 => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await?;
                return Ok(());
            }
            5 => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n").await?;
                return Ok(());
            }
            6 => {
                stream.write_all(b"\x16\x03\x01 no HTTP at all\r\n\r\n").await?;
                return Ok(());
            }
            7 => {
                stream.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno").await?;
                continue;
            }
            8 => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhal").await?;
                tokio::time::sleep(Duration::from_millis(30)).await;
                reset(&stream);
                return Ok(());
            }
            9 => {
                tokio::time::sleep(Duration::from_millis(dice.below(100))).await;
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"
            }
            10 => b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            11 => b"HTTP/1.1 429 Slower\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
            12 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5\r\nhello\r\n0\r\nX-T: y\r\n\r\n",
            13 => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n").await?;
                stream.write_all(&vec![b'x'; 262_144]).await?;
                continue;
            }
            14 => b"HTTP/1.1 204 No Content\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}",
        };
        stream.write_all(last).await?;
    }
}

/// Sends back what comes, until somebody has had enough.
async fn converse(mut stream: TcpStream, mut dice: Dice) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
        match dice.below(40) {
            0 => {
                reset(&stream);
                return Ok(());
            }
            1 => return Ok(()),
            _ => {}
        }
    }
}
