//! Accounts, keys and admins through the command line, on the keys file and on Redis alike.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use support::{
    Ran, Redis, Sidecar, Upstream,
    sidecar::{Builder, VICAR},
};

/// Plays `scene` on both backends: `start` gives a prepared folder with no accounts, `set` by what is given.
fn on_both(scene: impl Fn(Sidecar)) {
    on_both_with(|builder| builder, scene);
}

fn on_both_with(with: impl Fn(Builder) -> Builder, scene: impl Fn(Sidecar)) {
    let plain = || with(Sidecar::behind(&Upstream::start()).accounts(&[]).environment("VICAR_OPERATOR", "zoe"));
    scene(plain().prepare());
    let redis = Redis::start();
    // The stream stays out of it: these are about the directory.
    scene(plain().set("directory", &format!("{{redis: \"{}\"}}", redis.url())).prepare());
}

trait Json {
    fn made(&self, words: &[&str]) -> Value;
    fn fails(&self, words: &[&str]) -> String;
}

impl Json for Sidecar {
    /// What a command prints for programs, when it succeeds.
    #[track_caller]
    fn made(&self, words: &[&str]) -> Value {
        self.vicar(&[words, &["--output", "json"]].concat()).succeeded().json()
    }

    /// What a command says when it fails, and that it prints nothing.
    #[track_caller]
    fn fails(&self, words: &[&str]) -> String {
        let ran: Ran = self.vicar(words).exited(1);
        assert_eq!(ran.stdout, "", "a failure is told on standard error");
        ran.stderr
    }
}

fn admin_records(sidecar: &Sidecar) -> Vec<Value> {
    sidecar.records().into_iter().filter(|record| record["kind"] == "admin").collect()
}

fn names(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn an_account_is_made_shown_disabled_enabled_and_deleted() {
    on_both(|vicar| {
        assert_eq!(vicar.made(&["account", "list"]), json!([]));
        let made = vicar.made(&["account", "create", "reporting", "--name", "Reporting", "--description", "Nightly"]);
        assert_eq!(made, json!({"id": "reporting", "name": "Reporting", "status": "active"}));
        vicar.made(&["key", "create", "reporting", "--name", "job"]);
        let listed = &vicar.made(&["account", "list"])[0];
        assert_eq!((&listed["id"], &listed["keys"], &listed["last_used"]), (&json!("reporting"), &json!(1), &Value::Null));
        let shown = vicar.made(&["account", "show", "reporting"]);
        assert_eq!((&shown["description"], &shown["keys"][0]["name"]), (&json!("Nightly"), &json!("job")));
        assert_eq!(vicar.made(&["account", "disable", "reporting", "--yes"])["status"], "disabled");
        assert_eq!(vicar.made(&["account", "show", "reporting"])["status"], "disabled");
        assert_eq!(vicar.made(&["account", "enable", "reporting"])["status"], "active");
        assert_eq!(vicar.made(&["account", "delete", "reporting", "--yes"])["status"], "deleted");
        assert_eq!(vicar.made(&["account", "list"]), json!([]));
    });
}

#[test]
fn a_key_is_made_renamed_disabled_enabled_rotated_and_deleted() {
    on_both(|vicar| {
        vicar.made(&["account", "create", "app", "--name", "App"]);
        let key = vicar.made(&["key", "create", "app", "--name", "job", "--from", "10.0.0.0/8", "--from", "192.0.2.7"]);
        assert_eq!(names(&key), ["account", "expires", "id", "name", "secret"]);
        let id = key["id"].as_str().unwrap();
        let shown = vicar.made(&["key", "show", id]);
        assert_eq!(shown["from"], json!(["10.0.0.0/8", "192.0.2.7/32"]));
        assert!((89..=90).contains(&shown["days_left"].as_i64().unwrap()), "90 days unless said: {shown}");
        let (own, next) = ("0a".repeat(32), "0b".repeat(32));
        let bound = vicar.made(&["key", "change", id, "--from", "any", "--client-cert", &own.to_uppercase(), "--client-cert", &next]);
        assert_eq!((&bound["from"], &bound["client_certs"]), (&json!([]), &json!([own, next])));
        let changed = vicar.made(&["key", "change", id, "--client-cert", "none", "--expires", "never", "--name", "job"]);
        assert_eq!((&changed["client_certs"], &changed["expires"]), (&json!([]), &Value::Null));
        vicar.vicar(&["key", "change", id]).exited(2);
        let wrong = vicar.vicar(&["key", "create", "app", "--name", "x", "--client-cert", "nowhere.crt"]).exited(2);
        assert!(wrong.stderr.contains("nowhere.crt") && wrong.stderr.contains("PEM"), "{}", wrong.stderr);
        assert_eq!(vicar.made(&["key", "rename", id, "night job"])["name"], "night job");
        assert_eq!(vicar.made(&["key", "rename", id, "--name", "day job"])["name"], "day job");
        assert_eq!(vicar.made(&["key", "rename", id, "night job"])["name"], "night job");
        assert_eq!(vicar.made(&["key", "disable", id, "--yes"])["status"], "disabled");
        assert_eq!(vicar.made(&["key", "enable", id])["status"], "active");
        let rotated = vicar.made(&["key", "rotate", id, "--overlap", "1h"]);
        assert_eq!(names(&rotated), ["account", "expires", "id", "name", "previous_until", "secret"]);
        assert_ne!(rotated["secret"], key["secret"]);
        let listed = vicar.made(&["key", "list", "app"]);
        assert_eq!(listed[0]["previous_until"], rotated["previous_until"]);
        for answer in [&shown, &listed, &vicar.made(&["account", "show", "app"])] {
            let text = answer.to_string();
            assert!(!text.contains("vsk_") && !text.contains("hash"), "what proves a key is shown: {text}");
        }
        assert_eq!(vicar.made(&["key", "delete", id, "--yes"])["status"], "deleted");
        assert_eq!(vicar.made(&["key", "list", "app"]), json!([]));
    });
}

#[test]
fn an_expiry_is_a_time_a_day_or_never_and_the_settings_bound_it() {
    on_both(|vicar| {
        vicar.made(&["account", "create", "app", "--name", "App"]);
        let expires = |expires: &str| vicar.made(&["key", "create", "app", "--name", "k", "--expires", expires])["expires"].clone();
        assert_eq!(expires("never"), Value::Null);
        assert_eq!(expires("2199-12-31"), "2199-12-31T23:59:59Z");
        assert!(expires("2y").as_str().unwrap() > "2028");
        assert!(vicar.fails(&["key", "create", "app", "--name", "k", "--expires", "2020-01-01"]).contains("past"));
        let wrong = vicar.vicar(&["key", "create", "app", "--name", "k", "--expires", "soon"]).exited(2);
        assert!(wrong.stderr.contains("90d"), "{}", wrong.stderr);
    });
    on_both_with(
        |builder| builder.set("limits", "{key_lifetime: 30d}"),
        |vicar| {
            vicar.made(&["account", "create", "app", "--name", "App"]);
            for long in ["90d", "never", "2199-12-31"] {
                let told = vicar.fails(&["key", "create", "app", "--name", "k", "--expires", long]);
                assert!(told.contains("limits.key_lifetime") && told.contains("30d"), "{told}");
            }
            vicar.made(&["key", "create", "app", "--name", "k", "--expires", "7d"]);
        },
    );
}

#[test]
fn a_limit_says_what_to_do_about_it() {
    on_both_with(
        |builder| builder.set("limits", "{accounts: 2, keys_per_account: 2}"),
        |vicar| {
            vicar.made(&["account", "create", "a", "--name", "A"]);
            vicar.made(&["account", "create", "b", "--name", "B"]);
            let told = vicar.fails(&["account", "create", "c", "--name", "C"]);
            assert!(told.contains('2') && told.contains("limits.accounts") && told.contains("delete"), "{told}");
            for _ in 0..2 {
                vicar.made(&["key", "create", "a", "--name", "k"]);
            }
            let told = vicar.fails(&["key", "create", "a", "--name", "k"]);
            assert!(told.contains("limits.keys_per_account"), "{told}");
        },
    );
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    on_both(|vicar| {
        vicar.made(&["account", "create", "reporting", "--name", "Reporting"]);
        assert!(vicar.fails(&["account", "show", "reportin"]).contains("did you mean reporting?"));
        assert!(vicar.fails(&["key", "list", "other"]).contains("vicar account list"));
        assert!(vicar.fails(&["account", "create", "reporting", "--name", "Again"]).contains("reporting"));
        assert!(vicar.fails(&["account", "create", "a", "--name", &"x".repeat(80)]).contains("80 characters"));
        assert!(vicar.fails(&["account", "create", "a", "--name", " "]).contains("empty"));
        assert!(vicar.fails(&["account", "create", "a", "--name", "x\x1b[2J"]).contains("control"));
        assert!(vicar.fails(&["key", "show", "VKAAAAAAAAAAAAAAAAAAAA"]).contains("vicar key list"));
        for words in [
            ["account", "create", "Re_porting", "--name", "x"].as_slice(),
            &["key", "show", "VK1"],
            &["key", "create", "reporting", "--name", "k", "--from", "10.0.0.0/99"],
        ] {
            vicar.vicar(words).exited(2);
        }
        vicar.made(&["account", "disable", "reporting", "--yes"]);
        assert!(vicar.fails(&["key", "create", "reporting", "--name", "k"]).contains("vicar account enable reporting"));
    });
}

#[test]
fn what_will_stop_is_said_before_it_is_asked_for() {
    let policy = "version: 1\nservice_accounts:\n  app:\n    shares:\n      - {resource: \"dataset:*\", actions: [list, read], note: asked for by Maya}\n";
    on_both_with(
        |builder| builder.policy(policy),
        |vicar| {
            vicar.made(&["account", "create", "app", "--name", "App"]);
            let id = vicar.made(&["key", "create", "app", "--name", "night job"])["id"].as_str().unwrap().to_owned();
            for words in [["account", "disable", "app"], ["account", "delete", "app"], ["key", "disable", &id], ["key", "delete", &id]] {
                let told = vicar.fails(&words);
                for part in [id.as_str(), "night job", "never used", "dataset:*: list, read", "asked for by Maya", "--yes"] {
                    assert!(told.contains(part), "`vicar {}` does not say {part:?}:\n{told}", words.join(" "));
                }
            }
            assert_eq!(vicar.made(&["key", "show", &id])["status"], "active");
        },
    );
}

#[test]
fn an_answer_may_come_through_a_pipe() {
    let vicar = Sidecar::behind(&Upstream::start()).accounts(&[]).prepare();
    vicar.made(&["account", "create", "app", "--name", "App"]);
    let id = vicar.made(&["key", "create", "app", "--name", "job"])["id"].as_str().unwrap().to_owned();
    vicar.made(&["key", "create", "app", "--name", "other"]);
    let answered = |answer: &str| {
        let mut asked = Command::new(VICAR);
        asked.args(["-c", "vicar.yaml", "key", "disable", &id]).current_dir(vicar.folder());
        let mut asked = asked.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It reads no more of an answer than there can be in one, and may have ended before all is written.
        let _ = asked.stdin.take().unwrap().write_all(answer.as_bytes());
        let ended = asked.wait_with_output().unwrap();
        let status = vicar.made(&["key", "show", &id])["status"].as_str().unwrap().to_owned();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned(), status)
    };
    for (answer, told) in
        [("n\n", "nothing was changed"), ("\n", "nothing was changed"), ("", "--yes"), (&"y".repeat(70_000), "nothing was changed")]
    {
        let (code, said, status) = answered(answer);
        assert!(said.contains("1 other working key") && said.contains("share") && said.contains(told), "{answer:.9}: {said}");
        assert_eq!((code, status.as_str()), (Some(1), "active"), "{answer:.9}");
    }
    let (code, said, status) = answered("y\n");
    assert_eq!((code, status.as_str()), (Some(0), "disabled"), "{said}");
}

#[test]
fn every_change_is_in_the_log_in_the_operators_name() {
    on_both(|vicar| {
        vicar.made(&["account", "create", "app", "--name", "App"]);
        let key = vicar.made(&["key", "create", "app", "--name", "job"]);
        let id = key["id"].as_str().unwrap();
        vicar.made(&["key", "rename", id, "other"]);
        vicar.made(&["key", "disable", id, "--yes"]);
        vicar.made(&["key", "enable", id]);
        vicar.made(&["key", "rotate", id]);
        vicar.made(&["key", "delete", id, "--yes"]);
        vicar.made(&["account", "disable", "app", "--yes"]);
        vicar.made(&["account", "enable", "app"]);
        vicar.made(&["account", "delete", "app", "--yes"]);
        vicar.made(&["admin", "create", "mo", "--role", "auditor"]);
        vicar.made(&["admin", "revoke", "mo"]);
        let records = admin_records(&vicar);
        let done: Vec<(&str, &str)> =
            records.iter().map(|record| (record["action"].as_str().unwrap(), record["resource"].as_str().unwrap())).collect();
        let key = format!("key:{id}");
        assert_eq!(
            done,
            [
                ("account.create", "account:app"),
                ("key.create", &key),
                ("key.rename", &key),
                ("key.disable", &key),
                ("key.enable", &key),
                ("key.rotate", &key),
                ("key.delete", &key),
                ("account.disable", "account:app"),
                ("account.enable", "account:app"),
                ("account.delete", "account:app"),
                ("admin.create", "admin:mo"),
                ("admin.revoke", "admin:mo"),
            ]
        );
        assert!(records.iter().all(|record| record["operator"] == "zoe" && record["outcome"] == "completed"), "{records:#?}");
        assert!(!json!(records).to_string().contains("vsk_") && !json!(records).to_string().contains("vat_"));
    });
}

#[test]
fn a_change_that_fails_is_in_the_log_as_refused() {
    on_both(|vicar| {
        vicar.made(&["account", "create", "app", "--name", "App"]);
        vicar.fails(&["account", "create", "app", "--name", "Again"]);
        let records = admin_records(&vicar);
        assert_eq!(records.len(), 2);
        assert_eq!((&records[1]["action"], &records[1]["outcome"]), (&json!("account.create"), &json!("refused")));
    });
}

#[test]
fn what_cannot_be_recorded_is_not_done() {
    on_both(|vicar| {
        vicar.made(&["account", "create", "app", "--name", "App"]);
        let id = vicar.made(&["key", "create", "app", "--name", "job"])["id"].as_str().unwrap().to_owned();
        let audit = vicar.folder().join("audit");
        let away = vicar.folder().join("audit.away");
        fs::rename(&audit, &away).unwrap();
        fs::write(&audit, "no folder").unwrap();
        for words in [
            ["account", "create", "b", "--name", "B"].as_slice(),
            &["key", "create", "app", "--name", "k"],
            &["key", "disable", &id, "--yes"],
            &["key", "rotate", &id],
            &["account", "delete", "app", "--yes"],
            &["admin", "create", "--role", "auditor"],
        ] {
            let told = vicar.fails(words);
            assert!(told.contains("nothing was changed"), "{told}");
        }
        fs::remove_file(&audit).unwrap();
        fs::rename(&away, &audit).unwrap();
        assert_eq!(vicar.made(&["account", "list"]).as_array().unwrap().len(), 1);
        assert_eq!(vicar.made(&["key", "list", "app"])[0]["status"], "active");
        assert_eq!(vicar.made(&["key", "list", "app"]).as_array().unwrap().len(), 1);
        assert_eq!(vicar.made(&["admin", "list"]), json!([]));
    });
}

#[test]
fn a_credentials_file_is_the_owners_alone_and_never_overwritten() {
    on_both(|vicar| {
        vicar.made(&["account", "create", "app", "--name", "App"]);
        let ran = vicar.vicar(&["key", "create", "app", "--name", "job", "--save", "app.key"]).succeeded();
        assert!(!ran.stdout.contains("vsk_"), "saved, and printed all the same:\n{}", ran.stdout);
        let path = vicar.folder().join("app.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("VICAR_ACCESS_KEY_ID=VK") && text.contains("VICAR_ACCESS_KEY_SECRET=vsk_"), "{text}");
        let told = vicar.fails(&["key", "create", "app", "--name", "other", "--save", "app.key"]);
        assert!(told.contains("app.key") && told.contains("not overwritten"), "{told}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(vicar.made(&["key", "list", "app"]).as_array().unwrap().len(), 1, "a key was made whose secret nobody has");
        vicar.fails(&["key", "create", "nobody", "--name", "k", "--save", "new.key"]);
        assert!(!vicar.folder().join("new.key").exists(), "an empty credentials file is left behind");
    });
}

#[test]
fn who_could_not_be_shown_a_secret_is_told_of_the_key() {
    on_both(|vicar| {
        vicar.made(&["account", "create", "app", "--name", "App"]);
        for output in ["table", "json"] {
            let mut create = Command::new(VICAR);
            create.current_dir(vicar.folder()).args(["key", "create", "app", "--name", "job", "--output", output]);
            let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let ran = create.env_remove("VICAR_CONFIG").stdout(full).output().unwrap();
            let told = String::from_utf8(ran.stderr).unwrap();
            let made = vicar.made(&["key", "list", "app"]);
            let id = made.as_array().unwrap().last().unwrap()["id"].as_str().unwrap();
            assert_eq!(ran.status.code(), Some(1));
            assert!(told.contains("its secret is lost") && told.contains(id), "{told} {made}");
            vicar.vicar(&["key", "delete", id, "--yes"]).succeeded();
        }
    });
}

#[test]
fn an_admins_token_is_shown_once_and_can_be_taken_back() {
    on_both(|vicar| {
        vicar.made(&["account", "create", "app", "--name", "App"]);
        let made = vicar.made(&["admin", "create", "--role", "account-admin", "--accounts", "app", "--name", "Zoe Miller"]);
        assert_eq!(names(&made), ["accounts", "expires", "id", "name", "role", "token"]);
        assert_eq!((&made["id"], &made["role"], &made["accounts"]), (&json!("zoe-miller"), &json!("account-admin"), &json!(["app"])));
        assert!(made["token"].as_str().unwrap().starts_with("vat_"));
        assert_eq!(vicar.made(&["admin", "create", "--role", "auditor", "--name", "Zoe Miller"])["id"], "zoe-miller-2");
        let listed = vicar.made(&["admin", "list"]);
        assert_eq!(listed.as_array().unwrap().len(), 2);
        assert!(!listed.to_string().contains("vat_") && !listed.to_string().contains("hash"), "{listed}");
        assert_eq!(vicar.made(&["admin", "revoke", "zoe-miller"])["status"], "revoked");
        assert!(vicar.fails(&["admin", "revoke", "zoe-miler"]).contains("did you mean zoe-miller-2?"));
        assert!(vicar.fails(&["admin", "create", "--role", "account-admin"]).contains("account"));
        assert!(vicar.fails(&["admin", "create", "--role", "account-admin", "--accounts", "nobody"]).contains("nobody"));
        let wrong = vicar.vicar(&["admin", "create", "--role", "boss"]).exited(2);
        assert!(wrong.stderr.contains("iam-admin"), "{}", wrong.stderr);
    });
}

#[test]
fn on_a_terminal_it_asks_and_goes_by_the_answer() {
    let vicar = Sidecar::behind(&Upstream::start()).accounts(&[]).prepare();
    vicar.made(&["account", "create", "app", "--name", "App"]);
    // `script` runs a command on a terminal of its own.
    let on_a_terminal = |command: &str, answer: &str| {
        let mut script = Command::new("script");
        script.args(["-qec", &command.replace("vicar", &format!("{VICAR} -c vicar.yaml")), "/dev/null"]).current_dir(vicar.folder());
        script.env_remove("NO_COLOR").env("TERM", "xterm");
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        script.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let ended = script.wait_with_output().unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stdout).into_owned())
    };
    let (code, said) = on_a_terminal("vicar account disable app", "n\n");
    assert!(said.contains("Go on? [y/N]") && said.contains("nothing was changed"), "{said}");
    assert_eq!(code, Some(1));
    assert_eq!(vicar.made(&["account", "show", "app"])["status"], "active");
    let (code, said) = on_a_terminal("vicar account disable app", "y\n");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(vicar.made(&["account", "show", "app"])["status"], "disabled");
    let (_, coloured) = on_a_terminal("vicar account list", "");
    assert!(coloured.contains("\x1b["), "no colours on a terminal: {coloured:?}");
    let (_, unwanted) = on_a_terminal("NO_COLOR=1 vicar account list", "");
    assert!(unwanted.contains("app") && !unwanted.contains('\x1b'), "colours that were refused: {unwanted:?}");
    let quiet = vicar.vicar(&["account", "list"]).succeeded().stdout;
    assert!(!quiet.contains('\x1b'), "colours in a pipe: {quiet:?}");
}
