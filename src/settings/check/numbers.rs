//! Numbers, lengths of time and sizes: within what is sensible, and fitting each other.

use super::{super::Settings, Desk};
use crate::settings::{Counting, Size, Span, places::Way};

const NOTHING: Span = Span::millis(0);
const BLINK: Span = Span::millis(1);
const SECOND: Span = Span::seconds(1);
const MINUTE: Span = Span::seconds(60);
const HOUR: Span = Span::seconds(3600);
const DAY: Span = Span::days(1);
/// Longer than anybody plans, and far from where arithmetic on time ends.
const AGES: Span = Span::days(100 * 365);

pub(super) fn check(settings: &Settings, desk: &mut Desk<'_>) {
    durations(settings, desk);
    sizes(settings, desk);
    counts(settings, desk);
    if let Some(workers) = settings.workers {
        desk.within("workers", &workers, &1, &1024);
    }
}

fn durations(settings: &Settings, desk: &mut Desk<'_>) {
    let timeouts = &settings.limits.timeouts;
    for (name, value, low) in [
        ("handshake", timeouts.handshake, BLINK),
        ("head", timeouts.head, BLINK),
        ("body", timeouts.body, BLINK),
        ("keep_alive", timeouts.keep_alive, BLINK),
        ("connect", timeouts.connect, BLINK),
        ("first_byte", timeouts.first_byte, BLINK),
        ("idle", timeouts.idle, BLINK),
        ("drain", timeouts.drain, NOTHING),
    ] {
        desk.within(&format!("limits.timeouts.{name}"), &value, &low, &DAY);
    }
    if let Some(total) = timeouts.total {
        desk.within("limits.timeouts.total", &total, &BLINK, &Span::days(30));
    }
    if let Some(life) = settings.limits.key_lifetime {
        desk.within("limits.key_lifetime", &life, &MINUTE, &AGES);
    }
    desk.within("limits.rotate_overlap", &settings.limits.rotate_overlap, &NOTHING, &Span::days(90));
    let directory = &settings.directory;
    desk.within("directory.fresh_for", &directory.fresh_for, &Span::millis(100), &HOUR);
    desk.within("directory.stale_for", &directory.stale_for, &NOTHING, &Span::days(30));
    desk.within("directory.negative_for", &directory.negative_for, &NOTHING, &HOUR);
    desk.within("directory.timeout", &directory.timeout, &Span::millis(10), &MINUTE);
    if let Some(assertion) = &settings.impersonation.assertion {
        desk.within("impersonation.assertion.valid_for", &assertion.valid_for.value, &SECOND, &MINUTE);
    }
    if let Some(health) = &settings.upstream.health {
        desk.within("upstream.health.every", &health.every, &Span::millis(100), &HOUR);
    }
    let audit = &settings.audit;
    desk.within("audit.journal.keep", &audit.journal.keep, &SECOND, &AGES);
    if let Some(stream) = &audit.stream {
        desk.within("audit.stream.keep", &stream.keep, &SECOND, &AGES);
    }
    if let Some(checkpoint) = &audit.checkpoint {
        desk.within("audit.checkpoint.every", &checkpoint.every, &SECOND, &DAY);
    }
}

fn sizes(settings: &Settings, desk: &mut Desk<'_>) {
    desk.within("limits.header_bytes", &settings.limits.header_bytes, &Size(1 << 10), &Size(1 << 20));
    desk.within("impersonation.body_limit", &settings.impersonation.body_limit, &Size(1), &Size(64 << 20));
    let journal = &settings.audit.journal;
    desk.within("audit.journal.segment", &journal.segment, &Size(512 << 10), &Size(1 << 30));
    if journal.max_size.0 / 2 < journal.segment.0 {
        desk.error(&Way::to("audit.journal.max_size"), format!("{} has no room for two segments of {}", journal.max_size, journal.segment))
            .help("one segment is written while the one before is shipped: raise audit.journal.max_size, or lower audit.journal.segment");
    }
    if let Some(stream) = &settings.audit.stream {
        desk.within("audit.stream.backlog", &stream.backlog, &Size(64 << 10), &Size(1 << 50));
        if stream.backlog > journal.max_size {
            desk.error(&Way::to("audit.stream.backlog"), format!("{} cannot wait in a journal of {}", stream.backlog, journal.max_size))
                .help("what waits for Redis lies in the journal: lower audit.stream.backlog, or raise audit.journal.max_size");
        }
    }
}

fn counts(settings: &Settings, desk: &mut Desk<'_>) {
    let limits = &settings.limits;
    desk.within("limits.accounts", &limits.accounts, &1, &100_000);
    desk.within("limits.keys_per_account", &limits.keys_per_account, &1, &100_000);
    desk.within("limits.headers", &limits.headers, &8, &10_000);
    desk.within("limits.connections", &limits.connections, &1, &10_000_000);
    desk.within("limits.failed_sign_ins_per_minute", &limits.failed_sign_ins_per_minute, &1, &u32::MAX);
    if let Some(rate) = limits.requests_per_minute {
        desk.within("limits.requests_per_minute", &rate, &1, &u32::MAX);
    } else if limits.requests_counted_by == Counting::Fleet {
        desk.warning(&Way::to("limits.requests_counted_by"), "there is nothing to count: limits.requests_per_minute is not set");
    }
    if let Some(concurrency) = limits.concurrency {
        desk.within("limits.concurrency", &concurrency, &1, &u32::MAX);
    }
    if let Some(rate) = settings.audit.refusals_per_minute {
        desk.within("audit.refusals_per_minute", &rate, &1, &u32::MAX);
    }
    if let Some(stream) = &settings.audit.stream {
        desk.within("audit.stream.partitions", &stream.partitions, &1, &1024);
    }
    desk.within("directory.cache", &settings.directory.cache, &1, &100_000_000);
}
