//! A leaked key dies everywhere: by push, past every fault of Redis and of the way to it, and never comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{net::IpAddr, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use support::{
    Answer, Call, Gate, Redis, Sidecar, Upstream,
    directory::{Backend, account, block_on, eventually, key, on_both, reason},
};
use vicar::{
    directory::{
        self, AccountChange, Created, Directory, DirectoryCache, DirectoryError, Expiry, Health, KeyChange, NewAdmin, NewKey, Presented,
        RotatedBy, sign_in,
    },
    identity::{KeyId, Role, Secret, Status},
    settings::{DirectoryBackend, Limits, Span},
};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Settings of a sidecar that reaches Redis at `url`.
fn at(url: &str) -> DirectoryBackend {
    // A loaded machine answers late; those who are about lateness say so.
    DirectoryBackend { redis: Some(url.to_owned().into()), timeout: Span::seconds(5), ..DirectoryBackend::default() }
}

async fn open(settings: &DirectoryBackend) -> Arc<dyn Directory> {
    directory::open(settings, &Limits::default()).await.unwrap()
}

/// A sidecar's way to its directory.
async fn sidecar(settings: &DirectoryBackend) -> (Arc<dyn Directory>, DirectoryCache) {
    let directory = open(settings).await;
    let cache = DirectoryCache::start(directory.clone(), settings);
    (directory, cache)
}

fn pair(created: &Created) -> Presented {
    Presented { id: created.key.id, secret: created.secret.clone() }
}

async fn answer(cache: &DirectoryCache, presented: &Presented) -> &'static str {
    match sign_in(cache, presented, HERE, Timestamp::now()).await {
        Ok(caller) if caller.stale() => "stale",
        Ok(_) => "let in",
        refused => reason(refused).0,
    }
}

const DISABLE_KEY: KeyChange = KeyChange { name: None, status: Some(Status::Disabled), sources: None, client_certs: None, expires: None };

// ===== on both backends =====

#[test]
fn every_change_to_a_key_reaches_every_sidecar_unasked() {
    on_both(async |backend: &Backend| {
        let admin = backend.open().await;
        account(&admin, "app").await;
        account(&admin, "doomed").await;
        let mut sidecars = Vec::new();
        for _ in 0..3 {
            sidecars.push(sidecar(&backend.settings()).await);
        }
        let all = async |created: &Created, expected: &'static str| {
            for (_, cache) in &sidecars {
                eventually(expected, async || answer(cache, &pair(created)).await == expected).await;
            }
        };
        let near = vec!["192.0.2.0/24".parse().unwrap()];

        let (disabled, deleted, rotated, moved, ending) = (
            key(&admin, "app").await,
            key(&admin, "app").await,
            key(&admin, "app").await,
            key(&admin, "app").await,
            key(&admin, "app").await,
        );
        let with_account = key(&admin, "doomed").await;
        for created in [&disabled, &deleted, &rotated, &moved, &ending, &with_account] {
            all(created, "let in").await;
        }
        admin.change_key(disabled.key.id, DISABLE_KEY, None).await.unwrap();
        all(&disabled, "key-disabled").await;
        admin.change_key(disabled.key.id, KeyChange { status: Some(Status::Active), ..KeyChange::default() }, None).await.unwrap();
        all(&disabled, "let in").await;
        admin.delete_key(deleted.key.id, None).await.unwrap();
        all(&deleted, "key-unknown").await;
        admin.rotate_key(rotated.key.id, RotatedBy::Operator, Duration::ZERO, Timestamp::now()).await.unwrap();
        all(&rotated, "secret-wrong").await;
        admin.change_key(moved.key.id, KeyChange { sources: Some(near), ..KeyChange::default() }, None).await.unwrap();
        all(&moved, "source-not-allowed").await;
        let soon = Timestamp::now().checked_add(SignedDuration::from_millis(1500)).unwrap();
        admin.change_key(ending.key.id, KeyChange { expires: Some(Expiry::At(soon)), ..KeyChange::default() }, None).await.unwrap();
        all(&ending, "key-expired").await;
        let off = AccountChange { status: Some(Status::Disabled), ..AccountChange::default() };
        admin.change_account(&"doomed".parse().unwrap(), off, None).await.unwrap();
        all(&with_account, "account-disabled").await;
        admin.delete_account(&"doomed".parse().unwrap(), None).await.unwrap();
        all(&with_account, "key-unknown").await;
    });
}

#[test]
fn whoever_holds_a_connection_open_is_told_when_the_key_is_no_longer_good() {
    on_both(async |backend: &Backend| {
        let admin = backend.open().await;
        let (_, cache) = sidecar(&backend.settings()).await;
        account(&admin, "app").await;
        account(&admin, "other").await;
        let mut keys = Vec::new();
        for account in ["app", "app", "other", "app", "app"] {
            keys.push(key(&admin, account).await);
        }
        let mut held = Vec::new();
        for created in &keys {
            eventually("it is known", async || answer(&cache, &pair(created)).await == "let in").await;
            let caller = sign_in(&cache, &pair(created), HERE, Timestamp::now()).await.unwrap();
            held.push(tokio::spawn(cache.revoked(&caller)));
        }
        let [disabled, rotated, _, ending, good] = keys.as_slice() else { unreachable!() };
        let still = held.pop().unwrap();
        admin.change_key(disabled.key.id, DISABLE_KEY, None).await.unwrap();
        admin.rotate_key(rotated.key.id, RotatedBy::Operator, Duration::from_millis(300), Timestamp::now()).await.unwrap();
        admin.delete_account(&"other".parse().unwrap(), None).await.unwrap();
        let soon = Timestamp::now().checked_add(SignedDuration::from_millis(1500)).unwrap();
        admin.change_key(ending.key.id, KeyChange { expires: Some(Expiry::At(soon)), ..KeyChange::default() }, None).await.unwrap();
        for (held, expected) in held.into_iter().zip(["key-disabled", "secret-wrong", "key-unknown", "key-expired"]) {
            let refused = tokio::time::timeout(support::PATIENCE, held).await.expect(expected).unwrap();
            assert_eq!(reason(Err(refused)).0, expected);
        }
        assert!(!still.is_finished(), "a good key was cut off");
        assert_eq!(answer(&cache, &pair(good)).await, "let in");
    });
}

#[test]
fn a_key_that_was_unknown_is_known_as_soon_as_it_is_there() {
    on_both(async |backend: &Backend| {
        let admin = backend.open().await;
        let (_, cache) = sidecar(&backend.settings()).await;
        account(&admin, "app").await;
        let created = key(&admin, "app").await;
        admin.delete_key(created.key.id, None).await.unwrap();
        eventually("it is unknown", async || answer(&cache, &pair(&created)).await == "key-unknown").await;
        let again = key(&admin, "app").await;
        eventually("another is known", async || answer(&cache, &pair(&again)).await == "let in").await;
    });
}

// ===== the keys file =====

#[test]
fn a_hand_edit_is_taken_and_nonsense_leaves_in_force_what_was() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.yaml");
        let settings = DirectoryBackend { file: Some(path.clone().into()), ..DirectoryBackend::default() };
        let (directory, cache) = sidecar(&settings).await;
        account(&directory, "app").await;
        let (one, other) = (key(&directory, "app").await, key(&directory, "app").await);
        assert_eq!(answer(&cache, &pair(&one)).await, "let in");
        let good = std::fs::read_to_string(&path).unwrap();

        for nonsense in [
            "accounts: {",
            "version: 1\naccounts: [{id: A}]\n",
            &good.replace("active", "actvie"),
            "\u{0}\u{1}",
            &good.replace("hash", "hush"),
        ] {
            std::fs::write(&path, nonsense).unwrap();
            eventually("it is said", async || matches!(directory.health(), Health::Frozen(_))).await;
            assert_eq!(answer(&cache, &pair(&one)).await, "let in");
            assert!(directory.create_key(new("app"), Timestamp::now()).await.is_err(), "nonsense was written over");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), nonsense);
            std::fs::write(&path, &good).unwrap();
            eventually("it is good again", async || directory.health() == Health::Good).await;
        }
        // The very file that was in force, put back.
        let aside = folder.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        std::fs::write(&path, "accounts: {").unwrap();
        eventually("it is said", async || matches!(directory.health(), Health::Frozen(_))).await;
        std::fs::rename(&aside, &path).unwrap();
        eventually("it is good again", async || directory.health() == Health::Good).await;

        let at = good.find(one.key.id.as_str()).unwrap();
        let (head, tail) = good.split_at(at);
        let edited = format!("# by hand\n{head}{}", tail.replacen("active", "disabled", 1));
        std::fs::write(&path, edited).unwrap();
        eventually("the edit is in force", async || answer(&cache, &pair(&one)).await == "key-disabled").await;
        assert_eq!(answer(&cache, &pair(&other)).await, "let in");

        // As editors and Kubernetes do it.
        let new_file = folder.path().join("new");
        std::fs::write(&new_file, &good).unwrap();
        std::fs::rename(&new_file, &path).unwrap();
        eventually("the old state is back", async || answer(&cache, &pair(&one)).await == "let in").await;

        std::fs::remove_file(&path).unwrap();
        eventually("no file, no keys", async || answer(&cache, &pair(&one)).await == "key-unknown").await;
    });
}

fn new(account: &str) -> NewKey {
    NewKey {
        account: account.parse().unwrap(),
        name: "x".into(),
        expires: Expiry::In(Span::days(1)),
        sources: Vec::new(),
        client_certs: Vec::new(),
    }
}

#[test]
fn nobody_but_the_owner_can_read_the_keys_file_and_a_symlink_stays_one() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.yaml"), folder.path().join("keys.yaml"));
        symlink(&real, &link).unwrap();
        let directory = open(&DirectoryBackend { file: Some(link.clone().into()), ..DirectoryBackend::default() }).await;
        account(&directory, "app").await;
        let created = key(&directory, "app").await;
        // A dangling link is taken for no file, and the first write makes one in its place.
        let mode = std::fs::metadata(&link).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let text = std::fs::read_to_string(&link).unwrap();
        assert!(text.contains(created.key.id.as_str()));
        assert!(!text.contains("vsk_") && !text.contains(created.secret.reveal()), "a secret in the file");

        std::fs::rename(&link, &real).unwrap();
        symlink(&real, &link).unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        key(&directory, "app").await;
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640, "who was let in stays let in");
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!left.iter().any(|name| name.contains(".new")), "{left:?}");
    });
}

// ===== Redis: fences =====

#[test]
fn a_look_up_in_flight_when_the_revocation_comes_never_puts_the_old_answer_back() {
    block_on(async {
        let redis = Redis::start();
        let admin = open(&at(&redis.url())).await;
        account(&admin, "app").await;
        let gate = Gate::to(redis.port());
        for entries in [10_000, 1] {
            // With one place in memory, each of two keys keeps driving the other out.
            let settings = DirectoryBackend { timeout: Span::seconds(5), cache: entries, ..at(&gate.url()) };
            let (_, cache) = sidecar(&settings).await;
            let mut raced = 0;
            while raced < 3 {
                let (created, other) = (key(&admin, "app").await, key(&admin, "app").await);
                if entries == 1 {
                    for presented in [&created, &other, &other, &other] {
                        assert_eq!(answer(&cache, &pair(presented)).await, "let in");
                    }
                }
                let before = redis.calls("evalsha");
                // What the server says from here on arrives late and in its order: the answer, then the revocation.
                gate.hold();
                let asked = tokio::spawn({
                    let (cache, presented) = (cache.clone(), pair(&created));
                    async move { answer(&cache, &presented).await }
                });
                eventually("the question is answered, or was not needed", async || asked.is_finished() || redis.calls("evalsha") > before)
                    .await;
                raced += usize::from(!asked.is_finished());
                admin.change_key(created.key.id, DISABLE_KEY, None).await.unwrap();
                gate.release();
                // Whoever asked before the revocation may have either answer; once it is in force, nobody has the old one.
                let _ = asked.await.unwrap();
                eventually("it is in force", async || answer(&cache, &pair(&created)).await == "key-disabled").await;
                for _ in 0..200 {
                    assert_eq!(answer(&cache, &pair(&created)).await, "key-disabled");
                    tokio::task::yield_now().await;
                }
                for done in [created, other] {
                    admin.delete_key(done.key.id, None).await.unwrap();
                }
            }
        }
    });
}

#[test]
fn many_requests_for_one_key_are_one_question() {
    block_on(async {
        let redis = Redis::start();
        let (admin, _) = sidecar(&at(&redis.url())).await;
        account(&admin, "app").await;
        let created = key(&admin, "app").await;
        let unknown = Presented { id: KeyId::random().unwrap(), secret: Secret::random().unwrap() };
        let (_, cache) = sidecar(&at(&redis.url())).await;
        eventually("it is connected", async || cache.stats().connected).await;
        let before = redis.calls("evalsha") + redis.calls("eval");
        let mut asking = Vec::new();
        for n in 0..500 {
            let (cache, presented) = (cache.clone(), if n % 2 == 0 { pair(&created) } else { unknown.clone() });
            asking.push(tokio::spawn(async move { answer(&cache, &presented).await }));
        }
        for (n, asked) in asking.into_iter().enumerate() {
            assert_eq!(asked.await.unwrap(), if n % 2 == 0 { "let in" } else { "key-unknown" });
        }
        let asked = redis.calls("evalsha") + redis.calls("eval") - before;
        // A server that does not know the script yet is asked twice, and one that is slow once more.
        assert!(asked <= 20, "{asked} questions for two keys");
        let stats = cache.stats();
        assert_eq!(stats.questions, 2, "{stats:?}");
    });
}

// ===== Redis: away, hung, back =====

#[test]
fn known_keys_outlive_redis_marked_stale_and_unknown_ones_are_asked_to_wait() {
    block_on(async {
        let mut redis = Redis::start();
        let settings = DirectoryBackend { fresh_for: Span::millis(300), stale_for: Span::seconds(4), ..at(&redis.url()) };
        let (admin, cache) = sidecar(&settings).await;
        account(&admin, "app").await;
        let (known, never_seen, revoked) = (key(&admin, "app").await, key(&admin, "app").await, key(&admin, "app").await);
        let stranger = Presented { id: KeyId::random().unwrap(), secret: Secret::random().unwrap() };
        assert_eq!(answer(&cache, &pair(&known)).await, "let in");
        assert_eq!(answer(&cache, &pair(&revoked)).await, "let in");
        assert_eq!(answer(&cache, &stranger).await, "key-unknown");
        admin.change_key(revoked.key.id, DISABLE_KEY, None).await.unwrap();
        eventually("it is in force", async || answer(&cache, &pair(&revoked)).await == "key-disabled").await;

        redis.kill();
        eventually("it is noticed", async || !cache.stats().connected).await;
        assert_eq!(answer(&cache, &stranger).await, "unavailable", "a stranger is told to wait, not that it is unknown");
        assert_eq!(answer(&cache, &pair(&never_seen)).await, "unavailable");
        eventually("what is known is served stale", async || answer(&cache, &pair(&known)).await == "stale").await;
        assert_eq!(answer(&cache, &pair(&revoked)).await, "key-disabled");
        let wrong = Presented { secret: Secret::random().unwrap(), ..pair(&known) };
        assert_eq!(answer(&cache, &wrong).await, "secret-wrong");
        assert!(matches!(cache.stats().backend, Health::Away(_)), "{:?}", cache.stats());
        let error = admin.create_key(new("app"), Timestamp::now()).await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        eventually("not for ever", async || answer(&cache, &pair(&known)).await == "unavailable").await;

        redis.launch();
        eventually("no restart is needed", async || answer(&cache, &pair(&known)).await == "let in").await;
        assert_eq!(answer(&cache, &pair(&never_seen)).await, "let in");
        assert_eq!(answer(&cache, &stranger).await, "key-unknown");
        assert_eq!(answer(&cache, &pair(&revoked)).await, "key-disabled");
    });
}

#[test]
fn a_hung_redis_hangs_no_request() {
    block_on(async {
        let redis = Redis::start();
        let settings = DirectoryBackend { fresh_for: Span::millis(300), timeout: Span::millis(200), ..at(&redis.url()) };
        let (admin, cache) = sidecar(&settings).await;
        account(&admin, "app").await;
        let known = key(&admin, "app").await;
        let stranger = Presented { id: KeyId::random().unwrap(), secret: Secret::random().unwrap() };
        eventually("it is known", async || answer(&cache, &pair(&known)).await == "let in").await;
        redis.freeze();
        eventually("what is known is served", async || answer(&cache, &pair(&known)).await == "stale").await;
        let asked = tokio::time::timeout(Duration::from_secs(5), answer(&cache, &stranger)).await;
        assert_eq!(asked.expect("a request hung"), "unavailable");
        let error = tokio::time::timeout(Duration::from_secs(10), admin.accounts()).await.expect("an admin hung").unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        redis.thaw();
        eventually("no restart is needed", async || answer(&cache, &pair(&known)).await == "let in").await;
        assert_eq!(answer(&cache, &stranger).await, "key-unknown");
    });
}

#[test]
fn what_was_revoked_while_the_push_channel_was_cut_is_refused_once_it_is_back() {
    block_on(async {
        let redis = Redis::start();
        let admin = open(&at(&redis.url())).await;
        account(&admin, "app").await;
        let gate = Gate::to(redis.port());
        let (_, cache) = sidecar(&DirectoryBackend { fresh_for: Span::millis(500), ..at(&gate.url()) }).await;
        let mut keys = Vec::new();
        for _ in 0..20 {
            let created = key(&admin, "app").await;
            assert_eq!(answer(&cache, &pair(&created)).await, "let in");
            keys.push(created);
        }
        gate.cut();
        eventually("it is noticed", async || !cache.stats().connected).await;
        for created in &keys[..10] {
            admin.change_key(created.key.id, DISABLE_KEY, None).await.unwrap();
        }
        gate.mend();
        eventually("it is connected", async || cache.stats().connected).await;
        // From the first moment of the new connection on: nothing from before is trusted unasked.
        for created in &keys[..10] {
            assert_eq!(answer(&cache, &pair(created)).await, "key-disabled");
        }
        for created in &keys[10..] {
            assert_eq!(answer(&cache, &pair(created)).await, "let in");
        }
    });
}

#[test]
fn a_silent_push_channel_bounds_trust_to_fresh_for() {
    block_on(async {
        let redis = Redis::start();
        let admin = open(&at(&redis.url())).await;
        account(&admin, "app").await;
        let gate = Gate::to(redis.port());
        let settings = DirectoryBackend { fresh_for: Span::millis(400), stale_for: Span::seconds(2), ..at(&gate.url()) };
        let (_, cache) = sidecar(&settings).await;
        let created = key(&admin, "app").await;
        assert_eq!(answer(&cache, &pair(&created)).await, "let in");
        // The connection stays up and says nothing: no reset, no push, no answer.
        gate.hold();
        admin.change_key(created.key.id, DISABLE_KEY, None).await.unwrap();
        eventually("it is no longer taken for fresh", async || answer(&cache, &pair(&created)).await != "let in").await;
        gate.mend();
        eventually("the revocation is in force", async || answer(&cache, &pair(&created)).await == "key-disabled").await;
    });
}

#[test]
fn a_redis_that_lost_writes_is_noticed_and_everything_is_asked_again() {
    block_on(async {
        let redis = Redis::start();
        let (admin, cache) = sidecar(&at(&redis.url())).await;
        account(&admin, "app").await;
        let created = key(&admin, "app").await;
        assert_eq!(answer(&cache, &pair(&created)).await, "let in");
        redis.command(&["FLUSHALL"]);
        eventually("it is noticed", async || answer(&cache, &pair(&created)).await == "key-unknown").await;
    });
}

#[test]
fn a_change_that_was_not_published_is_noticed_by_its_version() {
    block_on(async {
        let redis = Redis::start();
        let (admin, cache) = sidecar(&at(&redis.url())).await;
        account(&admin, "app").await;
        let created = key(&admin, "app").await;
        assert_eq!(answer(&cache, &pair(&created)).await, "let in");
        redis.command(&["HDEL", "vicar:directory", &format!("key:{}", created.key.id)]);
        redis.command(&["HINCRBY", "vicar:directory", "version", "1"]);
        eventually("it is noticed", async || answer(&cache, &pair(&created)).await == "key-unknown").await;
    });
}

// ===== Redis: what is not ours =====

#[test]
fn a_redis_with_something_else_under_our_names_is_an_error_and_no_panic() {
    block_on(async {
        let redis = Redis::start();
        for claim in [
            &["SET", "vicar:directory", "theirs"][..],
            &["LPUSH", "vicar:directory", "theirs"],
            &["HSET", "vicar:directory", "theirs", "1"],
            &["HSET", "vicar:directory", "format", "another-1", "version", "1"],
            &["HSET", "vicar:directory", "format", "vicar-directory-1", "version", "many"],
        ] {
            redis.command(&["DEL", "vicar:directory"]);
            redis.command(claim);
            eventually("it is told", async || {
                let error = match directory::open(&at(&redis.url()), &Limits::default()).await {
                    Err(error) => error,
                    // It answers late.
                    Ok(directory) => directory.accounts().await.unwrap_err(),
                };
                assert!(error.is_unavailable() || matches!(error, DirectoryError::Foreign { .. }), "{claim:?}: {error}");
                !error.is_unavailable()
            })
            .await;
        }
        redis.command(&["DEL", "vicar:directory"]);
    });
}

#[test]
fn records_that_are_none_are_errors_of_those_who_need_them_alone() {
    block_on(async {
        let redis = Redis::start();
        let (directory, cache) = sidecar(&at(&redis.url())).await;
        account(&directory, "app").await;
        let (good, bad) = (key(&directory, "app").await, key(&directory, "app").await);
        let field = format!("key:{}", bad.key.id);
        for nonsense in ["", "{}", "nonsense", "[1,2]", "{\"account\":7}", "{\"account\":\"nobody\"}", "null", "\u{1}\u{fffd}"] {
            redis.command(&["HSET", "vicar:directory", &field, nonsense]);
            assert_eq!(answer(&cache, &pair(&bad)).await, "unavailable", "{nonsense}");
            assert!(matches!(directory.key(bad.key.id).await, Err(DirectoryError::Foreign { .. })), "{nonsense}");
            assert_eq!(answer(&cache, &pair(&good)).await, "let in");
        }
        redis.command(&["PUBLISH", "vicar:directory:changes", "nonsense"]);
        redis.command(&["PUBLISH", "vicar:directory:changes", "99 key nonsense"]);
        // A server that turns foreign while we are connected.
        redis.command(&["DEL", "vicar:directory"]);
        redis.command(&["SET", "vicar:directory", "theirs"]);
        eventually("it is told", async || matches!(directory.accounts().await, Err(DirectoryError::Foreign { .. }))).await;
        let error = directory.create_key(new("app"), Timestamp::now()).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Foreign { .. }), "{error}");
        assert_eq!(redis.command(&["GET", "vicar:directory"]), "$6\r\ntheirs\r\n", "it was written over");
    });
}

#[test]
fn what_redis_does_not_take_is_not_told_and_admins_concern_no_sidecar() {
    block_on(async {
        let redis = Redis::start();
        let (directory, cache) = sidecar(&at(&redis.url())).await;
        let operator = open(&at(&redis.url())).await;
        account(&operator, "app").await;
        let created = key(&operator, "app").await;
        eventually("it is known", async || answer(&cache, &pair(&created)).await == "let in").await;
        let before = cache.stats();
        let quiet = async |what: &str| {
            // Longer than two beats, by which a change that was not told would be noticed.
            for _ in 0..30 {
                assert_eq!(answer(&cache, &pair(&created)).await, "let in", "{what}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let now = cache.stats();
            assert!(now.connected && (now.resyncs, now.changes) == (before.resyncs, before.changes), "{what}: {now:?}");
        };
        let zoe =
            NewAdmin { id: "zoe".parse().unwrap(), name: "Zoe".into(), role: Role::Auditor, accounts: Vec::new(), expires: Expiry::Never };
        let made = operator.create_admin(zoe, Timestamp::now()).await.unwrap();
        quiet("an admin is made").await;
        operator.revoke_admin(&made.admin.id).await.unwrap();
        quiet("an admin is revoked").await;

        let rename = || operator.change_key(created.key.id, KeyChange { name: Some("other".into()), ..KeyChange::default() }, None);
        let version = || redis.command(&["HGET", "vicar:directory", "version"]);
        let was = version();
        redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
        rename().await.unwrap_err();
        quiet("Redis has no memory").await;
        redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
        redis.command(&["ACL", "SETUSER", "default", "-publish"]);
        rename().await.unwrap_err();
        quiet("Redis does not let it be told").await;
        assert_eq!(version(), was);
        redis.command(&["ACL", "SETUSER", "default", "+publish"]);
        rename().await.unwrap();
        assert_ne!(version(), was);
        assert_eq!(directory.key(created.key.id).await.unwrap().unwrap().name, "other");
    });
}

// ===== through the program =====

#[test]
fn a_redis_that_may_forget_is_warned_of_by_check_and_at_start() {
    let upstream = Upstream::start();
    let careless = Redis::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let sidecar = Sidecar::behind(&upstream).redis(&careless.url()).start();
    let checked = sidecar.vicar(&["check"]).succeeded().stderr;
    let log = support::eventually("the start warns", || Some(sidecar.log()).filter(|log| log.contains("appendonly")));
    for told in [checked, log] {
        assert!(told.contains("maxmemory-policy allkeys-lru") && told.contains("set noeviction"), "{told}");
        assert!(told.contains("keeps nothing on disk") && told.contains("set appendonly yes"), "{told}");
    }
}

const ASKED: &str = "/user/2/Ac1";

#[test]
fn a_key_revoked_at_the_command_line_is_refused_by_every_sidecar() {
    for redis in [None, Some(Redis::start())] {
        let upstream = Upstream::start();
        let plain = || Sidecar::behind(&upstream);
        let (first, second) = match &redis {
            Some(redis) => {
                let directory = format!("{{redis: \"{}\"}}", redis.url());
                (plain().set("directory", &directory).start(), plain().accounts(&[]).set("directory", &directory).start())
            }
            None => {
                let first = plain().start();
                let directory = format!("{{file: \"{}\"}}", first.folder().join("keys.yaml").display());
                let second = plain().accounts(&[]).set("directory", &directory).start();
                (first, second)
            }
        };
        let call = Call::get(ASKED).with(first.app());
        for sidecar in [&first, &second] {
            support::eventually("it is known", || (sidecar.send(&call).status == 200).then_some(()));
        }
        first.vicar(&["key", "disable", &first.app().id, "--yes"]).succeeded();
        for sidecar in [&first, &second] {
            let refused = support::eventually("it is refused", || Some(sidecar.send(&call)).filter(|answer| answer.status == 401));
            let record = sidecar.record(refused.header("x-request-id").unwrap());
            assert_eq!(record["reason"], "key-disabled", "{record}");
        }
    }
}

#[test]
fn while_redis_is_away_the_record_says_stale_and_strangers_are_asked_to_wait() {
    let mut redis = Redis::start();
    let upstream = Upstream::start();
    let directory = format!("{{redis: \"{}\", fresh_for: 300ms}}", redis.url());
    let sidecar = Sidecar::behind(&upstream).set("directory", &directory).start();
    let never_seen = sidecar.new_key("app", &["--name", "never seen"]);
    let call = Call::get(ASKED).with(sidecar.app());
    let stale = |answer: &Answer| {
        assert_eq!(answer.status, 200);
        sidecar.record(answer.header("x-request-id").unwrap())["stale"] == true
    };
    assert!(!stale(&sidecar.send(&call)));
    redis.kill();
    support::eventually("it is served stale", || stale(&sidecar.send(&call)).then_some(()));
    let told = sidecar.send(&Call::get(ASKED).with(&never_seen));
    assert_eq!(told.status, 503);
    assert_eq!(told.json()["code"], "directory-unavailable");
    assert!(told.header("retry-after").is_some());
    redis.launch();
    support::eventually("it is served fresh, without a restart", || (!stale(&sidecar.send(&call))).then_some(()));
    assert_eq!(sidecar.send(&Call::get(ASKED).with(&never_seen)).status, 200);
}
