//! Accounts, keys and admins, on both backends: what holds for one holds for the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use support::{
    Redis,
    directory::{Backend, account, block_on, eventually, key, on_both, reason},
};
use vicar::{
    directory::{
        AccountChange, Client, Directory, DirectoryCache, DirectoryError, Draw, Expiry, KeyChange, NewAccount, NewAdmin, NewKey, Presented,
        Quota, Refused, RotatedBy, sign_in,
    },
    identity::{AccountId, Fingerprint, Key, KeyId, PreviousSecrets, Role, Secret, Status},
    settings::Span,
};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn in_days(days: u64) -> Expiry {
    Expiry::In(Span::days(days))
}

fn id(raw: &str) -> AccountId {
    raw.parse().unwrap()
}

// ===== accounts =====

#[test]
fn an_account_is_made_changed_and_deleted() {
    on_both(async |backend: &Backend| {
        let (one, other) = (backend.open().await, backend.open().await);
        let now = Timestamp::now();
        let new = NewAccount { id: id("procure"), name: "  Procure to pay ".into(), description: Some("Orders\nand more".into()) };
        let made = one.create_account(new, now).await.unwrap();
        assert_eq!((made.name.as_str(), made.status, made.revision), ("Procure to pay", Status::Active, 0));
        assert_eq!(other.accounts().await.unwrap(), std::slice::from_ref(&made));

        let change = AccountChange { name: Some("P2P".into()), description: Some(String::new()), status: None };
        let changed = other.change_account(&id("procure"), change, Some(0)).await.unwrap();
        assert_eq!((changed.name.as_str(), changed.description.as_deref(), changed.revision), ("P2P", None, 1));

        let deleted = one.delete_account(&id("procure"), Some(1)).await.unwrap();
        assert_eq!(deleted, changed);
        assert_eq!(one.account(&id("procure")).await.unwrap(), None);
        let again = one.delete_account(&id("procure"), None).await.unwrap_err();
        assert!(matches!(again, DirectoryError::NoSuchAccount(_)), "{again}");
    });
}

#[test]
fn an_id_is_taken_once() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        account(&directory, "app").await;
        let new = NewAccount { id: id("app"), name: "Another".into(), description: None };
        let error = directory.create_account(new, Timestamp::now()).await.unwrap_err();
        assert!(matches!(error, DirectoryError::AccountExists(_)), "{error}");
        assert_eq!(directory.accounts().await.unwrap()[0].name, "app");
    });
}

#[test]
fn names_and_descriptions_that_a_terminal_would_act_on_are_refused() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        for (name, description) in
            [("", None), ("a\u{1b}[2J", None), (&*"x".repeat(80), None), ("ok", Some("\u{7}")), ("ok", Some(&*"x".repeat(1001)))]
        {
            let new = NewAccount { id: id("app"), name: name.into(), description: description.map(str::to_owned) };
            let error = directory.create_account(new, Timestamp::now()).await.unwrap_err();
            assert!(matches!(error, DirectoryError::Name(_) | DirectoryError::Description { .. }), "{error}");
        }
        let odd = "\"'{}[]: #&*!|>%@`,\\ <script>\u{202e}ü😀";
        let new = NewAccount { id: id("null"), name: odd.into(), description: Some(format!("- {odd}\n- {odd}")) };
        let made = directory.create_account(new, Timestamp::now()).await.unwrap();
        assert_eq!(backend.open().await.account(&id("null")).await.unwrap(), Some(made));
    });
}

#[test]
fn of_two_admins_who_change_one_account_the_second_is_told() {
    on_both(async |backend: &Backend| {
        let (one, other) = (backend.open().await, backend.open().await);
        let seen = account(&one, "app").await.revision;
        let rename = |name: &str| AccountChange { name: Some(name.into()), ..AccountChange::default() };
        one.change_account(&id("app"), rename("One"), Some(seen)).await.unwrap();
        let error = other.change_account(&id("app"), rename("Other"), Some(seen)).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Changed { .. }), "{error}");
        assert_eq!(backend.open().await.account(&id("app")).await.unwrap().unwrap().name, "One");
    });
}

#[test]
fn a_change_that_changes_nothing_moves_no_revision() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        account(&directory, "app").await;
        let change = AccountChange { name: Some("app".into()), ..AccountChange::default() };
        assert_eq!(directory.change_account(&id("app"), change, None).await.unwrap().revision, 0);
    });
}

#[test]
fn a_disabled_account_takes_no_change_but_being_enabled() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        account(&directory, "app").await;
        let made = key(&directory, "app").await;
        let status = |status| AccountChange { status: Some(status), ..AccountChange::default() };
        directory.change_account(&id("app"), status(Status::Disabled), None).await.unwrap();
        let refused = |error: DirectoryError| assert!(matches!(error, DirectoryError::Disabled(_)), "{error}");
        let rename = AccountChange { name: Some("New".into()), ..AccountChange::default() };
        refused(directory.change_account(&id("app"), rename.clone(), None).await.unwrap_err());
        refused(directory.create_key(new_key("app"), Timestamp::now()).await.unwrap_err());
        refused(directory.rotate_key(made.key.id, RotatedBy::Operator, Duration::ZERO, Timestamp::now()).await.unwrap_err());
        let rename_key = KeyChange { name: Some("New".into()), ..KeyChange::default() };
        refused(directory.change_key(made.key.id, rename_key, None).await.unwrap_err());
        let disable_key = KeyChange { status: Some(Status::Disabled), ..KeyChange::default() };
        directory.change_key(made.key.id, disable_key, None).await.unwrap();
        directory.change_account(&id("app"), status(Status::Active), None).await.unwrap();
        directory.change_account(&id("app"), rename, None).await.unwrap();
    });
}

// ===== limits =====

#[test]
fn two_admins_at_once_cannot_make_a_twenty_sixth_account() {
    on_both(async |backend: &Backend| {
        let (one, other) = (backend.open().await, backend.open().await);
        for n in 0..24 {
            account(&one, &format!("a{n}")).await;
        }
        race_for_the_last_account(vec![one.clone(), other]).await;
        assert_eq!(backend.open().await.accounts().await.unwrap().len(), 25);
    });
}

#[test]
fn of_ten_clients_at_once_none_makes_a_twenty_sixth_account() {
    on_both(async |backend: &Backend| {
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(backend.open().await);
        }
        for n in 0..24 {
            account(&clients[0], &format!("a{n}")).await;
        }
        race_for_the_last_account(clients).await;
        assert_eq!(backend.open().await.accounts().await.unwrap().len(), 25);
    });
}

async fn race_for_the_last_account(clients: Vec<Arc<dyn Directory>>) {
    let racers = clients.into_iter().enumerate().map(|(n, client)| {
        tokio::spawn(async move {
            let new = NewAccount { id: format!("last{n}").parse().unwrap(), name: "Last".into(), description: None };
            client.create_account(new, Timestamp::now()).await
        })
    });
    let mut made = 0;
    for racer in racers.collect::<Vec<_>>() {
        match racer.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert!(matches!(error, DirectoryError::TooManyAccounts { limit: 25 }), "{error}"),
        }
    }
    assert_eq!(made, 1);
}

#[test]
fn of_ten_clients_at_once_none_makes_a_fifty_first_key() {
    on_both(async |backend: &Backend| {
        let first = backend.open().await;
        account(&first, "app").await;
        account(&first, "other").await;
        for _ in 0..49 {
            key(&first, "app").await;
        }
        let mut racers = Vec::new();
        for _ in 0..10 {
            let client = backend.open().await;
            racers.push(tokio::spawn(async move { client.create_key(new_key("app"), Timestamp::now()).await }));
        }
        let mut made = 0;
        for racer in racers {
            match racer.await.unwrap() {
                Ok(_) => made += 1,
                Err(error) => assert!(matches!(error, DirectoryError::TooManyKeys { limit: 50, .. }), "{error}"),
            }
        }
        assert_eq!(made, 1);
        let after = backend.open().await;
        assert_eq!(after.keys(&id("app")).await.unwrap().len(), 50);
        key(&after, "other").await;
        let oldest = after.keys(&id("app")).await.unwrap()[0].id;
        after.delete_key(oldest, None).await.unwrap();
        key(&after, "app").await;
    });
}

#[test]
fn the_limits_are_those_of_the_settings() {
    on_both(async |backend: &Backend| {
        let directory = backend.open_with("{accounts: 1, keys_per_account: 1, key_lifetime: 30d}").await;
        account(&directory, "app").await;
        let new = NewAccount { id: id("b"), name: "b".into(), description: None };
        let error = directory.create_account(new, Timestamp::now()).await.unwrap_err();
        assert!(matches!(error, DirectoryError::TooManyAccounts { limit: 1 }), "{error}");
        for expires in [in_days(31), Expiry::Never, Expiry::At(Timestamp::MAX)] {
            let error = directory.create_key(NewKey { expires, ..new_key("app") }, Timestamp::now()).await.unwrap_err();
            assert!(matches!(error, DirectoryError::Lifetime { .. }), "{error}");
        }
        let made = directory.create_key(NewKey { expires: in_days(30), ..new_key("app") }, Timestamp::now()).await.unwrap();
        let longer = KeyChange { expires: Some(Expiry::Never), ..KeyChange::default() };
        let error = directory.change_key(made.key.id, longer, None).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Lifetime { .. }), "{error}");
        let error = directory.create_key(NewKey { expires: in_days(1), ..new_key("app") }, Timestamp::now()).await.unwrap_err();
        assert!(matches!(error, DirectoryError::TooManyKeys { limit: 1, .. }), "{error}");
    });
}

#[test]
fn of_ten_sidecars_at_once_none_is_given_what_another_has() {
    block_on(async {
        let redis = Redis::start();
        let backend = Backend::Redis(redis);
        let quota = Quota::Account(id("app"));
        let per_minute = NonZeroU32::new(100).unwrap();
        let mut sidecars = Vec::new();
        for _ in 0..10 {
            let (sidecar, quota) = (backend.open().await, quota.clone());
            sidecars.push(tokio::spawn(async move {
                let draw = Draw { quota, owed: 0, unused: 0, wanted: 100 };
                sidecar.draw(per_minute, &[draw]).await.unwrap()[0]
            }));
        }
        let mut given = 0;
        for sidecar in sidecars {
            let drawn = sidecar.await.unwrap();
            assert!(drawn.left >= 0, "{drawn:?}");
            given += drawn.requests;
        }
        // A minute has few seconds here, and what comes in meanwhile is little.
        assert!((90..=120).contains(&given), "{given}");

        let directory = backend.open().await;
        let draw = |owed, unused| [Draw { quota: quota.clone(), owed, unused, wanted: 0 }];
        let owing = directory.draw(per_minute, &draw(1000, 0)).await.unwrap()[0];
        assert_eq!((owing.requests, owing.left), (0, -100_000), "no more than a minute's worth is owed");
        let full = directory.draw(per_minute, &draw(0, 1000)).await.unwrap()[0];
        assert_eq!(full.left, 100_000, "a quota holds no more than a minute gives");
    });
}

#[test]
fn a_quota_that_is_none_is_an_error_and_a_keys_file_has_none() {
    block_on(async {
        let redis = Redis::start();
        let draw = [Draw { quota: Quota::Account(id("app")), owed: 0, unused: 0, wanted: 1 }];
        let per_minute = NonZeroU32::new(100).unwrap();
        redis.command(&["SET", "vicar:quota:{vicar:directory}:account:app", "hello"]);
        let backend = Backend::Redis(redis);
        let error = backend.open().await.draw(per_minute, &draw).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Foreign { .. }) && error.to_string().contains(":account:app"), "{error}");
        let file = Backend::File(tempfile::tempdir().unwrap());
        let error = file.open().await.draw(per_minute, &draw).await.unwrap_err();
        assert!(matches!(error, DirectoryError::NotShared), "{error}");
    });
}

// ===== keys =====

fn new_key(account: &str) -> NewKey {
    NewKey { account: id(account), name: "nightly".into(), expires: in_days(90), sources: Vec::new(), client_certs: Vec::new() }
}

#[test]
fn a_key_is_listed_with_all_it_was_given() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        account(&directory, "app").await;
        let now = Timestamp::now();
        let sources = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let first = directory.create_key(NewKey { sources: sources.clone(), ..new_key("app") }, now).await.unwrap();
        let second = directory.create_key(NewKey { expires: Expiry::Never, ..new_key("app") }, now).await.unwrap();
        let other = backend.open().await;
        assert_eq!(other.keys(&id("app")).await.unwrap(), [first.key.clone(), second.key.clone()]);
        assert_eq!(first.key.sources, sources);
        let life = first.key.expires.unwrap().duration_since(now);
        assert!(life >= SignedDuration::from_hours(90 * 24) && life <= SignedDuration::from_hours(90 * 24) + SignedDuration::from_secs(1));
        assert_eq!(second.key.expires, None);
        assert_eq!(other.key(first.key.id).await.unwrap(), Some(first.key));
        assert_eq!(other.key(KeyId::random().unwrap()).await.unwrap(), None);
        assert!(matches!(other.keys(&id("nobody")).await.unwrap_err(), DirectoryError::NoSuchAccount(_)));
        let error = other.create_key(new_key("nobody"), now).await.unwrap_err();
        assert!(matches!(error, DirectoryError::NoSuchAccount(_)), "{error}");
    });
}

#[test]
fn an_expiry_in_the_past_is_refused() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        account(&directory, "app").await;
        let now = Timestamp::now();
        for expires in [Expiry::At(now), Expiry::At(Timestamp::UNIX_EPOCH), Expiry::In(Span::seconds(0))] {
            let error = directory.create_key(NewKey { expires, ..new_key("app") }, now).await.unwrap_err();
            assert!(matches!(error, DirectoryError::Past), "{error}");
        }
        let error = directory.create_key(NewKey { expires: Expiry::In(Span(Duration::MAX)), ..new_key("app") }, now).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Far), "{error}");
    });
}

#[test]
fn of_two_admins_who_change_one_key_the_second_is_told() {
    on_both(async |backend: &Backend| {
        let (one, other) = (backend.open().await, backend.open().await);
        account(&one, "app").await;
        let made = key(&one, "app").await.key;
        let rename = |name: &str| KeyChange { name: Some(name.into()), ..KeyChange::default() };
        let changed = one.change_key(made.id, rename("one"), Some(made.revision)).await.unwrap();
        assert_eq!((changed.name.as_str(), changed.revision), ("one", 1));
        let error = other.change_key(made.id, rename("other"), Some(made.revision)).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Changed { .. }), "{error}");
        let error = other.delete_key(made.id, Some(made.revision)).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Changed { .. }), "{error}");
        other.delete_key(made.id, Some(1)).await.unwrap();
        assert!(matches!(one.delete_key(made.id, None).await.unwrap_err(), DirectoryError::NoSuchKey(_)));
        assert!(matches!(one.change_key(made.id, rename("x"), None).await.unwrap_err(), DirectoryError::NoSuchKey(_)));
    });
}

#[test]
fn changes_of_ten_clients_to_one_key_all_count() {
    on_both(async |backend: &Backend| {
        let first = backend.open().await;
        account(&first, "app").await;
        let made = key(&first, "app").await.key;
        let mut clients = Vec::new();
        for n in 0..10 {
            let client = backend.open().await;
            clients.push(tokio::spawn(async move {
                let rename = KeyChange { name: Some(format!("name {n}")), ..KeyChange::default() };
                client.change_key(made.id, rename, None).await.unwrap();
            }));
        }
        for client in clients {
            client.await.unwrap();
        }
        assert_eq!(backend.open().await.key(made.id).await.unwrap().unwrap().revision, 10);
    });
}

#[test]
fn with_an_account_go_its_keys() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        account(&directory, "app").await;
        let made = key(&directory, "app").await;
        directory.delete_account(&id("app"), None).await.unwrap();
        assert_eq!(directory.key(made.key.id).await.unwrap(), None);
        assert!(directory.find(made.key.id).await.unwrap().holder.is_none());
        account(&directory, "app").await;
        assert_eq!(directory.keys(&id("app")).await.unwrap(), []);
    });
}

// ===== signing in =====

#[test]
fn each_reason_for_a_refusal_stands_in_the_record() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        let cache = DirectoryCache::start(directory.clone(), &backend.settings());
        let now = Timestamp::now();
        account(&directory, "app").await;
        account(&directory, "off").await;
        let good = key(&directory, "app").await;
        let presented = |id: KeyId, secret: &Secret| Presented { id, secret: secret.clone() };
        let who = sign_in(&cache, &presented(good.key.id, &good.secret), HERE, now).await.unwrap();
        assert_eq!((who.account_id().as_str(), who.key_id(), who.stale()), ("app", good.key.id, false));
        assert_eq!((who.account().name.as_str(), who.key().name.as_str()), ("app", "test"));

        let why = async |id: KeyId, secret: &Secret, client: &str, now: Timestamp| {
            reason(sign_in(&cache, &presented(id, secret), client.parse::<IpAddr>().unwrap(), now).await)
        };
        assert_eq!(why(KeyId::random().unwrap(), &good.secret, "::1", now).await, ("key-unknown", None));
        assert_eq!(why(good.key.id, &Secret::random().unwrap(), "::1", now).await, ("secret-wrong", Some("app".into())));

        let disabled = key(&directory, "app").await;
        let disable = KeyChange { status: Some(Status::Disabled), ..KeyChange::default() };
        directory.change_key(disabled.key.id, disable, None).await.unwrap();
        assert_eq!(why(disabled.key.id, &disabled.secret, "::1", now).await, ("key-disabled", Some("app".into())));
        assert_eq!(why(disabled.key.id, &good.secret, "::1", now).await, ("secret-wrong", Some("app".into())));

        let end = good.key.expires.unwrap();
        assert_eq!(why(good.key.id, &good.secret, "::1", end).await, ("key-expired", Some("app".into())));

        let off = key(&directory, "off").await;
        let disable = AccountChange { status: Some(Status::Disabled), ..AccountChange::default() };
        directory.change_account(&id("off"), disable, None).await.unwrap();
        assert_eq!(why(off.key.id, &off.secret, "::1", now).await, ("account-disabled", Some("off".into())));

        let sources = vec!["10.1.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let near = directory.create_key(NewKey { sources, ..new_key("app") }, now).await.unwrap();
        for (client, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("2001:db8::7", true),
            ("10.2.0.1", false),
            ("::1", false),
            ("2001:db9::", false),
        ] {
            let signed = sign_in(&cache, &presented(near.key.id, &near.secret), client.parse::<IpAddr>().unwrap(), now).await;
            match allowed {
                true => assert!(signed.is_ok(), "{client}"),
                false => assert_eq!(reason(signed), ("source-not-allowed", Some("app".into())), "{client}"),
            }
        }

        let (own, next) = (Fingerprint::of(b"own"), Fingerprint::of(b"next"));
        let bound = directory.create_key(NewKey { client_certs: vec![own], ..new_key("app") }, now).await.unwrap();
        let shows = async |certificate| {
            let client = Client { address: HERE, certificate };
            match sign_in(&cache, &presented(bound.key.id, &bound.secret), client, now).await {
                Ok(_) => "let in",
                refused => reason(refused).0,
            }
        };
        for (certificate, told) in [(Some(own), "let in"), (Some(next), "certificate-not-allowed"), (None, "certificate-not-allowed")] {
            assert_eq!(shows(certificate).await, told);
        }
        assert_eq!(why(bound.key.id, &good.secret, "::1", now).await, ("secret-wrong", Some("app".into())));
        let change = KeyChange { client_certs: Some(vec![own, next]), ..KeyChange::default() };
        directory.change_key(bound.key.id, change, None).await.unwrap();
        assert_eq!((shows(Some(own)).await, shows(Some(next)).await, shows(None).await), ("let in", "let in", "certificate-not-allowed"));
        let change = KeyChange { client_certs: Some(Vec::new()), ..KeyChange::default() };
        directory.change_key(bound.key.id, change, None).await.unwrap();
        assert_eq!(shows(None).await, "let in");
    });
}

#[test]
fn a_key_dies_at_its_expiry_without_anybody_saying_so() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        let cache = DirectoryCache::start(directory.clone(), &backend.settings());
        account(&directory, "app").await;
        let made = key(&directory, "app").await;
        let end = made.key.expires.unwrap();
        let presented = Presented { id: made.key.id, secret: made.secret };
        let just_before = end.checked_sub(SignedDuration::from_millis(1)).unwrap();
        assert!(sign_in(&cache, &presented, HERE, just_before).await.is_ok());
        assert_eq!(reason(sign_in(&cache, &presented, HERE, end).await).0, "key-expired");
    });
}

#[test]
fn after_a_rotation_both_secrets_work_until_the_overlap_ends() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        let cache = DirectoryCache::start(directory.clone(), &backend.settings());
        let now = Timestamp::now();
        account(&directory, "app").await;
        let made = key(&directory, "app").await;
        let rotated = directory.rotate_key(made.key.id, RotatedBy::Operator, Duration::from_secs(3600), now).await.unwrap();
        let pair = |secret: &Secret| Presented { id: made.key.id, secret: secret.clone() };
        // No sooner than was asked for, and to the second.
        let end = |rotated: &Key, overlap: i64| {
            let (end, asked) = (rotated.previous.until().unwrap(), now.checked_add(SignedDuration::from_secs(overlap)).unwrap());
            assert!(end >= asked && end < asked.checked_add(SignedDuration::from_secs(1)).unwrap() && end.subsec_nanosecond() == 0);
            end
        };
        let later = end(&rotated.key, 3600);
        for secret in [&made.secret, &rotated.secret] {
            eventually("both secrets are known", async || sign_in(&cache, &pair(secret), HERE, now).await.is_ok()).await;
        }
        assert_eq!(reason(sign_in(&cache, &pair(&made.secret), HERE, later).await).0, "secret-wrong");
        assert!(sign_in(&cache, &pair(&rotated.secret), HERE, later).await.is_ok());

        // Whoever has not yet got the new secret is not shut out by one more rotation; nor does an older secret outlive it.
        let second = directory.rotate_key(made.key.id, RotatedBy::Operator, Duration::from_secs(1800), now).await.unwrap();
        let sooner = end(&second.key, 1800);
        for secret in [&made.secret, &rotated.secret, &second.secret] {
            eventually("all three are known", async || sign_in(&cache, &pair(secret), HERE, now).await.is_ok()).await;
        }
        for secret in [&made.secret, &rotated.secret] {
            assert_eq!(reason(sign_in(&cache, &pair(secret), HERE, sooner).await).0, "secret-wrong");
        }

        let again = directory.rotate_key(made.key.id, RotatedBy::Operator, Duration::ZERO, now).await.unwrap();
        assert_eq!(again.key.previous, PreviousSecrets::none());
        eventually("the new secret is known", async || sign_in(&cache, &pair(&again.secret), HERE, now).await.is_ok()).await;
        for secret in [&made.secret, &rotated.secret, &second.secret] {
            assert_eq!(reason(sign_in(&cache, &pair(secret), HERE, now).await).0, "secret-wrong");
        }
        assert_eq!(again.key.expires, made.key.expires, "a rotation lengthens nothing");
    });
}

#[test]
fn what_another_process_writes_into_the_keys_file_works_from_that_moment() {
    block_on(async {
        let backend = Backend::File(tempfile::tempdir().unwrap());
        let (sidecars, command_line) = (backend.open().await, backend.open().await);
        let cache = DirectoryCache::start(sidecars, &backend.settings());
        account(&command_line, "app").await;
        for _ in 0..30 {
            // Nothing is waited for.
            let made = key(&command_line, "app").await;
            let now = Timestamp::now();
            let pair = |secret: &Secret| Presented { id: made.key.id, secret: secret.clone() };
            assert!(sign_in(&cache, &pair(&made.secret), HERE, now).await.is_ok());
            let rotated = command_line.rotate_key(made.key.id, RotatedBy::Operator, Duration::ZERO, now).await.unwrap();
            assert!(sign_in(&cache, &pair(&rotated.secret), HERE, now).await.is_ok());
            assert_eq!(reason(sign_in(&cache, &pair(&made.secret), HERE, now).await).0, "secret-wrong");
        }
    });
}

#[test]
fn what_the_keys_file_has_said_is_not_taken_back_by_who_read_it_before() {
    // The watch of the sidecar runs on a thread that is held up just when it may have read what is old a moment later.
    let held_up = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let beside = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let meanwhile = |work: &mut (dyn FnMut() + Send)| std::thread::scope(|threads| threads.spawn(work).join().unwrap());
    held_up.block_on(async {
        let backend = Backend::File(tempfile::tempdir().unwrap());
        let (sidecar, command_line) = (backend.open().await, backend.open().await);
        let _cache = DirectoryCache::start(sidecar.clone(), &backend.settings());
        account(&command_line, "app").await;
        let known = async |id| sidecar.find(id).await.unwrap().holder.is_some();
        for round in 0..30 {
            let mut made = None;
            meanwhile(&mut || made = Some(beside.block_on(key(&command_line, "app")).key.id));
            let made = made.unwrap();
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            meanwhile(&mut || {
                beside.block_on(async {
                    command_line.delete_key(made, None).await.unwrap();
                    assert!(sidecar.catch_up().await.unwrap());
                });
            });
            let released = Instant::now();
            while released.elapsed() < Duration::from_millis(10) {
                assert!(!known(made).await, "round {round}");
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn when_a_key_was_last_used_is_written_down_to_the_minute() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        let cache = DirectoryCache::start(directory.clone(), &backend.settings());
        account(&directory, "app").await;
        let (used, unused) = (key(&directory, "app").await, key(&directory, "app").await);
        let now: Timestamp = "2026-11-24T12:34:56.789Z".parse().unwrap();
        for _ in 0..100 {
            sign_in(&cache, &Presented { id: used.key.id, secret: used.secret.clone() }, HERE, now).await.unwrap();
        }
        cache.flush().await;
        let other = backend.open().await;
        let minute = "2026-11-24T12:34:00Z".parse().unwrap();
        let keys = other.keys(&id("app")).await.unwrap();
        assert_eq!([keys[0].last_used, keys[1].last_used], [Some(minute), None]);
        assert_eq!(other.key(used.key.id).await.unwrap().unwrap().last_used, Some(minute));
        assert_eq!(keys[0].revision, 0, "being used is no change");
        directory.note_used(&[(used.key.id, Timestamp::UNIX_EPOCH), (KeyId::random().unwrap(), minute)]).await.unwrap();
        assert_eq!(other.key(used.key.id).await.unwrap().unwrap().last_used, Some(minute), "time does not run back");
        assert_eq!(other.key(unused.key.id).await.unwrap().unwrap().last_used, None);

        // Who changes it is told, too.
        let rename = KeyChange { name: Some("another".into()), ..KeyChange::default() };
        let renamed = other.change_key(used.key.id, rename, None).await.unwrap();
        assert_eq!((renamed.last_used, Some(renamed)), (Some(minute), other.key(used.key.id).await.unwrap()));
        let rotated = other.rotate_key(used.key.id, RotatedBy::Operator, Duration::ZERO, now).await.unwrap().key;
        assert_eq!((rotated.last_used, Some(rotated)), (Some(minute), other.key(used.key.id).await.unwrap()));
        assert_eq!(other.delete_key(used.key.id, None).await.unwrap().last_used, Some(minute));
    });
}

#[test]
fn an_unknown_key_is_remembered_for_a_while() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        let cache = DirectoryCache::start(directory.clone(), &backend.settings());
        let presented = Presented { id: KeyId::random().unwrap(), secret: Secret::random().unwrap() };
        // An answer from before the changes are heard of is rightly asked for again.
        eventually("it is connected", async || cache.stats().connected && cache.stats().vouched.is_some()).await;
        for _ in 0..50 {
            let refused = sign_in(&cache, &presented, HERE, Timestamp::now()).await.unwrap_err();
            assert!(matches!(refused, Refused::NotKnown { .. }), "{refused:?}");
        }
        let stats = cache.stats();
        assert!(stats.questions <= 1, "{stats:?}");
        assert!(stats.negative_hits >= 49, "{stats:?}");
    });
}

// ===== admins =====

#[test]
fn an_admin_signs_in_with_the_token_until_it_ends_or_is_revoked() {
    on_both(async |backend: &Backend| {
        let (one, other) = (backend.open().await, backend.open().await);
        let now = Timestamp::now();
        account(&one, "app").await;
        let zoe = NewAdmin {
            id: "zoe".parse().unwrap(),
            name: "Zoe".into(),
            role: Role::AccountAdmin,
            accounts: vec![id("app")],
            expires: in_days(1),
        };
        let made = other.create_admin(zoe.clone(), now).await.unwrap();
        let late = made.admin.expires.unwrap();
        let found = backend.open().await.admin_of(&made.token, now).await.unwrap();
        assert_eq!(found, Some(made.admin.clone()));
        assert_eq!(backend.open().await.admin_of(&made.token, late).await.unwrap(), None);
        let stranger = vicar::identity::AdminToken::random().unwrap();
        assert_eq!(other.admin_of(&stranger, now).await.unwrap(), None);
        assert!(matches!(other.create_admin(zoe, now).await.unwrap_err(), DirectoryError::AdminExists(_)));
        assert_eq!(other.admins().await.unwrap(), std::slice::from_ref(&made.admin));
        other.revoke_admin(&made.admin.id).await.unwrap();
        assert_eq!(other.admin_of(&made.token, now).await.unwrap(), None);
        assert!(matches!(other.revoke_admin(&made.admin.id).await.unwrap_err(), DirectoryError::NoSuchAdmin(_)));
    });
}

#[test]
fn an_account_made_again_is_not_its_former_admins() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        account(&directory, "app").await;
        account(&directory, "other").await;
        let of = |id: &str, accounts: &[&str]| NewAdmin {
            id: id.parse().unwrap(),
            name: "Zoe".into(),
            role: Role::AccountAdmin,
            accounts: accounts.iter().map(|raw| raw.parse().unwrap()).collect(),
            expires: Expiry::Never,
        };
        let now = Timestamp::now();
        let one = directory.create_admin(of("one", &["app"]), now).await.unwrap();
        let both = directory.create_admin(of("both", &["app", "other"]), now).await.unwrap();
        directory.delete_account(&id("app"), None).await.unwrap();
        account(&directory, "app").await;
        for (made, left) in [(one, vec![]), (both, vec![id("other")])] {
            let admin = backend.open().await.admin_of(&made.token, now).await.unwrap().expect("the token is still good");
            assert_eq!(admin.accounts, left);
        }
    });
}

#[test]
fn accounts_are_named_for_account_admins_and_nobody_else() {
    on_both(async |backend: &Backend| {
        let directory = backend.open().await;
        account(&directory, "app").await;
        let admin = |role, accounts: &[&str]| NewAdmin {
            id: "zoe".parse().unwrap(),
            name: "Zoe".into(),
            role,
            accounts: accounts.iter().map(|raw| id(raw)).collect(),
            expires: Expiry::Never,
        };
        let now = Timestamp::now();
        for wrong in [admin(Role::AccountAdmin, &[]), admin(Role::Auditor, &["app"]), admin(Role::SuperAdmin, &["app"])] {
            assert!(matches!(directory.create_admin(wrong, now).await.unwrap_err(), DirectoryError::RoleAccounts));
        }
        let error = directory.create_admin(admin(Role::AccountAdmin, &["app", "nobody"]), now).await.unwrap_err();
        assert!(matches!(error, DirectoryError::NoSuchAccount(_)), "{error}");
        directory.create_admin(admin(Role::AccountAdmin, &["app"]), now).await.unwrap();
    });
}
