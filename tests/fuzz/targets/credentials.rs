//! Any bytes as header fields, a line each: `tests/fuzz/run credentials`.
//!
//! A pair that is read stands there once and to the letter, in the two headers or in HTTP Basic and never in both.

#![no_main]

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use vicar::{
    proxy::{credentials, names::Names, problem::Code, subject},
    settings::Settings,
    source::{self, Complaints, Source},
};

const SETTINGS: &str = "version: 1\nlisten: [{address: '127.0.0.1:1'}]\nupstream: {url: 'http://127.0.0.1:2'}\npolicy: p\ncatalog: [c]\n";
/// A pair with the shape of one. `ID`, `SECRET` and `BASIC` in the input stand for it: its checksum is not to be guessed.
const ID: &str = "VKAAAAAAAAAAAAAAAAAAAA";

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let settings: Option<Settings> = source::parse(&Source::new("vicar.yaml", SETTINGS), &mut Complaints::default());
    settings.map_or_else(|| panic!("the settings do not hold"), |settings| Names::new(&settings))
});
static SECRET: LazyLock<String> = LazyLock::new(|| match vicar::identity::Secret::random() {
    Ok(secret) => secret.reveal().to_owned(),
    Err(error) => panic!("{error}"),
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let basic = STANDARD.encode(format!("{ID}:{}", *SECRET));
    let text = text.replace("SECRET", &SECRET).replace("BASIC", &basic).replace("ID", ID);
    let mut headers = HeaderMap::new();
    for line in text.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value.trim())) {
            headers.append(name, value);
        }
    }
    let count = |name: &HeaderName| headers.get_all(name).iter().count();
    let (ids, secrets) = (count(&NAMES.id), count(&NAMES.secret));
    match credentials::read(&headers, &NAMES) {
        Ok(presented) => {
            let pair = (presented.id.as_str().to_owned(), presented.secret.reveal().to_owned());
            let basics = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
                let (scheme, rest) = value.to_str().ok()?.split_once([' ', '\t'])?;
                let decoded = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(rest.trim()))?.ok()?;
                let (id, secret) =
                    std::str::from_utf8(&decoded).ok()?.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))?;
                Some((id, secret))
            });
            let mut found: Vec<_> = basics.collect();
            if ids + secrets > 0 {
                assert_eq!((ids, secrets), (1, 1));
                let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
                found.push((text(&NAMES.id), text(&NAMES.secret)));
            }
            assert_eq!(found, [pair]);
        }
        Err(unread) => {
            assert_eq!(unread.code == Code::CredentialsMissing, unread.reason == "credentials-missing");
            if unread.code == Code::CredentialsMissing {
                assert_eq!((ids, secrets), (0, 0));
            }
        }
    }
    if let Ok(Some(user)) = subject::from_header(&headers, &NAMES.subject) {
        assert_eq!(count(&NAMES.subject), 1);
        assert!(user.as_str().len() <= 254 && !user.as_str().contains([',', ';', ' ', '\t']), "{user:?}");
    }
});
