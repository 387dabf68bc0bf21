//! `/metrics`: what is counted elsewhere, put together at each scrape.
//!
//! Labels come from Vicar's own words, the catalog's and the account ids that admins chose; never from a caller.

use std::fs;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};

use super::{
    Desk,
    exposition::{Format, Page},
};
use crate::directory::Health;

pub(super) async fn metrics(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    let format = Format::accepted(headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()));
    let mut page = Page::new(format);
    requests(&mut page, &desk);
    connections(&mut page, &desk);
    documents(&mut page, &desk);
    directory(&mut page, &desk);
    limits(&mut page, &desk);
    keys(&mut page, &desk).await;
    audit(&mut page, &desk);
    process(&mut page);
    let mut response = page.finish().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}

fn requests(page: &mut Page, desk: &Desk) {
    let totals = desk.shared.counts.totals();
    let mut family =
        page.counter("vicar_requests", "Requests on the data port, by what was decided about what and why, and by status class.");
    for (labels, count) in &totals.requests {
        let labels = [
            ("decision", labels.decision),
            ("reason", labels.reason),
            ("kind", &*labels.kind),
            ("action", &*labels.action),
            ("status", labels.status),
        ];
        family.sample(&labels, count);
    }
    page.histogram("vicar_request_own_seconds", "Vicar's own time: until a request went upstream, or was refused.", &totals.own);
    page.histogram("vicar_upstream_seconds", "The upstream's time: until the head of its answer.", &totals.upstream);
}

fn connections(page: &mut Page, desk: &Desk) {
    let connections = &desk.shared.connections;
    page.gauge("vicar_connections", "Connections on the data port.").sample(&[], connections.open());
    page.counter("vicar_connections_taken", "Connections accepted on the data port.").sample(&[], connections.taken());
    page.counter("vicar_connections_refused", "Connections closed at once because there were too many.").sample(&[], connections.refused());
    page.counter("vicar_tls_handshakes_failed", "Connections on the data port whose TLS handshake failed, or took too long.")
        .sample(&[], connections.unshaken());
}

fn documents(page: &mut Page, desk: &Desk) {
    let (reloads, in_force) = (desk.status.reloads(), desk.status.in_force());
    page.counter("vicar_reloads", "Edits of settings, policy and catalogs, by what became of them.")
        .sample(&[("result", "taken")], reloads.taken)
        .sample(&[("result", "refused")], reloads.refused);
    page.gauge("vicar_reload_pending", "1 while the files on disk hold an edit that was refused.")
        .sample(&[], u8::from(reloads.pending.is_some()));
    page.gauge("vicar_rules_since_seconds", "Since when the rules in force are, as Unix time.").sample(&[], in_force.since.as_second());
    page.gauge("vicar_policy_info", "The policy in force.").sample(&[("digest", desk.shared.rules.load().policy.digest())], 1);
    page.gauge("vicar_policy_observes", "1 while refusals of all or some accounts are only recorded.")
        .sample(&[], u8::from(desk.shared.rules.load().policy.observes().is_some()));
    page.gauge("vicar_draining", "1 while the sidecar is on its way out.").sample(&[], u8::from(desk.status.draining()));
    page.gauge("vicar_build_info", "What runs.").sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
}

fn directory(page: &mut Page, desk: &Desk) {
    let stats = desk.shared.directory.stats();
    page.counter("vicar_sign_ins", "Sign-ins by where the answer came from.")
        .sample(&[("answer", "hit")], stats.hits)
        .sample(&[("answer", "negative-hit")], stats.negative_hits)
        .sample(&[("answer", "miss")], stats.misses)
        .sample(&[("answer", "stale")], stats.stale)
        .sample(&[("answer", "unavailable")], stats.unavailable);
    page.counter("vicar_directory_questions", "Questions to the directory's backend, refreshes included.").sample(&[], stats.questions);
    page.counter("vicar_directory_changes", "Changes of accounts and keys that were heard of.").sample(&[], stats.changes);
    page.counter("vicar_directory_resyncs", "Times that everything had to be asked again.").sample(&[], stats.resyncs);
    page.gauge("vicar_directory_entries", "Keys in memory.").sample(&[], stats.entries);
    page.gauge("vicar_directory_connected", "1 while changes are told as they happen.").sample(&[], u8::from(stats.connected));
    page.gauge("vicar_directory_healthy", "1 while the backend answers and makes sense.")
        .sample(&[], u8::from(stats.backend == Health::Good));
    if let Some(ago) = stats.vouched {
        page.gauge("vicar_directory_push_lag_seconds", "How long ago the backend last vouched that every change has been told.")
            .sample(&[], ago.as_secs_f64());
    }
}

fn limits(page: &mut Page, desk: &Desk) {
    let Some(fleet) = desk.shared.limits.fleet() else { return };
    page.gauge("vicar_limits_shared", "1 while requests a minute are counted with the whole fleet, 0 while this sidecar counts alone.")
        .sample(&[], u8::from(fleet.shared));
    page.counter("vicar_limits_draws", "Draws from the fleet's quotas in Redis, by result.")
        .sample(&[("result", "drawn")], fleet.drawn)
        .sample(&[("result", "failed")], fleet.failed);
}

async fn keys(page: &mut Page, desk: &Desk) {
    let Some(accounts) = desk.inventory.accounts(&*desk.shared.backend).await else { return };
    let mut family = page.gauge("vicar_keys", "Access keys, by account and state.");
    for (account, states) in accounts.iter() {
        for (state, count) in [("active", states.active), ("disabled", states.disabled), ("expired", states.expired)] {
            family.sample(&[("account", account), ("state", state)], count);
        }
    }
    let mut family = page.gauge("vicar_keys_expiring", "Active access keys that end within so many days, by account.");
    for (account, states) in accounts.iter() {
        family.sample(&[("account", account), ("within", "7d")], states.urgent);
        family.sample(&[("account", account), ("within", "30d")], states.expiring);
    }
}

fn audit(page: &mut Page, desk: &Desk) {
    let stats = desk.shared.audit.stats();
    page.counter("vicar_audit_records", "Records written to the journal.").sample(&[], stats.records);
    page.counter("vicar_audit_refused", "Records that could not be written; what they were about was refused.").sample(&[], stats.refused);
    page.counter("vicar_audit_folded", "Refusals that were counted in a record instead of having one each.").sample(&[], stats.folded);
    page.gauge("vicar_audit_open_entries", "Requests under way.").sample(&[], stats.open_entries);
    page.gauge("vicar_audit_journal_bytes", "Disk that the journal takes.").sample(&[], stats.journal_bytes);
    page.gauge("vicar_audit_segments", "Segment files of the journal.").sample(&[], stats.segments);
    page.gauge("vicar_audit_writable", "0 while the journal takes no records: every request is refused then.")
        .sample(&[], u8::from(stats.unavailable.is_none()));
    page.gauge("vicar_audit_cut_bytes", "Torn or damaged bytes that the last start cut off.").sample(&[], stats.cut_bytes);
    let Some(shipping) = stats.shipping else { return };
    page.gauge("vicar_shipping_connected", "1 while Redis takes the audit stream.").sample(&[], u8::from(shipping.connected));
    page.counter("vicar_shipping_records", "Records that Redis took.").sample(&[], shipping.shipped);
    page.gauge("vicar_shipping_backlog_records", "Records that wait for Redis.").sample(&[], shipping.backlog_records);
    page.gauge("vicar_shipping_backlog_bytes", "Their bytes.").sample(&[], shipping.backlog_bytes);
    page.gauge("vicar_shipping_backlog_limit_bytes", "How many bytes may wait before requests are refused.")
        .sample(&[], shipping.backlog_limit);
    page.counter("vicar_shipping_conflicts", "Times that the stream had records under this sidecar's name that its journal has not.")
        .sample(&[], shipping.conflicts);
    page.gauge("vicar_shipping_lag_seconds", "Age of the oldest record that waits.").sample(&[], shipping.lag.as_secs_f64());
}

/// The names that Prometheus' own client libraries use.
fn process(page: &mut Page) {
    let Some(seen) = Process::read() else { return };
    page.counter("process_cpu_seconds", "Processor time used.").sample(&[], seen.cpu_seconds);
    page.gauge("process_resident_memory_bytes", "Memory resident.").sample(&[], seen.resident_bytes);
    page.gauge("process_threads", "Threads.").sample(&[], seen.threads);
    page.gauge("process_start_time_seconds", "Start, as Unix time.").sample(&[], seen.started);
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.gauge("process_open_fds", "File descriptors open.").sample(&[], open.count());
    }
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        page.gauge("process_max_fds", "File descriptors that may be open.").sample(&[], most);
    }
}

struct Process {
    cpu_seconds: f64,
    resident_bytes: u64,
    threads: u64,
    started: f64,
}

impl Process {
    /// From `/proc/self/stat`, whose fields proc_pid_stat(5) numbers; the second may hold spaces.
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<u64> = stat.rsplit_once(')')?.1.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0)).collect();
        // `fields` begins with the fourth.
        let field = |number: usize| number.checked_sub(4).and_then(|at| fields.get(at)).copied();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) as f64 / ticks,
            resident_bytes: field(24)? * rustix::param::page_size() as u64,
            threads: field(20)?,
            started: boot + field(22)? as f64 / ticks,
        })
    }
}
