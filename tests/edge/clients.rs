//! Clients as people have them, unmodified, through TLS to services as people have them: curl, Python, Node, gRPC, WebSocket.
//!
//! Each is told of the test's CA by its own ordinary option. What is not on this machine is left out and said so;
//! `tests/run` installs what Debian has.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    certificates::Authority,
    support::{Sidecar, Upstream},
};

const CATALOG: &str = r#"
version: 1
kinds: {thing: {title: Things}}
endpoints:
  - {request: "GET /things", resource: thing, action: list}
  - {request: "POST /things", resource: thing, action: create}
  - {request: "GET /socket", resource: thing, action: read}
  - {request: "POST /vicar.test.Echo/{method}", resource: "thing:{method}", action: submit, content_types: [application/grpc]}
"#;

/// A sidecar that speaks TLS as `localhost`, and the CA that says so in `ca.pem` of its folder.
fn sidecar(upstream: &str) -> Sidecar {
    let ca = Authority::new();
    let mut sidecar = Sidecar::behind_url("http://unset.test")
        .set("upstream", upstream)
        .catalog(CATALOG)
        .listener("tls: {certificate: tls.crt, key: tls.key}")
        .prepare();
    let own = ca.issue(&["localhost", "127.0.0.1"]);
    sidecar.write("tls.key", &own.key);
    sidecar.write("tls.crt", &own.certificate);
    sidecar.write("ca.pem", &ca.pem);
    sidecar.serve();
    sidecar
}

fn at(sidecar: &Sidecar, scheme: &str) -> String {
    format!("{scheme}://localhost:{}", sidecar.address().port())
}

/// A Python that has these modules. Debian's packages are for Debian's Python, which need not be the first one.
fn python(modules: &str) -> Option<String> {
    let chosen = std::env::var("VICAR_TEST_PYTHON").ok();
    let pythons = chosen.into_iter().chain(["/usr/bin/python3", "python3"].map(str::to_owned));
    pythons.into_iter().find(|python| {
        let tried = Command::new(python).args(["-c", &format!("import {modules}")]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    })
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Runs a client to its end; what it says is the failure. What the environment says of CAs and proxies is not for it.
#[track_caller]
fn ran(name: &str, command: &mut Command) -> String {
    for name in
        ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy"]
    {
        command.env_remove(name);
    }
    let out = command.stdin(Stdio::null()).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{name}: {}\n{said}{complained}", out.status);
    said.into_owned()
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edge/clients").join(name)
}

/// A service of another make, which prints its port; killed on drop.
struct Service {
    child: Child,
    port: u16,
}

impl Service {
    fn start(python: &str, name: &str) -> Self {
        let mut child = Command::new(python).arg(script(name)).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("{name} does not serve: {line:?}"));
        Self { child, port }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn http_clients_as_they_come_are_served_under_tls() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&format!("{{url: \"{}\"}}", upstream.url()));
    let (url, key, ca) = (at(&sidecar, "https"), sidecar.app(), sidecar.folder().join("ca.pem"));
    let (mut served, mut missing) = (Vec::new(), Vec::new());

    for version in ["--http1.1", "--http2"] {
        if !has("curl") {
            missing.push("curl".to_owned());
            break;
        }
        let curl = |words: &[&str]| {
            let mut command = Command::new("curl");
            command.args(["-sS", version, "--max-time", "20", "-w", " %{http_code} %{http_version}", "--cacert"]);
            ran(&format!("curl {version}"), command.arg(&ca).args(words))
        };
        let spoken = if version == "--http2" { "2" } else { "1.1" };
        let (pair, things) = (format!("{}:{}", key.id, key.secret), format!("{url}/things?page=1"));
        assert_eq!(curl(&["-u", &pair, &things]), format!("{{\"ok\":true}} 200 {spoken}"));
        let headers = [format!("X-Access-Key-Id: {}", key.id), format!("X-Access-Key-Secret: {}", key.secret)];
        assert_eq!(curl(&["-H", &headers[0], "-H", &headers[1], "--json", "{\"a\": 1}", &things]), format!("{{\"ok\":true}} 200 {spoken}"));
        assert_eq!(upstream.last().text(), "{\"a\": 1}");
        assert!(curl(&[&things]).ends_with(&format!(" 401 {spoken}")));
        served.push(format!("curl {version}"));
    }
    for (client, modules) in [("requests", "requests"), ("httpx", "httpx"), ("httpx over HTTP/2", "httpx, h2")] {
        match python(modules) {
            Some(python) => {
                let mut command = Command::new(python);
                let args = [client, &url, ca.to_str().unwrap(), &key.id, &key.secret];
                ran(client, command.arg(script("libraries.py")).args(args));
                served.push(format!("Python's {client}"));
            }
            None => missing.push(format!("Python's {client}")),
        }
    }
    if has("node") {
        let mut command = Command::new("node");
        command.env("NODE_EXTRA_CA_CERTS", &ca).arg(script("fetch.mjs")).args([&url, &key.id, &key.secret]);
        ran("Node's fetch", &mut command);
        served.push("Node's fetch".to_owned());
    } else {
        missing.push("Node's fetch".to_owned());
    }
    assert!(upstream.seen().iter().all(|seen| seen.header("x-forwarded-account") == Some("app") && seen.header("authorization").is_none()));
    println!(
        "served under TLS: {}; not on this machine: {}",
        served.join(", "),
        if missing.is_empty() { "none".to_owned() } else { missing.join(", ") }
    );
}

#[test]
fn a_grpc_client_and_server_as_they_come_find_each_other() {
    let Some(python) = python("grpc") else { return println!("no grpc for Python on this machine") };
    let service = Service::start(&python, "grpc_server.py");
    let sidecar = sidecar(&format!("{{url: \"http://127.0.0.1:{}\", http2: true}}", service.port));
    let key = sidecar.app();
    let target = format!("localhost:{}", sidecar.address().port());
    let mut command = Command::new(&python);
    command.arg(script("grpc_client.py")).arg(target);
    ran("gRPC", command.arg(sidecar.folder().join("ca.pem")).args([&key.id, &key.secret]));
    let records = sidecar.records();
    let of = |method: &str| records.iter().filter(|record| record["resource"] == format!("thing:{method}")).count();
    assert_eq!((of("Say"), of("Count"), of("Gather"), of("Echo")), (2, 1, 1, 1));
    println!("gRPC: unary, streams either way and both ways, statuses and trailers");
}

#[test]
fn a_websocket_client_and_server_as_they_come_find_each_other() {
    let Some(python) = python("websockets") else { return println!("no websockets for Python on this machine") };
    let service = Service::start(&python, "socket_server.py");
    let sidecar = sidecar(&format!("{{url: \"http://127.0.0.1:{}\"}}", service.port));
    let key = sidecar.app();
    let mut command = Command::new(&python);
    command.arg(script("socket_client.py")).arg(format!("{}/socket", at(&sidecar, "wss")));
    ran("WebSocket", command.arg(sidecar.folder().join("ca.pem")).args([&key.id, &key.secret]));
    let records = sidecar.records();
    let carried = records.iter().find(|record| record["status"] == 101).unwrap();
    assert_eq!(carried["outcome"], "completed", "{carried}");
    assert!(carried["bytes_in"].as_u64() > Some(1000) && carried["bytes_out"].as_u64() > Some(1000), "{carried}");
    println!("WebSocket: texts, bytes, a mebibyte, ping, the service's close code");
}
