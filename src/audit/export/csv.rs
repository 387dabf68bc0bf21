//! A table (RFC 4180) whose cells are text and nothing else, whatever program opens it.

use crate::{audit::record::Record, terminal::printable};

/// The columns, in their order.
const COLUMNS: [&str; 32] = [
    "id",
    "time",
    "kind",
    "sidecar",
    "seq",
    "account",
    "key",
    "subject",
    "method",
    "path",
    "query",
    "resource",
    "action",
    "decision",
    "reason",
    "share",
    "policy",
    "stale",
    "status",
    "outcome",
    "bytes_in",
    "bytes_out",
    "upstream_us",
    "total_us",
    "client",
    "user_agent",
    "request_id",
    "trace_id",
    "operator",
    "detail",
    "prev",
    "hash",
];

pub(super) fn header(out: &mut Vec<u8>) {
    out.extend_from_slice(COLUMNS.join(",").as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(super) fn row(out: &mut Vec<u8>, record: &Record) {
    let number = |n: Option<u64>| n.map(|n| n.to_string());
    let cells: [Option<String>; 32] = [
        Some(record.id.clone()),
        Some(format!("{:.3}", record.time)),
        Some(record.kind.to_string()),
        Some(record.sidecar.clone()),
        Some(record.seq.to_string()),
        record.account.clone(),
        record.key.clone(),
        record.subject.clone(),
        record.method.clone(),
        record.path.clone(),
        record.query.clone(),
        record.resource.clone(),
        record.action.clone(),
        record.decision.map(|decision| decision.to_string()),
        record.reason.clone(),
        record.share.clone(),
        record.policy.clone(),
        Some(record.stale.to_string()),
        record.status.map(|status| status.to_string()),
        Some(record.outcome.to_string()),
        Some(record.bytes_in.to_string()),
        Some(record.bytes_out.to_string()),
        number(record.upstream_us),
        number(record.total_us),
        record.client.clone(),
        record.user_agent.clone(),
        record.request_id.clone(),
        record.trace_id.clone(),
        record.operator.clone(),
        record.detail.clone(),
        Some(record.prev.clone()),
        Some(record.hash.clone()),
    ];
    for (at, value) in cells.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        cell(out, value.as_deref().unwrap_or_default());
    }
    out.extend_from_slice(b"\r\n");
}

fn cell(out: &mut Vec<u8>, text: &str) {
    // What a spreadsheet takes for a formula, it takes for text behind an apostrophe (OWASP, CSV injection). White
    // space and quotes in front do not keep every program from looking behind them.
    let first = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '\'').chars().next();
    let begins = |c: char| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '|' | '%');
    let formula = first.is_some_and(begins) || text.starts_with(['\t', '\r', '\n']);
    // A table is for people, and may be printed.
    let text = printable(text);
    if !formula && !text.contains([',', '"', '\r', '\n', ';']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    if formula {
        out.push(b'\'');
    }
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_starts_a_formula_or_another_cell() {
        let shown = |text: &str| {
            let mut out = Vec::new();
            cell(&mut out, text);
            String::from_utf8(out).unwrap()
        };
        for bad in ["=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\t=1", "  =1", "\"=1", "＝1", "\n=1", "%x"] {
            assert!(shown(bad).starts_with("\"'"), "{bad:?}: {}", shown(bad));
        }
        assert_eq!(shown("a,b\"c"), "\"a,b\"\"c\"");
        assert_eq!(shown("plain"), "plain");
        assert_eq!(shown("a\u{202e}b\n"), "a\\u{202e}b\\n");
    }
}
