//! Names in the query, read the way the laxest upstream might read them.

use crate::settings::Settings;

/// The first name in `query` that may not be there: not in `allowed` where the endpoint names what it takes, else
/// one of `reserved` (folded by [`fold`]).
#[must_use]
pub fn refused(query: &str, allowed: Option<&[Box<str>]>, reserved: &[String]) -> Option<String> {
    // `;` separates too for some servers; a name that only they see must not get past.
    query.split(['&', ';']).filter(|pair| !pair.is_empty()).find_map(|pair| {
        let raw = pair.split('=').next().unwrap_or_default();
        let decoded = decode(raw);
        let bad = match allowed {
            Some(allowed) => !allowed.iter().any(|name| name.as_bytes() == decoded),
            None => {
                let folded = fold(&decoded);
                reserved.contains(&folded)
            }
        };
        bad.then(|| String::from_utf8_lossy(&decoded).into_owned())
    })
}

/// The names that `guard.reserved_query` refuses, folded.
#[must_use]
pub fn reserved(settings: &Settings) -> Vec<String> {
    settings.guard.reserved_query.iter().map(|name| fold(name.as_bytes())).collect()
}

/// A name with everything folded that some server folds: case, `api.key` and `api-key` to `api_key`, `key[]` to `key`.
#[must_use]
pub fn fold(name: &[u8]) -> String {
    let name = name.trim_ascii();
    let name = name.split(|b| *b == b'[' || *b == 0).next().unwrap_or_default();
    name.iter().map(|b| if b.is_ascii_alphanumeric() { char::from(b.to_ascii_lowercase()) } else { '_' }).collect()
}

/// One level of form decoding; what is no escape stays as it is.
fn decode(raw: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let mut ahead = bytes.clone();
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                match (digit(ahead.next()), digit(ahead.next())) {
                    (Some(high), Some(low)) => {
                        out.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                        bytes = ahead;
                    }
                    _ => out.push(b'%'),
                }
            }
            b => out.push(b),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reserved_names_are_found_however_they_are_written() {
        let reserved: Vec<String> = ["key", "api_key", "_method", "token"].map(|n| fold(n.as_bytes())).to_vec();
        for bad in [
            "api_key=x",
            "API_KEY=x",
            "a=1&api%5Fkey=x",
            "api.key=x",
            "api-key=x",
            "key[]=x",
            "key%5B%5D=1",
            "_method=DELETE",
            "%5fmethod=PUT",
            "a=1;token=2",
            "token",
            "+key=1",
            "key%00=1",
        ] {
            assert!(refused(bad, None, &reserved).is_some(), "{bad}");
        }
        for good in ["", "page_number=1&page_size=50", "q=key", "monkey=1", "keys=1", "a=%zz"] {
            assert_eq!(refused(good, None, &reserved), None, "{good}");
        }
    }

    #[test]
    fn an_endpoint_that_names_its_query_takes_nothing_else() {
        let allowed = ["q".into(), "page".into()];
        assert_eq!(refused("q=1&page=2", Some(&allowed), &[]), None);
        assert_eq!(refused("q=1&sort=2", Some(&allowed), &[]), Some("sort".into()));
        assert_eq!(refused("Q=1", Some(&allowed), &[]), Some("Q".into()));
    }

    proptest! {
        #[test]
        fn a_reserved_name_is_found_however_it_is_escaped(
            name in prop::sample::select(vec!["key", "api_key", "access_token", "_method"]),
            escaped in prop::collection::vec(any::<bool>(), 16),
            capitals in prop::collection::vec(any::<bool>(), 16),
            before in "([a-z]{1,3}=[a-z%+]{0,3}[&;]){0,3}",
            after in "(=[ -~]{0,8})?",
        ) {
            let reserved: Vec<String> = ["key", "api_key", "access_token", "_method"].map(|n| fold(n.as_bytes())).to_vec();
            let spelled: String = name
                .chars()
                .enumerate()
                .map(|(at, c)| if capitals[at] { c.to_ascii_uppercase() } else { c })
                .enumerate()
                .map(|(at, c)| if escaped[at] { format!("%{:02X}", u32::from(c)) } else { c.to_string() })
                .collect();
            let query = format!("{before}{spelled}{after}");
            prop_assert!(refused(&query, None, &reserved).is_some(), "{}", query);
        }

        #[test]
        fn any_query_is_read_without_harm(query in any::<String>()) {
            let _ = refused(&query, None, &["key".to_owned()]);
            let _ = refused(&query, Some(&["q".into()]), &[]);
        }
    }
}
