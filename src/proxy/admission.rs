//! Steps 2 to 10 of a request's way, DESIGN §3: from what came to what goes to the service.

use http::{HeaderMap, HeaderValue, Method, Request, header, request::Parts};

use super::{
    assertion::Acting,
    credentials,
    forward::{Going, Granted},
    guard::{self, BodyAhead, Clean},
    limits::{Exhausted, Permit},
    pipeline::{Asked, Halt, Wait, Waited, Way, too_large},
    problem::{Code, Problem},
    query,
    record::Known,
    rewrite::Arrival,
    self_service,
    span::Recording,
    subject,
    tls::Alpn,
    trace::{self, Trace},
};
use crate::{
    audit::Decision,
    catalog::Operation,
    directory::{self, Caller, Client, Presented},
    policy::{Enforcement, Verdict},
};

/// The head of a request, as the steps behind the guard see it.
pub(super) struct Head<'h> {
    pub(super) method: &'h Method,
    pub(super) headers: &'h HeaderMap,
    pub(super) clean: &'h Clean<'h>,
    pub(super) trace: Trace,
}

impl<'h> Head<'h> {
    /// Its `trace` is known where the request has come this far before.
    pub(super) fn new(way: &Way, method: &'h Method, headers: &'h HeaderMap, clean: &'h Clean<'h>, trace: Option<Trace>) -> Self {
        let trace = trace.unwrap_or_else(|| trace::of(headers, &way.worker.ids));
        Self { method, headers, clean, trace }
    }
}

impl Way {
    /// Decides what becomes of a request, as far as that can be done without waiting. What is `waited` for by then, or need not
    /// be done twice, is taken from there and left there.
    pub(super) fn admit(&self, asked: &mut Asked, waited: &mut Waited) -> Result<Granted, Halt> {
        let rules = &*self.rules;
        let Asked { parts: Parts { method, uri, version, headers, .. }, origin, ended, upgrade } = asked;
        let (method, uri) = (&*method, &*uri);

        // 2: one meaning only
        let clean = guard::clean(method, uri, *version, headers, *ended, &rules.names, rules.path)?;
        if self.exchange.had_fragment(method, uri) {
            return Err(Problem::ambiguous("The request target has a fragment.").into());
        }
        let is_first = waited.trace.is_none();
        let head = Head::new(self, method, headers, &clean, waited.trace.take());
        if is_first {
            self.span.replace(Recording::begin(self.worker.shared.spans.as_ref(), &head.trace, method.as_str()));
        }
        let wait = |waited: &mut Waited, head: Head<'_>, wait: Wait| {
            waited.trace = Some(head.trace);
            Err(Halt::Waits(Box::new(wait)))
        };

        // 3 and 4: who calls
        let presented = credentials::read(headers, &rules.names).map_err(|unread| self.not_presented(&head, &unread))?;
        let signed_in = match waited.signed_in.take() {
            Some(signed_in) => signed_in,
            None => match self.recognise(&presented) {
                Ok(caller) => Ok(caller),
                Err(unsettled) => return wait(waited, head, Wait::SignIn(unsettled)),
            },
        };
        let caller = signed_in.map_err(|refused| self.not_signed_in(&head, presented.id, &refused))?;
        let known = Known { caller: Some(&caller), ..Known::default() };

        // 5: how much
        let permit = match waited.permit.take() {
            Some(permit) => permit,
            None => self.permit(&head, &known, &caller)?,
        };

        if self_service::concerns(&clean.path) {
            return wait(waited, head, Wait::Own(caller, permit));
        }

        // 6: what is asked
        let operation = rules.catalog.classify(method.as_str(), &clean.path).ok();
        if operation.is_none()
            && let Some(problem) = self.unknown(&head, &known, &caller)
        {
            return Err(problem.into());
        }
        let known = Known { operation: operation.as_ref(), ..known };
        self.query(&head, operation.as_ref()).map_err(|problem| self.refused(&head, &known, problem))?;
        if operation.is_some() {
            self.body(&head, operation.as_ref()).map_err(|problem| self.refused(&head, &known, problem))?;
        }

        // 7: for whom
        let named = subject::from_header(headers, &rules.names.subject).map_err(|problem| self.refused(&head, &known, problem))?;
        let observed = rules.policy.enforcement(caller.account_id()) == Enforcement::Observe;
        let pointers = operation.as_ref().map(|operation| rules.policy.subject_sources(caller.account_id(), operation, self.time));
        let (named, read) = match pointers.filter(|pointers| !pointers.is_empty() && clean.body != BodyAhead::Absent && is_json(headers)) {
            None => (named, None),
            // What cannot be looked into names nobody, where nothing is refused for that.
            Some(_) if observed && !self.is_readable(&head) => (named, None),
            Some(pointers) => {
                subject::readable(headers).map_err(|problem| self.refused(&head, &known, problem))?;
                let Some(read) = waited.read.take() else {
                    let limit = rules.subject_body_limit.min(self.body_limit(operation.as_ref()));
                    waited.permit = Some(permit);
                    return wait(waited, head, Wait::Body(caller.clone(), limit));
                };
                let bytes = read.map_err(|problem| self.refused(&head, &known, problem))?;
                if let Some(problem) = self.overtaken() {
                    return Err(self.refused(&head, &known, problem).into());
                }
                let named = match subject::from_body(named.clone(), &bytes, pointers.iter()) {
                    Err(_) if observed => named,
                    found => found.map_err(|problem| self.refused(&head, &known, problem))?,
                };
                (named, Some(bytes))
            }
        };

        // 8: may it
        let asked_for = named.clone();
        let known = Known { subject: asked_for.as_ref(), ..known };
        let verdict = rules.policy.decide(caller.account_id(), operation.as_ref(), named, self.time);
        let (grant, decision, reason, share) = match &verdict {
            Verdict::Allowed(grant) => (grant, Decision::Allow, grant.reason().as_str(), grant.share()),
            Verdict::Observed(grant, denial) => (grant, Decision::Deny, denial.reason().as_str(), denial.rule()),
            Verdict::Denied(denial) => {
                let known = Known { share: denial.rule(), ..known };
                return Err(self.denied(&head, &known, denial).into());
            }
        };
        let known = Known { share, ..known };
        if operation.is_none() {
            // Only observing lets an endpoint through that no catalog names; the guard still holds for it.
            self.body(&head, None).map_err(|problem| self.refused(&head, &known, problem))?;
        }

        if upgrade.is_some() && rules.service.speaks() == Alpn::Http2 {
            // As the plain GET that is left of it, it would get an answer to what was not asked.
            return Err(self.refused(&head, &known, Code::UpgradeUnavailable.into()).into());
        }

        // 9: in the journal before anything leaves
        let opening = self.opening(&head, &known, decision, reason);
        let opened = self.worker.shared.audit.enter(opening).map_err(|_| self.no_audit())?;

        // 10: Vicar's word in place of the caller's
        let limit = self.body_limit(operation.as_ref());
        let (body, upload) = self.upload(read, self.unread.take(), limit);
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = clean.target.clone();
        let trace = head.trace;
        *request.headers_mut() = std::mem::take(headers);
        let headers = request.headers_mut();
        let arrival = Arrival {
            client: origin.client,
            proto: origin.proto,
            forwarded_for: &origin.header,
            host: origin.host.as_ref().unwrap_or(&clean.host),
            forwarded: &self.exchange.forwarded,
        };
        rules.rewriting.request(headers, &clean, &caller, grant, &arrival, &self.id);
        if let Some(signer) = &rules.assertion {
            let acting = Acting { account: caller.account_id().as_str(), key: caller.key_id_str(), user: grant.subject() };
            signer.sign(headers, acting, &self.id, self.time);
        }
        match &*self.span.borrow() {
            Some(_) => trace.carry_on_from_here(headers),
            None => trace.carry_on(headers),
        }
        let going = Going { request, leave: grant.leave(), caller, permit, upload, upgrade: upgrade.take() };
        Ok(Granted { going, opened })
    }

    /// Step 4, where memory says who it is.
    fn recognise(&self, presented: &Presented) -> Result<Caller, Box<directory::Unsettled>> {
        let client = Client { address: self.client, certificate: self.exchange.peer.certificate };
        directory::recognise(&self.worker.shared.directory, presented, client, self.time)
    }

    /// Why a request whose body took its time may not go on: the rules are not what they were.
    fn overtaken(&self) -> Option<Problem> {
        if self.rules.policy.digest() == self.worker.rules().policy.digest() {
            return None;
        }
        let detail = "The rules were edited while the body arrived, so this request was not sent: send it again.";
        Some(Problem::instead(Code::Draining, detail).retry_after(1))
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

    /// The largest body the endpoint takes, in bytes.
    fn body_limit(&self, operation: Option<&Operation<'_, '_>>) -> u64 {
        operation.and_then(|operation| operation.endpoint.body).map_or(self.rules.body_limit, |size| size.0)
    }

    /// Whether a body can be looked into for a user, as far as its head tells.
    fn is_readable(&self, head: &Head<'_>) -> bool {
        let short = !matches!(head.clean.body, BodyAhead::Sized(size) if size > self.rules.subject_body_limit);
        short && subject::readable(head.headers).is_ok()
    }
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
