//! Real HTTP servers of different make, each writing down what it believes it was asked.

#![allow(unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::support::{Seen, eventually, sidecar::free_port};

/// One request, as the server read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    pub method: String,
    pub target: String,
    pub request_id: String,
    /// Every value that the server takes for the account, whatever the header was called.
    pub accounts: Vec<String>,
    /// The same for the user.
    pub users: Vec<String>,
}

/// A running server; killed on drop.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    port: u16,
    child: Child,
}

/// Answers everything with 200 and writes one line of JSON a request. Reads chunks, as HTTP/1.1 asks; else all is the
/// standard library's.
const PYTHON: &str = r#"
import http.server, json, sys, threading
log = open(sys.argv[2], "a", buffering=1)
lock = threading.Lock()
def fold(name): return name.lower().replace("_", "-")
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def take(self):
        body = self.rfile
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            while True:
                size = int(body.readline().split(b";")[0].strip(), 16)
                if size == 0:
                    while body.readline().strip(): pass
                    break
                body.read(size); body.readline()
        else:
            body.read(int(self.headers.get("content-length", 0)))
        named = lambda want: [v for n, v in self.headers.items() if fold(n) == want]
        with lock:
            log.write(json.dumps({"method": self.command, "target": self.path, "id": named("x-request-id"), "accounts": named("x-forwarded-account"), "users": named("x-forwarded-user")}) + "\n")
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers()
        if self.command != "HEAD": self.wfile.write(b"ok")
    def __getattr__(self, name):
        if name.startswith("do_"): return self.take
        raise AttributeError(name)
    def log_message(self, *a): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

/// With the lenient parser, which is what an operator turns on for old clients.
const NODE: &str = r#"
const http = require("http"), fs = require("fs");
const log = fs.openSync(process.argv[3], "a");
const fold = name => name.toLowerCase().replace(/_/g, "-");
http.createServer({insecureHTTPParser: true}, (req, res) => {
  const named = want => { const all = []; for (let i = 0; i < req.rawHeaders.length; i += 2) if (fold(req.rawHeaders[i]) === want) all.push(req.rawHeaders[i + 1]); return all; };
  fs.writeSync(log, JSON.stringify({method: req.method, target: req.url, id: named("x-request-id"), accounts: named("x-forwarded-account"), users: named("x-forwarded-user")}) + "\n");
  req.resume().on("end", () => res.end("ok")).on("error", () => res.destroy());
}).listen(+process.argv[2], "127.0.0.1", 128);
"#;

impl Server {
    pub const MAKES: [&str; 3] = ["nginx", "python3", "node"];

    /// Starts one; `None` when this machine has no such program.
    pub fn start(make: &str) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("vicar-server-").tempdir().unwrap();
        let (port, log) = (free_port(), folder.path().join("seen.jsonl"));
        fs::write(&log, "").unwrap();
        let mut command = Command::new(make);
        command.current_dir(folder.path());
        match make {
            "nginx" => {
                fs::write(folder.path().join("nginx.conf"), nginx(port, folder.path())).unwrap();
                command.arg("-p").arg(folder.path()).args(["-e", "error.log", "-c"]).arg(folder.path().join("nginx.conf"));
            }
            "python3" => {
                command.args(["-c", PYTHON, &port.to_string()]).arg(&log);
            }
            _ => {
                fs::write(folder.path().join("server.js"), NODE).unwrap();
                command.arg("server.js").arg(port.to_string()).arg(&log);
            }
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let server = Self { folder, port, child };
        eventually(&format!("{make} answers"), || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(server)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All requests that it has seen so far.
    pub fn arrived(&self) -> Vec<Arrived> {
        let text = fs::read_to_string(self.folder.path().join("seen.jsonl")).unwrap();
        text.lines().filter(|line| line.ends_with('}')).map(|line| Arrived::read(&serde_json::from_str(line).unwrap())).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As lenient as it gets: underscores pass, and a header that it finds wrong is no reason to refuse.
fn nginx(port: u16, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  log_format seen escape=json '{{"method": "$request_method", "target": "$request_uri", "id": ["$http_x_request_id"], "accounts": ["$http_x_forwarded_account"], "users": ["$http_x_forwarded_user"]}}';
  access_log {folder}/seen.jsonl seen;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  underscores_in_headers on; ignore_invalid_headers off; keepalive_requests 100000;
  server {{ listen 127.0.0.1:{port}; location / {{ client_max_body_size 0; return 200 "ok"; }} }}
}}
"#
    )
}

impl Arrived {
    /// What the recording upstream saw.
    pub fn of(seen: &Seen) -> Self {
        let named = |want: &str| -> Vec<String> {
            seen.headers
                .iter()
                .filter(|(name, _)| name.to_ascii_lowercase().replace('_', "-") == want)
                .map(|(_, value)| value.clone())
                .collect()
        };
        Self {
            method: seen.method.clone(),
            target: seen.target.clone(),
            request_id: named("x-request-id").concat(),
            accounts: named("x-forwarded-account"),
            users: named("x-forwarded-user"),
        }
    }

    fn read(line: &Value) -> Self {
        let texts = |name: &str| -> Vec<String> {
            // nginx joins what it has several times, and writes nothing for what it has not.
            let all = line[name].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned());
            all.filter(|text| !text.is_empty()).collect()
        };
        Self {
            method: line["method"].as_str().unwrap().to_owned(),
            target: line["target"].as_str().unwrap().to_owned(),
            request_id: texts("id").concat(),
            accounts: texts("accounts"),
            users: texts("users"),
        }
    }
}
