//! The audit log as people read it: a filter, a chart, a table that can be followed.

use std::sync::Arc;

use axum::{
    extract::State,
    http::HeaderValue,
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    chart,
    layout::{self, Place, heading, page},
    seat::Seat,
    trouble::Trouble,
};
use crate::{
    admin::{
        Desk,
        input::Asked,
        records::{self, Cursor, FoundRecord, RecordQuery},
        views::written,
    },
    audit::{AccountUsage, Decision, Kind, Order, Outcome, Record},
    identity::AccountId,
    terminal::printable,
};

/// Records on a page.
const PAGE: usize = 50;
/// Records that one look of a followed page brings at most.
const NEWS: usize = 200;
/// How far back a followed page looks: a request that took long is written down when it ends, under the time it began.
const LOOK_BACK_SECONDS: i64 = 60;
/// Days over which the use of shares is counted.
pub(super) const USE_DAYS: u64 = 30;

/// What a form of this page asks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogQuery {
    account: String,
    decision: String,
    key: String,
    subject: String,
    resource: String,
    action: String,
    kind: String,
    request_id: String,
    since: String,
    cursor: String,
}

const SINCE: [(&str, &str); 5] = [("1h", "the last hour"), ("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days"), ("", "ever")];

impl LogQuery {
    fn records(&self, account: Option<&AccountId>) -> RecordQuery {
        let text = |text: &str| Some(text.trim().to_owned());
        RecordQuery {
            account: account.map_or_else(|| text(&self.account), |account| Some(account.to_string())),
            key: text(&self.key),
            subject: text(&self.subject.to_lowercase()),
            resource: text(&self.resource),
            action: text(&self.action),
            decision: text(&self.decision),
            kind: text(&self.kind),
            request_id: text(&self.request_id),
            since: text(&self.since),
            ..RecordQuery::default()
        }
    }

    /// The same question for another page.
    fn address(&self, path: &str, cursor: Option<&str>) -> String {
        let fields = [
            ("account", self.account.as_str()),
            ("decision", &self.decision),
            ("key", &self.key),
            ("subject", &self.subject),
            ("resource", &self.resource),
            ("action", &self.action),
            ("kind", &self.kind),
            ("request_id", &self.request_id),
            ("since", &self.since),
            ("cursor", cursor.unwrap_or_default()),
        ];
        let asked: Vec<(&str, &str)> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let mut address = path.to_owned();
        for (place, (name, value)) in asked.into_iter().enumerate() {
            address.push(if place == 0 { '?' } else { '&' });
            address.push_str(name);
            address.push('=');
            address.push_str(&super::encoded(value));
        }
        address
    }
}

/// The log of everything that the admin may see.
pub(super) async fn everything(State(desk): State<Desk>, seat: Seat, Asked(query): Asked<LogQuery>) -> Result<Markup, Trouble> {
    let body = html! {
        (heading(&[], html! { "Audit log" }, html! {}))
        (panel(&desk, &seat, "/console/log", None, &query).await?)
    };
    Ok(page(&seat, Place::Log, "Audit log", body))
}

/// Filter, chart and table, for an account or for all.
pub(super) async fn panel(desk: &Desk, seat: &Seat, path: &str, account: Option<&AccountId>, query: &LogQuery) -> Result<Markup, Trouble> {
    let now = Timestamp::now();
    let asked = query.records(account);
    let cursor = Some(query.cursor.as_str()).filter(|cursor| !cursor.is_empty());
    let found = records::read(desk, asked.filter(&seat.who, now)?, Order::NewestFirst, PAGE, cursor).await?;
    let around = RecordQuery { since: None, ..asked };
    let hours = records::per_hour::<24>(desk, around.filter(&seat.who, now)?, now).await?;
    let newest = found
        .records
        .first()
        .map(|first| Cursor::of(&first.record).to_string())
        .unwrap_or_else(|| Cursor { time: now, id: "0".to_owned() }.to_string());
    Ok(html! {
        (chart::per_hour(&hours, now))
        (filter(path, account, query))
        div.toolbar {
            p.muted { @if cursor.is_some() { "Older records. " a href=(query.address(path, None)) { "Back to the newest" } } @else { "Newest first." } }
            @if cursor.is_none() {
                button type="button" #follow hidden data-rows=(query.address(&format!("{path}/rows"), None)) data-cursor=(newest) aria-pressed="false" { "Follow live" }
            }
        }
        @if found.unfinished { (layout::note("off", html! { "This took long, so it stops here for now: " strong { "Older records" } " goes on looking." })) }
        @if found.records.is_empty() && cursor.is_none() && !found.unfinished {
            section.card.empty #nothing { h2 { "No records" } p { "Nothing in the log is like that." } }
        }
        div.card.scroll hidden[found.records.is_empty()] #records-card { table.log {
            caption.hidden { "Audit records, newest first" }
            thead { tr { th scope="col" { "Time (UTC)" } @if account.is_none() { th scope="col" { "Account" } } th scope="col" { "What" } th scope="col" { "On behalf of" } th scope="col" { "Decision" } th scope="col" { "Outcome" } } }
            tbody #records { @for found in &found.records { (row(found, account.is_none(), now)) } }
        } }
        p.hidden #follow-news aria-live="polite" {}
        @if let Some(next) = &found.next { p { a.button href=(query.address(path, Some(next))) { "Older records" } } }
    })
}

/// What is new since a followed page last looked: rows and nothing else.
pub(super) async fn rows(State(desk): State<Desk>, seat: Seat, Asked(query): Asked<LogQuery>) -> Result<Response, Trouble> {
    news(&desk, &seat, None, &query).await
}

/// The same, of one account.
pub(super) async fn account_rows(
    State(desk): State<Desk>,
    seat: Seat,
    axum::extract::Path(id): axum::extract::Path<String>,
    Asked(query): Asked<LogQuery>,
) -> Result<Response, Trouble> {
    let id = super::accounts::named(&id)?;
    news(&desk, &seat, Some(&id), &query).await
}

async fn news(desk: &Desk, seat: &Seat, account: Option<&AccountId>, query: &LogQuery) -> Result<Response, Trouble> {
    let now = Timestamp::now();
    let cursor = Cursor::parse(&query.cursor)?;
    let since = Timestamp::from_second(cursor.time.as_second() - LOOK_BACK_SECONDS).unwrap_or(cursor.time);
    let asked = RecordQuery { since: Some(since.to_string()), ..query.records(account) };
    let found = records::read(desk, asked.filter(&seat.who, now)?, Order::NewestFirst, NEWS, None).await?;
    let newest = found.records.first().map_or(cursor, |first| Cursor::of(&first.record)).to_string();
    let rows = html! { @for found in &found.records { (row(found, account.is_none(), now)) } };
    let mut response = rows.into_response();
    if let Ok(value) = HeaderValue::try_from(newest) {
        response.headers_mut().insert("x-vicar-cursor", value);
    }
    Ok(response)
}

fn filter(path: &str, account: Option<&AccountId>, query: &LogQuery) -> Markup {
    let select = |name: &str, title: &str, chosen: &str, choices: &[(&str, &str)]| {
        html! { div.field { label for={ "f-" (name) } { (title) } select id={ "f-" (name) } name=(name) {
            @for (value, text) in choices { option value=(value) selected[*value == chosen] { (text) } }
        } } }
    };
    let text = |name: &str, title: &str, value: &str, hint: &str| {
        html! { div.field { label for={ "f-" (name) } { (title) } input id={ "f-" (name) } name=(name) value=(value) placeholder=(hint) autocomplete="off" spellcheck="false"; } }
    };
    html! {
        form.filter method="get" action=(path) role="search" aria-label="Filter the audit log" {
            (select("decision", "Decision", &query.decision, &[("", "any"), ("allow", "allowed"), ("deny", "refused")]))
            (select("kind", "Kind", &query.kind, &[("", "any"), ("access", "access"), ("admin", "admin"), ("system", "system")]))
            (select("since", "Since", &query.since, &SINCE))
            @if account.is_none() { (text("account", "Account", &query.account, "reporting")) }
            (text("subject", "On behalf of", &query.subject, "zoe@acme.example"))
            (text("resource", "Resource", &query.resource, "process:*"))
            (text("key", "Key", &query.key, "VK…"))
            (text("request_id", "Request id", &query.request_id, "01…"))
            div.field.go { button type="submit" { "Filter" } a href=(path) { "Clear" } }
        }
    }
}

fn row(found: &FoundRecord, with_account: bool, now: Timestamp) -> Markup {
    let record = &found.record;
    let shown = |text: &Option<String>| text.as_deref().map(|text| printable(text).into_owned());
    html! {
        tr data-id={ (record.sidecar) "/" (record.seq) "/" (record.id) } {
            td.when { (clock(record.time, now)) }
            @if with_account { td.account { @match &record.account { Some(account) => a href={ "/console/accounts/" (account) } { (account) }, None => span.muted { "—" } } } }
            td.what {
                details {
                    summary { @match (shown(&record.action), shown(&record.resource)) {
                        (Some(action), Some(resource)) => { span.strong { (action) } " " code.resource { (resource) } },
                        (Some(action), None) => { span.strong { (action) } },
                        (None, _) => code.resource { (record.method.as_deref().unwrap_or("?")) " " (shown(&record.path).unwrap_or_default()) },
                    } }
                    (facts(record))
                }
            }
            td.behalf { @match (&record.kind, shown(&record.subject)) {
                (_, Some(subject)) => { span.pill.acts { (subject) } },
                (Kind::Admin, None) => { "by " strong { (shown(&record.operator).unwrap_or_default()) } },
                (Kind::Access, None) => { span.muted { "itself" } },
                (Kind::System, None) => { span.muted { "—" } },
            } }
            td.decision { @match record.decision {
                Some(Decision::Allow) => span.pill.good { "allowed" },
                Some(Decision::Deny) => { span.pill.bad { "refused" } span.sub { (shown(&record.reason).unwrap_or_default()) } },
                None => span.pill.off { (record.kind.as_str()) },
            } }
            td.outcome { (outcome(record)) }
        }
    }
}

/// The time of day, and the day where it is another.
fn clock(time: Timestamp, now: Timestamp) -> Markup {
    let exact = written(time);
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    html! { time datetime=(exact) title=(exact) { (time.strftime("%H:%M:%S").to_string()) @if day(time) != day(now) { span.sub { (day(time)) } } } }
}

fn outcome(record: &Record) -> Markup {
    let status = record.status.map(|status| status.to_string()).unwrap_or_default();
    let word = match record.outcome {
        Outcome::Completed => None,
        Outcome::Refused => record.decision.is_none().then_some("refused"),
        Outcome::UpstreamError => Some("upstream error"),
        Outcome::Interrupted => Some("interrupted"),
    };
    html! { (status) @if let Some(word) = word { " " span.pill.warn { (word) } } @if record.stale { " " span.pill.warn { "stale" } } }
}

fn facts(record: &Record) -> Markup {
    let text = |text: &Option<String>| text.as_deref().map(|text| printable(text).into_owned());
    let request = record.method.as_ref().map(|method| format!("{method} {}", text(&record.path).unwrap_or_default()));
    let ms = |us: Option<u64>| us.map(|us| format!("{}.{:03} ms", us / 1000, us % 1000));
    let facts = [
        ("Time", Some(written(record.time))),
        ("Request", request),
        ("Query", text(&record.query)),
        ("Request id", text(&record.request_id)),
        ("Key", text(&record.key)),
        ("Reason", text(&record.reason)),
        ("Share", text(&record.share)),
        ("Policy", text(&record.policy)),
        ("Detail", text(&record.detail)),
        ("Client", text(&record.client)),
        ("Program", text(&record.user_agent)),
        ("Upstream took", ms(record.upstream_us)),
        ("Took in all", ms(record.total_us)),
        ("Trace", text(&record.trace_id)),
        ("Chain", Some(format!("{} #{}", printable(&record.sidecar), record.seq))),
    ];
    html! { dl.facts { @for (name, value) in facts { @if let Some(value) = value.filter(|value| !value.is_empty()) { dt { (name) } dd { (value) } } } } }
}

/// How often each share of an account was used lately.
pub(super) async fn share_use(desk: &Desk, seat: &Seat, account: &AccountId) -> Option<Arc<AccountUsage>> {
    records::share_use(desk, &seat.who, account, USE_DAYS).await
}
