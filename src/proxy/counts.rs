//! What requests came to, counted where it happens and read by the admin listener's `/metrics`.
//!
//! Each serving thread has a [`Tally`] that it alone writes: a count is one load and one store of its own cache line,
//! with no lock and no allocation. A scrape adds the threads up. No label is ever a caller's word: reasons are
//! Vicar's own, kinds and actions the catalog's, and the table of combinations has a fixed size.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    audit::Decision,
    catalog::{Catalog, Operation},
};

/// Combinations of labels that one thread tells apart; what comes beyond is counted as `other`.
const SLOTS: usize = 1024;
/// Kinds and actions that are told apart over the life of the process, edits of the catalog included.
const WORDS: usize = 4095;
/// The word for none, and for what does not fit.
const NO_WORD: u16 = 0;

/// Upper bounds of the latency histograms' buckets, in microseconds; the last bucket has none.
pub const BUCKETS_US: [u64; 16] =
    [25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// Every reason that a record can give, most frequent first; the last stands for any other.
const REASONS: &[&str] = &[
    "shared",
    "not-shared",
    "credentials-invalid",
    "credentials-missing",
    "key-unknown",
    "secret-wrong",
    "key-expired",
    "key-disabled",
    "account-disabled",
    "source-not-allowed",
    "certificate-not-allowed",
    "endpoint-unknown",
    "denied-by-rule",
    "impersonation-not-allowed",
    "impersonation-required",
    "never-impersonate",
    "subject-malformed",
    "rate-limited",
    "body-too-large",
    "head-too-large",
    "request-timeout",
    "ambiguous-request",
    "method-not-allowed",
    "unsupported-media-type",
    "query-not-allowed",
    "directory-unavailable",
    "audit-unavailable",
    "upgrade-unavailable",
    "upstream-unreachable",
    "upstream-timeout",
    "draining",
    "self-service",
    "basic-malformed",
    "credentials-twice",
    "credentials-half",
    "credentials-repeated",
    "key-id-malformed",
    "secret-malformed",
    "other",
];

/// The tallies of all serving threads.
#[derive(Debug, Default)]
pub struct Counts {
    tallies: Mutex<Vec<Arc<Table>>>,
    /// Of what was no request: rare, and noticed where no thread's own tally is at hand.
    unread: Mutex<Option<Arc<Table>>>,
}

/// One serving thread's own counts. It stays on its thread: nobody else may write them.
#[derive(Debug)]
pub struct Tally {
    table: Arc<Table>,
    _stays_here: PhantomData<*const ()>,
}

/// What is known of a request for its count, filled in on its way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    decided: Option<(Decision, u8)>,
    kind: u16,
    action: u16,
    upstream: Option<Upstream>,
}

#[derive(Debug, Clone, Copy)]
struct Upstream {
    before_us: u64,
    took_us: u64,
}

/// Numbers for the kinds and actions of one catalog, the same in every thread and after every edit.
#[derive(Debug)]
pub struct Vocabulary {
    kinds: Vec<u16>,
    actions: Vec<u16>,
}

/// The sum over all threads, for one scrape.
#[derive(Debug, Default)]
pub struct Totals {
    /// Requests by what they came to.
    pub requests: BTreeMap<Labels, u64>,
    /// Vicar's own time, to the moment the request went upstream or was refused.
    pub own: Times,
    /// The upstream's time, to the head of its answer.
    pub upstream: Times,
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels {
    /// `allow` or `deny`.
    pub decision: &'static str,
    /// Why.
    pub reason: &'static str,
    /// The kind of what it concerned; empty when nothing of the catalog.
    pub kind: Arc<str>,
    /// What it did to it; empty when nothing of the catalog.
    pub action: Arc<str>,
    /// `1xx` to `5xx`.
    pub status: &'static str,
}

/// A latency histogram: requests in each bucket of [`BUCKETS_US`] and beyond, and their sum.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Times {
    /// Not cumulative; one more than there are bounds.
    pub buckets: [u64; BUCKETS_US.len() + 1],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

#[derive(Debug)]
struct Table {
    slots: Box<[Slot]>,
    overflow: AtomicU64,
    own: Histogram,
    upstream: Histogram,
}

/// A key of 0 is no key: the slot is free.
#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    count: AtomicU64,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

// ===== counting =====

impl Counts {
    /// The tally of a thread that begins to serve.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally { table: self.table(), _stays_here: PhantomData }
    }

    /// Counts an answer to what could not be read as a request.
    pub fn unread(&self, outcome: Outcome, status: u16) {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        // The lock makes whoever holds it the one that writes.
        unread.get_or_insert_with(|| self.table()).count(outcome.key(status));
    }

    fn table(&self) -> Arc<Table> {
        let table = Arc::new(Table {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            overflow: AtomicU64::new(0),
            own: Histogram::default(),
            upstream: Histogram::default(),
        });
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).push(table.clone());
        table
    }

    /// All threads together.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for table in self.tallies.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            table.add_to(&mut totals);
        }
        totals
    }
}

impl Tally {
    /// Counts a request that was answered with `status`, `took` after it came.
    pub fn request(&self, outcome: Outcome, status: u16, took: impl FnOnce() -> Duration) {
        let table = &self.table;
        table.count(outcome.key(status));
        match outcome.upstream {
            Some(upstream) => {
                table.own.add(upstream.before_us);
                table.upstream.add(upstream.took_us);
            }
            None => table.own.add(micros(took())),
        }
    }
}

impl Outcome {
    /// What was decided about `operation`, and why.
    #[must_use]
    pub fn decided(decision: Decision, reason: &str, operation: Option<&Operation<'_, '_>>, words: &Vocabulary) -> Self {
        let word = |words: &[u16], index: usize| words.get(index).copied().unwrap_or(NO_WORD);
        Self {
            decided: Some((decision, reason_number(reason))),
            kind: operation.map_or(NO_WORD, |operation| word(&words.kinds, operation.kind.index())),
            action: operation.map_or(NO_WORD, |operation| word(&words.actions, operation.action.index())),
            upstream: None,
        }
    }

    /// The same with another decision, for what went wrong later.
    #[must_use]
    pub fn refused(self, reason: &str) -> Self {
        Self { decided: Some((Decision::Deny, reason_number(reason))), ..self }
    }

    /// The same, answered by the upstream.
    #[must_use]
    pub fn upstream(self, before: Duration, took_us: u64) -> Self {
        Self { upstream: Some(Upstream { before_us: micros(before), took_us }), ..self }
    }

    /// Whether anything was decided yet.
    #[must_use]
    pub const fn is_decided(self) -> bool {
        self.decided.is_some()
    }

    /// Reason, decision, status class, kind and action in one number that is never 0.
    fn key(self, status: u16) -> u64 {
        let (decision, reason) = self.decided.unwrap_or((Decision::Deny, OTHER));
        let decision = match decision {
            Decision::Allow => 1u64,
            Decision::Deny => 2,
        };
        decision | u64::from(status / 100 % 8) << 2 | u64::from(reason) << 5 | u64::from(self.kind) << 13 | u64::from(self.action) << 25
    }
}

impl Table {
    fn count(&self, key: u64) {
        // The multiplier is 2^64 over the golden ratio: neighbouring keys land far apart.
        let home = usize::try_from(key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54).unwrap_or(0);
        let (before, after) = self.slots.split_at_checked(home).unwrap_or((&[], &self.slots));
        for slot in after.iter().chain(before) {
            match slot.key.load(Relaxed) {
                found if found == key => return bump(&slot.count, 1),
                0 => {
                    bump(&slot.count, 1);
                    slot.key.store(key, std::sync::atomic::Ordering::Release);
                    return;
                }
                _ => {}
            }
        }
        bump(&self.overflow, 1);
    }

    fn add_to(&self, totals: &mut Totals) {
        for slot in &self.slots {
            let key = slot.key.load(std::sync::atomic::Ordering::Acquire);
            if key != 0 {
                *totals.requests.entry(Labels::of(key)).or_default() += slot.count.load(Relaxed);
            }
        }
        let overflow = self.overflow.load(Relaxed);
        if overflow > 0 {
            let other = Labels { decision: "other", reason: "other", kind: "".into(), action: "".into(), status: "other" };
            *totals.requests.entry(other).or_default() += overflow;
        }
        self.own.add_to(&mut totals.own);
        self.upstream.add_to(&mut totals.upstream);
    }
}

impl Histogram {
    fn add(&self, us: u64) {
        let place = BUCKETS_US.iter().position(|bound| us <= *bound).unwrap_or(BUCKETS_US.len());
        if let Some(bucket) = self.buckets.get(place) {
            bump(bucket, 1);
        }
        bump(&self.sum_us, us);
    }

    fn add_to(&self, times: &mut Times) {
        for (sum, bucket) in times.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Relaxed);
        }
        times.sum_us += self.sum_us.load(Relaxed);
    }
}

/// One writer only, so that no locked instruction is needed.
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

// ===== words =====

/// The last of [`REASONS`]. There are far fewer than a byte can tell apart, and a test holds us to it.
#[expect(clippy::cast_possible_truncation, reason = "fewer than 256")]
const OTHER: u8 = (REASONS.len() - 1) as u8;

fn reason_number(reason: &str) -> u8 {
    REASONS.iter().position(|known| *known == reason).and_then(|at| u8::try_from(at).ok()).unwrap_or(OTHER)
}

/// Every kind and action since the process began; numbers are places in it, from 1.
static KNOWN: Mutex<Vec<Arc<str>>> = Mutex::new(Vec::new());

impl Vocabulary {
    /// Numbers for what `catalog` names.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Self {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = |word: &str| {
            let at = known.iter().position(|known| **known == *word).or_else(|| {
                if known.len() == WORDS {
                    return None;
                }
                known.push(word.into());
                Some(known.len() - 1)
            });
            at.and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(NO_WORD)
        };
        Self {
            kinds: catalog.kinds().map(|kind| number(&kind.name)).collect(),
            actions: catalog.actions().map(|(_, name)| number(name)).collect(),
        }
    }
}

impl Labels {
    fn of(key: u64) -> Self {
        static NONE: OnceLock<Arc<str>> = OnceLock::new();
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let word = |number: u64| {
            let at = usize::try_from(number & 0xFFF).ok().and_then(|at| at.checked_sub(1));
            at.and_then(|at| known.get(at)).unwrap_or_else(|| NONE.get_or_init(|| "".into())).clone()
        };
        let reason = usize::try_from(key >> 5 & 0xFF).unwrap_or_default();
        Self {
            decision: if key & 3 == 1 { "allow" } else { "deny" },
            reason: REASONS.get(reason).copied().unwrap_or("other"),
            kind: word(key >> 13),
            action: word(key >> 25),
            status: match key >> 2 & 7 {
                1 => "1xx",
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                5 => "5xx",
                _ => "other",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::problem::Code;

    fn outcome(decision: Decision, reason: &str) -> Outcome {
        Outcome { decided: Some((decision, reason_number(reason))), ..Outcome::default() }
    }

    #[test]
    fn every_problem_code_is_a_reason_that_metrics_can_name() {
        for code in Code::ALL {
            assert!(REASONS.contains(&code.as_str()), "{}", code.as_str());
        }
        assert_eq!(REASONS[usize::from(OTHER)], "other");
        assert!(REASONS.len() < 256);
    }

    #[test]
    fn every_failed_sign_in_has_a_reason_that_metrics_can_name() {
        use crate::directory::SignInReason as Reason;
        for reason in [
            Reason::KeyUnknown,
            Reason::SecretWrong,
            Reason::KeyDisabled,
            Reason::KeyExpired,
            Reason::AccountDisabled,
            Reason::SourceNotAllowed,
            Reason::CertificateNotAllowed,
        ] {
            assert!(REASONS.contains(&reason.as_str()), "{}", reason.as_str());
        }
    }

    #[test]
    fn threads_add_up() {
        let counts = Counts::default();
        for _ in 0..3 {
            let tally = counts.tally();
            tally.request(outcome(Decision::Allow, "shared").upstream(Duration::from_micros(30), 700), 204, || Duration::ZERO);
            tally.request(outcome(Decision::Deny, "not-shared"), 403, || Duration::from_secs(60));
        }
        let totals = counts.totals();
        let told: Vec<_> = totals.requests.iter().map(|(labels, count)| (labels.decision, labels.reason, labels.status, *count)).collect();
        assert_eq!(told, [("allow", "shared", "2xx", 3), ("deny", "not-shared", "4xx", 3)]);
        assert_eq!((totals.own.buckets[1], totals.own.buckets[BUCKETS_US.len()]), (3, 3));
        assert_eq!((totals.upstream.buckets[5], totals.upstream.sum_us), (3, 2100));
    }

    #[test]
    fn more_combinations_than_there_is_room_for_are_counted_together() {
        let counts = Counts::default();
        let tally = counts.tally();
        for kind in 0..SLOTS + 76 {
            tally.request(Outcome { kind: kind as u16, ..outcome(Decision::Allow, "shared") }, 200, || Duration::ZERO);
        }
        let totals = counts.totals();
        assert_eq!(totals.requests.values().sum::<u64>(), SLOTS as u64 + 76);
        assert_eq!(totals.requests.iter().find(|(labels, _)| labels.decision == "other").map(|(_, count)| *count), Some(76));
    }

    #[test]
    fn an_unknown_reason_is_other() {
        assert_eq!(Labels::of(outcome(Decision::Deny, "made-up").key(799)).reason, "other");
        assert_eq!(Labels::of(outcome(Decision::Deny, "made-up").key(799)).status, "other");
    }
}
