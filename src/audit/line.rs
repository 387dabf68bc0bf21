//! Records written as JSON, by hand: this runs for every request.
//!
//! Every text that a caller chose goes through [`text`], which escapes what JSON, a terminal or a line-based tool
//! would act on, replaces what is no UTF-8, and bounds the length. All fields of a record are always there.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    net::IpAddr,
};

use jiff::Timestamp;
use ulid::Ulid;

use super::{
    event::Event,
    record::{Concerned, Kind, Opening, Outcome},
};
use crate::terminal::misleads;

/// Longest path and query that is recorded, in bytes; what is cut ends with an ellipsis.
const LONG: usize = 16 << 10;
/// Longest of other texts.
const SHORT: usize = 1 << 10;
const ELLIPSIS: &str = "…";

/// What stays the same in all records of one writer.
#[derive(Debug)]
pub(super) struct Template {
    /// `,"sidecar":"NAME"`
    sidecar: Vec<u8>,
    query_values: Vec<String>,
}

/// What is known of a request at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) upstream_us: Option<u64>,
    pub(super) total_us: Option<u64>,
}

impl Template {
    pub(super) fn new(sidecar: &str, query_values: &[String]) -> Self {
        let mut head = b",\"sidecar\":".to_vec();
        text(&mut head, sidecar.as_bytes(), SHORT);
        Self { sidecar: head, query_values: query_values.to_vec() }
    }

    /// All fields that are known when a request is let through or refused; no closing brace.
    pub(super) fn opening(&self, out: &mut Vec<u8>, opening: &Opening<'_>) {
        let from = out.len();
        let mut id = [0u8; ulid::ULID_LEN];
        opening.id.array_to_str(&mut id);
        self.head(out, &id, opening.time, Kind::Access);
        optional(out, ",\"account\":", opening.account, SHORT);
        optional(out, ",\"key\":", opening.key, SHORT);
        optional(out, ",\"subject\":", opening.subject, SHORT);
        out.extend_from_slice(b",\"method\":");
        text(out, opening.method.as_bytes(), SHORT);
        out.extend_from_slice(b",\"path\":");
        text(out, opening.path.as_bytes(), LONG);
        out.extend_from_slice(b",\"query\":");
        match opening.query {
            Some(query) => self.query(out, query),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"resource\":");
        match opening.resource {
            Some(resource) => self::resource(out, resource),
            None => out.extend_from_slice(b"null"),
        }
        optional(out, ",\"action\":", opening.action, SHORT);
        out.extend_from_slice(b",\"decision\":\"");
        out.extend_from_slice(opening.decision.as_str().as_bytes());
        out.extend_from_slice(b"\",\"reason\":");
        text(out, opening.reason.as_bytes(), SHORT);
        optional(out, ",\"share\":", opening.share, SHORT);
        out.extend_from_slice(b",\"policy\":");
        text(out, opening.policy.as_bytes(), SHORT);
        out.extend_from_slice(if opening.stale { b",\"stale\":true" } else { b",\"stale\":false" });
        out.extend_from_slice(b",\"client\":");
        address(out, opening.client);
        // Here and not at the end: the names of the fields to come hold what the search stops at. Behind the program's name
        // there are ids alone.
        hide_secrets(out, from);
        out.extend_from_slice(b",\"user_agent\":");
        match opening.user_agent {
            Some(agent) => {
                let from = out.len();
                text(out, agent, SHORT);
                hide_secrets(out, from);
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"request_id\":\"");
        out.extend_from_slice(&id);
        out.push(b'"');
        optional(out, ",\"trace_id\":", opening.trace_id, SHORT);
    }

    /// All fields of an event but the chain's; no closing brace.
    pub(super) fn event(&self, out: &mut Vec<u8>, id: Ulid, time: Timestamp, event: &Event) {
        let from = out.len();
        let mut text_id = [0u8; ulid::ULID_LEN];
        id.array_to_str(&mut text_id);
        self.head(out, &text_id, event.time.unwrap_or(time), event.kind);
        optional(out, ",\"account\":", event.account.as_deref(), SHORT);
        optional(out, ",\"key\":", event.key.as_deref(), SHORT);
        out.extend_from_slice(b",\"subject\":null,\"method\":null,\"path\":null,\"query\":null");
        optional(out, ",\"resource\":", event.resource.as_deref(), SHORT);
        optional(out, ",\"action\":", Some(&event.action), SHORT);
        out.extend_from_slice(b",\"decision\":null,\"reason\":null,\"share\":null,\"policy\":null,\"stale\":false,\"client\":");
        match event.client {
            Some(client) => address(out, client),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"user_agent\":null,\"request_id\":null,\"trace_id\":null");
        if event.operator.is_some() {
            optional(out, ",\"operator\":", event.operator.as_deref(), SHORT);
        }
        if event.detail.is_some() {
            optional(out, ",\"detail\":", event.detail.as_deref(), LONG);
        }
        hide_secrets(out, from);
        if let Some(mark) = &event.checkpoint {
            out.extend_from_slice(b",\"checkpoint\":");
            out.extend_from_slice(serde_json::to_string(mark).unwrap_or_default().as_bytes());
        }
        let ending = Ending { status: None, outcome: event.outcome, bytes_in: 0, bytes_out: 0, upstream_us: None, total_us: None };
        ending.write(out);
    }

    fn head(&self, out: &mut Vec<u8>, id: &[u8], at: Timestamp, kind: Kind) {
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(id);
        out.extend_from_slice(b"\",\"time\":\"");
        time(out, at);
        out.extend_from_slice(b"\",\"kind\":\"");
        out.extend_from_slice(kind.as_str().as_bytes());
        out.push(b'"');
        out.extend_from_slice(&self.sidecar);
    }

    /// The names of a query, as they came; values only of those that the settings name.
    fn query(&self, out: &mut Vec<u8>, query: &str) {
        if self.query_values.is_empty() && !query.contains(['=', ';']) {
            return text(out, query.as_bytes(), LONG);
        }
        let mut kept = String::with_capacity(query.len().min(256));
        for pair in query.split(['&', ';']).filter(|pair| !pair.is_empty()) {
            if !kept.is_empty() {
                kept.push('&');
            }
            let name = pair.split('=').next().unwrap_or_default();
            kept.push_str(if self.query_values.iter().any(|wanted| wanted == name) { pair } else { name });
        }
        text(out, kept.as_bytes(), LONG);
    }
}

impl Ending {
    /// The fields that are known at the end.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        optional_number(out, ",\"status\":", self.status.map(u64::from));
        out.extend_from_slice(b",\"outcome\":\"");
        out.extend_from_slice(self.outcome.as_str().as_bytes());
        out.push(b'"');
        optional_number(out, ",\"bytes_in\":", Some(self.bytes_in));
        optional_number(out, ",\"bytes_out\":", Some(self.bytes_out));
        optional_number(out, ",\"upstream_us\":", self.upstream_us);
        optional_number(out, ",\"total_us\":", self.total_us);
    }
}

fn optional(out: &mut Vec<u8>, field: &str, value: Option<&str>, limit: usize) {
    out.extend_from_slice(field.as_bytes());
    match value {
        Some(value) => text(out, value.as_bytes(), limit),
        None => out.extend_from_slice(b"null"),
    }
}

fn optional_number(out: &mut Vec<u8>, field: &str, value: Option<u64>) {
    out.extend_from_slice(field.as_bytes());
    match value {
        Some(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

/// A JSON string of at most `limit` bytes of `raw`.
fn text(out: &mut Vec<u8>, raw: &[u8], limit: usize) {
    if raw.len() <= limit && plain(raw) {
        // Nearly always.
        out.reserve(raw.len() + 2);
        out.push(b'"');
        out.extend_from_slice(raw);
        return out.push(b'"');
    }
    out.push(b'"');
    let whole = raw.get(..limit).filter(|head| head.len() < raw.len());
    escaped(out, whole.unwrap_or(raw));
    if whole.is_some() {
        out.extend_from_slice(ELLIPSIS.as_bytes());
    }
    out.push(b'"');
}

fn resource(out: &mut Vec<u8>, resource: Concerned<'_>) {
    out.push(b'"');
    let kind = resource.kind.as_bytes();
    escaped(out, kind);
    if let Some(id) = resource.id {
        out.push(b':');
        let (taken, rest) = id.split_at(id.floor_char_boundary(SHORT.saturating_sub(kind.len())));
        escaped(out, taken.as_bytes());
        if !rest.is_empty() {
            out.extend_from_slice(ELLIPSIS.as_bytes());
        }
    }
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, raw: &[u8]) {
    if plain(raw) {
        return out.extend_from_slice(raw);
    }
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                c if misleads(c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(Appending(out), "\\u{unit:04x}");
                    }
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

struct Appending<'o>(&'o mut Vec<u8>);

impl fmt::Write for Appending<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0.extend_from_slice(part.as_bytes());
        Ok(())
    }
}

/// Whether all of it is printable ASCII without `"` and `\`. In blocks of a known length and without a branch inside, so that
/// each is looked at in one go; the last one reaches back over what was looked at.
fn plain(raw: &[u8]) -> bool {
    fn all_plain<const N: usize>(block: &[u8; N]) -> bool {
        block.iter().fold(true, |plain, b| plain & matches!(b, 0x20..=0x7E) & (*b != b'"') & (*b != b'\\'))
    }
    match (raw.as_chunks::<16>().0, raw.last_chunk::<16>(), raw.first_chunk::<8>(), raw.last_chunk::<8>()) {
        (blocks, Some(last), ..) => blocks.iter().all(all_plain) && all_plain(last),
        (_, None, Some(first), Some(last)) => all_plain(first) && all_plain(last),
        (_, None, ..) => raw.iter().all(|b| all_plain(&[*b])),
    }
}

fn address(out: &mut Vec<u8>, client: IpAddr) {
    out.push(b'"');
    match client.to_canonical() {
        IpAddr::V4(v4) => {
            for (at, part) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(part).as_bytes());
            }
        }
        IpAddr::V6(v6) => {
            let _ = write!(Appending(out), "{v6}");
        }
    }
    out.push(b'"');
}

/// RFC 3339 in UTC with milliseconds: always 24 bytes, so that texts sort as times do.
fn time(out: &mut Vec<u8>, at: Timestamp) {
    thread_local! {
        static SECOND: RefCell<(i64, [u8; 20])> = const { RefCell::new((i64::MIN, [0; 20])) };
    }
    let (second, millis) = {
        let ms = at.as_millisecond();
        (ms.div_euclid(1000), ms.rem_euclid(1000))
    };
    SECOND.with_borrow_mut(|(cached, head)| {
        if *cached != second {
            let text = Timestamp::from_second(second).map(|at| at.to_string()).unwrap_or_default();
            if let Some((first, _)) = text.as_bytes().split_first_chunk::<20>() {
                *head = *first;
            }
            *cached = second;
        }
        // The last of the 20 is the `Z`.
        out.extend_from_slice(head.get(..19).unwrap_or_default());
    });
    let digit = |n: i64| b'0' + u8::try_from(n % 10).unwrap_or(0);
    out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
}

/// A shorter run of letters and digits after the prefix gives no secret away.
const SECRET_RUN: usize = 16;

/// A secret that a caller put where no secret belongs (a path, a query name, its program's name) does not get into
/// the log: what follows the prefix of one is blotted out.
fn hide_secrets(out: &mut [u8], from: usize) {
    let Some(line) = out.get_mut(from..) else { return };
    let mut at = 0;
    // Both prefixes end in what is rare in a line.
    while let Some(found) = line.get(at..).and_then(|rest| memchr::memchr(b'_', rest)) {
        let (before, rest) = line.split_at_mut(at + found);
        at += found + 1;
        if !before.ends_with(b"vsk") && !before.ends_with(b"vat") {
            continue;
        }
        let rest = rest.get_mut(1..).unwrap_or_default();
        let run = rest.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        if run >= SECRET_RUN {
            rest.iter_mut().take(run).for_each(|b| *b = b'*');
        }
    }
}

#[cfg(test)]
mod tests;
