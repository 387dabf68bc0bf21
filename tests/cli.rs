//! The command line: help that helps, shapes that programs read, failures that say what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{
    Call, Ran, Sidecar, Upstream, eventually,
    sidecar::{VICAR, run},
};

/// Runs `vicar` where there are no settings.
fn bare(words: &[&str]) -> Ran {
    let nowhere = tempfile::tempdir().unwrap();
    run(nowhere.path(), &[], words)
}

/// The commands that the help of `words` lists.
fn subcommands(words: &[&str]) -> Vec<String> {
    let help = bare(&[words, &["--help"]].concat()).succeeded().stdout;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A command's name stands two columns in; what follows of its description stands further in.
    let names = listed.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap_or_else(|| panic!("not an object: {value}")).keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn every_command_says_what_it_is_for_and_shows_an_example() {
    let mut waiting: Vec<Vec<String>> = vec![vec![]];
    let mut leaves = 0;
    while let Some(path) = waiting.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let children = subcommands(&words);
        if children.is_empty() {
            leaves += 1;
            let help = bare(&[&words[..], &["--help"]].concat()).succeeded().stdout;
            assert!(help.contains("Example"), "no example in `vicar {} --help`:\n{help}", words.join(" "));
            assert!(!help.starts_with("Usage"), "`vicar {} --help` does not say what it is for", words.join(" "));
            let wide = help.lines().find(|line| line.chars().count() > 100);
            assert_eq!(wide, None, "wider than 100 columns in `vicar {} --help`", words.join(" "));
        }
        waiting.extend(children.into_iter().map(|child| [&path[..], &[child]].concat()));
    }
    assert!(leaves > 15, "only {leaves} commands found");
}

#[test]
fn without_settings_a_command_says_how_to_get_some() {
    let ran = bare(&["account", "list"]).exited(1);
    assert!(ran.stderr.contains("vicar init"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    let missing = bare(&["-c", "nowhere.yaml", "check"]).exited(1);
    assert!(missing.stderr.contains("nowhere.yaml") && missing.stderr.contains("vicar init"), "{}", missing.stderr);
}

#[test]
fn a_wrong_word_exits_2() {
    bare(&["acount", "list"]).exited(2);
    bare(&["account", "create"]).exited(2);
    bare(&["account", "list", "--output", "xml"]).exited(2);
}

#[test]
fn accounts_and_keys_have_the_promised_shapes() {
    let sidecar = Sidecar::behind(&Upstream::start()).accounts(&[]).prepare();
    let json = |words: &[&str]| sidecar.vicar(&[words, &["--output", "json"]].concat()).succeeded().json();
    let made = json(&["account", "create", "reporting", "--name", "Reporting", "--description", "Nightly"]);
    assert_eq!(made, json!({"id": "reporting", "name": "Reporting", "status": "active"}));
    let key = json(&["key", "create", "reporting", "--name", "job", "--expires", "90d", "--from", "10.0.0.0/8"]);
    assert_eq!(keys(&key), ["account", "expires", "id", "name", "secret"]);
    assert!(key["id"].as_str().unwrap().starts_with("VK") && key["secret"].as_str().unwrap().starts_with("vsk_"));
    let id = key["id"].as_str().unwrap();
    for shown in [
        json(&["key", "list", "reporting"]),
        json(&["key", "show", id]),
        json(&["account", "list"]),
        json(&["account", "show", "reporting"]),
    ] {
        assert!(!shown.to_string().contains("vsk_"), "a secret is shown again: {shown}");
    }
    let rotated = json(&["key", "rotate", id]);
    assert_ne!(rotated["secret"], key["secret"]);
    assert_eq!(rotated["id"], key["id"]);
    let stored = std::fs::read_to_string(sidecar.folder().join("keys.yaml")).unwrap();
    assert!(!stored.contains("vsk_"), "a secret is stored");
}

#[test]
fn what_stops_an_integration_asks_first() {
    let sidecar = Sidecar::behind(&Upstream::start()).prepare();
    let id = &sidecar.app().id;
    for words in [["account", "disable", "app"], ["account", "delete", "app"], ["key", "disable", id], ["key", "delete", id]] {
        let ran = sidecar.vicar(&words);
        assert_eq!(ran.code, Some(1), "`vicar {}` did not ask: {}{}", words.join(" "), ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    }
    sidecar.vicar(&["key", "disable", id, "--yes"]).succeeded();
    sidecar.vicar(&["key", "enable", id]).succeeded();
    sidecar.vicar(&["account", "delete", "app", "--yes"]).succeeded();
}

#[test]
fn explain_tells_programs_and_shells_what_was_decided() {
    let policy = "version: 1\nservice_accounts:\n  app:\n    shares:\n      - {resource: \"dataset:*\", actions: [list]}\n";
    let sidecar = Sidecar::behind(&Upstream::start()).policy(policy).prepare();
    let explain = |path: &str| sidecar.vicar(&["explain", "--as", "app", "GET", path, "--output", "json"]);
    let allowed = explain("/dataset/2/Ac1/Vendors/list").exited(0).json();
    assert_eq!(keys(&allowed), ["account", "action", "decision", "endpoint", "policy", "reason", "resource", "share", "subject"]);
    assert_eq!((&allowed["decision"], &allowed["resource"]), (&json!("allow"), &json!("dataset:Vendors")));
    let denied = explain("/user/2/Ac1").exited(1).json();
    assert_eq!((&denied["decision"], &denied["reason"]), (&json!("deny"), &json!("not-shared")));
}

#[test]
fn explain_tells_what_becomes_of_a_request_before_any_policy_is_asked() {
    let policy = "version: 1\nservice_accounts:\n  app:\n    shares:\n      - {resource: \"dataset:*\", actions: [list]}\n";
    let list = "/dataset/2/Ac1/Vendors/list";
    for (self_service, rotate) in [("[whoami]", "deny endpoint-unknown"), ("[whoami, rotate]", "allow self-service")] {
        let sidecar = Sidecar::behind(&Upstream::start()).policy(policy).set("self_service", self_service).prepare();
        for (method, path, expected) in [
            ("get", list, "deny endpoint-unknown"),
            ("CONNECT", list, "deny method-not-allowed"),
            ("TRACE", list, "deny method-not-allowed"),
            ("trace", list, "deny endpoint-unknown"),
            ("GET", "/.vicar/whoami", "allow self-service"),
            ("POST", "/.vicar/rotate", rotate),
            ("DELETE", "/.vicar/rotate", "deny endpoint-unknown"),
            ("GET", "/.vicar", "deny endpoint-unknown"),
        ] {
            let ran = sidecar.vicar(&["explain", "--as", "app", method, path, "--output", "json"]);
            let told = ran.json();
            assert_eq!(format!("{} {}", told["decision"].as_str().unwrap(), told["reason"].as_str().unwrap()), expected, "{method} {path}");
            assert_eq!(ran.code, Some(i32::from(expected.starts_with("deny"))), "{method} {path}");
            assert_eq!(keys(&told), ["account", "action", "decision", "endpoint", "policy", "reason", "resource", "share", "subject"]);
        }
        let ran = sidecar.vicar(&["explain", "--as", "app", "get", list]).exited(1);
        assert!(ran.stdout.contains("write GET"), "{}", ran.stdout);
        let ran = sidecar.vicar(&["explain", "--as", "app", "CONNECT", list]).exited(1);
        assert!(ran.stdout.contains("method-not-allowed") && ran.stdout.contains("405"), "{}", ran.stdout);
        let ran = sidecar.vicar(&["explain", "--as", "app", "GET", "/.vicar/whoami"]).succeeded();
        assert!(ran.stdout.starts_with("allow") && ran.stdout.contains("self_service"), "{}", ran.stdout);
    }
}

#[test]
fn a_key_is_bound_to_so_many_networks_and_no_more() {
    let sidecar = Sidecar::behind(&Upstream::start()).accounts(&["app"]).prepare();
    let many = ["--from", "10.0.0.0/8"].repeat(65);
    let ran = sidecar.vicar(&[&["key", "create", "app", "--name", "x"], &many[..]].concat()).exited(1);
    assert!(ran.stderr.contains("64 networks at most"), "{}", ran.stderr);
    let ran = sidecar.vicar(&[&["key", "change", &sidecar.app().id], &many[..]].concat()).exited(1);
    assert!(ran.stderr.contains("64 networks at most"), "{}", ran.stderr);
    let ran = sidecar.vicar(&["key", "change", &sidecar.app().id, "--from", "::ffff:192.0.2.1", "--output", "json"]).succeeded();
    assert_eq!(ran.json()["from"], json!(["192.0.2.1/32"]));
}

#[test]
fn records_are_one_json_object_a_line_oldest_first() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let ids: Vec<String> = (0..3)
        .map(|_| sidecar.send(&Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.app())).expect_status(200).request_id())
        .collect();
    for id in &ids {
        sidecar.record(id);
    }
    let access: Vec<String> =
        sidecar.records().iter().filter(|r| r["kind"] == "access").map(|r| r["request_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(access, ids);
    let made: Vec<Value> = sidecar.records().into_iter().filter(|r| r["kind"] == "admin").collect();
    assert_eq!(made.len(), 2, "the account and its key: {made:?}");
}

#[test]
fn the_shipped_files_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let environment = [("WORKFLOW_API_KEY".to_owned(), "k".to_owned())];
    run(&root.join("config"), &environment, &["check", "-c", "vicar.yaml"]).succeeded();
}

const FINANCE: &str = "version: 1
service_accounts:
  app:
    shares:
      - {resource: \"dataset:*\", actions: [list]}
tests:
  - {as: app, request: GET /dataset/2/Ac1/Vendors/list, expect: allow}
  - {as: app, request: GET /user/2/Ac1, expect: deny}
";

#[test]
fn check_prints_the_settings_in_force_and_no_secret() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream)
        .policy(FINANCE)
        .set("upstream", &format!("{{url: \"{}\", headers: {{X-Api-Key: \"${{env:SECRET}}\"}}}}", upstream.url()))
        .environment("SECRET", "hunter2-hunter2")
        .prepare();
    let ran = sidecar.vicar(&["check"]).succeeded();
    for part in ["fresh_for: 5s", "X-Impersonate-User", "keys_per_account: 50", "ok: policy "] {
        assert!(ran.stdout.contains(part), "no {part:?} in\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains("hunter2"), "a secret is shown");
    let checked = sidecar.vicar(&["check", "--output", "json"]).succeeded().json();
    assert_eq!((&checked["ok"], &checked["errors"]), (&json!(true), &json!([])));
    assert_eq!(checked["settings"]["limits"]["accounts"], 25);
    assert!(!checked.to_string().contains("hunter2"), "a secret is shown");
}

#[test]
fn an_address_that_is_taken_is_told_with_the_setting_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sidecar = Sidecar::behind(&Upstream::start()).prepare();
    let ran = sidecar.vicar(&["serve", "--listen", &address]).exited(1);
    for part in [&address[..], "(listen in the settings)", "choose another address"] {
        assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
    }
}

#[test]
fn a_policy_may_come_out_of_a_pipe_on_the_command_line() {
    let sidecar = Sidecar::behind(&Upstream::start()).policy(FINANCE).prepare();
    let script = format!("{VICAR} check --output json --policy <(sed s/app/other/ policy.yaml)");
    let ran = std::process::Command::new("bash").args(["-c", &script]).current_dir(sidecar.folder()).output().unwrap();
    let checked: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    assert_eq!(checked["found"]["accounts"], 1, "{checked}");
}

#[test]
fn check_finds_what_a_start_would_stumble_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let assertion = "{upstream_headers: {X-Forwarded-User: \"{user}\"}, assertion: {key: signing.pem, audience: api}}";
    let mut sidecar = Sidecar::behind(&Upstream::start()).policy(FINANCE).set("impersonation", assertion).accounts(&[]).prepare();
    sidecar.write("signing.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let refused = sidecar.vicar(&["check"]).exited(1).stderr;
    assert!(refused.contains("vicar.yaml:") && refused.contains("signing.pem"), "{refused}");
    sidecar.launch();
    assert_eq!(sidecar.wait(), Some(1), "a sidecar does not start on it either");
    // Whoever may write the policy is who decides.
    let sidecar = Sidecar::behind(&Upstream::start()).policy(FINANCE).prepare();
    assert_eq!(sidecar.vicar(&["check"]).succeeded().stderr, "");
    std::fs::set_permissions(sidecar.folder().join("policy.yaml"), std::fs::Permissions::from_mode(0o646)).unwrap();
    let warned = sidecar.vicar(&["check"]).succeeded().stderr;
    assert!(warned.contains("policy.yaml: warning: anybody on this machine may write to it"), "{warned}");
}

#[test]
fn check_names_every_mistake_by_file_line_and_column() {
    let sidecar = Sidecar::behind(&Upstream::start()).accounts(&[]).policy(&FINANCE.replace("dataset:*", "datset:*")).prepare();
    let ran = sidecar.vicar(&["check"]).exited(1);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.starts_with("policy.yaml:5:"), "{}", ran.stderr);
    for part in ["datset", "^^^", "did you mean `dataset`?"] {
        assert!(ran.stderr.contains(part), "no {part:?} in\n{}", ran.stderr);
    }
    let checked = sidecar.vicar(&["check", "--output", "json"]).exited(1).json();
    let error = &checked["errors"][0];
    assert_eq!((&checked["ok"], &error["file"], &error["line"]), (&json!(false), &json!("policy.yaml"), &json!(5)));
    assert!(error["column"].is_u64() && error["message"].is_string() && error["help"].is_string(), "{error}");

    sidecar.write_policy(&FINANCE.replace("expect: deny", "expect: allow"));
    let checked = sidecar.vicar(&["check", "--output", "json"]).exited(1).json();
    assert!(checked["errors"][0]["message"].as_str().unwrap().contains("test fails"), "{checked}");

    sidecar.write_policy(FINANCE);
    sidecar.write("vicar.yaml", "version: 1\nlisten: []\nupsteam: {}\n");
    let checked = sidecar.vicar(&["check", "--output", "json"]).exited(1).json();
    assert_eq!(checked["errors"][0]["file"], "vicar.yaml");
}

#[test]
fn check_warns_of_what_holds_and_may_not_be_meant() {
    let sidecar = Sidecar::behind(&Upstream::start()).accounts(&[]).policy(FINANCE).prepare();
    let checked = sidecar.vicar(&["check", "--output", "json"]).succeeded().json();
    let warnings = checked["warnings"].to_string();
    assert!(warnings.contains("app"), "the directory has no such account: {warnings}");
    let ran = sidecar.vicar(&["check"]).succeeded();
    assert!(ran.stderr.contains("warning:") && !ran.stdout.contains("warning:"), "{}", ran.stderr);
}

#[test]
fn test_reports_as_test_runners_do() {
    let sidecar = Sidecar::behind(&Upstream::start()).accounts(&[]).policy(FINANCE).prepare();
    let report = sidecar.vicar(&["test", "--output", "json"]).succeeded().json();
    assert_eq!((&report["passed"], &report["failed"], report["cases"].as_array().unwrap().len()), (&json!(2), &json!(0), 2));
    sidecar.write("more.yaml", "tests:\n  - {name: \"a < b\", as: app, request: GET /user/2/Ac1, expect: allow}\n");
    let ran = sidecar.vicar(&["test", "--file", "more.yaml", "--junit", "report.xml"]).exited(1);
    assert!(ran.stdout.contains("more.yaml:2") && ran.stdout.contains("3 tests: 2 passed, 1 failed"), "{}", ran.stdout);
    let junit = std::fs::read_to_string(sidecar.folder().join("report.xml")).unwrap();
    for part in ["<testsuite name=\"more.yaml\" tests=\"1\" failures=\"1\">", "name=\"a &lt; b\"", "<failure message=\""] {
        assert!(junit.contains(part), "no {part:?} in\n{junit}");
    }
    assert!(sidecar.vicar(&["test", "--file", "nowhere.yaml"]).exited(1).stderr.contains("nowhere.yaml"));
}

#[test]
fn a_test_of_a_policy_explain_and_the_proxy_agree_on_every_request() {
    let policy = "version: 1\nservice_accounts:\n  app:\n    shares:\n      - {resource: \"dataset:*\", actions: [list]}\ntests: []\n";
    let list = "/dataset/2/Ac1/Vendors/list";
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).policy(policy).start();
    for (method, target, expect, because) in [
        ("GET", format!("{list}?page=2"), "allow", "shared"),
        ("GET", format!("{list}?api_key=1"), "deny", "query-not-allowed"),
        ("GET", format!("{list}?q='a'"), "allow", "shared"),
        ("GET", format!("{list}?q=\"a\""), "deny", "ambiguous-request"),
        ("GET", format!("{list}?q=a<b"), "deny", "ambiguous-request"),
        ("GET", format!("{list}?q=a>b"), "deny", "ambiguous-request"),
        ("GET", "/dataset/2/../Vendors/list".to_owned(), "deny", "ambiguous-request"),
        ("TRACE", list.to_owned(), "deny", "method-not-allowed"),
        ("GET", "/.vicar/whoami".to_owned(), "allow", "self-service"),
        ("GET", "/.vicar/elsewhere".to_owned(), "deny", "endpoint-unknown"),
    ] {
        let answer = sidecar.send(&Call::new(method, &target).with(sidecar.app()));
        assert_eq!(answer.status == 200, expect == "allow", "{method} {target}: {}", answer.status);
        if expect == "deny" {
            assert_eq!(answer.json()["code"], because, "{method} {target}");
        }
        let told = sidecar.vicar(&["explain", "--as", "app", method, &target, "--output", "json"]).json();
        assert_eq!((told["decision"].as_str(), told["reason"].as_str()), (Some(expect), Some(because)), "{method} {target}: {told}");
        let test = |expect: &str, because: &str| {
            let request = target.replace('\'', "''");
            sidecar.write("more.yaml", &format!("tests:\n  - {{as: app, request: '{method} {request}', expect: {expect}{because}}}\n"));
            sidecar.vicar(&["test", "--file", "more.yaml", "--output", "json"])
        };
        let case = test(expect, &format!(", because: {because}")).succeeded().json()["cases"][0].clone();
        assert_eq!(case["name"], format!("app: {method} {target} → {expect}"));
        let wrong = test(if expect == "allow" { "deny" } else { "allow" }, "").exited(1).json()["cases"][0].clone();
        assert!(wrong["problem"].as_str().unwrap().contains(because), "{wrong}");
    }
    // So do those that stand in the policy itself, before an edit of it is taken.
    let tests = format!("tests:\n  - {{as: app, request: 'GET {list}?api_key=1', expect: allow}}\n");
    sidecar.write_policy(&policy.replace("tests: []\n", &tests));
    eventually("it is refused", || sidecar.log().contains("query-not-allowed").then_some(()));
    let warned = tests.replace("allow", "deny");
    sidecar.write_policy(&policy.replace("tests: []\n", &warned));
    let said = sidecar.vicar(&["check"]).succeeded().stderr;
    assert!(said.contains("policy.yaml:7:") && said.contains("add `because: query-not-allowed`"), "{said}");
}

#[test]
fn explain_names_the_character_that_no_url_holds() {
    let sidecar = Sidecar::behind(&Upstream::start()).prepare();
    for (target, character) in [("/user/2/Ac1?q=\"x\"", "'\"'"), ("/user/2/Ac1?q=a<b", "'<'"), ("/user/2/Ac1?q=a b", "' '")] {
        let ran = sidecar.vicar(&["explain", "--as", "app", "GET", target]).exited(1);
        assert!(ran.stdout.contains("ambiguous-request") && ran.stdout.contains(character), "{target}: {}", ran.stdout);
    }
}

#[test]
fn explain_tells_people_the_way_to_the_decision() {
    let sidecar = Sidecar::behind(&Upstream::start()).accounts(&[]).policy(FINANCE).prepare();
    let ran = sidecar.vicar(&["explain", "--as", "app", "GET", "/dataset/2/Ac1/Vendors/list?page=1"]).succeeded();
    assert!(ran.stdout.starts_with("allow") && ran.stdout.contains("app/shares/1") && ran.stdout.contains("1. "), "{}", ran.stdout);
    assert!(ran.stderr.contains("vicar account create app"), "the directory has no such account: {}", ran.stderr);
    let ran = sidecar.vicar(&["explain", "--as", "app", "GET", "/dataset/2/Ac1/../list", "--output", "json"]).exited(1);
    assert_eq!(ran.json()["reason"], "ambiguous-request");
    sidecar.vicar(&["explain", "--as", "app", "--on-behalf-of", "a,b", "GET", "/"]).exited(2);
    let other = FINANCE.replace("dataset:*", "user");
    sidecar.write("other.yaml", other.replace("tests:", "").split("  - {as").next().unwrap());
    sidecar.vicar(&["explain", "--policy", "other.yaml", "--as", "app", "GET", "/user/2/Ac1"]).succeeded();
}

#[test]
fn leaked_secrets_are_found_by_place_and_not_shown() {
    let sidecar = Sidecar::behind(&Upstream::start()).prepare();
    let secret = &sidecar.app().secret;
    let token = sidecar.vicar(&["admin", "create", "--role", "auditor", "--output", "json"]).succeeded().json();
    let inner = sidecar.folder().join("code/.hidden");
    std::fs::create_dir_all(&inner).unwrap();
    assert_eq!(sidecar.vicar(&["key", "scan", "code"]).succeeded().stdout, "");
    std::fs::write(inner.join("a.txt"), format!("one\nkey = {secret}\n")).unwrap();
    std::fs::write(inner.join("b.bin"), [&[0, 255, 10, 10][..], token["token"].as_str().unwrap().as_bytes()].concat()).unwrap();
    let ran = sidecar.vicar(&["key", "scan", "code"]).exited(1);
    assert_eq!(ran.stdout, "code/.hidden/a.txt:2:7: access-key secret\ncode/.hidden/b.bin:3:1: admin token\n");
    let found = sidecar.vicar(&["key", "scan", "code", "--output", "json"]).exited(1).json();
    assert_eq!(found["found"][0], json!({"file": "code/.hidden/a.txt", "line": 2, "column": 7, "kind": "access-key secret"}));
    assert!(!ran.stdout.contains("vsk_") && !found.to_string().contains("vat_"));
    assert!(sidecar.vicar(&["key", "scan", "nowhere"]).exited(1).stderr.contains("nowhere"));
}

#[test]
fn a_health_check_tells_ready_from_gone() {
    let mut sidecar = Sidecar::behind(&Upstream::start()).start();
    let ready = sidecar.vicar(&["health", "--output", "json"]).succeeded().json();
    assert_eq!((&ready["ok"], &ready["status"]), (&json!(true), &json!(200)));
    sidecar.kill();
    let gone = sidecar.vicar(&["health"]).exited(1);
    assert!(gone.stderr.contains("vicar serve"), "{}", gone.stderr);
}

#[test]
fn shells_and_packagers_get_completions_and_a_page_for_each_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(bare(&["completions", shell]).succeeded().stdout.contains("vicar"));
    }
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &[], &["man", "man1"]).succeeded();
    let pages: Vec<String> =
        std::fs::read_dir(folder.path().join("man1")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for page in ["vicar.1", "vicar-serve.1", "vicar-key-create.1", "vicar-audit-query.1"] {
        assert!(pages.iter().any(|name| name == page), "no {page} in {pages:?}");
    }
    let page = std::fs::read_to_string(folder.path().join("man1/vicar-key-create.1")).unwrap();
    assert!(page.contains("Example") && page.contains("vicar\\-key\\-create"), "{page}");
}
