//! Whatever a head holds, what the guard lets through has one reading and nobody else's identity in it.

use proptest::prelude::*;

use super::*;
use crate::{
    settings::Settings,
    source::{Complaints, Source, parse},
};

const SETTINGS: &str = "version: 1\nlisten: [{address: '127.0.0.1:1'}]\nupstream: {url: 'http://127.0.0.1:2', headers: {X-Service-Key: k}}\n\
    policy: p\ncatalog: [c]\nimpersonation: {upstream_headers: {X-Forwarded-User: '{user}', Acting_For: '{user}'}}\n";

/// What no caller may say to the service, in whatever spelling.
const OURS: [&str; 16] = [
    "x-access-key-id",
    "x-access-key-secret",
    "x-impersonate-user",
    "x-forwarded-user",
    "acting-for",
    "x-service-key",
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-forwarded-for",
    "x-forwarded-host",
    "forwarded",
    "x-request-id",
    "x-real-ip",
    "transfer-encoding",
    "remote-user",
];

fn names() -> Names {
    let mut complaints = Complaints::default();
    let settings: Option<Settings> = parse(&Source::new("vicar.yaml", SETTINGS), &mut complaints);
    Names::new(&settings.unwrap_or_else(|| panic!("{complaints}")))
}

fn check(method: &str, target: &str, headers: &HeaderMap) -> Result<(Uri, Vec<HeaderName>), Problem> {
    let uri: Uri = target.parse().map_err(|_| Problem::ambiguous("no target"))?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Problem::ambiguous("no method"))?;
    let names = names();
    let clean = clean(&method, &uri, Version::HTTP_11, headers, true, &names, PathRules::default())?;
    Ok((clean.target, clean.stripped.into_iter().map(std::borrow::Cow::into_owned).collect()))
}

fn fold(name: &str) -> String {
    name.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b.to_ascii_lowercase()) } else { '-' }).collect()
}

/// A name of ours in some spelling: letter case, and something else where a `-` was.
fn spelled() -> impl Strategy<Value = String> {
    let separator = prop::sample::select(vec!['-', '_', '.', '!', '~', '+', '\'', '*', '|']);
    (prop::sample::select(OURS.to_vec()), prop::collection::vec(any::<bool>(), 32), prop::collection::vec(separator, 32)).prop_map(
        |(name, cases, separators)| {
            let spell = |(at, letter): (usize, char)| match letter {
                '-' => separators[at],
                letter if cases[at] => letter.to_ascii_uppercase(),
                letter => letter,
            };
            name.chars().enumerate().map(spell).collect()
        },
    )
}

fn header() -> impl Strategy<Value = (String, String)> {
    let name =
        prop_oneof![3 => spelled(), 2 => "[a-zA-Z0-9_.!-]{1,20}", 1 => Just("Connection".to_owned()), 1 => Just("Content-Type".to_owned())];
    let value = prop_oneof![spelled(), "[ -~]{0,30}", Just("close, X-Forwarded-User, Host, Content-Length".to_owned())];
    (name, value)
}

fn target() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "//", ".", "..", "%2e", "%2F", "%5c", "\\", ";", "?", "#", "%00", "%25", "%", "a", "B", "%41", "%c3%bc", "\u{fc}", "user",
        "2", "&", "=", "@", ":", "*", " ", "%zz", "%ff", "http://h", "h", "%7E", "~", "\t", "+", "'",
    ]);
    prop_oneof![
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
        prop::collection::vec("[a-zA-Z0-9._~-]{1,8}|%[0-9a-fA-F]{2}", 1..6).prop_map(|segments| format!("/{}", segments.join("/"))),
    ]
}

#[test]
fn a_target_that_is_only_a_host_is_its_root() {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("h"));
    for raw in ["http://h", "http://h/", "http://h#"] {
        assert_eq!(check("GET", raw, &headers).unwrap().0.path(), "/", "{raw}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_that_is_ours_is_left_of_the_callers_headers(all in prop::collection::vec(header(), 0..12)) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("h"));
        for (name, value) in &all {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.append(name, value);
            }
        }
        if let Ok((_, stripped)) = check("GET", "/a", &headers) {
            for name in &stripped {
                headers.remove(name);
            }
            for name in headers.keys() {
                prop_assert!(!OURS.contains(&fold(name.as_str()).as_str()), "{name} is left");
                prop_assert!(name != header::CONNECTION);
            }
            prop_assert!(headers.contains_key(header::HOST), "a Connection header takes no Host away");
        }
    }

    #[test]
    fn a_target_that_passes_goes_on_as_the_canonical_path_and_the_query_as_it_came(raw in target()) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("h"));
        if let Ok((target, _)) = check("GET", &raw, &headers) {
            let path = target.path();
            prop_assert!(path.starts_with('/') && !path.contains("//") && !path.contains('\\') && !path.contains('#'), "{raw} became {path}");
            prop_assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")), "{raw} became {path}");
            let again = CanonicalPath::parse(path, PathRules::default());
            prop_assert!(again.is_ok_and(|again| again.is_as_sent()), "{path} is not its own canonical form");
            let came = raw.parse::<Uri>().ok().and_then(|uri| uri.query().map(str::to_owned));
            prop_assert_eq!(target.query().map(str::to_owned), came);
            prop_assert!(target.authority().is_none() && target.scheme().is_none());
        }
    }

    #[test]
    fn any_head_is_checked_without_harm(method in "[!-~]{1,8}", raw in "[ -~\u{80}-\u{ff}]{0,40}", all in prop::collection::vec(("[!-~]{1,12}", prop::collection::vec(any::<u8>(), 0..20)), 0..8)) {
        let mut headers = HeaderMap::new();
        for (name, value) in &all {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        let _ = check(&method, &raw, &headers);
    }
}
