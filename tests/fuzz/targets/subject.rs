//! Any bytes as a JSON body, after a pointer to the user in it and a line end: `tests/fuzz/run subject`.
//!
//! Where a user is found, another reader of JSON finds the same one, and a later one of the same name changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use vicar::{identity::Subject, proxy::subject};

fuzz_target!(|bytes: &[u8]| {
    let (pointer, body) = bytes.split_at(bytes.iter().position(|b| *b == b'\n').unwrap_or(0));
    let (Ok(pointer), body) = (std::str::from_utf8(pointer), body.get(1..).unwrap_or_default()) else { return };
    if !pointer.starts_with('/') {
        return;
    }
    let found = subject::from_body(None, body, [pointer]);
    let Ok(found) = found else { return };
    let value = match serde_json::from_slice::<Value>(body) {
        Ok(value) => value,
        // JSON has numbers and halves of characters (`\ud800` alone) that the other reader has no room for.
        Err(error) if ["number out of range", "hex escape"].iter().any(|words| error.to_string().contains(words)) => return,
        Err(error) => panic!("{found:?} in what is no JSON: {error}"),
    };
    let there = value.pointer(pointer).filter(|value| !value.is_null());
    let expected = there.map(|value| value.as_str().and_then(|text| Subject::parse(text.as_bytes()).ok()));
    assert_eq!(found.clone().map(Some), expected, "{pointer}");
    // The same user in the header is the same answer; another is none.
    if let Some(user) = found {
        assert!(subject::from_body(Some(user.clone()), body, [pointer, pointer]).is_ok_and(|again| again == Some(user)));
        if let Ok(other) = Subject::parse(b"somebody-else@elsewhere.test") {
            let joined = subject::from_body(Some(other.clone()), body, [pointer]);
            assert!(joined.is_err() || joined.is_ok_and(|same| same == Some(other)));
        }
    }
});
