//! One record on one line, for people.

use std::fmt::Write as _;

use crate::{
    audit::{Decision, Kind, Outcome, Record},
    policy::Reason,
    terminal::{Colours, Ink, printable},
};

/// Columns of an account's name before lines stop being aligned.
const ACCOUNT: usize = 16;

/// `record` as people read it: when, what was decided, who, what to what, for whom, and how it went.
pub(super) fn line(record: &Record, colours: Colours) -> String {
    let mut out = colours.paint(Ink::Dim, &record.time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string());
    let (ink, word) = match (record.kind, record.decision) {
        (Kind::Access, Some(Decision::Allow)) => (Ink::Green, "allow"),
        (Kind::Access, Some(Decision::Deny)) => (Ink::Red, "deny"),
        (Kind::Access, None) => (Ink::Yellow, "open"),
        (Kind::Admin, _) => (Ink::Cyan, "admin"),
        (Kind::System, _) => (Ink::Yellow, "system"),
    };
    let _ = write!(out, "  {}", colours.paint(ink, &format!("{word:<6}")));
    match record.kind {
        Kind::Access => access(record, colours, &mut out),
        Kind::Admin | Kind::System => event(record, colours, &mut out),
    }
    out
}

fn access(record: &Record, colours: Colours, out: &mut String) {
    let status = record.status.map_or("---".to_owned(), |status| status.to_string());
    let account = text(record.account.as_deref(), "-");
    let _ = write!(out, " {status}  {}", colours.paint(Ink::Bold, &format!("{account:<ACCOUNT$}")));
    if let (Some(action), Some(resource)) = (&record.action, &record.resource) {
        let _ = write!(out, "  {} {}", printable(action), printable(resource));
    }
    if let Some(subject) = &record.subject {
        let _ = write!(out, " for {}", colours.paint(Ink::Cyan, &printable(subject)));
    }
    match (record.decision, record.outcome) {
        (Some(Decision::Deny), _) => {
            let _ = write!(out, "  {}", colours.paint(Ink::Red, &text(record.reason.as_deref(), "-")));
            if record.outcome != Outcome::Refused {
                out.push_str(" (observed, not refused)");
            }
        }
        (_, Outcome::Completed) => {
            if let Some(reason) = record.reason.as_deref().filter(|reason| *reason != Reason::Shared.as_str()) {
                let _ = write!(out, "  {}", printable(reason));
            }
        }
        (_, outcome) => {
            let reason =
                if outcome == Outcome::Refused { text(record.reason.as_deref(), "refused") } else { outcome_words(outcome).to_owned() };
            let _ = write!(out, "  {}", colours.paint(Ink::Yellow, &reason));
        }
    }
    let mut aside = format!("{} {}", text(record.method.as_deref(), "-"), text(record.path.as_deref(), "-"));
    if let Some(micros) = record.total_us {
        let _ = write!(aside, "  {}", took(micros));
    }
    if record.stale {
        aside.push_str("  stale");
    }
    let _ = write!(out, "  {}", colours.paint(Ink::Dim, &aside));
}

fn event(record: &Record, colours: Colours, out: &mut String) {
    let who = match &record.operator {
        Some(operator) => printable(operator),
        None => printable(&record.sidecar),
    };
    let _ = write!(out, "      {}", colours.paint(Ink::Bold, &format!("{who:<ACCOUNT$}")));
    let _ = write!(out, "  {}", text(record.action.as_deref(), "-"));
    if let Some(resource) = &record.resource {
        let _ = write!(out, " {}", printable(resource));
    }
    if record.outcome != Outcome::Completed {
        let _ = write!(out, "  {}", colours.paint(Ink::Red, outcome_words(record.outcome)));
    }
    if let Some(detail) = &record.detail {
        let _ = write!(out, "  {}", colours.paint(Ink::Dim, &printable(detail)));
    }
}

fn text(field: Option<&str>, otherwise: &str) -> String {
    field.map_or_else(|| otherwise.to_owned(), |field| printable(field).into_owned())
}

const fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Refused => "refused",
        Outcome::UpstreamError => "upstream error",
        Outcome::Interrupted => "interrupted",
    }
}

fn took(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros}µs"),
        1_000..1_000_000 => format!("{}.{}ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{}s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

/// A record's JSON as it may go to a terminal: what would move its cursor stands as JSON escapes, so it is the same JSON.
pub(super) fn json_line(raw: &str, colours: Colours) -> std::borrow::Cow<'_, str> {
    if !colours.are_on() || matches!(printable(raw), std::borrow::Cow::Borrowed(_)) {
        return raw.into();
    }
    let mut out = String::with_capacity(raw.len() + 16);
    for c in raw.chars() {
        let mut units = [0u16; 2];
        if printable(c.encode_utf8(&mut [0u8; 4])).len() == c.len_utf8() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(extra: &str) -> Record {
        let text = format!(
            r#"{{"id":"01J","time":"2026-11-24T10:00:00.123Z","kind":"access","sidecar":"s","seq":1,"outcome":"completed","prev":"","hash":""{extra}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_line_says_who_did_what_to_what_for_whom() {
        let record = record(
            r#","account":"bot","subject":"zoe@acme.example","action":"submit","resource":"process:PO","decision":"allow","reason":"shared","status":200,"method":"POST","path":"/p","total_us":1234"#,
        );
        assert_eq!(
            line(&record, Colours::Off),
            "2026-11-24 10:00:00.123  allow  200  bot               submit process:PO for zoe@acme.example  POST /p  1.2ms"
        );
    }

    #[test]
    fn a_refusal_says_why() {
        let denied = record(
            r#","account":"bot","action":"list","resource":"user","decision":"deny","reason":"not-shared","status":403,"method":"GET","path":"/u","total_us":80"#,
        );
        let denied = Record { outcome: Outcome::Refused, ..denied };
        assert_eq!(
            line(&denied, Colours::Off),
            "2026-11-24 10:00:00.123  deny   403  bot               list user  not-shared  GET /u  80µs"
        );
        let observed = Record { outcome: Outcome::Completed, ..denied };
        assert!(line(&observed, Colours::Off).contains("observed, not refused"));
    }

    #[test]
    fn nothing_in_a_record_moves_the_cursor() {
        let hostile = Record { path: Some("/\x1b[2J\u{202e}".into()), ..record("") };
        let shown = line(&hostile, Colours::On).replace("\x1b[0m", "");
        assert!(!shown.contains("\x1b[2J") && !shown.contains('\u{202e}'), "{shown:?}");
        let raw = "{\"a\":\"\u{202e}\u{9b}\u{e0001}ä\"}";
        let safe = json_line(raw, Colours::On);
        assert_eq!(safe, "{\"a\":\"\\u202e\\u009b\\udb40\\udc01ä\"}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&safe), value(raw));
    }
}
