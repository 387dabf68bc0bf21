//! Answers to what is no request at all.
//!
//! The HTTP library refuses a head that it cannot parse by itself, with a status and nothing else. A caller is owed
//! more (DESIGN §4.7): a problem document and a request id. So [`super::wire::Wire`] asks here before it writes: while no
//! request is being served and nothing of an earlier answer is left to send, what the library wants to write can
//! only be such a refusal, and Vicar's own goes out in its place.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::io::AsyncWrite;

use super::{
    body::Body,
    pipeline,
    problem::{Afterwards, Code, Problem},
    server::Shared,
    wire::Seen,
};

/// How the library's refusals begin.
const REFUSAL: &[u8] = b"HTTP/1.1 4";
/// Where the status stands in one.
const STATUS: std::ops::Range<usize> = 9..12;

/// What stands in for the library's refusals on one connection.
#[derive(Debug)]
pub struct Unparsed {
    shared: Arc<Shared>,
    /// What is going out, and how much of it has.
    going: Option<(Vec<u8>, usize)>,
}

impl Unparsed {
    /// For one connection.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, going: None }
    }

    /// Writes Vicar's refusal in place of `theirs`, where that is one; ready with `None` where it is something else.
    pub fn stand_in<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        seen: &Seen,
        cx: &mut Context<'_>,
        theirs: &[u8],
    ) -> Poll<io::Result<Option<()>>> {
        let (ours, done) = match &mut self.going {
            Some(going) => going,
            None if seen.owes_nothing() && theirs.starts_with(REFUSAL) => {
                let ours = self.refusal(theirs);
                self.going.insert((ours, 0))
            }
            None => return Poll::Ready(Ok(None)),
        };
        while let Some(left) = ours.get(*done..).filter(|left| !left.is_empty()) {
            match ready!(Pin::new(&mut *stream).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => *done += n,
            }
        }
        self.going = None;
        Poll::Ready(Ok(Some(())))
    }

    fn refusal(&self, theirs: &[u8]) -> Vec<u8> {
        let status = theirs.get(STATUS).and_then(|digits| StatusCode::from_bytes(digits).ok());
        let problem = match status {
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG) => {
                Problem { connection: Afterwards::Close, ..Code::HeadTooLarge.into() }
            }
            _ => Problem::ambiguous("The request is not well-formed HTTP/1.1 (RFC 9112)."),
        };
        written(pipeline::refuse(&self.shared, problem))
    }
}

/// An answer of Vicar's own as it goes over HTTP/1.1, where no library writes it.
pub(super) fn written(answer: Response<Body>) -> Vec<u8> {
    let (head, body) = answer.into_parts();
    let document = match body {
        Body::Full(document) => document.unwrap_or_default(),
        Body::Empty | Body::Relayed(_) => Bytes::new(),
    };
    let mut out = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", head.status, document.len()).into_bytes();
    for (name, value) in &head.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&document);
    out
}
