//! The request's way: the table of DESIGN §3. Steps 2 to 10 are [`super::admission`], 11 and 12 [`super::forward`].
//!
//! Each step gives the next a value that it alone can make, so no step can be left out:
//! [`Clean`](super::guard::Clean) (guard) → `Presented` (credentials) → `Caller` (directory) → `Permit` (limits) →
//! `Operation` (catalog) → `Option<Subject>` → `Grant` (policy) → `Entry` (audit) → upstream.
//!
//! Nearly every request gets as far as the service without waiting for anything. That much is done in one go, on the thread's
//! stack, and what a request keeps while the service has it is small: thousands are under way at once, and what each keeps is
//! fetched into the processor's caches anew for each step of its way. A request that has to wait before that goes the same
//! way again from its beginning, in a box, with what it has waited for.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use jiff::Timestamp;
use pin_project_lite::pin_project;

use super::{
    admission::Head,
    arrival::Origin,
    body::Body,
    connection::Exchange,
    counts::Outcome,
    forward::{Granted, UnderWay},
    guard,
    limits::{Left, Permit},
    outbox,
    problem::{Afterwards, Code, Problem},
    request_id::RequestId,
    rules::Rules,
    self_service,
    server::{Shared, Worker},
    span::Recording,
    trace::Trace,
    upgrade::{self, Upgrade},
    upload,
    upstream::Answer,
};
use crate::directory::{Caller, Refused, Unsettled};

/// Stands for the answer that a caller did not wait for; no class of statuses has it.
const NO_STATUS: u16 = 0;

/// Serves one request, whatever it is. What can be done at once is done when this returns.
pub fn serve(worker: &Rc<Worker>, exchange: &Rc<Exchange>, mut request: Request<Incoming>) -> impl Future<Output = Response<Body>> + use<> {
    let upgrade = upgrade::wished(&mut request);
    let (parts, body) = request.into_parts();
    let (way, origin) = Way::begin(worker, exchange, &parts, body);
    let mut asked = Asked { ended: way.ended(), parts, origin, upgrade };
    let mut waited = Waited::default();
    match way.admit(&mut asked, &mut waited) {
        Ok(Granted { going, opened }) => match opened.at_once() {
            Ok(entry) => {
                let (answer, under_way) = way.send(going, entry);
                Serving::Sent { way, answer, under_way: Some(under_way) }
            }
            Err(opened) => Serving::waiting(async move {
                let walked = way.settle(Granted { going, opened }).await;
                way.conclude(walked)
            }),
        },
        Err(Halt::Refused(problem)) => Serving::Done { response: Some(way.conclude(Err(problem))) },
        Err(Halt::Waits(wait)) => Serving::waiting(async move {
            let walked = way.walk(asked, waited, wait).await;
            way.conclude(walked)
        }),
    }
}

pin_project! {
    /// A request that is served. By hand, for an `async` function keeps twice what it is given.
    #[project = Served]
    enum Serving<A> {
        /// The service has it.
        Sent { way: Way, #[pin] answer: A, under_way: Option<UnderWay> },
        /// It was refused.
        Done { response: Option<Response<Body>> },
        /// It has to wait for something else.
        Waiting { walk: Pin<Box<dyn Future<Output = Response<Body>>>> },
    }
}

impl<A> Serving<A> {
    fn waiting(walk: impl Future<Output = Response<Body>> + 'static) -> Self {
        Self::Waiting { walk: Box::pin(walk) }
    }
}

impl<A: Answer> Future for Serving<A> {
    type Output = Response<Body>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let response = match self.project() {
            Served::Sent { way, answer, under_way } => {
                let answered = ready!(answer.poll(cx));
                under_way.take().map(|under_way| way.conclude(way.answered(answered, under_way)))
            }
            Served::Done { response } => response.take(),
            Served::Waiting { walk } => Some(ready!(walk.as_mut().poll(cx))),
        };
        // Nobody asks again once there was an answer.
        response.map_or(Poll::Pending, Poll::Ready)
    }
}

/// An answer to HEAD says how long its body would be, and has none (RFC 9110 section 9.3.2). Over HTTP/1.1 the library sees to
/// that.
pub(super) fn leave_body_away(response: &mut Response<Body>) {
    if let Body::Full(Some(all)) = response.body() {
        let length = HeaderValue::from(all.len());
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length);
        *response.body_mut() = Body::Empty;
    }
}

/// The answer to what was no request that could be read. It is counted, and has no record.
pub fn refuse(shared: &Shared, problem: Problem) -> Response<Body> {
    let id = RequestId::lone(u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0));
    shared.counts.unread(Outcome::default().refused(problem.code.as_str()), problem.code.status().as_u16());
    let mut response = problem.into_response(&id);
    shared.rules.load().rewriting.sign(response.headers_mut(), &id);
    response
}

/// One request under way, and what all steps look at.
pub(super) struct Way {
    pub(super) worker: Rc<Worker>,
    pub(super) exchange: Rc<Exchange>,
    pub(super) rules: Arc<Rules>,
    pub(super) id: RequestId,
    /// Where it came from, as far as that can be believed.
    pub(super) client: IpAddr,
    pub(super) time: Timestamp,
    pub(super) began: Instant,
    /// Its body, until somebody wants it.
    pub(super) unread: Cell<Option<Incoming>>,
    /// Who waits to be told to send its body does not send it once it has an answer.
    waits: bool,
    headless: bool,
    /// What the caller has left of its requests, once it is known.
    pub(super) left: Cell<Option<Left>>,
    /// What it came to, for the metrics.
    pub(super) outcome: Cell<Outcome>,
    /// Whether the metrics have it.
    counted: Cell<bool>,
    /// Its span, where spans are exported; the answer's body takes it along.
    pub(super) span: RefCell<Option<Box<Recording>>>,
    _under_way: outbox::UnderWay,
}

/// A request as it came.
pub(super) struct Asked {
    pub(super) parts: Parts,
    pub(super) origin: Origin,
    /// Whether no body follows.
    pub(super) ended: bool,
    pub(super) upgrade: Option<Upgrade>,
}

/// What a request has waited for, and what it has got on its way already.
#[derive(Default)]
pub(super) struct Waited {
    pub(super) signed_in: Option<Result<Caller, Refused>>,
    pub(super) permit: Option<Permit>,
    pub(super) trace: Option<Trace>,
    /// The body, where it has to be looked into.
    pub(super) read: Option<Result<Bytes, Problem>>,
}

/// Why a request gets no further, for now or for good.
pub(super) enum Halt {
    Refused(Problem),
    Waits(Box<Wait>),
}

/// What a request has to wait for.
pub(super) enum Wait {
    /// Who calls is not in memory, or may have changed.
    SignIn(Box<Unsettled>),
    /// What is asked is for Vicar itself to do.
    Own(Caller, Permit),
    /// A user may be named in the body, which may have this many bytes.
    Body(Caller, u64),
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

/// Whoever gave up waiting is counted, too: a service that hangs shows in callers that leave.
impl Drop for Way {
    fn drop(&mut self) {
        if !self.counted.get() {
            self.count(NO_STATUS);
        }
    }
}

impl Way {
    fn begin(worker: &Rc<Worker>, exchange: &Rc<Exchange>, parts: &Parts, body: Incoming) -> (Self, Origin) {
        let began = Instant::now();
        let under_way = outbox::under_way();
        let time = Timestamp::now();
        let id = worker.ids.next(u64::try_from(time.as_millisecond()).unwrap_or(0));
        let rules = worker.rules();
        let origin = exchange.peer.origin(&parts.headers, &rules.trusted);
        let way = Self {
            worker: worker.clone(),
            exchange: exchange.clone(),
            rules,
            id,
            client: origin.client,
            time,
            began,
            waits: !body.is_end_stream() && parts.headers.contains_key(header::EXPECT),
            headless: parts.method == Method::HEAD,
            unread: Cell::new(Some(body)),
            left: Cell::new(None),
            outcome: Cell::default(),
            counted: Cell::new(false),
            span: RefCell::default(),
            _under_way: under_way,
        };
        (way, origin)
    }

    /// Goes the way of a request that has to wait, as often as it has to.
    async fn walk(&self, mut asked: Asked, mut waited: Waited, mut wait: Box<Wait>) -> Result<Response<Body>, Problem> {
        loop {
            match *wait {
                Wait::SignIn(unsettled) => waited.signed_in = Some(unsettled.settle(&self.worker.shared.directory).await),
                Wait::Own(caller, permit) => return self.answer_itself(&asked, waited.trace, caller, permit).await,
                Wait::Body(caller, limit) => {
                    let read = self.read_body(limit).await;
                    // A body may take a minute to arrive, and what held at its head need not hold any more.
                    let still = if read.is_ok() { self.worker.shared.directory.still_allows(&caller).await } else { Ok(()) };
                    waited.read = Some(read);
                    waited.signed_in = Some(still.map(|()| caller));
                }
            }
            match self.admit(&mut asked, &mut waited) {
                Ok(granted) => return self.settle(granted).await,
                Err(Halt::Refused(problem)) => return Err(problem),
                Err(Halt::Waits(next)) => wait = next,
            }
        }
    }

    async fn settle(&self, Granted { going, opened }: Granted) -> Result<Response<Body>, Problem> {
        let entry = opened.settle().await.map_err(|_| self.no_audit())?;
        let (answer, under_way) = self.send(going, entry);
        self.answered(answer.await, under_way)
    }

    async fn answer_itself(&self, asked: &Asked, trace: Option<Trace>, caller: Caller, permit: Permit) -> Result<Response<Body>, Problem> {
        let Asked { parts, ended, .. } = asked;
        let clean = guard::clean(&parts.method, &parts.uri, parts.version, &parts.headers, *ended, &self.rules.names, self.rules.path)?;
        let head = Head::new(self, &parts.method, &parts.headers, &clean, trace);
        self_service::answer(self, &head, &caller, permit).await
    }

    /// Makes an answer of what it came to.
    fn conclude(&self, walked: Result<Response<Body>, Problem>) -> Response<Body> {
        let unread = self.unread.take();
        let mut response = match walked {
            Ok(response) => response,
            Err(mut problem) => {
                if self.waits || unread.as_ref().is_some_and(|body| body.size_hint().lower() > upload::DISCARDED) {
                    problem.connection = Afterwards::Close;
                }
                self.failed(problem.code);
                let mut response = problem.into_response(&self.id);
                if response.status() == StatusCode::UNAUTHORIZED && !self.rules.names.basic {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("AccessKey realm=\"vicar\""));
                }
                self.rules.rewriting.sign(response.headers_mut(), &self.id);
                response
            }
        };
        if let Some(body) = unread.filter(|body| !body.is_end_stream() && !self.waits && self.exchange.phase.is_some()) {
            tokio::task::spawn_local(upload::discard(body));
        }
        if let Some(span) = self.span.borrow_mut().as_mut() {
            span.status(response.status());
        }
        if let Some(left) = self.left.get() {
            left.sign(response.headers_mut());
        }
        self.count(response.status().as_u16());
        if self.headless {
            leave_body_away(&mut response);
        }
        response
    }

    fn count(&self, status: u16) {
        self.counted.set(true);
        self.worker.tally.request(self.outcome.get(), status, || self.began.elapsed());
    }

    /// What ends before it is decided, or for want of a record, is counted by its code.
    fn failed(&self, code: Code) {
        let outcome = self.outcome.get();
        if !outcome.is_decided() || code == Code::AuditUnavailable {
            self.outcome.set(outcome.refused(code.as_str()));
        }
    }

    /// Whether no body follows, or no more of it.
    fn ended(&self) -> bool {
        let unread = self.unread.take();
        let ended = unread.as_ref().is_none_or(Incoming::is_end_stream);
        self.unread.set(unread);
        ended
    }

    /// When all of it has to be over, if that is bounded.
    pub(super) fn end(&self) -> Option<Instant> {
        self.rules.timeouts.total.map(|total| self.began + total.0)
    }

    /// All of the body, which may have `limit` bytes.
    pub(super) async fn read_body(&self, limit: u64) -> Result<Bytes, Problem> {
        let Some(mut body) = self.unread.take() else { return Ok(Bytes::new()) };
        let read = if body.size_hint().lower() > limit { Err(too_large(limit)) } else { self.collect(&mut body, limit).await };
        self.unread.set(Some(body));
        read
    }

    async fn collect(&self, body: &mut Incoming, limit: u64) -> Result<Bytes, Problem> {
        let deadline = &self.exchange.deadline;
        let body_time = self.rules.timeouts.body.0;
        deadline.arm(self.end().map_or(body_time, |end| body_time.min(end.saturating_duration_since(Instant::now()))));
        let read = deadline.bound(Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX)).collect()).await;
        deadline.disarm();
        match read {
            Some(Ok(collected)) => Ok(collected.to_bytes()),
            Some(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large(limit)),
            Some(Err(_)) => Err(Problem::ambiguous("The body did not arrive whole.")),
            None => Err(Problem::late()),
        }
    }
}

pub(super) fn too_large(limit: u64) -> Problem {
    Problem::because(Code::BodyTooLarge, format!("The limit here is {limit} bytes."))
}
