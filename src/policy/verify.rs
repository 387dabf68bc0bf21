//! The policy's own tests.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    Judge, Policy, Reason, Verdict,
    beforehand::{all, expected},
    compile::end_of,
    document::{Expect, TestEntry, TestsDocument},
};
use crate::{
    catalog::Catalog,
    identity::{AccountId, Subject},
    source::{At, Complaints, Source, Span, nearest, parse},
};

/// Expectations that have been read.
#[derive(Debug, Default)]
pub struct Tests {
    list: Vec<Test>,
}

#[derive(Debug)]
struct Test {
    name: Option<String>,
    account: AccountId,
    subject: Option<Subject>,
    method: String,
    target: String,
    at: Option<Timestamp>,
    expect: Expect,
    because: Option<&'static str>,
    /// Of the request.
    span: Span,
    line: usize,
}

/// What came of the tests.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// How many were as expected.
    pub passed: usize,
    /// How many were not.
    pub failed: usize,
    /// Each of them, in the order of the file.
    pub cases: Vec<Case>,
}

/// One test that has run.
#[derive(Debug, Serialize)]
pub struct Case {
    /// What it shows, or who asks for what.
    pub name: String,
    /// The account that asks.
    #[serde(rename = "as")]
    pub account: AccountId,
    /// The user it acts for.
    pub on_behalf_of: Option<String>,
    /// METHOD and path, with its query if it has one.
    pub request: String,
    /// What was expected.
    pub expect: Expect,
    /// The reason that was expected, where one was.
    pub because: Option<&'static str>,
    /// What becomes of it.
    pub decision: Expect,
    /// Why.
    pub reason: &'static str,
    /// The share or denial that decided.
    pub share: Option<String>,
    /// Whether both agree.
    pub passed: bool,
    /// Where they do not, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The line of the request in its file, from 1.
    pub line: usize,
    /// It held until a share ended by itself.
    #[serde(skip)]
    lapsed: bool,
    #[serde(skip)]
    span: Span,
}

/// Runs the policy's own tests, on requests that come as far as `judge` says.
#[must_use]
pub fn verify(policy: &Policy, catalog: &Catalog, judge: &impl Judge, now: Timestamp) -> Report {
    policy.tests.run(policy, catalog, judge, now)
}

/// Reads a file of further tests. What is wrong goes to `complaints`.
pub fn load_tests(source: &Source, complaints: &mut Complaints) -> Option<Tests> {
    let mut found = Complaints::default();
    let tests = parse::<TestsDocument>(source, &mut found).map(|document| {
        if let Some(version) = document.version.filter(|version| version.value != 1) {
            found.error(source, version.span, format!("version {} is not known", version.value)).help("this Vicar reads version 1");
        }
        read(&document.tests, source, &mut found)
    });
    let taken = !found.has_errors();
    complaints.extend(found);
    tests.filter(|_| taken)
}

/// Reads expectations; those with a mistake are left out, and complained of.
pub(super) fn read(entries: &[TestEntry], source: &Source, complaints: &mut Complaints) -> Tests {
    let mut lines = Lines { source, at: 0, line: 1 };
    Tests { list: entries.iter().filter_map(|entry| Test::read(entry, source, complaints, &mut lines)).collect() }
}

/// Counts lines once for a file, however many tests it has.
struct Lines<'s> {
    source: &'s Source,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn of(&mut self, span: Span) -> usize {
        if let Some(text) = self.source.text.as_bytes().get(self.at..span.start) {
            self.line += text.iter().filter(|byte| **byte == b'\n').count();
            self.at = span.start;
        }
        self.line
    }
}

// ===== impl Test =====

impl Test {
    fn read(entry: &TestEntry, source: &Source, complaints: &mut Complaints, lines: &mut Lines<'_>) -> Option<Self> {
        let account = entry.account.parse::<AccountId>().map_err(|error| {
            complaints.error(source, entry.account.span, error.to_string());
        });
        let subject = entry.on_behalf_of.as_ref().map(|written| {
            Subject::parse(written.as_bytes()).map_err(|error| {
                complaints.error(source, written.span, error.to_string());
            })
        });
        let request = request(&entry.request, source, complaints);
        let at = entry.at.as_ref().map(|written| {
            moment(written).ok_or_else(|| {
                complaints
                    .error(source, written.span, format!("`{}` is no date", written.value))
                    .help("write a day such as 2026-12-31, or a time such as 2026-12-31T17:00:00Z");
            })
        });
        let because = entry.because.as_ref().map(|written| because(written, entry.expect, source, complaints));
        let line = lines.of(entry.request.span);
        let (method, target) = request?;
        Some(Self {
            name: entry.name.clone(),
            account: account.ok()?,
            subject: subject.transpose().ok()?,
            method,
            target,
            at: at.transpose().ok()?,
            expect: entry.expect,
            because: because.transpose().ok()?,
            span: entry.request.span,
            line,
        })
    }

    fn run(&self, policy: &Policy, catalog: &Catalog, judge: &impl Judge, now: Timestamp) -> Case {
        let request = format!("{} {}", self.method, self.target);
        let on_behalf = self.subject.as_ref().map(|subject| format!(" on behalf of {subject}")).unwrap_or_default();
        let mut case = Case {
            name: self.name.clone().unwrap_or_else(|| format!("{}{on_behalf}: {request} → {}", self.account, self.expect)),
            account: self.account.clone(),
            on_behalf_of: self.subject.as_ref().map(ToString::to_string),
            request,
            expect: self.expect,
            because: self.because,
            decision: Expect::Deny,
            reason: Reason::EndpointUnknown.as_str(),
            share: None,
            passed: false,
            problem: None,
            line: self.line,
            lapsed: false,
            span: self.span,
        };
        let problem = match judge.judge(&self.method, &self.target, catalog) {
            Ok(path) => {
                let operation = catalog.classify(&self.method, &path).ok();
                let verdict = policy.decide(&self.account, operation.as_ref(), self.subject.clone(), self.at.unwrap_or(now));
                case.decision = match &verdict {
                    Verdict::Allowed(_) => Expect::Allow,
                    Verdict::Observed(..) | Verdict::Denied(_) => Expect::Deny,
                };
                case.reason = verdict.reason().as_str();
                case.share = verdict.rule().map(ToOwned::to_owned);
                self.problem(policy, catalog, case.decision, &verdict)
            }
            Err(foretold) => {
                (case.decision, case.reason) = (foretold.decision, foretold.reason);
                format!("expected {}; no policy is asked ({}). {}", self.expected(), foretold.reason, foretold.why)
            }
        };
        case.passed = case.decision == self.expect && self.because.is_none_or(|because| because == case.reason);
        case.problem = (!case.passed).then_some(problem);
        case
    }

    /// Whether a test that allows something, and says no time, held until a share came to its end.
    fn held_before(&self, policy: &Policy, catalog: &Catalog, judge: &impl Judge, now: Timestamp) -> bool {
        if self.at.is_some() || self.expect == Expect::Deny {
            return false;
        }
        let accounts = &policy.document().service_accounts;
        let shares = accounts.iter().filter(|(name, _)| name.as_str() == self.account.as_str()).flat_map(|(_, account)| &account.shares);
        let ends: BTreeSet<Timestamp> = shares.filter_map(|share| end_of(share.until.as_ref()?)).filter(|end| *end <= now).collect();
        let mut before = ends.iter().filter_map(|end| end.checked_sub(SignedDuration::from_millis(1)).ok());
        before.any(|before| self.run(policy, catalog, judge, before).passed)
    }

    fn expected(&self) -> String {
        self.because.map_or_else(|| self.expect.to_string(), |because| format!("{} because of {because}", self.expect))
    }

    fn problem(&self, policy: &Policy, catalog: &Catalog, decision: Expect, verdict: &Verdict<'_>) -> String {
        let by = verdict.rule().map(|rule| format!(", by {rule}")).unwrap_or_default();
        let reason = verdict.reason();
        let mut problem = match (self.expect == decision, self.because) {
            (true, Some(because)) => format!("expected because of {because}; refused because of {reason}{by}"),
            (true, None) | (false, _) => format!("expected {}; the policy says {decision} ({reason}{by})", self.expect),
        };
        if reason == Reason::EndpointUnknown {
            problem.push_str(&format!("; none of the {} endpoints of the catalog is this", catalog.endpoints().len()));
        } else if !policy.accounts.contains_key(self.account.as_str()) {
            problem.push_str(&format!("; the policy has no account {}", self.account));
            if let Some(near) = nearest(self.account.as_str(), policy.accounts.keys().map(AccountId::as_str)) {
                problem.push_str(&format!(", did you mean {near}?"));
            }
        }
        problem
    }
}

fn request(written: &At<String>, source: &Source, complaints: &mut Complaints) -> Option<(String, String)> {
    let mut words = written.split_ascii_whitespace();
    let (Some(method), Some(target), None) = (words.next(), words.next(), words.next()) else {
        complaints
            .error(source, written.span, format!("`{}` is no request", written.value))
            .help("write METHOD and path, such as `GET /dataset/2/Ac1/Vendors/list`");
        return None;
    };
    if !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        complaints
            .error(source, source.within(written.span, method), format!("`{method}` is no method"))
            .help(format!("write {}", method.to_ascii_uppercase()));
        return None;
    }
    Some((method.to_owned(), target.to_owned()))
}

fn because(written: &At<String>, expect: Expect, source: &Source, complaints: &mut Complaints) -> Result<&'static str, ()> {
    let Some((reason, decision)) = expected(written) else {
        let codes = || all().map(|(code, _)| code);
        complaints
            .error(source, written.span, format!("`{}` is no reason code that a test can expect", written.value))
            .help(format!("the codes are {}", codes().collect::<Vec<_>>().join(", ")))
            .suggest(written, codes());
        return Err(());
    };
    if expect != decision {
        complaints
            .error(source, written.span, format!("`expect: {expect}` and `because: {reason}` never come together"))
            .help("an allowed request has the reason shared or self-service, a refused one any of the others");
        return Err(());
    }
    Ok(reason)
}

/// A time, or noon (UTC) of a day: within the last day of what ends on it.
fn moment(text: &str) -> Option<Timestamp> {
    let end = end_of(text)?;
    if text.parse::<Timestamp>().is_ok() { Some(end) } else { end.checked_sub(jiff::SignedDuration::from_hours(12)).ok() }
}

// ===== impl Tests, Report =====

impl Tests {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Asks `policy` each of them. `now` is the time where a test names none.
    #[must_use]
    pub fn run(&self, policy: &Policy, catalog: &Catalog, judge: &impl Judge, now: Timestamp) -> Report {
        let mut report = Report::default();
        for test in &self.list {
            let mut case = test.run(policy, catalog, judge, now);
            case.lapsed = !case.passed && test.held_before(policy, catalog, judge, now);
            if case.passed {
                report.passed += 1;
            } else {
                report.failed += 1;
            }
            report.cases.push(case);
        }
        report
    }
}

impl Report {
    /// Whether all were as expected.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failed == 0
    }

    /// Adds an error for each test that failed, and a warning for one that failed by the mere passing of time or that may
    /// expect a refusal by mistake. `source` is the file the tests stand in.
    pub fn complain(&self, source: &Source, complaints: &mut Complaints) {
        for case in &self.cases {
            match &case.problem {
                // Nobody has changed anything, and less is allowed than was: that stops no sidecar and no other edit.
                Some(problem) if case.lapsed => {
                    complaints
                        .warning(source, case.span, format!("this test held until a share ended: {problem}"))
                        .help("give the share a later `until`, or the test an `at` before its end; or leave both out");
                }
                Some(problem) => {
                    complaints
                        .error(source, case.span, format!("this test fails: {problem}"))
                        .help("change the policy so that it holds, or the test if it is the test that is wrong");
                }
                None if case.because.is_some() || case.decision == Expect::Allow => {}
                None if case.reason == Reason::EndpointUnknown.as_str() => {
                    complaints
                        .warning(source, case.span, "this is refused because no endpoint of the catalog is this")
                        .help("if that is what is meant, add `because: endpoint-unknown`");
                }
                None if Reason::parse(case.reason).is_none() => {
                    complaints
                        .warning(source, case.span, format!("this is refused before any policy is asked ({})", case.reason))
                        .help(format!("if that is what is meant, add `because: {}`", case.reason));
                }
                None => {}
            }
        }
    }
}
