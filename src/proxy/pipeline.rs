//! The request's way: the table of DESIGN §3 as code; its last steps, there and back, stand in [`super::forward`].
//!
//! Each step gives the next a value that it alone can make, so no step can be left out:
//! [`Clean`] (guard) → `Presented` (credentials) → `Caller` (directory) → `Permit` (limits) → `Operation` (catalog)
//! → `Option<Subject>` → `Grant` (policy) → `Entry` (audit) → upstream.

use std::{
    cell::{Cell, RefCell},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use jiff::Timestamp;

use super::{
    arrival::Origin,
    assertion::Acting,
    body::{Body, Held},
    connection::Exchange,
    counts::Outcome,
    credentials::{self, Unread},
    guard::{self, BodyAhead, Clean},
    limits::{Exhausted, Left, Permit},
    outbox,
    problem::{Afterwards, Code, Problem},
    query,
    request_id::RequestId,
    rewrite::Arrival,
    rules::Rules,
    self_service,
    server::{Shared, Worker},
    span::Recording,
    subject,
    tls::Alpn,
    trace,
    upgrade::{self, Upgrade},
    upload,
};
use crate::{
    audit::{Concerned, Decision, Opening, Standing},
    catalog::Operation,
    directory::{self, Caller, Client, Presented, Refused},
    identity::{KeyId, Subject},
    policy::{Denial, Enforcement, Reason, Verdict},
};

/// Stands for the answer that a caller did not wait for; no class of statuses has it.
const NO_STATUS: u16 = 0;

/// Serves one request, whatever it is.
pub async fn serve(worker: &Worker, exchange: &Exchange, mut request: Request<Incoming>) -> Response<Body> {
    let began = Instant::now();
    let _under_way = outbox::under_way();
    let time = Timestamp::now();
    let id = worker.ids.next(u64::try_from(time.as_millisecond()).unwrap_or(0));
    let rules = worker.rules();
    let upgrade = upgrade::wished(&mut request);
    let headless = request.method() == Method::HEAD;
    let (parts, body) = request.into_parts();
    // Who waits to be told to send its body does not send it once it has an answer.
    let waits = !body.is_end_stream() && parts.headers.contains_key(header::EXPECT);
    let mut unread = Some(body);
    let origin = exchange.peer.origin(&parts.headers, &rules.trusted);
    let way = Way {
        worker,
        exchange,
        rules: &rules,
        id: &id,
        origin: &origin,
        time,
        began,
        left: Cell::new(None),
        outcome: Cell::default(),
        counted: Cell::new(false),
        span: RefCell::default(),
    };
    let mut response = match way.walk(parts, &mut unread, upgrade).await {
        Ok(response) => response,
        Err(mut problem) => {
            if waits || unread.as_ref().is_some_and(|body| body.size_hint().lower() > upload::DISCARDED) {
                problem.connection = Afterwards::Close;
            }
            way.failed(problem.code);
            let mut response = problem.into_response(&id);
            if response.status() == StatusCode::UNAUTHORIZED && !rules.names.basic {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("AccessKey realm=\"vicar\""));
            }
            rules.rewriting.sign(response.headers_mut(), &id);
            response
        }
    };
    if let Some(body) = unread.filter(|body| !body.is_end_stream() && !waits && exchange.phase.is_some()) {
        tokio::task::spawn_local(upload::discard(body));
    }
    if let Some(span) = way.span.borrow_mut().as_mut() {
        span.status(response.status());
    }
    if let Some(left) = way.left.get() {
        left.sign(response.headers_mut());
    }
    way.count(response.status().as_u16());
    if headless {
        leave_body_away(&mut response);
    }
    response
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
pub(super) struct Way<'w> {
    pub(super) worker: &'w Worker,
    pub(super) exchange: &'w Exchange,
    pub(super) rules: &'w std::sync::Arc<Rules>,
    pub(super) id: &'w RequestId,
    pub(super) origin: &'w Origin,
    pub(super) time: Timestamp,
    pub(super) began: Instant,
    /// What the caller has left of its requests, once it is known.
    left: Cell<Option<Left>>,
    /// What it came to, for the metrics.
    pub(super) outcome: Cell<Outcome>,
    /// Whether the metrics have it.
    counted: Cell<bool>,
    /// Its span, where spans are exported; the answer's body takes it along.
    pub(super) span: RefCell<Option<Box<Recording>>>,
}

/// What the record of this request says, as far as it is known at this step.
#[derive(Default)]
pub(super) struct Known<'k> {
    pub(super) caller: Option<&'k Caller>,
    /// Of a sign-in that failed.
    pub(super) claimed: Option<(Option<&'k str>, Option<&'k str>)>,
    pub(super) operation: Option<&'k Operation<'k, 'k>>,
    pub(super) subject: Option<&'k Subject>,
    pub(super) share: Option<&'k str>,
}

/// Whoever gave up waiting is counted, too: a service that hangs shows in callers that leave.
impl Drop for Way<'_> {
    fn drop(&mut self) {
        if !self.counted.get() {
            self.count(NO_STATUS);
        }
    }
}

impl Way<'_> {
    fn count(&self, status: u16) {
        self.counted.set(true);
        self.worker.tally.request(self.outcome.get(), status, || self.began.elapsed());
    }

    /// Takes the body out of `unread` once it is wanted.
    async fn walk(&self, mut parts: Parts, unread: &mut Option<Incoming>, upgrade: Option<Upgrade>) -> Result<Response<Body>, Problem> {
        let rules = self.rules;
        let (method, uri, mut headers) = (parts.method, parts.uri, std::mem::take(&mut parts.headers));

        // 2: one meaning only
        let clean = guard::clean(&method, &uri, parts.version, &headers, ended(unread), &rules.names, rules.path)?;
        if self.exchange.had_fragment(&method, &uri) {
            return Err(Problem::ambiguous("The request target has a fragment."));
        }
        let head = Head { method: &method, headers: &headers, clean: &clean, trace: trace::of(&headers, &self.worker.ids) };
        self.span.replace(Recording::begin(self.worker.shared.spans.as_ref(), &head.trace, method.as_str()));

        // 3 and 4: who calls
        let presented = credentials::read(&headers, &rules.names).map_err(|unread| self.unread(&head, &unread))?;
        let caller = self.sign_in(&head, &presented).await?;
        let known = Known { caller: Some(&caller), ..Known::default() };

        // 5: how much
        let permit = self.permit(&head, &known, &caller)?;

        if self_service::concerns(&clean.path) {
            // Boxed, as other rare ways are: a future is as large as its largest way, and is moved for each request.
            return Box::pin(self_service::answer(self, &head, &caller, permit, unread)).await;
        }

        // 6: what is asked
        let operation = rules.catalog.classify(method.as_str(), &clean.path).ok();
        if operation.is_none()
            && let Some(problem) = self.unknown(&head, &known, &caller)
        {
            return Err(problem);
        }
        let known = Known { operation: operation.as_ref(), ..known };
        self.query(&head, operation.as_ref()).map_err(|problem| self.refused(&head, &known, problem))?;
        if operation.is_some() {
            self.body(&head, operation.as_ref()).map_err(|problem| self.refused(&head, &known, problem))?;
        }

        // 7: for whom
        let named = subject::from_header(&headers, &rules.names.subject).map_err(|problem| self.refused(&head, &known, problem))?;
        let observed = rules.policy.enforcement(caller.account_id()) == Enforcement::Observe;
        let pointers = operation.as_ref().map(|operation| rules.policy.subject_sources(caller.account_id(), operation, self.time));
        let (named, read) = match pointers.filter(|pointers| !pointers.is_empty() && clean.body != BodyAhead::Absent && is_json(&headers)) {
            None => (named, None),
            // What cannot be looked into names nobody, where nothing is refused for that.
            Some(_) if observed && !self.is_readable(&head) => (named, None),
            Some(pointers) => {
                subject::readable(&headers).map_err(|problem| self.refused(&head, &known, problem))?;
                let limit = rules.subject_body_limit.min(self.body_limit(operation.as_ref()));
                let read = Box::pin(self.read_body(unread, limit)).await;
                let bytes = read.map_err(|problem| self.refused(&head, &known, problem))?;
                // A body may take a minute to arrive, and what held at its head need not hold any more.
                if let Some(problem) = Box::pin(self.overtaken(&head, &known, &caller)).await {
                    return Err(problem);
                }
                let named = match subject::from_body(named.clone(), &bytes, pointers.iter()) {
                    Err(_) if observed => named,
                    found => found.map_err(|problem| self.refused(&head, &known, problem))?,
                };
                (named, Some(bytes))
            }
        };

        // 8: may it
        let asked = named.clone();
        let known = Known { subject: asked.as_ref(), ..known };
        let verdict = rules.policy.decide(caller.account_id(), operation.as_ref(), named, self.time);
        let (grant, decision, reason, share) = match &verdict {
            Verdict::Allowed(grant) => (grant, Decision::Allow, grant.reason().as_str(), grant.share()),
            Verdict::Observed(grant, denial) => (grant, Decision::Deny, denial.reason().as_str(), denial.rule()),
            Verdict::Denied(denial) => {
                let known = Known { share: denial.rule(), ..known };
                return Err(self.denied(&head, &known, denial));
            }
        };
        let known = Known { share, ..known };
        if operation.is_none() {
            // Only observing lets an endpoint through that no catalog names; the guard still holds for it.
            self.body(&head, None).map_err(|problem| self.refused(&head, &known, problem))?;
        }

        if upgrade.is_some() && rules.service.speaks() == Alpn::Http2 {
            // As the plain GET that is left of it, it would get an answer to what was not asked.
            return Err(self.refused(&head, &known, Code::UpgradeUnavailable.into()));
        }

        // 9: in the journal before anything leaves
        let opening = self.opening(&head, &known, decision, reason);
        let entry = self.worker.shared.audit.open_entry(opening).await.map_err(|_| self.no_audit())?;

        // 10: Vicar's word in place of the caller's
        let trace = head.trace.clone();
        let arrival = Arrival {
            client: self.origin.client,
            proto: self.origin.proto,
            forwarded_for: &self.origin.header,
            host: self.origin.host.as_ref().unwrap_or(&clean.host),
            forwarded: &self.exchange.forwarded,
        };
        rules.rewriting.request(&mut headers, &clean, &caller, grant, &arrival, self.id);
        if let Some(signer) = &rules.assertion {
            let acting = Acting { account: caller.account_id().as_str(), key: caller.key_id_str(), user: grant.subject() };
            signer.sign(&mut headers, acting, self.id, self.time);
        }
        match &*self.span.borrow() {
            Some(_) => trace.carry_on_from_here(&mut headers),
            None => trace.carry_on(&mut headers),
        }

        // 11 and 12: there and back
        let limit = self.body_limit(operation.as_ref());
        let (body, upload) = self.upload(read, unread.take(), limit);
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = clean.target.clone();
        *request.headers_mut() = headers;
        self.forward(request, upload, upgrade, &caller, grant, Held { entry, permit, span: None }).await
    }

    /// Step 4.
    async fn sign_in(&self, head: &Head<'_>, presented: &Presented) -> Result<Caller, Problem> {
        let client = Client { address: self.origin.client, certificate: self.exchange.peer.certificate };
        let signed_in = directory::sign_in(&self.worker.shared.directory, presented, client, self.time).await;
        signed_in.map_err(|refused| self.not_signed_in(head, presented.id, &refused))
    }

    fn not_signed_in(&self, head: &Head<'_>, presented: KeyId, refused: &Refused) -> Problem {
        match refused {
            Refused::NotKnown { reason, key, account } => {
                let claimed = Some((account.as_ref().map(|account| account.as_str()), Some(key.as_str())));
                let known = Known { claimed, ..Known::default() };
                let problem = self.failed_sign_in(Code::CredentialsInvalid);
                self.refused_for(head, &known, problem, reason.as_str())
            }
            Refused::Unavailable { retry_after } => {
                let known = Known { claimed: Some((None, Some(presented.as_str()))), ..Known::default() };
                let problem = Problem::from(Code::DirectoryUnavailable).retry_after(retry_after.as_secs());
                self.refused(head, &known, problem)
            }
        }
    }

    fn unread(&self, head: &Head<'_>, unread: &Unread) -> Problem {
        let known = Known { claimed: Some((None, unread.key.as_ref().map(|key| key.as_str()))), ..Known::default() };
        let problem = match unread.code {
            Code::CredentialsMissing => {
                let names = &self.rules.names;
                if names.basic {
                    Problem::because(Code::CredentialsMissing, format!("The headers are {} and {}.", names.id, names.secret))
                } else {
                    let detail = format!("Send the access-key id and secret in the headers {} and {}.", names.id, names.secret);
                    Problem::instead(Code::CredentialsMissing, detail)
                }
            }
            code => self.failed_sign_in(code),
        };
        self.refused_for(head, &known, problem, unread.reason)
    }

    /// One answer for every failed sign-in, and a slower one for an address that fails all the time.
    fn failed_sign_in(&self, code: Code) -> Problem {
        match self.worker.shared.limits.failed_sign_in(self.origin.client) {
            Ok(()) => code.into(),
            Err(wait) => Problem::from(Code::RateLimited).retry_after(wait.0.as_secs() + 1),
        }
    }

    /// Why a request whose body took its time may not go on: its key, or the rules, are not what they were.
    async fn overtaken(&self, head: &Head<'_>, known: &Known<'_>, caller: &Caller) -> Option<Problem> {
        if let Err(refused) = self.worker.shared.directory.still_allows(caller).await {
            return Some(self.not_signed_in(head, caller.key_id(), &refused));
        }
        if self.rules.policy.digest() == self.worker.rules().policy.digest() {
            return None;
        }
        let detail = "The rules were edited while the body arrived, so this request was not sent: send it again.";
        let problem = Problem::instead(Code::Draining, detail);
        Some(self.refused(head, known, problem.retry_after(1)))
    }

    /// Step 5.
    fn permit(&self, head: &Head<'_>, known: &Known<'_>, caller: &Caller) -> Result<Permit, Problem> {
        let problem = match self.worker.shared.limits.permit(caller) {
            Ok(permit) => {
                self.left.set(permit.left());
                return Ok(permit);
            }
            Err(Exhausted::Requests { wait, left }) => {
                self.left.set(Some(left));
                Problem::from(Code::RateLimited).retry_after(wait.as_secs() + 1)
            }
            Err(Exhausted::AtOnce) => {
                Problem::because(Code::RateLimited, "This account has too many requests under way at once.").retry_after(1)
            }
        };
        Err(self.refused(head, known, problem))
    }

    /// Step 6 for what no catalog names: refused at once, whatever else may be wrong with it, unless the policy only observes.
    #[cold]
    fn unknown(&self, head: &Head<'_>, known: &Known<'_>, caller: &Caller) -> Option<Problem> {
        // For the record alone.
        let subject = subject::from_header(head.headers, &self.rules.names.subject).ok().flatten();
        match self.rules.policy.decide(caller.account_id(), None, None, self.time) {
            Verdict::Denied(denial) => {
                let known = Known { caller: known.caller, subject: subject.as_ref(), share: denial.rule(), ..Known::default() };
                Some(self.denied(head, &known, &denial))
            }
            Verdict::Allowed(_) | Verdict::Observed(..) => None,
        }
    }

    /// Which names may stand in the query.
    fn query(&self, head: &Head<'_>, operation: Option<&Operation<'_, '_>>) -> Result<(), Problem> {
        let Some(query) = head.clean.query else { return Ok(()) };
        let allowed = operation.and_then(|operation| operation.endpoint.query.as_deref());
        let Some(name) = query::refused(query, allowed, &self.rules.reserved_query) else { return Ok(()) };
        let name: String = name.chars().take(64).collect();
        Err(match allowed {
            Some([]) => {
                Problem::instead(Code::QueryNotAllowed, format!("The query has {name:?}, and this endpoint takes none: leave it out."))
            }
            Some(allowed) => {
                let takes = allowed.join(", ");
                Problem::instead(Code::QueryNotAllowed, format!("The query has {name:?}, and this endpoint takes {takes}: leave it out."))
            }
            None => Problem::because(Code::QueryNotAllowed, format!("The query has {name:?}.")),
        })
    }

    /// Which body the endpoint takes: its media type, its size.
    fn body(&self, head: &Head<'_>, operation: Option<&Operation<'_, '_>>) -> Result<(), Problem> {
        let endpoint = operation.map(|operation| operation.endpoint);
        if head.clean.body == BodyAhead::Absent {
            return Ok(());
        }
        let limit = self.body_limit(operation);
        if let BodyAhead::Sized(size) = head.clean.body
            && size > limit
        {
            return Err(too_large(limit));
        }
        let content_types = endpoint.and_then(|endpoint| endpoint.content_types.as_ref()).unwrap_or(&self.rules.content_types);
        let media = media_type(head.headers);
        if content_types.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(media)) {
            return Ok(());
        }
        Err(Problem::because(Code::UnsupportedMediaType, format!("This endpoint takes {}.", content_types.join(", "))))
    }

    /// When all of it has to be over, if that is bounded.
    pub(super) fn end(&self) -> Option<Instant> {
        self.rules.timeouts.total.map(|total| self.began + total.0)
    }

    /// The largest body the endpoint takes, in bytes.
    fn body_limit(&self, operation: Option<&Operation<'_, '_>>) -> u64 {
        operation.and_then(|operation| operation.endpoint.body).map_or(self.rules.body_limit, |size| size.0)
    }

    /// Whether a body can be looked into for a user, as far as its head tells.
    fn is_readable(&self, head: &Head<'_>) -> bool {
        let short = !matches!(head.clean.body, BodyAhead::Sized(size) if size > self.rules.subject_body_limit);
        short && subject::readable(head.headers).is_ok()
    }

    pub(super) async fn read_body(&self, body: &mut Option<Incoming>, limit: u64) -> Result<Bytes, Problem> {
        let Some(body) = body else { return Ok(Bytes::new()) };
        if body.size_hint().lower() > limit {
            return Err(too_large(limit));
        }
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

    fn denied(&self, head: &Head<'_>, known: &Known<'_>, denial: &Denial) -> Problem {
        let code = match denial.reason() {
            Reason::EndpointUnknown => Code::EndpointUnknown,
            Reason::Shared | Reason::NotShared => Code::NotShared,
            Reason::DeniedByRule => Code::DeniedByRule,
            Reason::ImpersonationNotAllowed => Code::ImpersonationNotAllowed,
            Reason::ImpersonationRequired => Code::ImpersonationRequired,
            Reason::NeverImpersonate => Code::NeverImpersonate,
        };
        let problem = match known.operation {
            Some(operation) => {
                let asked = format!("Asked for {} on {}", operation.action_name(), operation.resource());
                let detail = match denial.reason() {
                    Reason::DeniedByRule => format!("{asked}; a deny rule covers it."),
                    Reason::ImpersonationNotAllowed | Reason::ImpersonationRequired | Reason::NeverImpersonate => format!("{asked}."),
                    Reason::EndpointUnknown | Reason::Shared | Reason::NotShared => format!("{asked}; no share covers it."),
                };
                Problem::because(code, detail)
            }
            None => code.into(),
        };
        self.refused(head, known, problem)
    }

    fn no_audit(&self) -> Problem {
        Problem::from(Code::AuditUnavailable).retry_after(5)
    }

    /// What ends before it is decided, or for want of a record, is counted by its code.
    fn failed(&self, code: Code) {
        let outcome = self.outcome.get();
        if !outcome.is_decided() || code == Code::AuditUnavailable {
            self.outcome.set(outcome.refused(code.as_str()));
        }
    }

    /// Records a refusal; a refusal that cannot be recorded is another one.
    pub(super) fn refused(&self, head: &Head<'_>, known: &Known<'_>, problem: Problem) -> Problem {
        let reason = problem.code.as_str();
        self.refused_for(head, known, problem, reason)
    }

    fn refused_for(&self, head: &Head<'_>, known: &Known<'_>, problem: Problem, reason: &str) -> Problem {
        let opening = self.opening(head, known, Decision::Deny, reason);
        match self.worker.shared.audit.refuse(opening, problem.code.status().as_u16()) {
            Ok(()) => problem,
            Err(_) => self.no_audit(),
        }
    }

    /// What the record of this request begins with.
    pub(super) fn opening<'o>(&'o self, head: &'o Head<'_>, known: &'o Known<'_>, decision: Decision, reason: &'o str) -> Opening<'o> {
        let (account, key) = match (known.caller, known.claimed) {
            (Some(caller), _) => (Some(caller.account_id().as_str()), Some(caller.key_id_str())),
            (None, Some((account, key))) => (account, key),
            (None, None) => (None, None),
        };
        self.outcome.set(Outcome::decided(decision, reason, known.operation, &self.rules.words));
        let opening = Opening {
            id: self.id.ulid(),
            time: self.time,
            began: self.began,
            standing: if known.caller.is_some() { Standing::SignedIn } else { Standing::Claimed },
            account,
            key,
            subject: known.subject.map(Subject::as_str),
            method: head.method.as_str(),
            path: head.clean.path.as_str(),
            query: head.clean.query,
            resource: known.operation.map(|operation| Concerned { kind: operation.kind_name(), id: operation.id.as_deref() }),
            action: known.operation.map(Operation::action_name),
            decision,
            reason,
            share: known.share,
            policy: self.rules.policy.digest(),
            stale: known.caller.is_some_and(Caller::stale),
            client: self.origin.client,
            user_agent: head.headers.get(header::USER_AGENT).map(HeaderValue::as_bytes),
            trace_id: Some(head.trace.id()),
        };
        if let Some(span) = self.span.borrow_mut().as_mut() {
            span.note(&opening, known.operation.map(|operation| operation.endpoint.template.to_string()));
        }
        opening
    }
}

/// The head of a request, as the steps behind the guard see it.
pub(super) struct Head<'h> {
    pub(super) method: &'h Method,
    pub(super) headers: &'h HeaderMap,
    pub(super) clean: &'h Clean<'h>,
    pub(super) trace: trace::Trace,
}

/// Whether no body follows, or no more of it.
fn ended(unread: &Option<Incoming>) -> bool {
    unread.as_ref().is_none_or(Incoming::is_end_stream)
}

/// The media type of the body, without its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> &[u8] {
    let value = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii()
}

/// Whether the body calls itself JSON (RFC 6839 §3.1 for `+json`).
fn is_json(headers: &HeaderMap) -> bool {
    let media = media_type(headers).to_ascii_lowercase();
    media == b"application/json" || media.ends_with(b"+json")
}

pub(super) fn too_large(limit: u64) -> Problem {
    Problem::because(Code::BodyTooLarge, format!("The limit here is {limit} bytes."))
}
