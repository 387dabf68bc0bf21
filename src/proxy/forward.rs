//! The end of a request's way, DESIGN §3: steps 11 and 12, there and back.

use std::{rc::Rc, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use hyper::body::{Body as _, Incoming};

use super::{
    admission::media_type,
    body::{Begun, Body, Held, Idle, Relay},
    deadline::Deadline,
    limits::Permit,
    outbox,
    pipeline::{Way, too_large},
    problem::{Afterwards, Code, Problem},
    upgrade::{self, Upgrade},
    upload::{Upload, UploadEnd, UploadState, UpstreamBody},
    upstream::{Answer, Bounds, Lease, UpstreamError},
};
use crate::{
    audit::{Entry, Opened},
    directory::Caller,
    policy::Leave,
};

/// What goes on until somebody ends it: server-sent events (HTML §9.2), pictures that replace each other, and JSON one
/// after the other (RFC 7464 for the sequence).
const ENDLESS: [&str; 8] = [
    "text/event-stream",
    "multipart/x-mixed-replace",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/json-seq",
    "application/stream+json",
];

/// Whether an answer goes on until somebody ends it.
fn is_endless(headers: &HeaderMap) -> bool {
    let media = media_type(headers);
    ENDLESS.iter().any(|endless| media.eq_ignore_ascii_case(endless.as_bytes()))
}

/// A request that may go to the service as soon as its record is as safe as the settings want it.
pub(super) struct Granted {
    pub(super) going: Going,
    pub(super) opened: Opened,
}

/// What goes to the service, and what is held meanwhile.
pub(super) struct Going {
    pub(super) request: Request<UpstreamBody>,
    pub(super) leave: Leave,
    pub(super) caller: Caller,
    pub(super) permit: Permit,
    pub(super) upload: Option<Rc<UploadState>>,
    pub(super) upgrade: Option<Upgrade>,
}

/// What a request holds while the service has it.
pub(super) struct UnderWay {
    entry: Entry,
    permit: Permit,
    caller: Caller,
    upload: Option<Rc<UploadState>>,
    upgrade: Option<Upgrade>,
    asked: Instant,
}

impl Way {
    /// The body that goes on: what was `read` of it already, or what is still to come.
    pub(super) fn upload(&self, read: Option<Bytes>, coming: Option<Incoming>, limit: u64) -> (UpstreamBody, Option<Rc<UploadState>>) {
        match (read, coming.filter(|body| !body.is_end_stream())) {
            (Some(bytes), _) => {
                let state = UploadState::whole(bytes.len() as u64);
                (UpstreamBody::Full(Some(bytes)), Some(Rc::new(state)))
            }
            (None, None) => (UpstreamBody::Empty, None),
            (None, Some(body)) => {
                let state = Rc::new(UploadState::coming(body, limit, self.exchange.phase.is_some()));
                let deadline = self.worker.deadlines.deadline();
                let exchange = (self.exchange.deadline.clone(), self.end());
                let upload = Upload::new(self.rules.clone(), state.clone(), deadline, exchange);
                (UpstreamBody::Relayed(upload), Some(state))
            }
        }
    }

    /// Sends a request to the service. It is on its way when this returns.
    pub(super) fn send(&self, going: Going, mut entry: Entry) -> (impl Answer + use<>, UnderWay) {
        let Going { mut request, leave, caller, permit, upload, upgrade } = going;
        if matches!(request.body(), UpstreamBody::Relayed(_)) && !request.headers().contains_key(header::CONTENT_LENGTH) {
            // The HTTP library would leave the body of a GET away unless told that there is one.
            request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if let Some(upgrade) = &upgrade {
            upgrade.ask(&self.worker, request.headers_mut());
        }
        if let Some(upload) = &upload {
            entry.counted_by(upload.passed.clone());
        }
        let timeouts = &self.rules.timeouts;
        let bounds = Bounds { connect: timeouts.connect.0, first_byte: timeouts.first_byte.0, end: self.end() };
        let upstream = self.worker.upstream(&self.rules.service);
        let asked = Instant::now();
        let answer = upstream.send(request, leave, &entry, &self.exchange.deadline, bounds);
        (answer, UnderWay { entry, permit, caller, upload, upgrade, asked })
    }

    /// Makes the caller's answer of the service's.
    pub(super) fn answered(
        &self,
        answered: Result<(Response<Incoming>, Lease), UpstreamError>,
        under_way: UnderWay,
    ) -> Result<Response<Body>, Problem> {
        let UnderWay { mut entry, permit, caller, upload, upgrade, asked } = under_way;
        let deadline: &Rc<Deadline> = &self.exchange.deadline;
        let took_us = micros(asked);
        entry.upstream_us(took_us);
        self.outcome.set(self.outcome.get().upstream(asked.saturating_duration_since(self.began), took_us));
        let (mut response, lease) = match answered {
            Ok(answer) => answer,
            Err(error) => {
                deadline.disarm();
                return Err(self.no_answer(&error, upload.as_deref(), entry));
            }
        };
        if response.body().is_end_stream() && !tells_one_length(response.headers()) {
            deadline.disarm();
            return Err(self.no_answer(&UpstreamError::Lengths, upload.as_deref(), entry));
        }
        if response.status().is_informational() {
            deadline.disarm();
            let Some(upgrade) = upgrade.filter(|_| upgrade::agreed(&response)) else {
                return Err(self.no_answer(&UpstreamError::Unasked, None, entry));
            };
            entry.status(response.status().as_u16());
            self.rules.rewriting.answer(response.headers_mut(), &self.id);
            let revoked = self.worker.shared.directory.revoked(&caller);
            let held = Held { entry, permit, span: self.span.take() };
            return Ok(upgrade.switch(&self.worker, &self.exchange, response, held, revoked));
        }
        if response.status().is_success() && upgrade.as_ref().is_some_and(Upgrade::is_extended_connect) {
            deadline.disarm();
            return Err(self.no_answer(&UpstreamError::Unasked, None, entry));
        }
        let (mut head, mut from) = response.into_parts();
        // Over HTTP/2 the caller's window may hold back what is small, too: there it is followed until it has gone.
        let small = if self.exchange.phase.is_some() { outbox::KEPT } else { 0 };
        let begun = match Begun::look(&mut from, small) {
            Ok(begun) => begun,
            // Nothing of the answer has gone out yet, so another can take its place.
            Err(error) => {
                deadline.disarm();
                return Err(self.no_answer(&UpstreamError::Http(error), upload.as_deref(), entry));
            }
        };
        // The connection to the caller has a version of its own.
        head.version = Version::default();
        entry.status(head.status.as_u16());
        self.rules.rewriting.answer(&mut head.headers, &self.id);
        let body = match begun {
            Begun::Whole(all) => {
                deadline.disarm();
                lease.give_back(upload.as_deref());
                if let Some(upload) = &upload {
                    upload.leave();
                }
                if let Some(all) = &all {
                    entry.sent(all.len() as u64);
                }
                outbox::complete(entry);
                all.map_or(Body::Empty, |all| Body::Full(Some(all)))
            }
            Begun::Coming(first) => {
                let mut span = self.span.take();
                if let Some(span) = &mut span {
                    span.status(head.status);
                }
                let idle = Idle { deadline: deadline.clone(), each: self.rules.timeouts.idle.0, end: self.end() };
                let relay = Relay::new(first, from, Held { entry, permit, span }, lease, upload, idle, self.exchange.phase.clone());
                // What is under way may finish; what never finishes ends with its key.
                let endless = is_endless(&head.headers);
                Body::Relayed(Box::new(if endless { relay.until(self.worker.shared.directory.revoked(&caller)) } else { relay }))
            }
        };
        Ok(Response::from_parts(head, body))
    }

    /// Closes the entry of a request that the upstream gave no answer to.
    fn no_answer(&self, error: &UpstreamError, upload: Option<&UploadState>, mut entry: Entry) -> Problem {
        let ended = upload.map(|upload| upload.ended.get());
        let afterwards = upload.map_or(Afterwards::KeepOpen, UploadState::leave);
        let mut problem: Problem = match (ended, error) {
            (Some(UploadEnd::TooLarge), _) => {
                // The service has done nothing wrong.
                let problem = Problem { connection: Afterwards::Close, ..too_large(upload.map_or(0, |upload| upload.limit)) };
                entry.refuse(problem.code.status().as_u16());
                return problem;
            }
            // Dropped unfinished, an entry says that the request was interrupted: the service may have begun to act on it.
            (Some(UploadEnd::Silent), _) => {
                let problem = Problem::late();
                entry.status(problem.code.status().as_u16());
                return problem;
            }
            (Some(UploadEnd::Broken), _) => {
                let problem = Problem::ambiguous("The body did not arrive whole.");
                entry.status(problem.code.status().as_u16());
                return problem;
            }
            (_, UpstreamError::Shut { wait }) => Problem::from(Code::UpstreamShut).retry_after(wait.as_secs() + 1),
            (_, UpstreamError::ConnectTimeout) => Code::UpstreamSilent.into(),
            (_, UpstreamError::Connect(_)) => Code::UpstreamUnconnected.into(),
            (_, UpstreamError::Timeout) => Code::UpstreamTimeout.into(),
            (_, UpstreamError::Http(_) | UpstreamError::Unasked | UpstreamError::Lengths) => Code::UpstreamUnreachable.into(),
        };
        match error {
            // What has no connection was complained of where it was tried.
            UpstreamError::Http(_) | UpstreamError::Unasked | UpstreamError::Lengths | UpstreamError::Timeout
                if self.rules.service.may_complain() =>
            {
                tracing::warn!(error = error.in_full(), request = self.id.as_str(), "no answer from the service");
            }
            _ => tracing::debug!(error = error.in_full(), request = self.id.as_str(), "no answer from the service"),
        }
        entry.status(problem.code.status().as_u16());
        entry.fail();
        problem.connection = afterwards;
        problem
    }
}

/// Whether an answer that has no body says at most one length, and a number: the library looks at that only where a body is to
/// come, and gives the caller no answer at all where it does not hold.
fn tells_one_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let number = lengths.next().is_none_or(|length| !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit));
    number && lengths.next().is_none()
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
