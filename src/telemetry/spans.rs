//! Spans for a collector: OTLP over HTTP, in its JSON form (OpenTelemetry Protocol 1.x, `/v1/traces`).
//!
//! A request hands its span to a bounded queue and goes on; one task sends what has gathered. A collector that is
//! slow or away costs spans, never requests: those are counted and said once a minute.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};

/// Spans that may wait to be sent.
const QUEUE: usize = 8192;
/// Most spans in one message.
const BATCH: usize = 512;
/// How long spans gather.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take for one message.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where finished spans go.
#[derive(Debug, Clone)]
pub struct Spans {
    queue: mpsc::Sender<Span>,
    lost: Arc<AtomicU64>,
}

/// One finished span.
#[derive(Debug, Clone)]
pub struct Span {
    /// 32 hex digits.
    pub trace: String,
    /// 16 hex digits.
    pub id: String,
    /// 16 hex digits, where the request came with a trace.
    pub parent: Option<String>,
    /// Method and path template, never the path itself: names must be few.
    pub name: String,
    /// When the request's head was here.
    pub began: SystemTime,
    /// When the last byte of the answer had gone.
    pub ended: SystemTime,
    /// What is known of it, by the names of OpenTelemetry's conventions where they have one.
    pub attributes: Vec<(&'static str, String)>,
    /// The status of the answer.
    pub status: u16,
}

/// A collector address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spans go to a collector beside this sidecar: write http://HOST:PORT, as in http://127.0.0.1:4318")]
pub struct CollectorError;

impl Spans {
    /// Starts sending to the collector at `url`, in the name of `sidecar`. Needs a tokio runtime.
    ///
    /// # Errors
    /// When `url` is not `http://HOST:PORT`.
    pub fn start(url: &str, sidecar: &str) -> Result<Self, CollectorError> {
        let (host, path) = collector(url)?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let exporter = Exporter { host, path, sidecar: sidecar.to_owned(), lost: lost.clone() };
        // It ends by itself when the last sender is gone.
        tokio::spawn(exporter.run(waiting));
        Ok(Self { queue, lost })
    }

    /// Takes a finished span; one that finds the queue full is lost.
    pub fn send(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Host with port, and path, of a collector's URL.
///
/// # Errors
/// When it is not `http://HOST:PORT`.
pub fn collector(url: &str) -> Result<(String, String), CollectorError> {
    let uri: Uri = url.parse().map_err(|_| CollectorError)?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("http")).ok_or(CollectorError)?;
    let path = match uri.path() {
        "" | "/" => "/v1/traces".to_owned(),
        path => path.to_owned(),
    };
    Ok((format!("{host}:{}", uri.port_u16().unwrap_or(4318)), path))
}

struct Exporter {
    host: String,
    path: String,
    sidecar: String,
    lost: Arc<AtomicU64>,
}

impl Exporter {
    async fn run(self, mut waiting: mpsc::Receiver<Span>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut said = None::<tokio::time::Instant>;
        while waiting.recv_many(&mut batch, BATCH).await > 0 {
            if batch.len() < BATCH {
                tokio::time::sleep(GATHER).await;
                while batch.len() < BATCH
                    && let Ok(span) = waiting.try_recv()
                {
                    batch.push(span);
                }
            }
            let sent = timeout(PATIENCE, self.send(&batch)).await.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
            if let Err(cause) = sent {
                let lost = self.lost.fetch_add(batch.len() as u64, Ordering::Relaxed) + batch.len() as u64;
                if said.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
                    said = Some(tokio::time::Instant::now());
                    tracing::warn!(collector = self.host, cause, lost, "spans could not be sent");
                }
            }
            batch.clear();
        }
    }

    async fn send(&self, batch: &[Span]) -> Result<(), String> {
        let stream = TcpStream::connect(&self.host).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let request = Request::post(&self.path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(self.message(batch).to_string())))
            .map_err(|e| e.to_string())?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
        };
        tokio::select! {
            answered = exchange => answered,
            // The connection has to be driven while the answer is waited for; it ends first only when it breaks.
            broken = connection => Err(broken.err().map_or_else(|| "it closed the connection".to_owned(), |e| e.to_string())),
        }
    }

    fn message(&self, batch: &[Span]) -> Value {
        json!({"resourceSpans": [{
            "resource": {"attributes": [text("service.name", "vicar"), text("service.version", env!("CARGO_PKG_VERSION")), text("service.instance.id", &self.sidecar)]},
            "scopeSpans": [{"scope": {"name": "vicar"}, "spans": batch.iter().map(span).collect::<Vec<_>>()}],
        }]})
    }
}

fn span(span: &Span) -> Value {
    let mut attributes: Vec<Value> = span.attributes.iter().map(|(key, value)| text(key, value)).collect();
    attributes.push(json!({"key": "http.response.status_code", "value": {"intValue": span.status.to_string()}}));
    // 2 is SPAN_KIND_SERVER; a status of 2 is an error, and only the server's own faults are (semantic conventions for HTTP).
    json!({
        "traceId": span.trace,
        "spanId": span.id,
        "parentSpanId": span.parent.as_deref().unwrap_or_default(),
        "name": span.name,
        "kind": 2,
        "startTimeUnixNano": nanos(span.began),
        "endTimeUnixNano": nanos(span.ended),
        "attributes": attributes,
        "status": {"code": if span.status >= 500 { 2 } else { 0 }},
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
