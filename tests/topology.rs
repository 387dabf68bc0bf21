//! Redis as it is run for real: with a password, TLS and an ACL, under Sentinel, as a Cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

#[path = "topology/shipping.rs"]
mod shipping;

use std::{
    net::IpAddr,
    num::NonZeroU32,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use support::{
    Cluster, Redis, Sentinels,
    directory::{block_on, eventually, reason},
};
use vicar::{
    directory::{self, Created, Directory, DirectoryCache, DirectoryError, Draw, KeyChange, LEAST_ACL, Presented, Quota, sign_in},
    identity::Status,
    settings::{DirectoryBackend, Limits, Span, UpstreamTls},
};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const DISABLE_KEY: KeyChange = KeyChange { name: None, status: Some(Status::Disabled), sources: None, client_certs: None, expires: None };

fn at(url: &str) -> DirectoryBackend {
    // A loaded machine answers late; those who are about lateness say so.
    DirectoryBackend { redis: Some(url.to_owned().into()), timeout: Span::seconds(5), ..DirectoryBackend::default() }
}

async fn open(settings: &DirectoryBackend) -> Arc<dyn Directory> {
    directory::open(settings, &Limits::default()).await.unwrap()
}

async fn refused(settings: &DirectoryBackend) -> DirectoryError {
    let opened = directory::open(settings, &Limits::default()).await;
    let directory = match opened {
        Ok(directory) => directory,
        Err(error) => return error,
    };
    directory.accounts().await.unwrap_err()
}

fn pair(created: &Created) -> Presented {
    Presented { id: created.key.id, secret: created.secret.clone() }
}

async fn answer(cache: &DirectoryCache, created: &Created) -> &'static str {
    match sign_in(cache, &pair(created), HERE, Timestamp::now()).await {
        Ok(caller) if caller.stale() => "stale",
        Ok(_) => "let in",
        refused => reason(refused).0,
    }
}

/// A key is made, signs in, is revoked, and stays so: all that a way to Redis has to carry.
async fn serves(settings: &DirectoryBackend) {
    let admin = open(settings).await;
    let directory = open(settings).await;
    let cache = DirectoryCache::start(directory.clone(), settings);
    account(&admin, "app").await;
    let created = key(&admin, "app").await;
    eventually("it is let in", async || answer(&cache, &created).await == "let in").await;
    disable(&admin, &created).await;
    eventually("the revocation is in force", async || answer(&cache, &created).await == "key-disabled").await;
    let app = "app".parse().unwrap();
    eventually("it is written down when the key was used", async || {
        cache.flush().await;
        persistently("keys are listed", async || admin.keys(&app).await).await[0].last_used.is_some()
    })
    .await;
    let quotas = [Quota::Account("app".parse().unwrap()), Quota::Key(created.key.id)];
    let draws = quotas.map(draw);
    let drawn = persistently("quotas are drawn from", async || admin.draw(NonZeroU32::new(60).unwrap(), &draws).await).await;
    assert_eq!(drawn.iter().map(|drawn| drawn.requests).collect::<Vec<_>>(), [6, 6]);
    eventually("the connection holds", async || {
        let before = cache.stats();
        eventually("it is vouched for", async || cache.stats().vouched < before.vouched).await;
        before.connected && cache.stats().resyncs == before.resyncs
    })
    .await;
    persistently("the account is deleted", async || match admin.delete_account(&app, None).await {
        // The time before, which nobody answered for.
        Err(DirectoryError::NoSuchAccount(_)) => Ok(()),
        deleted => deleted.map(drop),
    })
    .await;
}

/// Makes an account and waits out whatever holds it up.
async fn account(directory: &Arc<dyn Directory>, id: &str) {
    persistently("an account is made", async || {
        let new = directory::NewAccount { id: id.parse().unwrap(), name: id.to_owned(), description: None };
        match directory.create_account(new, Timestamp::now()).await {
            // The time before, which nobody answered for.
            Err(DirectoryError::AccountExists(_)) => Ok(()),
            made => made.map(drop),
        }
    })
    .await;
}

/// Makes a key and waits out whatever holds it up.
async fn key(directory: &Arc<dyn Directory>, account: &str) -> Created {
    persistently("a key is made", async || {
        let account = account.parse().unwrap();
        let new = directory::NewKey {
            account,
            name: "x".into(),
            expires: directory::Expiry::Never,
            sources: Vec::new(),
            client_certs: Vec::new(),
        };
        directory.create_key(new, Timestamp::now()).await
    })
    .await
}

/// Turns a key off and waits out whatever holds it up.
async fn disable(directory: &Arc<dyn Directory>, created: &Created) {
    persistently("a key is turned off", async || directory.change_key(created.key.id, DISABLE_KEY, None).await).await;
}

const fn draw(quota: Quota) -> Draw {
    Draw { quota, owed: 1, unused: 0, wanted: 6 }
}

/// Changes that may fall into a failover are made until they are.
async fn persistently<T>(what: &str, mut change: impl AsyncFnMut() -> Result<T, DirectoryError>) -> T {
    let mut done = None;
    eventually(what, async || match change().await {
        Ok(value) => {
            done = Some(value);
            true
        }
        Err(error) => {
            assert!(error.is_unavailable(), "{what}: {error}");
            false
        }
    })
    .await;
    done.unwrap()
}

// ===== who we are =====

#[test]
fn a_password_is_given_and_never_repeated() {
    block_on(async {
        let redis = Redis::with(&["--appendonly", "yes", "--requirepass", "p@ss:/word"]);
        let host = format!("127.0.0.1:{}", redis.port());
        serves(&at(&format!("redis://:p%40ss%3A%2Fword@{host}"))).await;
        for url in [format!("redis://{host}"), format!("redis://:hunter2@{host}"), format!("redis://zoe:hunter2@{host}")] {
            let error = refused(&at(&url)).await;
            assert!(matches!(error, DirectoryError::Refused { .. }), "{error:?}");
            assert!(error.to_string().contains("directory.redis"), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    });
}

#[test]
fn the_least_acl_is_enough_and_every_right_in_it_is_needed() {
    block_on(async {
        let redis = Redis::start();
        let settings = at(&format!("redis://vicar:PASSWORD@127.0.0.1:{}", redis.port()));
        let grant = |line: &str| {
            redis.command(&["ACL", "DELUSER", "vicar"]);
            let words: Vec<&str> = std::iter::once("ACL").chain(["SETUSER"]).chain(line.split_whitespace().skip(1)).collect();
            let reply = redis.command(&words);
            assert_eq!(reply, "+OK\r\n", "{line}");
        };
        grant(LEAST_ACL);
        serves(&settings).await;
        let admin = open(&settings).await;
        assert!(admin.warnings().await.unwrap().is_empty());
        drop(admin);
        // Rights for other ways to run Redis, and for warnings, are not needed here.
        let elsewhere = ["+role", "+asking", "+cluster|slots", "+info", "+config|get", "+auth", "+hello", "+select", "+eval"];
        for right in LEAST_ACL.split_whitespace().filter(|word| word.starts_with('+') && !elsewhere.contains(word)) {
            grant(&LEAST_ACL.replace(&format!("{right} "), " ").replace(" ~vicar:directory", " ~vicar:directory "));
            let done = async {
                let admin = directory::open(&settings, &Limits::default()).await?;
                let new = directory::NewAccount { id: "app".parse().unwrap(), name: "App".into(), description: None };
                admin.create_account(new, Timestamp::now()).await?;
                let created = key(&admin, "app").await;
                admin.find(created.key.id).await?;
                admin.note_used(&[(created.key.id, Timestamp::now())]).await?;
                admin.draw(NonZeroU32::new(60).unwrap(), &[draw(Quota::Key(created.key.id))]).await?;
                admin.delete_account(&"app".parse().unwrap(), None).await
            };
            let error = done.await.err().unwrap_or_else(|| panic!("{right} is not needed"));
            assert!(matches!(error, DirectoryError::Refused { .. }), "{right}: {error}");
            assert!(error.to_string().contains("rights"), "{right}: {error}");
            redis.command(&["DEL", "vicar:directory"]);
        }
    });
}

#[test]
fn a_change_that_could_not_be_told_is_not_made() {
    block_on(async {
        let redis = Redis::start();
        redis.command(&["ACL", "SETUSER", "mute", "on", ">x", "~*", "&*", "+@all", "-publish"]);
        let admin = open(&at(&redis.url())).await;
        account(&admin, "app").await;
        let created = key(&admin, "app").await;
        let mute = open(&at(&format!("redis://mute:x@127.0.0.1:{}", redis.port()))).await;
        let error = mute.change_key(created.key.id, DISABLE_KEY, None).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Refused { .. }), "{error}");
        assert_eq!(admin.key(created.key.id).await.unwrap(), Some(created.key));
    });
}

// ===== TLS =====

/// A CA of a test's own, a server certificate and a client certificate.
struct Papers {
    folder: tempfile::TempDir,
}

impl Papers {
    fn new(server_name: &str) -> Self {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "a test's own");
        write("ca.pem", &ca.self_signed(&ca_key).unwrap().pem());
        let issuer = Issuer::new(ca, ca_key);
        for (file, name) in [("server", server_name), ("client", "vicar")] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            write(&format!("{file}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
            write(&format!("{file}.key"), &key.serialize_pem());
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn redis(&self, auth_clients: &str) -> Redis {
        let path = |name: &str| self.path(name).display().to_string();
        let tls_port = support::sidecar::free_port().to_string();
        let (certificate, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
        Redis::with(&[
            "--appendonly",
            "yes",
            "--tls-port",
            &tls_port,
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            auth_clients,
        ])
    }
}

#[test]
fn tls_is_checked_against_the_ca_and_the_name_that_are_set() {
    block_on(async {
        let papers = Papers::new("127.0.0.1");
        let redis = papers.redis("no");
        let url = format!("rediss://127.0.0.1:{}", redis.option("--tls-port"));
        let tls = UpstreamTls { ca: Some(papers.path("ca.pem")), ..UpstreamTls::default() };
        serves(&DirectoryBackend { tls: tls.clone(), ..at(&url) }).await;
        let other = Papers::new("127.0.0.1");
        let stranger = UpstreamTls { ca: Some(other.path("ca.pem")), ..UpstreamTls::default() };
        for wrong in [stranger, UpstreamTls { server_name: Some("redis.example".into()), ..tls.clone() }, UpstreamTls::default()] {
            refused(&DirectoryBackend { tls: wrong, ..at(&url) }).await;
        }
        let missing = UpstreamTls { ca: Some(papers.path("nothing.pem")), ..UpstreamTls::default() };
        let error = refused(&DirectoryBackend { tls: missing, ..at(&url) }).await;
        assert!(error.to_string().contains("nothing.pem"), "{error}");

        let papers = Papers::new("redis.example");
        let redis = papers.redis("no");
        let url = format!("rediss://127.0.0.1:{}", redis.option("--tls-port"));
        let named = UpstreamTls { ca: Some(papers.path("ca.pem")), server_name: Some("redis.example".into()), ..UpstreamTls::default() };
        serves(&DirectoryBackend { tls: named, ..at(&url) }).await;
    });
}

#[test]
fn a_client_certificate_is_shown_where_the_server_wants_one() {
    block_on(async {
        let papers = Papers::new("127.0.0.1");
        let redis = papers.redis("yes");
        let url = format!("rediss://127.0.0.1:{}", redis.option("--tls-port"));
        let bare = UpstreamTls { ca: Some(papers.path("ca.pem")), ..UpstreamTls::default() };
        refused(&DirectoryBackend { tls: bare.clone(), ..at(&url) }).await;
        let half = UpstreamTls { certificate: Some(papers.path("client.pem")), ..bare.clone() };
        assert!(matches!(refused(&DirectoryBackend { tls: half, ..at(&url) }).await, DirectoryError::Address(_)));
        let both = UpstreamTls { certificate: Some(papers.path("client.pem")), key: Some(papers.path("client.key")), ..bare };
        serves(&DirectoryBackend { tls: both, ..at(&url) }).await;
    });
}

// ===== warnings =====

#[test]
fn a_redis_that_may_evict_or_keeps_nothing_is_warned_of() {
    block_on(async {
        let careless = Redis::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
        let warnings = open(&at(&careless.url())).await.warnings().await.unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("maxmemory-policy allkeys-lru") && warnings[1].contains("appendonly"), "{warnings:?}");
        let careful = Redis::start();
        assert_eq!(open(&at(&careful.url())).await.warnings().await.unwrap(), Vec::<String>::new());
    });
}

// ===== Sentinel =====

#[test]
fn sentinel_names_the_master_and_a_failover_loses_no_known_key() {
    block_on(async {
        let mut sentinels = Sentinels::start();
        let settings = DirectoryBackend { fresh_for: Span::millis(300), ..at(&sentinels.url()) };
        let admin = open(&settings).await;
        let cache = DirectoryCache::start(open(&settings).await, &settings);
        account(&admin, "app").await;
        let (kept, revoked) = (key(&admin, "app").await, key(&admin, "app").await);
        eventually("it is let in", async || answer(&cache, &kept).await == "let in").await;
        eventually("it is let in", async || answer(&cache, &revoked).await == "let in").await;
        disable(&admin, &revoked).await;
        eventually("it is in force", async || answer(&cache, &revoked).await == "key-disabled").await;
        sentinels.replicated();

        let load = Load::on(&cache, &kept);
        sentinels.kill_master();
        // The new master takes changes.
        account(&admin, "after").await;
        let made = key(&admin, "after").await;
        eventually("the sidecar sees them", async || answer(&cache, &made).await == "let in").await;
        assert_eq!(answer(&cache, &revoked).await, "key-disabled");
        disable(&admin, &made).await;
        eventually("they are pushed", async || answer(&cache, &made).await == "key-disabled").await;
        load.end().await;
    });
}

#[test]
fn an_old_master_that_comes_back_is_not_believed() {
    block_on(async {
        let sentinels = Sentinels::start();
        let settings = at(&sentinels.url());
        let admin = open(&settings).await;
        account(&admin, "app").await;
        let created = key(&admin, "app").await;
        let cache = DirectoryCache::start(open(&settings).await, &settings);
        eventually("it is let in", async || answer(&cache, &created).await == "let in").await;
        sentinels.replicated();
        // It hangs, is replaced, and wakes up believing that it is still the master.
        sentinels.freeze_master();
        disable(&admin, &created).await;
        sentinels.thaw();
        eventually("the sidecar is with the new master", async || answer(&cache, &created).await == "key-disabled").await;
        for _ in 0..50 {
            assert_eq!(answer(&cache, &created).await, "key-disabled");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

// ===== Cluster =====

#[test]
fn a_cluster_is_entered_by_any_node() {
    block_on(async {
        let cluster = Cluster::start();
        for node in 0..3 {
            serves(&at(&format!("redis+cluster://127.0.0.1:{}", cluster.port(node)))).await;
        }
    });
}

#[test]
fn a_node_of_the_cluster_goes_and_its_replica_takes_over() {
    block_on(async {
        let mut cluster = Cluster::start();
        // The settings name one node, and it is another that goes.
        let seed = (0..3).find(|node| *node != cluster.owner()).unwrap();
        let settings =
            DirectoryBackend { fresh_for: Span::millis(300), ..at(&format!("redis+cluster://127.0.0.1:{}", cluster.port(seed))) };
        let admin = open(&settings).await;
        let cache = DirectoryCache::start(open(&settings).await, &settings);
        account(&admin, "app").await;
        let created = key(&admin, "app").await;
        eventually("it is let in", async || answer(&cache, &created).await == "let in").await;
        cluster.replicated();
        let load = Load::on(&cache, &created);
        cluster.kill_owner();
        // The replica takes changes.
        let other = key(&admin, "app").await;
        eventually("the sidecar sees them", async || answer(&cache, &other).await == "let in").await;
        disable(&admin, &other).await;
        eventually("they are pushed", async || answer(&cache, &other).await == "key-disabled").await;
        load.end().await;
    });
}

#[test]
fn the_slot_moves_to_another_node_while_serving() {
    block_on(async {
        let cluster = Cluster::start();
        let settings = at(&cluster.url());
        let admin = open(&settings).await;
        let cache = DirectoryCache::start(open(&settings).await, &settings);
        account(&admin, "app").await;
        let created = key(&admin, "app").await;
        eventually("it is let in", async || answer(&cache, &created).await == "let in").await;
        let load = Load::on(&cache, &created);
        let from = cluster.owner();
        let to = (0..3).find(|node| *node != from).unwrap();
        let works = async |stage: &str| {
            let made = key(&admin, "app").await;
            eventually(stage, async || answer(&cache, &made).await == "let in").await;
            disable(&admin, &made).await;
            eventually(stage, async || answer(&cache, &made).await == "key-disabled").await;
        };
        cluster.begin_move(from, to);
        works("the slot is about to move").await;
        cluster.move_data(from, to);
        works("the data has moved, the slot has not").await;
        cluster.end_move(to);
        works("the slot has moved").await;
        load.end().await;
        // A change that was cut off in the middle may have been made before it was repeated.
        assert!(admin.keys(&"app".parse().unwrap()).await.unwrap().len() >= 4);
    });
}

/// Somebody who signs in all the time, and must never be refused.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    fn on(cache: &DirectoryCache, created: &Created) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (cache, created, stopped, count) = (cache.clone(), created.clone(), stop.clone(), done.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let answer = answer(&cache, &created).await;
                assert!(matches!(answer, "let in" | "stale"), "{answer}");
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { stop, done, task }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        assert!(self.done.load(Ordering::Relaxed) > 0);
    }
}
