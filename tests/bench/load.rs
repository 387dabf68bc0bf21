//! Load at a fixed rate, for latencies that a slow server cannot hide: each request has a time at which it is due,
//! and its latency counts from then, whether or not the connection was free.
//!
//! `load ADDRESS PATH RATE CONNECTIONS SECONDS [HEADER…]` prints one JSON object. `RATE` 0 opens the connections,
//! sends one request on each and holds them idle until its standard input closes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    cell::RefCell,
    io::Read as _,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, path, rate, connections, seconds, headers @ ..] = words.as_slice() else {
        eprintln!("load ADDRESS PATH RATE CONNECTIONS SECONDS [HEADER…]");
        std::process::exit(2);
    };
    let rate: f64 = rate.parse().unwrap();
    let connections: u32 = connections.parse().unwrap();
    let seconds: f64 = seconds.parse().unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let request = Rc::new(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n").into_bytes());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        if rate == 0.0 {
            hold(address, &request, connections).await;
        } else {
            send(address, &request, rate, connections, seconds).await;
        }
    });
}

/// Opens connections, uses each once, and keeps them.
async fn hold(address: &str, request: &[u8], connections: u32) {
    let mut held = Vec::new();
    for number in 0..connections {
        // One source address has too few ports for that many: take others of the loopback network in turn.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("127.0.0.{}:0", 2 + number / 10_000).parse().unwrap()).unwrap();
        let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
        assert_eq!(exchange(&mut stream, request, &mut Vec::new()).await, Some(200));
        held.push(stream);
    }
    println!("{{\"connections\":{}}}", held.len());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

async fn send(address: &str, request: &Rc<Vec<u8>>, rate: f64, connections: u32, seconds: f64) {
    let latencies: Rc<RefCell<Vec<u32>>> = Rc::default();
    let bad = Rc::new(RefCell::new(0u64));
    let begin = Instant::now() + Duration::from_millis(200);
    let each = Duration::from_secs_f64(f64::from(connections) / rate);
    let mut tasks = Vec::new();
    for number in 0..connections {
        let (address, request, latencies, bad) = (address.to_owned(), request.clone(), latencies.clone(), bad.clone());
        tasks.push(tokio::task::spawn_local(async move {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut buffer = Vec::new();
            let mut due = begin + each.mul_f64(f64::from(number) / f64::from(connections));
            while due.duration_since(begin).as_secs_f64() < seconds {
                // The timer counts in milliseconds: what it was late is not the server's latency, what the connection
                // was still busy is.
                let from = if Instant::now() > due {
                    due
                } else {
                    tokio::time::sleep_until(due.into()).await;
                    Instant::now()
                };
                match exchange(&mut stream, &request, &mut buffer).await {
                    Some(200) => latencies.borrow_mut().push(u32::try_from(from.elapsed().as_micros()).unwrap_or(u32::MAX)),
                    _ => {
                        *bad.borrow_mut() += 1;
                        stream = TcpStream::connect(&address).await.unwrap();
                    }
                }
                due += each;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut all = latencies.borrow_mut();
    all.sort_unstable();
    let at = |share: f64| all.get(((all.len() as f64 * share) as usize).min(all.len().saturating_sub(1))).copied().unwrap_or(0);
    println!(
        "{{\"requests\":{},\"bad\":{},\"p50_us\":{},\"p99_us\":{},\"p999_us\":{},\"max_us\":{}}}",
        all.len(),
        bad.borrow(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

/// One request and its whole answer; the status.
async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> Option<u16> {
    stream.write_all(request).await.ok()?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).ok()?.to_ascii_lowercase();
        let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
        while buffer.len() < end + 4 + length {
            if stream.read_buf(buffer).await.ok()? == 0 {
                return None;
            }
        }
        return head.get(9..12)?.parse().ok();
    }
}
