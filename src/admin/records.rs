//! Questions to the audit log, for API and console alike; asked on threads where waiting for a disk holds nobody up.

mod cursor;
mod usage;

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::{runtime::Handle, sync::Semaphore};

use super::{
    Desk, input,
    refusal::Refusal,
    roles::{Right, Scope, permit},
    sign_in::Who,
};
use crate::{
    audit::{self, AuditError, Decision, Filter, Kind, Line, LogSource, Order, Page, Position, Record},
    identity::AccountId,
};
pub(super) use cursor::Cursor;
pub(super) use usage::{share_use, usage};

/// Questions at once; the others wait.
const READERS: usize = 2;
/// How long a page may look for what is wanted, and its chart count.
const PAGE_PATIENCE: Duration = Duration::from_secs(4);
const CHART_PATIENCE: Duration = Duration::from_millis(1500);
/// Records between two looks at the clock.
const LOOK: u32 = 256;

/// Which records are wanted; all that have each of what is set.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordQuery {
    /// Of this service account.
    pub(super) account: Option<String>,
    /// With this access key.
    pub(super) key: Option<String>,
    /// On behalf of this user.
    pub(super) subject: Option<String>,
    /// On this resource; a `*` at its end stands for any rest.
    pub(super) resource: Option<String>,
    /// With this action.
    pub(super) action: Option<String>,
    /// `allow` or `deny`.
    pub(super) decision: Option<String>,
    /// `completed`, `refused`, `upstream_error` or `interrupted`.
    pub(super) outcome: Option<String>,
    /// `access`, `admin` or `system`.
    pub(super) kind: Option<String>,
    /// This request.
    pub(super) request_id: Option<String>,
    /// Written by this sidecar.
    pub(super) sidecar: Option<String>,
    /// Not before: a moment, a day, or how long ago.
    pub(super) since: Option<String>,
    /// Before: a moment, a day, or how long ago.
    pub(super) until: Option<String>,
}

/// Records that were found, in the order asked for.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) records: Vec<FoundRecord>,
    /// Where the next page begins, if there is one.
    pub(super) next: Option<String>,
    /// Whether the page ended for want of time, and not because it was full.
    pub(super) unfinished: bool,
}

/// One record, as it stands in the log and as it reads.
#[derive(Debug, Clone)]
pub(super) struct FoundRecord {
    pub(super) raw: String,
    pub(super) record: Record,
}

/// Requests of one hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hour {
    pub(super) allowed: u64,
    pub(super) refused: u64,
}

/// Requests by the hour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hours<const HOURS: usize> {
    pub(super) hours: [Hour; HOURS],
    /// From when on they were counted, if not from the first hour on.
    pub(super) since: Option<Timestamp>,
}

/// How long a question may look.
struct Patience {
    end: Instant,
    looked: u32,
}

impl Patience {
    fn new(long: Duration) -> Self {
        Self { end: Instant::now() + long, looked: 0 }
    }

    fn is_over(&mut self) -> bool {
        self.looked = self.looked.wrapping_add(1);
        // The next record is where the clock is looked at, so that the one before it was noted.
        self.looked % LOOK == 1 && self.looked > LOOK && Instant::now() > self.end
    }
}

/// What reading holds between questions.
#[derive(Debug)]
pub(super) struct Readers {
    room: Arc<Semaphore>,
    used: usage::Counts,
}

impl Default for Readers {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(READERS)), used: usage::Counts::default() }
    }
}

// ===== asking =====

impl RecordQuery {
    /// The filter, bound to what `who` may see.
    ///
    /// # Errors
    /// When a word is none of those there are, or the role does not reach that far.
    pub(super) fn filter(&self, who: &Who, now: Timestamp) -> Result<Wanted, Refusal> {
        fn word<T: DeserializeOwned>(name: &str, raw: Option<&String>, words: &str) -> Result<Option<T>, Refusal> {
            let read = |raw: &String| serde_json::from_value(serde_json::Value::String(raw.clone()));
            let wrong = |_| Refusal::Invalid(format!("{name} is one of {words}."));
            set(raw).map(read).transpose().map_err(wrong)
        }
        let time = |raw: Option<&String>| set(raw).map(|raw| input::moment(raw, now)).transpose();
        let text = |raw: &Option<String>| set(raw.as_ref()).cloned();
        let permitted = match text(&self.account).map(|account| account.parse::<AccountId>()) {
            Some(Ok(account)) => permit(&who.admin, Right::ReadAudit, Scope::Account(&account))?,
            Some(Err(error)) => return Err(Refusal::Invalid(format!("{error}."))),
            None => permit(&who.admin, Right::ReadAudit, Scope::Visible)?,
        };
        let filter = Filter {
            since: time(self.since.as_ref())?,
            until: time(self.until.as_ref())?,
            kind: word("kind", self.kind.as_ref(), "access, admin, system")?,
            account: text(&self.account),
            accounts: permitted.only().unwrap_or_default().iter().map(ToString::to_string).collect(),
            key: text(&self.key),
            subject: text(&self.subject).map(Filter::subject_as_recorded),
            resource: text(&self.resource),
            action: text(&self.action),
            decision: word("decision", self.decision.as_ref(), "allow, deny")?,
            outcome: word("outcome", self.outcome.as_ref(), "completed, refused, upstream_error, interrupted")?,
            request_id: text(&self.request_id),
            sidecar: text(&self.sidecar),
        };
        // A filter without accounts takes all of them, and an admin for no account may see none.
        Ok(if permitted.only().is_some_and(<[AccountId]>::is_empty) { Wanted::Nothing } else { Wanted::Records(Box::new(filter)) })
    }
}

/// What may be read at all.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Nothing,
    Records(Box<Filter>),
}

/// An empty field of a form is one that was left out.
fn set(raw: Option<&String>) -> Option<&String> {
    raw.filter(|raw| !raw.is_empty())
}

/// Reads one page of what `wanted` takes. A page ends when it is full, or when it has taken long to fill: the next one
/// goes on from there.
pub(super) async fn read(desk: &Desk, wanted: Wanted, order: Order, limit: usize, cursor: Option<&str>) -> Result<Found, Refusal> {
    let Wanted::Records(filter) = wanted else { return Ok(Found::default()) };
    let from = cursor.map(str::parse::<Position>).transpose().map_err(|_| no_cursor())?;
    // All that may be near is looked at, so that the end of patience is noticed where nothing is like what is wanted.
    let looked_at = Filter { since: filter.since, ..Filter::default() };
    let source = source(desk)?;
    aside(desk, async move {
        let mut found = Found::default();
        let mut patience = Patience::new(PAGE_PATIENCE);
        let mut take = |line: Line<'_>| {
            let (over, wanted) = (patience.is_over(), filter.takes(line.record));
            let full = found.records.len() == limit;
            if over || (wanted && full) {
                // This record is the first of the next page.
                found.unfinished = !full;
                return ControlFlow::Break(());
            }
            if wanted {
                found.records.push(FoundRecord { raw: line.raw.to_owned(), record: line.record.clone() });
            }
            ControlFlow::Continue(())
        };
        let read = audit::read_from(&source, &looked_at, Page { order, limit: None }, from.as_ref(), &mut take).await;
        found.next = match read {
            Ok(position) => position.map(|position| position.to_string()),
            Err(AuditError::Elsewhere) => return Err(no_cursor()),
            Err(other) => return Err(other.into()),
        };
        Ok(found)
    })
    .await
}

fn no_cursor() -> Refusal {
    Refusal::Invalid("The cursor is none that was given here; begin again without it.".to_owned())
}

/// Requests allowed and refused in each of the last `HOURS` hours, the current one last; as far back as patience goes.
pub(super) async fn per_hour<const HOURS: usize>(desk: &Desk, wanted: Wanted, now: Timestamp) -> Result<Hours<HOURS>, Refusal> {
    const HOUR: i64 = 60 * 60;
    let mut hours = Hours { hours: [Hour::default(); HOURS], since: None };
    let Wanted::Records(filter) = wanted else { return Ok(hours) };
    let first = now.as_second() / HOUR - i64::try_from(HOURS).unwrap_or(0) + 1;
    let filter = Filter { kind: Some(Kind::Access), since: None, until: None, ..*filter };
    let looked_at = Filter { since: Timestamp::from_second(first * HOUR).ok(), sidecar: filter.sidecar.clone(), ..Filter::default() };
    let source = source(desk)?;
    aside(desk, async move {
        let mut patience = Patience::new(CHART_PATIENCE);
        audit::read(&source, &looked_at, Page { order: Order::NewestFirst, limit: None }, &mut |line| {
            if patience.is_over() {
                hours.since = Some(line.record.time);
                return ControlFlow::Break(());
            }
            let place = usize::try_from(line.record.time.as_second() / HOUR - first).ok();
            if filter.takes(line.record)
                && let Some(hour) = place.and_then(|place| hours.hours.get_mut(place))
            {
                match line.record.decision {
                    Some(Decision::Deny) => hour.refused += 1,
                    Some(Decision::Allow) | None => hour.allowed += 1,
                }
            }
            ControlFlow::Continue(())
        })
        .await?;
        Ok(hours)
    })
    .await
}

/// Where this sidecar's console reads.
pub(super) fn source(desk: &Desk) -> Result<LogSource, Refusal> {
    Ok(LogSource::choose(&desk.status.in_force().settings.audit, None)?)
}

/// Runs where waiting for a disk holds up neither pushes nor probes.
pub(super) async fn aside<T: Send + 'static>(
    desk: &Desk,
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    let place = desk.readers.room.clone().acquire_owned().await;
    let runtime = Handle::current();
    let done = tokio::task::spawn_blocking(move || {
        let done = runtime.block_on(work);
        drop(place);
        done
    });
    match done.await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "reading the log was broken off");
            Err(Refusal::Invalid("The question was broken off; ask again.".to_owned()))
        }
    }
}
