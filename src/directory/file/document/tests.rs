use proptest::prelude::*;

use super::*;
use crate::identity::{PreviousSecret, Role, Secret};

fn account(id: &str, name: &str, description: Option<String>) -> Arc<Account> {
    let id = id.parse().unwrap();
    Arc::new(Account { id, name: name.to_owned(), description, status: Status::Active, created: Timestamp::UNIX_EPOCH, revision: 3 })
}

fn key(account: &str, name: &str, rotated: &[Timestamp]) -> Arc<Key> {
    let id = KeyId::random().unwrap();
    Arc::new(Key {
        id,
        account: account.parse().unwrap(),
        name: name.to_owned(),
        hash: Secret::random().unwrap().hash_for(&id),
        previous: rotated
            .iter()
            .map(|until| PreviousSecret { hash: Secret::random().unwrap().hash_for(&id), until: *until })
            .collect::<Vec<_>>()
            .into(),
        status: Status::Disabled,
        created: Timestamp::UNIX_EPOCH,
        expires: Some(Timestamp::MAX),
        sources: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        client_certs: vec![Fingerprint::of(b"a certificate")],
        last_used: None,
        revision: 7,
    })
}

fn contents(id: &str, name: &str, description: Option<String>) -> Contents {
    let mut contents = Contents::default();
    let account = account(id, name, description);
    contents.keys.insert(
        account.id.clone(),
        vec![
            key(id, name, &[Timestamp::UNIX_EPOCH]),
            key(id, "another", &[]),
            key(id, "a third", &[Timestamp::UNIX_EPOCH, Timestamp::MAX]),
        ],
    );
    contents.accounts.insert(account.id.clone(), account);
    let admin = Admin {
        id: id.parse().unwrap(),
        name: name.to_owned(),
        role: Role::AccountAdmin,
        accounts: vec![id.parse().unwrap()],
        hash: SecretHash::of_nothing(),
        created: Timestamp::UNIX_EPOCH,
        expires: None,
    };
    contents.admins.insert(admin.id.clone(), admin);
    contents
}

proptest! {
    #[test]
    fn whatever_is_written_reads_back(
        id in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
        name in any::<String>().prop_filter_map("a display name", |raw| display_name(&raw).ok()),
        description in proptest::option::of(any::<String>()),
    ) {
        let written = contents(&id, &name, description);
        let text = print(&written);
        let by_line = lines::read(&text).expect("what is written can be read line by line");
        prop_assert_eq!(super::contents(by_line), Ok(written.clone()));
        prop_assert_eq!(yaml(&text).and_then(super::contents), Ok(written.clone()));
        prop_assert_eq!(parse(&text), Ok(written));
    }

    #[test]
    fn an_edit_by_hand_says_what_it_says_as_yaml(at in 0usize..2000, put in "[ a-f0-9:\"#{}\\n-]{0,4}", cut in 0usize..6) {
        let mut text = print(&contents("app", "App", Some("what it does".to_owned())));
        let at = at.min(text.len());
        text.replace_range(at..(at + cut).min(text.len()), &put);
        prop_assert_eq!(parse(&text), yaml(&text).and_then(super::contents));
    }

    #[test]
    fn no_text_makes_reading_panic(text in any::<String>()) {
        let _ = parse(&text);
    }
}

#[test]
fn ids_that_yaml_would_take_for_something_else_stay_ids() {
    for id in ["null", "true", "no", "123", "1e3", "0x1f", "2026-11-24"] {
        let written = contents(id, "x", None);
        assert_eq!(parse(&print(&written)), Ok(written), "{id}");
    }
}

#[test]
fn what_contradicts_itself_is_refused_with_a_reason() {
    let text = print(&contents("app", "App", None));
    assert!(parse(&text).is_ok());
    let refused = [
        (text.replace("version: 1", "version: 2"), "version 2"),
        (text.replace("status: disabled", "status: asleep"), "asleep"),
        (text.replace("    name: \"App\"\n    status", "    nmae: \"App\"\n    status"), "nmae"),
        (text.replace("admins:", "accounts:"), "accounts"),
        ("accounts: []".to_owned(), "version"),
        ("a: &a [*a, *a]".to_owned(), ""),
    ];
    for (text, reason) in refused {
        let error = parse(&text).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_key_id_that_stands_there_twice_is_refused() {
    let mut written = contents("app", "App", None);
    let keys = written.keys.values_mut().next().unwrap();
    keys[1] = keys[0].clone();
    assert!(parse(&print(&written)).unwrap_err().contains("twice"));
}
