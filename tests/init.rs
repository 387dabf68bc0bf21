//! `vicar init` and `vicar catalog import`: what they write holds, serves, and overwrites nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use support::{
    Call, Key, Redis, Upstream, eventually,
    sidecar::{VICAR, free_port, run},
};

/// An OpenAPI document of a small service, with something of everything.
const OPENAPI: &str = include_str!("data/bookings.openapi.yaml");

/// `vicar serve`, killed when the test is over.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves what `init` wrote, on an admin address of this test's own.
fn serve(folder: &Path) -> (Serving, SocketAddr) {
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let file = folder.join("vicar.yaml");
    let settings = fs::read_to_string(&file).unwrap();
    fs::write(&file, settings.replace("127.0.0.1:9090", &admin.to_string())).unwrap();
    let log = fs::File::create(folder.join("serve.log")).unwrap();
    let child =
        Command::new(VICAR).args(["serve", "-c"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let serving = Serving(child);
    eventually("it is ready", || {
        std::net::TcpStream::connect(admin).ok()?;
        (Call::get("/readyz").send(admin).status == 200).then_some(())
    });
    (serving, admin)
}

fn key(made: &Value) -> Key {
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    Key { account: text("account"), id: text("id"), secret: text("secret") }
}

fn init(folder: &Path, words: &[&str]) -> support::Ran {
    run(folder, &[], &[&["init"], words].concat())
}

#[test]
fn what_init_writes_passes_check_and_serves_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    let listen: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let made = init(folder.path(), &["new", "--upstream", &upstream.url(), "--listen", &listen.to_string(), "--output", "json"]);
    let made = made.succeeded().json();
    let new = folder.path().join("new");
    for file in ["vicar.yaml", "policy.yaml", "catalog/kissflow.yaml", "schema/settings.json"] {
        assert!(new.join(file).exists(), "{file}");
        assert!(made["files"].as_array().unwrap().contains(&file.into()), "{made}");
    }
    let checked = run(&new, &[], &["check", "--output", "json"]).succeeded().json();
    assert_eq!(checked["errors"], serde_json::json!([]));
    assert_eq!(checked["warnings"], serde_json::json!([]), "a newcomer is warned of nothing");
    let (_serving, _) = serve(&new);
    let key = key(&made);
    let whoami = Call::get("/.vicar/whoami").with(&key).send(listen);
    assert!(String::from_utf8_lossy(&whoami.expect_status(200).body).contains("first"), "{whoami:?}");
    let (method, path) = made["sample"].as_str().unwrap().split_once(' ').unwrap();
    assert_eq!(method, "GET");
    Call::get(path).with(&key).send(listen).expect_status(200);
    Call::get("/user/2/Ac1").with(&key).send(listen).expect_status(403);
    let records = run(&new, &[], &["audit", "query", "--output", "json"]).succeeded().stdout;
    assert!(records.contains("account.create") && records.contains("key.create"), "{records}");
}

#[test]
fn the_secret_is_printed_once_with_a_line_to_paste() {
    let folder = tempfile::tempdir().unwrap();
    let said = init(folder.path(), &["--upstream", "http://127.0.0.1:3000"]).succeeded().stdout;
    let secret = said.split_whitespace().find(|word| word.starts_with("vsk_")).unwrap();
    assert!(said.contains(&format!(":{secret} http://127.0.0.1:8080/.vicar/whoami")), "{said}");
    assert!(said.contains("vicar serve -c ./vicar.yaml"), "{said}");
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            assert!(!fs::read_to_string(&path).unwrap().contains(secret), "{}", path.display());
        }
    }
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("policy.yaml"), "mine\n").unwrap();
    let ran = init(folder.path(), &["--upstream", "http://127.0.0.1:3000"]).exited(1);
    assert!(ran.stderr.contains("policy.yaml is there already"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(folder.path().join("policy.yaml")).unwrap(), "mine\n");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was written");
}

#[test]
fn what_would_not_hold_is_told_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = |words: &[&str]| init(folder.path(), words);
    assert!(wrong(&[]).exited(2).stderr.contains("--upstream"));
    let ran = wrong(&["--upstream", "127.0.0.1:3000"]).exited(1);
    assert!(ran.stderr.contains("write http://127.0.0.1:3000"), "{}", ran.stderr);
    let ran = wrong(&["--upstream", "http://a", "--listen", "localhost:80"]).exited(1);
    assert!(ran.stderr.contains("write 127.0.0.1:80"), "{}", ran.stderr);
    let ran = wrong(&["--upstream", "http://a", "--redis", "redis://:hunter2@cache"]).exited(1);
    assert!(ran.stderr.contains("${env:NAME}") && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
    let ran = wrong(&["--upstream", "http://a", "--catalog", "https://a/openapi.json"]).exited(1);
    assert!(ran.stderr.contains("download it"), "{}", ran.stderr);
    let ran = wrong(&["--upstream", "http://a", "--catalog", "none.yaml"]).exited(1);
    assert!(ran.stderr.contains("none.yaml"), "{}", ran.stderr);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
}

/// Else the files stand there without an account, and the same command is refused for them.
#[test]
fn a_redis_that_cannot_be_used_is_told_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    let ran = init(folder.path(), &["new", "--upstream", "http://a", "--redis", &nowhere]).exited(1);
    assert!(ran.stderr.contains("nothing was written"), "{}", ran.stderr);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
    let redis = Redis::start();
    let with = |name: &str| init(folder.path(), &[name, "--upstream", "http://a", "--redis", &redis.url()]);
    with("new").succeeded();
    let ran = with("second").exited(1);
    assert!(ran.stderr.contains("--account"), "{}", ran.stderr);
    assert!(!folder.path().join("second").exists(), "something was written");
}

#[test]
fn a_catalog_comes_out_of_an_openapi_document() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("openapi.yaml"), OPENAPI).unwrap();
    let upstream = Upstream::start();
    let listen: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let words = ["new", "--upstream", &upstream.url(), "--listen", &listen.to_string(), "--catalog", "openapi.yaml", "--output", "json"];
    let made = init(folder.path(), &words).succeeded().json();
    let new = folder.path().join("new");
    run(&new, &[], &["check"]).succeeded();
    let (_serving, _) = serve(&new);
    let (_, path) = made["sample"].as_str().unwrap().split_once(' ').unwrap();
    Call::get(path).with(&key(&made)).send(listen).expect_status(200);
    assert_eq!(made["left_out"][3]["request"], "GET /api/v2/rooms/{room}.ics", "{made}");
}

#[test]
fn import_prints_the_catalog_and_tells_what_it_left_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("openapi.yaml"), OPENAPI).unwrap();
    let ran = run(folder.path(), &[], &["catalog", "import", "openapi.yaml"]).succeeded();
    insta::with_settings!({omit_expression => true}, {
        insta::assert_snapshot!("import_catalog", ran.stdout);
        insta::assert_snapshot!("import_report", ran.stderr);
    });
    run(folder.path(), &[], &["catalog", "import", "openapi.yaml", "--save", "catalog.yaml"]).succeeded();
    assert_eq!(fs::read_to_string(folder.path().join("catalog.yaml")).unwrap(), ran.stdout);
    let again = run(folder.path(), &[], &["catalog", "import", "openapi.yaml", "--save", "catalog.yaml"]).exited(1);
    assert!(again.stderr.contains("not overwritten"), "{}", again.stderr);
    let json = run(folder.path(), &[], &["catalog", "import", "openapi.yaml", "--output", "json"]).succeeded().json();
    assert_eq!(json["catalog"].as_str().unwrap().trim_end(), ran.stdout.trim_end());
    let broken = run(folder.path(), &[], &["catalog", "import", "catalog.yaml"]).exited(1);
    assert!(broken.stderr.contains("no OpenAPI document"), "{}", broken.stderr);
}
