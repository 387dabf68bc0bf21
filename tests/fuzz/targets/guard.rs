//! Any bytes as a request head, behind the HTTP library: `tests/fuzz/run guard`.
//!
//! The first line is a method and a target, the others are header fields. What gets through has one reading: its path
//! reads as itself, has nothing in it that some server takes for something else, and no header is left that Vicar speaks for.

#![no_main]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use libfuzzer_sys::fuzz_target;
use vicar::{
    catalog::{CanonicalPath, PathRules},
    proxy::{
        guard,
        names::{Fate, Names},
    },
    settings::Settings,
    source::{self, Complaints, Source},
};

const SETTINGS: &str = "version: 1\nlisten: [{address: '127.0.0.1:1'}]\nupstream: {url: 'http://127.0.0.1:2'}\npolicy: p\ncatalog: [c]\n";

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let settings: Option<Settings> = source::parse(&Source::new("vicar.yaml", SETTINGS), &mut Complaints::default());
    settings.map_or_else(|| panic!("the settings do not hold"), |settings| Names::new(&settings))
});

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|b| *b == b'\n');
    let mut first = lines.next().unwrap_or_default().splitn(2, |b| *b == b' ');
    let (Ok(method), Ok(uri)) = (Method::from_bytes(first.next().unwrap_or_default()), Uri::try_from(first.next().unwrap_or_default()))
    else {
        return;
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let mut parts = line.splitn(2, |b| *b == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let Ok(clean) = guard::clean(&method, &uri, version, &headers, true, &NAMES, PathRules::default()) else { continue };
        let path = clean.target.path();
        assert_eq!(path, clean.path.as_str());
        assert!(CanonicalPath::parse(path, PathRules::default()).is_ok_and(|again| again.is_as_sent()), "{path}");
        assert_eq!(clean.target.query(), uri.query());
        assert!(path.starts_with('/'), "{path}");
        for segment in path.split('/').skip(1).collect::<Vec<_>>().split_last().map(|(_, before)| before).unwrap_or_default() {
            assert!(!segment.is_empty(), "{path}");
        }
        for odd in [
            "/./", "/../", "\\", ";", "#", "%2F", "%2f", "%5C", "%5c", "%00", "%2E", "%2e", "%252F", "%252f", "%255C", "%255c", "%252E",
            "%252e", "%2500",
        ] {
            assert!(!format!("{path}/").contains(odd), "{path} has {odd}");
        }
        assert!(headers.get_all(header::HOST).iter().count() <= 1);
        for name in headers.keys().filter(|name| !clean.stripped.iter().any(|stripped| **stripped == **name)) {
            assert!(NAMES.fate(name) == Fate::Keep && *name != header::CONNECTION, "{name}");
        }
    }
});
