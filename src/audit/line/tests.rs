use std::time::Instant;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::audit::record::{Decision, Standing};

fn opening<'a>(path: &'a str, agent: &'a [u8], query: Option<&'a str>) -> Opening<'a> {
    Opening {
        id: Ulid::from_parts(1, 2),
        time: Timestamp::from_millisecond(1_764_000_000_123).unwrap(),
        began: Instant::now(),
        standing: Standing::SignedIn,
        account: Some("app"),
        key: Some("VKAAAAAAAAAAAAAAAAAAAA"),
        subject: None,
        method: "GET",
        path,
        query,
        resource: Some(Concerned { kind: "dataset", id: Some("\"x\"") }),
        action: Some("list"),
        decision: Decision::Allow,
        reason: "shared",
        share: Some("app/1"),
        policy: "0123456789abcdef",
        stale: false,
        client: "::ffff:192.0.2.1".parse().unwrap(),
        user_agent: Some(agent),
        trace_id: None,
    }
}

fn written(opening: &Opening<'_>, values: &[&str]) -> (String, Value) {
    let values: Vec<String> = values.iter().map(|&v| v.to_owned()).collect();
    let mut line = Vec::new();
    Template::new("side\"car", &values).opening(&mut line, opening);
    line.push(b'}');
    let text = String::from_utf8(line).expect("a line is UTF-8");
    let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    (text, json)
}

#[test]
fn an_opening_has_every_field() {
    let (_, json) = written(&opening("/dataset/2/Ac1", b"curl/8", None), &[]);
    assert_eq!(json["time"], "2025-11-24T16:00:00.123Z");
    assert_eq!(json["sidecar"], "side\"car");
    assert_eq!(json["client"], "192.0.2.1");
    assert_eq!(json["resource"], "dataset:\"x\"");
    assert_eq!(json["id"], json["request_id"]);
    for field in ["subject", "query", "trace_id"] {
        assert_eq!(json.get(field), Some(&Value::Null), "{field}");
    }
}

#[test]
fn values_of_a_query_stay_out_unless_the_settings_name_them() {
    let query = |query, values: &[&str]| written(&opening("/", b"", Some(query)), values).1["query"].clone();
    assert_eq!(query("page=2&q=secret&flag", &["page"]), "page=2&q&flag");
    assert_eq!(query("q=secret;x=1", &[]), "q&x");
    assert_eq!(query("", &[]), "");
    assert_eq!(query("a&b", &[]), "a&b");
}

#[test]
fn a_secret_in_the_wrong_place_is_blotted_out() {
    let secret = crate::identity::Secret::random().unwrap();
    let path = format!("/dataset/{}", secret.reveal());
    let agent = format!("bot {}", secret.reveal());
    let (text, _) = written(&opening(&path, agent.as_bytes(), Some(secret.reveal())), &[]);
    assert!(!text.contains(secret.reveal()) && text.contains("vsk_***"), "{text}");
    assert!(written(&opening("/process/vsk_team", b"", None), &[]).0.contains("vsk_team"));
    let elsewhere = Opening { method: secret.reveal(), share: Some(secret.reveal()), ..opening("/", b"", None) };
    assert_eq!(written(&elsewhere, &[]).0.matches("vsk_***").count(), 2);
}

proptest! {
    #[test]
    fn whatever_callers_send_stays_in_its_field_and_on_its_line(
        path in ".{0,200}", agent in proptest::collection::vec(any::<u8>(), 0..3000), query in proptest::option::of(".{0,100}"),
    ) {
        let (text, json) = written(&opening(&path, &agent, query.as_deref()), &["a"]);
        prop_assert!(text.bytes().all(|b| b >= 0x20 && b != 0x7f), "{text:?}");
        prop_assert!(!text.chars().any(misleads), "{text:?}");
        prop_assert_eq!(json.as_object().unwrap().len(), 21, "{}", text);
        if path.len() <= LONG && !path.contains("vsk_") && !path.contains("vat_") {
            prop_assert_eq!(json["path"].as_str(), Some(path.as_str()));
        }
        prop_assert!(json["user_agent"].as_str().unwrap().len() <= SHORT * 3 + 3);
    }

    #[test]
    fn times_sort_as_text(a in 0i64..4_000_000_000_000, b in 0i64..4_000_000_000_000) {
        let text = |ms| { let mut out = Vec::new(); time(&mut out, Timestamp::from_millisecond(ms).unwrap()); out };
        prop_assert_eq!(text(a).cmp(&text(b)), a.cmp(&b));
        prop_assert_eq!(text(a).len(), 24);
        let back: Timestamp = std::str::from_utf8(&text(a)).unwrap().parse().unwrap();
        prop_assert_eq!(back.as_millisecond(), a);
    }
}

proptest! {
    #[test]
    fn eight_bytes_at_a_time_say_what_one_at_a_time_do(raw in proptest::collection::vec(any::<u8>(), 0..40), texts in "[ -~]{0,40}") {
        let slowly = |raw: &[u8]| raw.iter().all(|b| matches!(b, 0x20..=0x7E) && *b != b'"' && *b != b'\\');
        prop_assert_eq!(plain(&raw), slowly(&raw));
        prop_assert_eq!(plain(texts.as_bytes()), slowly(texts.as_bytes()));
    }
}

#[test]
fn one_byte_that_is_not_plain_is_found_wherever_it_stands() {
    for len in 1..=24 {
        for at in 0..len {
            for byte in 0..=255u8 {
                let mut raw = vec![b'a'; len];
                raw[at] = byte;
                assert_eq!(plain(&raw), matches!(byte, 0x20..=0x7E) && byte != b'"' && byte != b'\\', "{byte} at {at} of {len}");
            }
        }
    }
}
