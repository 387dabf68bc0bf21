//! The admin listener, as programs meet it: health, metrics, tokens, roles, the API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "edge/certificates.rs"]
mod certificates;
mod support;

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use support::{Answer, Call, Connection, Redis, Reply, Sidecar, Upstream, eventually};

/// A policy with shares for the accounts `app` and `reporting`.
const POLICY: &str = r#"version: 1
service_accounts:
  app:
    shares:
      - {resource: "process:*", actions: "*", impersonate: {users: ["*@acme.example"]}, note: agreed with Finance}
      - {resource: "board:*", actions: [list]}
  reporting:
    shares:
      - {resource: "dataset:*", actions: [list, read]}
    deny:
      - {resource: "dataset:Salaries", actions: "*"}
"#;

/// A sidecar with two accounts in the directory.
fn sidecar(upstream: &Upstream) -> Sidecar {
    Sidecar::behind(upstream).policy(POLICY).accounts(&["app", "reporting"]).start()
}

/// Makes an admin and gives their token.
fn token(sidecar: &Sidecar, id: &str, role: &str, options: &[&str]) -> String {
    let words = [&["admin", "create", id, "--name", id, "--role", role, "--output", "json"], options].concat();
    sidecar.vicar(&words).succeeded().json()["token"].as_str().unwrap().to_owned()
}

fn with_token(call: Call, token: &str) -> Call {
    call.header("Authorization", &format!("Bearer {token}"))
}

/// Asks the API.
fn ask(sidecar: &Sidecar, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    let call = with_token(Call::new(method, &format!("/api/v1{path}")), token);
    let call = match &body {
        Some(body) => call.json(body),
        None => call,
    };
    call.send(sidecar.admin())
}

/// The admin records of the log, as `verb object operator outcome`.
fn changes(sidecar: &Sidecar) -> Vec<String> {
    let text = |record: &Value, field: &str| record[field].as_str().unwrap_or("-").to_owned();
    let told = |record: &Value| ["action", "resource", "operator", "outcome"].map(|field| text(record, field)).join(" ");
    sidecar.records().iter().filter(|record| record["kind"] == "admin").map(told).collect()
}

// ===== health =====

#[test]
fn a_serving_sidecar_is_live_and_ready_and_says_how_things_are() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    Call::get("/livez").send(sidecar.admin()).expect_status(200);
    let ready = Call::get("/readyz").send(sidecar.admin());
    ready.expect_status(200);
    let ready = ready.json();
    assert_eq!(ready["status"], "ready");
    assert_eq!(ready["policy"]["digest"].as_str().map(str::len), Some(16), "{ready}");
    assert_eq!(ready["directory"]["state"], "good");
    assert_eq!(ready["audit"]["journal"], "writable");
    assert_eq!(ready["reload"]["last_error"], Value::Null);
}

#[test]
fn a_sidecar_that_has_not_reached_its_directory_yet_is_not_ready() {
    let upstream = Upstream::start();
    let mut redis = Redis::start();
    let mut sidecar = Sidecar::behind(&upstream).redis(&redis.url()).prepare();
    redis.kill();
    sidecar.launch();
    let answer = eventually("it answers", || {
        std::net::TcpStream::connect(sidecar.admin()).ok()?;
        Some(Call::get("/readyz").send(sidecar.admin()))
    });
    answer.expect_status(503);
    assert_eq!(answer.json()["status"], "directory-unavailable");
    Call::get("/livez").send(sidecar.admin()).expect_status(200);
    redis.launch();
    eventually("it is ready", || (Call::get("/readyz").send(sidecar.admin()).status == 200).then_some(()));
    // What it has known once, it goes by.
    redis.kill();
    eventually("the loss is noticed", || (Call::get("/readyz").send(sidecar.admin()).json()["directory"]["state"] == "away").then_some(()));
    Call::get("/readyz").send(sidecar.admin()).expect_status(200);
}

#[test]
fn a_draining_sidecar_is_not_ready_while_it_finishes_what_runs() {
    let upstream = Upstream::start();
    let mut sidecar = sidecar(&upstream);
    upstream.next(Reply::status(200).after(Duration::from_secs(3)));
    let mut running = Connection::open(sidecar.address());
    running.send(Call::get("/process/2/Ac1/Purchase_Order/myitems").with(sidecar.app()).bytes());
    running.send("");
    eventually("the request is under way", || (upstream.arrived() > 0 || !upstream.seen().is_empty()).then_some(()));
    sidecar.signal(rustix::process::Signal::TERM);
    let answer = eventually("readiness goes", || Some(Call::get("/readyz").send(sidecar.admin())).filter(|answer| answer.status == 503));
    assert_eq!(answer.json()["status"], "draining");
    Call::get("/livez").send(sidecar.admin()).expect_status(200);
    assert_eq!(sidecar.wait(), Some(0));
}

#[test]
fn an_edit_that_was_refused_shows_in_readiness_metrics_and_api_until_it_holds() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let admin = token(&sidecar, "zoe", "super-admin", &[]);
    sidecar.write_policy("version: 1\nservice_accounts: {app: {shares: [{resource: \"process:*\", actions: [raed]}]}}\n");
    let ready = eventually("the refused edit shows", || {
        Some(Call::get("/readyz").send(sidecar.admin()).json()).filter(|ready| !ready["reload"]["last_error"].is_null())
    });
    assert_eq!(ready["status"], "ready", "what was in force stays in force");
    assert!(ready["reload"]["last_error"]["first"].as_str().unwrap().contains("policy.yaml:2:"), "{ready}");
    let metrics = Call::get("/metrics").send(sidecar.admin()).text();
    assert!(metrics.contains("vicar_reload_pending 1\n") && metrics.contains("vicar_reloads_total{result=\"refused\"} 1\n"));
    let policy = ask(&sidecar, &admin, "GET", "/policy", None).json();
    assert_eq!(policy["source"], POLICY);
    let mistake = &policy["refused_edit"]["diagnostics"][0];
    assert_eq!((mistake["severity"].as_str(), mistake["line"].as_u64()), (Some("error"), Some(2)), "{policy}");
    assert!(mistake["help"].as_str().unwrap().contains("read"), "{mistake}");
    sidecar.write_policy(&POLICY.replace("[list]", "[list, read]"));
    eventually("the mended edit is in force", || {
        Call::get("/readyz").send(sidecar.admin()).json()["reload"]["last_error"].is_null().then_some(())
    });
    assert!(Call::get("/metrics").send(sidecar.admin()).text().contains("vicar_reload_pending 0\n"));
}

#[test]
fn the_listener_can_stand_on_a_unix_socket() {
    use std::io::{Read as _, Write as _};
    let upstream = Upstream::start();
    let mut sidecar = Sidecar::behind(&upstream).set("admin", "{address: \"unix:admin.sock\"}").prepare();
    sidecar.launch();
    let path = sidecar.folder().join("admin.sock");
    let answer = eventually("the socket answers", || {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).ok()?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    });
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(sidecar.stop(), Some(0));
    assert!(!path.exists(), "the socket is removed at the end");
}

#[test]
fn under_tls_the_session_is_bound_to_it() {
    use std::io::{Read as _, Write as _};
    let upstream = Upstream::start();
    let authority = certificates::Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let port = support::sidecar::free_port();
    let admin = format!("{{address: \"127.0.0.1:{port}\", tls: {{certificate: admin.crt, key: admin.key}}}}");
    let mut sidecar = Sidecar::behind(&upstream).set("admin", &admin).prepare();
    sidecar.write("admin.crt", &identity.certificate);
    sidecar.write("admin.key", &identity.key);
    let token = token(&sidecar, "zoe", "auditor", &[]);
    sidecar.launch();
    let config = authority.client(certificates::Versions::Both, None, &["h2", "http/1.1"]);
    let ask = |bytes: &str| {
        let socket = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        let session = rustls::ClientConnection::new(config.clone(), "127.0.0.1".try_into().unwrap()).unwrap();
        let mut stream = rustls::StreamOwned::new(session, socket);
        stream.write_all(bytes.as_bytes()).ok()?;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        Some(answer).filter(|answer| !answer.is_empty())
    };
    let ready = eventually("it answers under TLS", || ask("GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    let body = format!("token={token}");
    let head = "POST /console/sign-in HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded";
    let signed_in = ask(&format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())).unwrap();
    let cookie = signed_in.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap_or_else(|| panic!("{signed_in}"));
    assert!(
        cookie.starts_with("__Host-vicar=") && cookie.contains("; Path=/; Secure;") && cookie.contains("HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let plain =
        Connection::open(std::net::SocketAddr::from(([127, 0, 0, 1], port))).send("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").read_some(400);
    assert!(!plain.starts_with(b"HTTP/"), "nothing is told in the clear");
}

#[test]
fn a_keys_file_edited_to_nonsense_shows_and_what_it_held_goes_on() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let admin = token(&sidecar, "zoe", "super-admin", &[]);
    let good = std::fs::read_to_string(sidecar.folder().join("keys.yaml")).unwrap();
    sidecar.write("keys.yaml", "accounts: [nonsense\n");
    let directory = || Call::get("/readyz").send(sidecar.admin()).json()["directory"].clone();
    let told = eventually("it shows", || Some(directory()).filter(|directory| directory["state"] == "frozen"));
    assert!(told["problem"].as_str().unwrap().contains("keys.yaml"), "{told}");
    assert!(Call::get("/metrics").send(sidecar.admin()).text().contains("vicar_directory_healthy 0\n"));
    assert_eq!(sidecar.send(&Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.key("reporting"))).status, 200);
    ask(&sidecar, &admin, "POST", "/accounts", Some(json!({"id": "new", "name": "New"}))).expect(503, "directory-unavailable");
    sidecar.write("keys.yaml", &good);
    eventually("it is good again", || (directory()["state"] == "good").then_some(()));
    ask(&sidecar, &admin, "POST", "/accounts", Some(json!({"id": "new", "name": "New"}))).expect_status(201);
}

// ===== metrics =====

#[test]
fn metrics_tell_what_requests_came_to_in_both_formats() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let (app, reporting) = (sidecar.key("app").clone(), sidecar.key("reporting").clone());
    let status = |call: Call| sidecar.send(&call).status;
    assert_eq!(status(Call::get("/dataset/2/Ac1/Vendors/list").with(&reporting)), 200);
    assert_eq!(status(Call::get("/dataset/2/Ac1/Vendors/list").with(&reporting)), 200);
    assert_eq!(status(Call::get("/dataset/2/Ac1/Salaries/list").with(&reporting)), 403);
    assert_eq!(status(Call::get("/nothing/here").with(&app)), 403);
    assert_eq!(status(Call::get("/dataset/2/Ac1/Vendors/list")), 401);
    // No HTTP at all: the library refuses it before there is a request.
    Connection::open(sidecar.address()).send("GET /dataset/2/Ac1/Vendors/list HTTP/1.1\r\nHost : x\r\n\r\n").answer().expect_status(400);
    let metrics = Call::get("/metrics").send(sidecar.admin());
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = metrics.text();
    for line in [
        "vicar_requests_total{decision=\"allow\",reason=\"shared\",kind=\"dataset\",action=\"list\",status=\"2xx\"} 2",
        "vicar_requests_total{decision=\"deny\",reason=\"denied-by-rule\",kind=\"dataset\",action=\"list\",status=\"4xx\"} 1",
        "vicar_requests_total{decision=\"deny\",reason=\"endpoint-unknown\",kind=\"\",action=\"\",status=\"4xx\"} 1",
        "vicar_requests_total{decision=\"deny\",reason=\"credentials-missing\",kind=\"\",action=\"\",status=\"4xx\"} 1",
        "vicar_requests_total{decision=\"deny\",reason=\"ambiguous-request\",kind=\"\",action=\"\",status=\"4xx\"} 1",
        "vicar_upstream_seconds_count 2",
        "vicar_request_own_seconds_count 5",
        "vicar_keys{account=\"app\",state=\"active\"} 1",
        "vicar_keys_expiring{account=\"app\",within=\"30d\"} 0",
        "vicar_directory_connected 1",
        "vicar_audit_writable 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
    }
    assert!(!text.contains("nothing"), "a caller's words are no label");
    let open = Call::get("/metrics").header("Accept", "application/openmetrics-text; version=1.0.0").send(sidecar.admin());
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let open = open.text();
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE vicar_requests counter\n"));
    well_formed(&text);
    well_formed(&open);
}

/// What is shipped under config/deploy asks for nothing that is not there.
#[test]
fn dashboard_and_alerts_ask_for_metrics_that_there_are() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let sidecar = Sidecar::behind(&upstream).redis(&redis.url()).start();
    let served = eventually("the sidecar has shipped and counted", || {
        let text = Call::get("/metrics").send(sidecar.admin()).text();
        (text.contains("vicar_shipping_connected 1\n") && text.contains("vicar_directory_push_lag_seconds ")).then_some(text)
    });
    let families: BTreeSet<&str> =
        served.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split(' ').next()).collect();
    for file in ["grafana.json", "prometheus/alerts.yaml"] {
        let text = std::fs::read_to_string(deploy(file)).unwrap();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let asked: BTreeSet<&str> =
            text.split(|c| !word(c)).filter(|name| name.starts_with("vicar_") || name.starts_with("process_")).collect();
        assert!(asked.len() > 8, "{file}: {asked:?}");
        for name in asked {
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(families.contains(family), "{file} asks for {name}, which is not served");
        }
    }
}

#[test]
fn promtool_finds_nothing_wrong_with_metrics_and_alerts() {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    sidecar.send(&Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.key("reporting")));
    let promtool = |words: &[&str], input: &[u8]| {
        let started = Command::new("promtool").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.expect("promtool cannot be started; tests/run installs it (Debian's package is called prometheus)");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let out = child.wait_with_output().unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "promtool {words:?}: {told}");
    };
    promtool(&["check", "metrics"], &Call::get("/metrics").send(sidecar.admin()).body);
    let rules = deploy("prometheus/alerts.test.yaml");
    promtool(&["test", "rules", rules.to_str().unwrap()], b"");
}

#[test]
fn callers_who_gave_up_are_counted() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    upstream.next(Reply::status(200).after(Duration::from_secs(5)));
    let mut caller = Connection::open(sidecar.address());
    caller.send(Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.key("reporting")).bytes());
    eventually("the request is under way", || (upstream.arrived() > 0 || !upstream.seen().is_empty()).then_some(()));
    drop(caller);
    eventually("it is counted", || {
        let page = String::from_utf8(Call::get("/metrics").send(sidecar.admin()).body).unwrap();
        let gone = |line: &str| {
            line.starts_with("vicar_requests_total{decision=\"allow\",reason=\"shared\"") && line.ends_with("status=\"other\"} 1")
        };
        page.lines().any(gone).then_some(())
    });
}

fn deploy(file: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/deploy").join(file)
}

/// Every sample belongs to a family that was announced once, and no sample comes twice.
fn well_formed(page: &str) {
    let (mut families, mut samples) = (BTreeSet::new(), BTreeSet::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(families.insert(rest.split(' ').next().unwrap().to_owned()), "announced twice: {line}");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(samples.insert(series.to_owned()), "twice: {line}");
            let name = series.split('{').next().unwrap();
            let base = ["_total", "_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            assert!(families.contains(name) || families.contains(base), "not announced: {line}");
        }
    }
}

// ===== tokens =====

#[test]
fn a_token_that_is_missing_wrong_of_another_kind_expired_or_revoked_is_refused() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let good = token(&sidecar, "zoe", "auditor", &[]);
    let gone = token(&sidecar, "ann", "super-admin", &[]);
    let short = token(&sidecar, "tom", "super-admin", &["--expires", "1s"]);
    ask(&sidecar, &good, "GET", "/accounts", None).expect_status(200);
    ask(&sidecar, &gone, "GET", "/accounts", None).expect_status(200);
    let missing = Call::get("/api/v1/accounts").send(sidecar.admin());
    missing.expect(401, "token-missing");
    assert_eq!(missing.header("content-type"), Some("application/problem+json"));
    assert!(missing.header("www-authenticate").unwrap().starts_with("Bearer"));
    let mut other = good.clone().into_bytes();
    let last = other.last_mut().unwrap();
    *last = if *last == b'a' { b'b' } else { b'a' };
    let other = String::from_utf8(other).unwrap();
    for wrong in [other.as_str(), "vat_", &sidecar.app().secret, "x"] {
        ask(&sidecar, wrong, "GET", "/accounts", None).expect(401, "token-invalid");
    }
    Call::get("/api/v1/accounts").header("Authorization", &format!("Basic {good}")).send(sidecar.admin()).expect(401, "token-missing");
    Call::get(&format!("/api/v1/accounts?token={good}")).send(sidecar.admin()).expect(401, "token-missing");
    Call::get("/api/v1/accounts").header("Cookie", &format!("vicar={good}")).send(sidecar.admin()).expect(401, "token-missing");
    sidecar.vicar(&["admin", "revoke", "ann"]).succeeded();
    eventually("the revoked token is refused", || (ask(&sidecar, &gone, "GET", "/accounts", None).status == 401).then_some(()));
    eventually("the token ends", || (ask(&sidecar, &short, "GET", "/accounts", None).status == 401).then_some(()));
    ask(&sidecar, &good, "GET", "/accounts", None).expect_status(200);
}

#[test]
fn guessing_tokens_slows_down_and_locks_no_admin_out() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let good = token(&sidecar, "zoe", "auditor", &[]);
    let slowed = eventually("guessing is slowed down", || {
        let answer = ask(&sidecar, "vat_guess", "GET", "/accounts", None);
        if answer.status == 429 { Some(answer) } else { None }
    });
    slowed.expect(429, "rate-limited");
    assert!(slowed.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    ask(&sidecar, &good, "GET", "/accounts", None).expect_status(200);
}

// ===== roles =====

/// What each role may do: the status that each operation gives a super admin, an IAM
/// admin, an account admin of `app`, and an auditor. The last column: an account admin of `app` at `reporting`'s door.
#[test]
fn every_role_may_do_what_the_table_says_and_nothing_else() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let admins = [
        token(&sidecar, "super", "super-admin", &[]),
        token(&sidecar, "iam", "iam-admin", &[]),
        token(&sidecar, "own", "account-admin", &["--accounts", "app"]),
        token(&sidecar, "audit", "auditor", &[]),
    ];
    let outside = token(&sidecar, "outside", "account-admin", &["--accounts", "reporting"]);
    let policy = json!({"policy": POLICY});
    let question = json!({"account": "app", "method": "GET", "path": "/case/2/Ac1/Leads/fields"});
    let table: [(&str, &str, Option<Value>, [u16; 5]); 24] = [
        ("GET", "/accounts", None, [200, 200, 200, 200, 200]),
        ("POST", "/accounts", Some(json!({"id": "made-by-ROLE", "name": "Made"})), [201, 201, 403, 403, 403]),
        ("GET", "/accounts/app", None, [200, 200, 200, 200, 404]),
        ("PATCH", "/accounts/app", Some(json!({"name": "Renamed"})), [200, 200, 403, 403, 403]),
        ("DELETE", "/accounts/made-by-ROLE", None, [204, 204, 403, 403, 403]),
        ("GET", "/accounts/app/keys", None, [200, 200, 200, 200, 404]),
        ("POST", "/accounts/app/keys", Some(json!({"name": "Made"})), [201, 201, 201, 403, 403]),
        ("GET", "/keys/KEY", None, [200, 200, 200, 200, 404]),
        ("PATCH", "/keys/KEY", Some(json!({"name": "Renamed"})), [200, 200, 200, 403, 404]),
        ("POST", "/keys/KEY/rotate", None, [200, 200, 200, 403, 404]),
        ("DELETE", "/keys/KEY", None, [204, 204, 204, 403, 404]),
        ("GET", "/accounts/app/shares", None, [200, 200, 200, 200, 404]),
        ("GET", "/keys", None, [200, 200, 200, 200, 200]),
        ("GET", "/keys?account=app", None, [200, 200, 200, 200, 404]),
        ("GET", "/shares", None, [200, 200, 200, 200, 200]),
        ("GET", "/shares?account=app", None, [200, 200, 200, 200, 404]),
        ("GET", "/audit", None, [200, 200, 200, 200, 200]),
        ("GET", "/audit?account=app", None, [200, 200, 200, 200, 403]),
        ("GET", "/usage", None, [200, 200, 200, 200, 200]),
        ("GET", "/usage?account=app", None, [200, 200, 200, 200, 403]),
        ("POST", "/explain", Some(question), [200, 200, 200, 200, 403]),
        ("GET", "/policy", None, [200, 403, 403, 200, 403]),
        ("POST", "/simulate", Some(policy), [200, 403, 403, 200, 403]),
        ("GET", "/openapi.json", None, [200, 200, 200, 200, 200]),
    ];
    for (who, admin) in admins.iter().chain([&outside]).enumerate() {
        let key = sidecar.new_key("app", &["--name", "to be changed"]).id;
        for (method, path, body, expected) in &table {
            let path = path.replace("ROLE", &who.to_string()).replace("KEY", &key);
            let body = body.as_ref().map(|body| serde_json::from_str(&body.to_string().replace("ROLE", &who.to_string())).unwrap());
            let answer = ask(&sidecar, admin, method, &path, body);
            assert_eq!(answer.status, expected[who], "{method} {path} by {who}: {}", answer.text());
            if answer.status == 403 {
                answer.expect(403, "not-permitted");
            }
        }
    }
}

#[test]
fn an_account_admin_sees_its_accounts_alone() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let own = token(&sidecar, "own", "account-admin", &["--accounts", "reporting"]);
    sidecar.send(&Call::get("/process/2/Ac1/Purchase_Order/myitems").with(sidecar.key("app")));
    let id = sidecar.send(&Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.key("reporting"))).request_id();
    sidecar.record(&id);
    let seen = ask(&sidecar, &own, "GET", "/accounts", None).json();
    let ids: Vec<&str> = seen["items"].as_array().unwrap().iter().map(|account| account["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["reporting"]);
    for path in ["/keys", "/shares"] {
        let seen = ask(&sidecar, &own, "GET", path, None).json();
        let of: BTreeSet<&str> = seen["items"].as_array().unwrap().iter().map(|item| item["account"].as_str().unwrap()).collect();
        assert_eq!(of, BTreeSet::from(["reporting"]), "{seen}");
    }
    let records = ask(&sidecar, &own, "GET", "/audit", None).json();
    let records = records["items"].as_array().unwrap();
    assert!(records.iter().any(|record| record["request_id"] == id.as_str()));
    assert!(records.iter().all(|record| record["account"] == "reporting"), "{records:?}");
    let usage = ask(&sidecar, &own, "GET", "/usage", None).json();
    assert_eq!(usage["accounts"].as_array().unwrap().len(), 1);
}

// ===== changes =====

#[test]
fn an_account_and_its_key_live_their_whole_life_over_the_api() {
    whole_life(|builder| builder);
}

#[test]
fn they_do_so_in_redis_too() {
    let redis = Redis::start();
    whole_life(|builder| builder.redis(&redis.url()));
}

fn whole_life(backend: impl FnOnce(support::sidecar::Builder) -> support::sidecar::Builder) {
    let upstream = Upstream::start();
    let sidecar = backend(Sidecar::behind(&upstream).accounts(&[])).start();
    let admin = token(&sidecar, "zoe", "iam-admin", &[]);
    let ask = |method: &str, path: &str, body: Option<Value>| ask(&sidecar, &admin, method, path, body);
    let works = |key: &support::Key| sidecar.send(&Call::get("/process/2/Ac1/Purchase_Order/myitems").with(key)).status;

    let made = ask("POST", "/accounts", Some(json!({"id": "app", "name": "App", "description": "for <b>tests</b>"})));
    made.expect_status(201);
    assert_eq!((made.json()["id"].as_str(), made.json()["status"].as_str()), (Some("app"), Some("active")));
    assert!(made.header("etag").is_some() && made.header("cache-control") == Some("no-store"));
    ask("POST", "/accounts", Some(json!({"id": "app", "name": "Again"}))).expect(409, "already-exists");

    let made = ask("POST", "/accounts/app/keys", Some(json!({"name": "first", "from": ["::ffff:127.0.0.0/104"], "expires": "30d"})));
    made.expect_status(201);
    let made = made.json();
    let fields: BTreeSet<&str> = made.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, BTreeSet::from(["account", "expires", "id", "name", "secret"]));
    let text = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    let key = support::Key { account: "app".to_owned(), id: text(&made, "id"), secret: text(&made, "secret") };
    eventually("the key works", || (works(&key) == 200).then_some(()));

    let shown = ask("GET", &format!("/keys/{}", key.id), None);
    assert!(!shown.text().contains("vsk_") && !shown.text().contains("hash"), "{}", shown.text());
    assert!((29..=30).contains(&shown.json()["days_left"].as_i64().unwrap()), "{}", shown.text());
    assert_eq!(shown.json()["from"], json!(["127.0.0.0/8"]), "IPv4 is IPv4, however it is written");
    let used = eventually("when it was last used shows", || {
        let used = ask("GET", &format!("/keys/{}", key.id), None).json()["last_used"].clone();
        (!used.is_null()).then_some(used)
    });

    let certs = json!({"client_certs": ["0A".repeat(32)]});
    let bound = ask("PATCH", &format!("/keys/{}", key.id), Some(certs));
    assert_eq!(bound.json()["client_certs"], json!(["0a".repeat(32)]));
    assert_eq!(bound.json()["last_used"], used, "a change does not make it one that was never used");
    let changed = sidecar.vicar(&["key", "change", &key.id, "--expires", "30d", "--output", "json"]).succeeded().json();
    assert_eq!(changed["last_used"], used, "nor does one on the command line");
    eventually("without its certificate the key does not work", || (works(&key) == 401).then_some(()));
    ask("PATCH", &format!("/keys/{}", key.id), Some(json!({"client_certs": []}))).expect_status(200);
    eventually("bound to none, it works again", || (works(&key) == 200).then_some(()));

    let rotated = ask("POST", &format!("/keys/{}/rotate", key.id), Some(json!({"overlap": "0s"}))).json();
    let fresh = support::Key { secret: text(&rotated, "secret"), ..key.clone() };
    eventually("the new secret works and the old one does not", || (works(&fresh) == 200 && works(&key) == 401).then_some(()));

    ask("PATCH", "/accounts/app", Some(json!({"status": "disabled"}))).expect_status(200);
    eventually("the account's keys stop", || (works(&fresh) == 401).then_some(()));
    ask("POST", "/accounts/app/keys", Some(json!({"name": "more"}))).expect(409, "account-disabled");
    ask("PATCH", "/accounts/app", Some(json!({"status": "active"}))).expect_status(200);
    eventually("they go on", || (works(&fresh) == 200).then_some(()));
    ask("PATCH", &format!("/keys/{}", key.id), Some(json!({"status": "disabled"}))).expect_status(200);
    eventually("the key stops", || (works(&fresh) == 401).then_some(()));
    ask("DELETE", &format!("/keys/{}", key.id), None).expect_status(204);
    ask("GET", &format!("/keys/{}", key.id), None).expect(404, "not-found");
    ask("DELETE", "/accounts/app", None).expect_status(204);
    ask("GET", "/accounts/app", None).expect(404, "not-found");

    let key = format!("key:{}", key.id);
    let expected = [
        "account.create account:app zoe completed",
        "account.create account:app zoe refused",
        &format!("key.create {key} zoe completed"),
        &format!("key.rotate {key} zoe completed"),
        "account.disable account:app zoe completed",
        "account.enable account:app zoe completed",
        &format!("key.disable {key} zoe completed"),
        &format!("key.delete {key} zoe completed"),
        "account.delete account:app zoe completed",
    ];
    // Where the log is in Redis, the last of them is still on its way.
    for line in expected {
        eventually(&format!("a record {line:?}"), || changes(&sidecar).iter().any(|told| told == line).then_some(()));
    }
}

#[test]
fn what_was_not_permitted_is_recorded_too() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let auditor = token(&sidecar, "nosy", "auditor", &[]);
    ask(&sidecar, &auditor, "DELETE", "/accounts/app", None).expect(403, "not-permitted");
    eventually("the attempt is in the log", || {
        changes(&sidecar).iter().any(|told| told == "account.delete account:app nosy refused").then_some(())
    });
    ask(&sidecar, &auditor, "GET", "/accounts/app", None).expect_status(200);
}

#[test]
fn of_two_admins_who_change_the_same_thing_the_second_is_told() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let admin = token(&sidecar, "zoe", "super-admin", &[]);
    let change = |tag: &str, name: &str| {
        let call = with_token(Call::new("PATCH", "/api/v1/accounts/app"), &admin).header("If-Match", tag).json(&json!({"name": name}));
        call.send(sidecar.admin())
    };
    let tag = ask(&sidecar, &admin, "GET", "/accounts/app", None).header("etag").unwrap().to_owned();
    let answers = std::thread::scope(|scope| {
        let both: Vec<_> = ["First", "Second"].into_iter().map(|name| scope.spawn(|| change(&tag, name))).collect();
        both.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    answers.iter().find(|answer| answer.status == 412).unwrap().expect(412, "changed");
    change("*", "Third").expect_status(200);
    change("3", "x").expect(400, "invalid");
    let key = sidecar.app().id.clone();
    let old = ask(&sidecar, &admin, "GET", &format!("/keys/{key}"), None).header("etag").unwrap().to_owned();
    ask(&sidecar, &admin, "PATCH", &format!("/keys/{key}"), Some(json!({"name": "renamed"}))).expect_status(200);
    let late = with_token(Call::new("DELETE", &format!("/api/v1/keys/{key}")), &admin).header("If-Match", &old).send(sidecar.admin());
    late.expect(412, "changed");
    ask(&sidecar, &admin, "POST", "/accounts", Some(json!({"id": "app", "name": "Again"}))).expect_status(409);
    let of = |told: &str| changes(&sidecar).into_iter().filter(|change| change.starts_with(told)).collect::<Vec<_>>();
    for (told, once) in [(format!("key.delete key:{key} "), "zoe refused"), ("account.create account:app zoe ".to_owned(), "refused")] {
        let records = eventually("the attempt is in the log", || Some(of(&told)).filter(|records| !records.is_empty()));
        assert_eq!(records, [format!("{told}{once}")], "what can be seen to fail is not said to be done first");
    }
}

#[test]
fn an_account_or_key_too_many_is_refused_however_many_ask_at_once() {
    too_many(|builder| builder);
}

#[test]
fn one_too_many_is_refused_by_redis_too() {
    let redis = Redis::start();
    too_many(|builder| builder.redis(&redis.url()));
}

fn too_many(backend: impl FnOnce(support::sidecar::Builder) -> support::sidecar::Builder) {
    let upstream = Upstream::start();
    let sidecar = backend(Sidecar::behind(&upstream).set("limits", "{accounts: 3, keys_per_account: 4}").accounts(&["app"])).start();
    let admin = token(&sidecar, "zoe", "super-admin", &[]);
    let tries = |path: &str, body: fn(usize) -> Value| {
        let answers: Vec<u16> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|n| {
                    scope.spawn({
                        let (sidecar, admin) = (&sidecar, &admin);
                        move || ask(sidecar, admin, "POST", path, Some(body(n))).status
                    })
                })
                .collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        (answers.iter().filter(|status| **status == 201).count(), answers.iter().filter(|status| **status == 409).count())
    };
    assert_eq!(tries("/accounts", |n| json!({"id": format!("more-{n}"), "name": "More"})), (2, 6));
    assert_eq!(tries("/accounts/app/keys", |n| json!({"name": format!("key {n}")})), (3, 5));
}

#[test]
fn what_cannot_be_recorded_is_not_done() {
    let (upstream, mut redis) = (Upstream::start(), Redis::start());
    let stream = redis.url();
    let sidecar = Sidecar::behind(&upstream)
        .policy(POLICY)
        .set("audit", &format!("{{journal: {{path: audit, segment: 1MiB}}, stream: {{redis: \"{stream}\", backlog: 64KiB}}}}"))
        .accounts(&["app"])
        .start();
    let admin = token(&sidecar, "zoe", "super-admin", &[]);
    redis.kill();
    // Records wait for Redis until there may be no more of them.
    let full = eventually("the backlog is full", || {
        let answer = ask(&sidecar, &admin, "PATCH", "/accounts/app", Some(json!({"name": "x".repeat(70)})));
        if answer.status == 503 { Some(answer) } else { None }
    });
    full.expect(503, "audit-unavailable");
    ask(&sidecar, &admin, "POST", "/accounts", Some(json!({"id": "unseen", "name": "Unseen"}))).expect(503, "audit-unavailable");
    ask(&sidecar, &admin, "POST", "/accounts/app/keys", Some(json!({"name": "unseen"}))).expect(503, "audit-unavailable");
    ask(&sidecar, &admin, "GET", "/accounts/unseen", None).expect(404, "not-found");
    assert_eq!(ask(&sidecar, &admin, "GET", "/accounts/app", None).json()["keys"], 1);
    let ready = Call::get("/readyz").send(sidecar.admin());
    ready.expect_status(503);
    assert_eq!(ready.json()["status"], "audit-unavailable");
}

// ===== what is asked =====

#[test]
fn mistakes_in_a_request_are_told_in_plain_words() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let admin = token(&sidecar, "zoe", "super-admin", &[]);
    let told = |answer: Answer, words: &str| {
        answer.expect(400, "invalid");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{detail:?} does not say {words:?}");
    };
    let post = |path: &str, body: Value| ask(&sidecar, &admin, "POST", path, Some(body));
    told(post("/accounts", json!({"id": "A b", "name": "x"})), "account id");
    told(post("/accounts", json!({"id": "a", "name": " "})), "name");
    told(post("/accounts", json!({"id": "a", "name": "x", "shares": []})), "shares");
    told(post("/accounts", json!(["a", "x", null])), "object");
    told(post("/accounts/app/keys", json!({"name": "x", "expires": "soon"})), "expiry");
    told(post("/accounts/app/keys", json!({"name": "x", "expires": "2001-01-01"})), "past");
    told(post("/accounts/app/keys", json!({"name": "x", "from": ["10.0.0.0/99"]})), "network");
    told(post("/accounts/app/keys", json!({"name": "x", "client_certs": ["abc"]})), "SHA-256");
    let networks: Vec<_> = (0..65).map(|n| format!("10.0.{n}.0/24")).collect();
    told(post("/accounts/app/keys", json!({"name": "x", "from": networks})), "64 networks at most");
    let certificates: Vec<_> = (0..65).map(|n| format!("{n:064x}")).collect();
    let key = post("/accounts/app/keys", json!({"name": "many", "from": &networks[1..], "client_certs": &certificates[1..]}));
    key.expect_status(201);
    let change = |body: Value| ask(&sidecar, &admin, "PATCH", &format!("/keys/{}", key.json()["id"].as_str().unwrap()), Some(body));
    told(change(json!({"from": networks})), "64 networks at most");
    told(change(json!({"client_certs": certificates})), "64 client certificates at most");
    told(post("/explain", json!({"account": "app", "method": "GET /", "path": "/a"})), "method");
    told(post("/explain", json!({"account": "app", "method": "GET", "path": "/a", "subject": "a@b,c@d"})), "one user");
    told(post("/explain", json!({"account": "app", "method": "GET", "path": "/a", "subject": " "})), "user");
    let get = |path: &str| ask(&sidecar, &admin, "GET", path, None);
    told(get("/audit?decision=maybe"), "allow, deny");
    told(get("/audit?since=yesterday"), "time");
    told(get("/audit?limit=5000"), "1000");
    told(get("/audit?cursor=x"), "cursor");
    told(get("/audit?acount=app"), "acount");
    told(get("/accounts?limit=0"), "200");
    get("/nothing").expect(404, "not-found");
    get("/accounts/%41").expect(404, "not-found");
    ask(&sidecar, &admin, "PUT", "/accounts/app", None).expect(405, "method-not-allowed");
    with_token(Call::post("/api/v1/accounts"), &admin)
        .body("{\"id\":\"a\",\"name\":\"x\"}")
        .send(sidecar.admin())
        .expect(415, "unsupported-media-type");
    let long = with_token(Call::post("/api/v1/simulate"), &admin).json(&json!({"policy": "#".repeat(5 << 20)})).send(sidecar.admin());
    long.expect(413, "body-too-large");
}

#[test]
fn lists_come_in_pages_that_hold_everything_once() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).policy(POLICY).accounts(&["app", "b", "c", "d", "reporting"]).start();
    let admin = token(&sidecar, "zoe", "super-admin", &[]);
    let walk = |path: &str, id: &str| {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        for _ in 0..100 {
            let page = ask(&sidecar, &admin, "GET", &format!("{path}limit=2{cursor}"), None).json();
            let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
            assert!(items.len() <= 2);
            seen.extend(items.iter().map(|item| item[id].as_str().unwrap().to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return seen,
            }
        }
        panic!("the pages have no end");
    };
    assert_eq!(walk("/accounts?", "id"), ["app", "b", "c", "d", "reporting"]);
    let ids: Vec<String> =
        (0..7).map(|_| sidecar.send(&Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.key("reporting"))).request_id()).collect();
    for id in &ids {
        sidecar.record(id);
    }
    assert_eq!(walk("/audit?kind=access&order=oldest&", "request_id"), ids);
    let mut newest = walk("/audit?kind=access&", "request_id");
    newest.reverse();
    assert_eq!(newest, ids);
}

#[test]
fn a_page_goes_on_behind_what_is_no_longer_there() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).policy(POLICY).accounts(&["app", "b", "c", "reporting"]).start();
    let admin = token(&sidecar, "zoe", "super-admin", &[]);
    for _ in 0..3 {
        sidecar.new_key("b", &["--name", "more"]);
    }
    // All of a list, and what is last on each page is deleted before the next is asked for.
    let walk = |list: &str, thing: &str, all: usize| {
        let whole = ask(&sidecar, &admin, "GET", list, None).json();
        let whole: Vec<String> = whole["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(whole.len(), all);
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = ask(&sidecar, &admin, "GET", &format!("{list}?limit=1{cursor}"), None);
            page.expect_status(200);
            let page = page.json();
            let id = page["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{page}")).to_owned();
            ask(&sidecar, &admin, "DELETE", &format!("{thing}/{id}"), None).expect_status(204);
            seen.push(id);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, whole);
    };
    walk("/accounts/b/keys", "/keys", 4);
    sidecar.new_key("b", &["--name", "more"]);
    walk("/keys", "/keys", 4);
    walk("/accounts", "/accounts", 4);
    for (list, cursor) in [("/accounts", "A%20b"), ("/keys", "app"), ("/keys", "app_x_VKAAAAAAAAAAAAAAAAAAAA")] {
        ask(&sidecar, &admin, "GET", &format!("{list}?cursor={cursor}"), None).expect(400, "invalid");
    }
}

#[test]
fn pages_of_the_log_hold_everything_once_where_actions_overlap() {
    let redis = Redis::start();
    for stream in [false, true] {
        let upstream = Upstream::start();
        let sidecar = Sidecar::behind(&upstream).policy(POLICY).accounts(&["app", "reporting"]);
        let sidecar = if stream { sidecar.redis(&redis.url()) } else { sidecar }.start();
        let admin = token(&sidecar, "zoe", "super-admin", &[]);
        let call = Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.key("reporting"));
        // What began first ends last, again and again, with what operators do in between.
        for round in 0..4 {
            upstream.next(Reply::status(200).after(Duration::from_millis(150)));
            let (arrived, seen) = (upstream.arrived(), upstream.seen().len());
            std::thread::scope(|threads| {
                threads.spawn(|| assert_eq!(sidecar.send(&call).status, 200));
                eventually("it is under way", || (upstream.arrived() > arrived || upstream.seen().len() > seen).then_some(()));
                for _ in 0..3 {
                    sidecar.send(&call).expect_status(200);
                }
                sidecar.vicar(&["account", "create", &format!("made-{round}"), "--name", "x"]).succeeded();
            });
        }
        let page = |order: &str, limit: usize, cursor: &str| {
            let cursor = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
            let path = format!("/audit?order={order}&limit={limit}{cursor}");
            let asked = || Some(ask(&sidecar, &admin, "GET", &path, None)).filter(|answer| answer.status != 429);
            eventually("the page comes", asked).json()
        };
        let ids = |page: &Value| -> Vec<String> {
            page["items"]
                .as_array()
                .unwrap_or_else(|| panic!("{page}"))
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned())
                .collect()
        };
        let all = eventually("all is in the log", || {
            let page = page("oldest", 500, "");
            let count = |kind: &str| page["items"].as_array().unwrap().iter().filter(|item| item["kind"] == kind).count();
            // Accesses, and accounts, keys and the admin.
            (count("access") == 4 * 4 && count("admin") > 4 + 2 + 2).then(|| ids(&page))
        });
        let mut sorted = all.clone();
        sorted.sort();
        for order in ["oldest", "newest"] {
            for limit in [1, 2, 3, 5] {
                let (mut seen, mut cursor) = (Vec::new(), String::new());
                loop {
                    let page = page(order, limit, &cursor);
                    seen.extend(ids(&page));
                    assert!(seen.len() <= all.len(), "{order}, {limit} a page: {seen:?}");
                    match page["next_cursor"].as_str() {
                        Some(next) => next.clone_into(&mut cursor),
                        None => break,
                    }
                }
                if order == "oldest" {
                    assert_eq!(seen, all, "{limit} a page");
                }
                seen.sort();
                assert_eq!(seen, sorted, "{order}, {limit} a page");
            }
        }
    }
}

#[test]
fn records_of_the_api_are_those_of_the_log_to_the_byte() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let admin = token(&sidecar, "zoe", "auditor", &[]);
    let call = Call::get("/process/2/Ac1/Purchase_Order/myitems?q=1").with(sidecar.app()).on_behalf_of("zoe@acme.example");
    let id = sidecar.send(&call).request_id();
    let record = sidecar.record(&id);
    let found = ask(&sidecar, &admin, "GET", &format!("/audit?request_id={id}"), None);
    assert_eq!(found.json()["items"], json!([record]));
    let line = sidecar
        .vicar(&["audit", "query", "--output", "json"])
        .succeeded()
        .stdout
        .lines()
        .find(|line| line.contains(&id))
        .unwrap()
        .to_owned();
    assert!(found.text().contains(&line), "{}\n{line}", found.text());
}

#[test]
fn explain_and_simulate_say_what_another_policy_would_change() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let admin = token(&sidecar, "zoe", "auditor", &[]);
    let id = sidecar.send(&Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.key("reporting"))).request_id();
    sidecar.record(&id);
    let explained = ask(
        &sidecar,
        &admin,
        "POST",
        "/explain",
        Some(json!({"account": "reporting", "method": "GET", "path": "/dataset/2/Ac1/Salaries/list?x=1"})),
    )
    .json();
    assert_eq!((explained["decision"].as_str(), explained["reason"].as_str()), (Some("deny"), Some("denied-by-rule")));
    let question = json!({"as": "app", "on_behalf_of": "Zoe@acme.example", "method": "POST", "path": "/process/2/Ac1/Orders"});
    let explained = ask(&sidecar, &admin, "POST", "/explain", Some(question)).json();
    assert_eq!((explained["decision"].as_str(), explained["subject"].as_str()), (Some("allow"), Some("zoe@acme.example")), "{explained}");
    let simulated =
        ask(&sidecar, &admin, "POST", "/simulate", Some(json!({"policy": POLICY.replace("dataset:*", "dataset:Other")}))).json();
    assert_eq!((simulated["holds"].as_bool(), simulated["replayed"].as_u64()), (Some(true), Some(1)), "{simulated}");
    let change = &simulated["now_denied"][0];
    assert_eq!(
        (change["account"].as_str(), change["resource"].as_str(), change["count"].as_u64()),
        (Some("reporting"), Some("dataset:Vendors"), Some(1))
    );
    let wrong = ask(&sidecar, &admin, "POST", "/simulate", Some(json!({"policy": "version: 1\nservice_acounts: {}\n"}))).json();
    assert_eq!(wrong["holds"], false);
    assert!(wrong["diagnostics"][0]["message"].as_str().unwrap().contains("service_acounts"), "{wrong}");
    assert!(ask(&sidecar, &admin, "GET", "/policy", None).json()["source"] == POLICY, "nothing was put in force");
}

#[test]
fn explain_says_what_the_proxy_does_before_any_policy_is_asked() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let admin = token(&sidecar, "zoe", "auditor", &[]);
    let list = "/dataset/2/Ac1/Vendors/list";
    for (method, path, decision, reason) in [
        ("GET", list, "allow", "shared"),
        ("HEAD", list, "allow", "shared"),
        ("get", list, "deny", "endpoint-unknown"),
        ("GET", "/.vicar/whoami", "allow", "self-service"),
        ("HEAD", "/.vicar/whoami/?key=x", "allow", "self-service"),
        ("POST", "/.vicar/whoami", "deny", "endpoint-unknown"),
        ("POST", "/.vicar/rotate", "deny", "endpoint-unknown"),
        ("GET", "/.vicar/elsewhere", "deny", "endpoint-unknown"),
        ("TRACE", "/.vicar/whoami", "deny", "method-not-allowed"),
        ("CONNECT", list, "deny", "method-not-allowed"),
        ("GET", "/dataset/2/Ac1/../list", "deny", "ambiguous-request"),
        ("GET", "/dataset/2/Ac1/Vendors/list?api_key=x", "deny", "query-not-allowed"),
        ("GET", "/dataset/2/Ac1/Vendors/list?a#b", "deny", "ambiguous-request"),
    ] {
        let explained = ask(&sidecar, &admin, "POST", "/explain", Some(json!({"as": "reporting", "method": method, "path": path})));
        explained.expect_status(200);
        let explained = explained.json();
        assert_eq!((explained["decision"].as_str(), explained["reason"].as_str()), (Some(decision), Some(reason)), "{method} {path}");
        assert!(!explained["steps"].as_array().unwrap().is_empty(), "{explained}");
        if method == "CONNECT" {
            continue; // Its target has another form.
        }
        let answer = sidecar.send(&Call::new(method, path).with(sidecar.key("reporting")));
        assert_eq!(answer.status == 200, decision == "allow", "{method} {path}: {}", answer.status);
        if decision == "deny" {
            assert_eq!(answer.json()["code"], reason, "{method} {path}");
        }
    }
}

// ===== the description =====

#[test]
fn the_api_gives_what_its_description_says() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let admin = token(&sidecar, "zoe", "super-admin", &[]);
    sidecar.record(&sidecar.send(&Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.key("reporting"))).request_id());
    let described = Call::get("/api/v1/openapi.json").send(sidecar.admin()).json();
    assert_eq!(described["openapi"], "3.1.0");
    let bodies = [
        ("createAccount", json!({"id": "made", "name": "Made"})),
        ("changeAccount", json!({"name": "Renamed"})),
        ("createKey", json!({"name": "Made"})),
        ("changeKey", json!({"name": "Renamed"})),
        ("explain", json!({"account": "app", "method": "GET", "path": "/case/2/Ac1/Leads/fields"})),
        ("simulate", json!({"policy": POLICY})),
    ];
    let mut asked = 0;
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            asked += 1;
            let id = if path.contains("/keys/{id}") {
                sidecar.new_key("app", &["--name", "to be asked for"]).id
            } else if method == "delete" {
                "reporting".to_owned()
            } else {
                "app".to_owned()
            };
            let name = operation["operationId"].as_str().unwrap();
            let body = bodies.iter().find(|(of, _)| *of == name).map(|(_, body)| body.clone());
            let call = with_token(Call::new(&method.to_uppercase(), &path.replace("{id}", &id)), &admin);
            let call = body.as_ref().map_or(call.clone(), |body| call.json(body));
            let answer = call.send(sidecar.admin());
            let (status, expected) = operation["responses"].as_object().unwrap().iter().next().unwrap();
            assert_eq!(answer.status.to_string(), *status, "{name}: {}", answer.text());
            if !expected["headers"]["ETag"].is_null() {
                assert!(answer.header("etag").is_some(), "{name} has no ETag");
            }
            if answer.status != 204 {
                let schema = &expected["content"]["application/json"]["schema"];
                holds(&described, schema, &answer.json(), name);
            }
            // What it takes is what the description names, and what it needs is there.
            if let Some(body) = body {
                holds(&described, &operation["requestBody"]["content"]["application/json"]["schema"], &body, name);
            }
        }
    }
    assert_eq!(asked, 19, "an operation was added: has it a body above, and a row in the table of roles?");
    let problem = ask(&sidecar, &admin, "GET", "/accounts/nobody", None).json();
    holds(&described, &described["components"]["schemas"]["Problem"], &problem, "a problem");
}

/// Whether `value` is what `schema` describes: types, required fields, no field that is not named.
fn holds(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{at}: no {reference}"));
        return holds(document, target, value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = |choice: &Value| (choice["type"] == "null") == value.is_null();
        return holds(document, choices.iter().find(|choice| fits(choice)).unwrap_or_else(|| panic!("{at}: {value}")), value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match &schema["type"] {
        Value::String(one) => assert_eq!(one, kind, "{at}: {value}"),
        Value::Array(several) => assert!(several.iter().any(|one| one == kind), "{at}: {value} is none of {several:?}"),
        _ => {}
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    for field in schema["required"].as_array().filter(|_| value.is_object()).into_iter().flatten() {
        assert!(value.get(field.as_str().unwrap()).is_some(), "{at}: no {field} in {value}");
    }
    if let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object()) {
        for (name, field) in fields {
            if let Some(schema) = properties.get(name) {
                holds(document, schema, field, &format!("{at}.{name}"));
            }
        }
    }
    if let Some(items) = value.as_array() {
        for item in items {
            holds(document, &schema["items"], item, &format!("{at}[]"));
        }
    }
}
