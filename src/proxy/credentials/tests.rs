//! A key pair is read from one place, whole, or not at all.

use proptest::prelude::*;

use super::*;
use crate::{
    settings::Settings,
    source::{Complaints, Source, parse},
};

fn names() -> Names {
    let mut complaints = Complaints::default();
    let text = "version: 1\nlisten: [{address: '127.0.0.1:1'}]\nupstream: {url: 'http://127.0.0.1:2'}\npolicy: p\ncatalog: [c]\n";
    let settings: Option<Settings> = parse(&Source::new("vicar.yaml", text), &mut complaints);
    Names::new(&settings.unwrap_or_else(|| panic!("{complaints}")))
}

/// One header line that has to do with credentials: its name, its value, and what of a good pair it gives.
#[derive(Debug, Clone)]
enum Line {
    Id,
    Secret,
    Basic,
    BasicUnreadable(String),
    OtherScheme,
    IdOf(String),
    SecretOf(String),
    LookAlike(&'static str),
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![
        4 => Just(Line::Id),
        4 => Just(Line::Secret),
        3 => Just(Line::Basic),
        1 => "[ -~]{0,20}".prop_map(Line::BasicUnreadable),
        1 => Just(Line::OtherScheme),
        1 => "[ -~]{0,70}".prop_map(Line::IdOf),
        1 => "[ -~]{0,70}".prop_map(Line::SecretOf),
        1 => prop::sample::select(vec!["x_access_key_id", "x_access_key_secret", "x-access-key"]).prop_map(Line::LookAlike),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_pair_is_taken_where_there_is_exactly_one_and_never_made_of_two(lines in prop::collection::vec(line(), 0..5)) {
        let id = KeyId::random().map_err(|e| TestCaseError::fail(e.to_string()))?;
        let secret = Secret::random().map_err(|e| TestCaseError::fail(e.to_string()))?;
        let mut headers = HeaderMap::new();
        let (mut ids, mut secrets, mut basics, mut others, mut good) = (0, 0, 0, 0, true);
        for line in &lines {
            let (name, value) = match line {
                Line::Id => { ids += 1; ("x-access-key-id", id.as_str().to_owned()) }
                Line::Secret => { secrets += 1; ("x-access-key-secret", secret.reveal().to_owned()) }
                Line::Basic => { basics += 1; ("authorization", format!("Basic {}", STANDARD.encode(format!("{id}:{}", secret.reveal())))) }
                Line::BasicUnreadable(text) => { basics += 1; good = false; ("authorization", format!("Basic {text}")) }
                Line::OtherScheme => { others += 1; ("authorization", "Bearer x".to_owned()) }
                Line::IdOf(text) => { ids += 1; good = false; ("x-access-key-id", text.clone()) }
                Line::SecretOf(text) => { secrets += 1; good = false; ("x-access-key-secret", text.clone()) }
                Line::LookAlike(name) => (*name, id.as_str().to_owned()),
            };
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.append(http::HeaderName::from_static(name), value);
            }
        }
        let one = good && basics + others <= 1 && matches!((ids, secrets, basics), (1, 1, 0) | (0, 0, 1));
        match read(&headers, &names()) {
            Ok(presented) => {
                prop_assert!(one, "taken from {lines:?}");
                prop_assert_eq!(presented.id, id);
                prop_assert_eq!(presented.secret.reveal(), secret.reveal());
            }
            Err(unread) => {
                prop_assert!(!one, "not taken from {lines:?}");
                let none = ids + secrets + basics == 0 && others <= 1;
                prop_assert_eq!(unread.code, if none { Code::CredentialsMissing } else { Code::CredentialsInvalid });
            }
        }
    }
}
