//! The real `vicar` binary, serving from a folder of a test's own.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, Call, Upstream, eventually};

/// The program under test.
pub const VICAR: &str = env!("CARGO_BIN_EXE_vicar");

/// The catalog that ships with Vicar.
pub fn shipped_catalog() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/catalog/kissflow.yaml")
}

/// A policy under which the account `app` may do everything, for anybody at acme.example.
pub const OPEN_POLICY: &str = r#"version: 1
service_accounts:
  app:
    shares:
      - {resource: "*", actions: "*", impersonate: {users: ["*@acme.example"]}}
"#;

/// A key and its secret, as they were shown once.
#[derive(Debug, Clone)]
pub struct Key {
    pub account: String,
    pub id: String,
    pub secret: String,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A sidecar to be: says what differs from a plain one.
#[derive(Debug)]
pub struct Builder {
    sections: BTreeMap<String, String>,
    policy: String,
    catalog: Option<String>,
    accounts: Vec<String>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    listener: String,
}

/// A running sidecar; dropping it kills it and removes its folder.
#[derive(Debug)]
pub struct Sidecar {
    folder: TempDir,
    child: Option<Child>,
    keys: BTreeMap<String, Key>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    address: SocketAddr,
    admin: SocketAddr,
}

// ===== building one =====

impl Sidecar {
    /// In front of this upstream, on the keys file, with one account `app` that may do everything.
    pub fn behind(upstream: &Upstream) -> Builder {
        Self::behind_url(&upstream.url())
    }

    /// In front of whatever stands at `url`.
    pub fn behind_url(url: &str) -> Builder {
        let sections = [
            ("upstream", format!("{{url: \"{url}\"}}")),
            ("directory", "{file: keys.yaml}".to_owned()),
            ("impersonation", "{upstream_headers: {X-Forwarded-User: \"{user}\", X-Forwarded-Account: \"{account}\"}}".to_owned()),
            ("audit", "{journal: {path: audit, segment: 1MiB}}".to_owned()),
            ("log", "{format: json, level: info}".to_owned()),
        ];
        Builder {
            sections: sections.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            policy: OPEN_POLICY.to_owned(),
            catalog: None,
            accounts: vec!["app".to_owned()],
            environment: Vec::new(),
            arguments: Vec::new(),
            listener: String::new(),
        }
    }
}

impl Builder {
    /// Sets one top-level section of `vicar.yaml`: `.set("limits", "{body: 1KiB}")`.
    #[must_use]
    pub fn set(mut self, section: &str, value: &str) -> Self {
        self.sections.insert(section.to_owned(), value.to_owned());
        self
    }

    #[must_use]
    pub fn policy(mut self, text: &str) -> Self {
        text.clone_into(&mut self.policy);
        self
    }

    /// Takes this catalog instead of the shipped one.
    #[must_use]
    pub fn catalog(mut self, text: &str) -> Self {
        self.catalog = Some(text.to_owned());
        self
    }

    /// Makes these accounts, each with one key, instead of `app`.
    #[must_use]
    pub fn accounts(mut self, ids: &[&str]) -> Self {
        self.accounts = ids.iter().map(|&id| id.to_owned()).collect();
        self
    }

    /// Keeps accounts, keys and the audit stream in Redis.
    #[must_use]
    pub fn redis(self, url: &str) -> Self {
        self.set("directory", &format!("{{redis: \"{url}\"}}"))
            .set("audit", &format!("{{journal: {{path: audit, segment: 1MiB}}, stream: {{redis: \"{url}\"}}}}"))
    }

    /// Sets an environment variable of the sidecar and of its commands.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets more about the one listener: `.listener("tls: {certificate: tls.crt, key: tls.key}")`.
    #[must_use]
    pub fn listener(mut self, more: &str) -> Self {
        self.listener = format!(", {more}");
        self
    }

    /// Adds a word to `vicar serve`.
    #[must_use]
    pub fn argument(mut self, word: &str) -> Self {
        self.arguments.push(word.to_owned());
        self
    }

    /// Writes the folder and makes the accounts, without serving yet.
    pub fn prepare(self) -> Sidecar {
        let folder = tempfile::Builder::new().prefix("vicar-test-").tempdir().unwrap();
        let (address, admin) = (loopback(free_port()), loopback(free_port()));
        let mut sections = self.sections;
        let mut fill = |name: &str, value: String| {
            sections.entry(name.to_owned()).or_insert(value);
        };
        fill("listen", format!("[{{address: \"{address}\"{}}}]", self.listener));
        fill("admin", format!("{{address: \"{admin}\"}}"));
        fill("policy", "policy.yaml".to_owned());
        fill("catalog", "[catalog.yaml]".to_owned());
        let settings: String = sections.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        fs::write(folder.path().join("vicar.yaml"), format!("version: 1\n{settings}")).unwrap();
        fs::write(folder.path().join("policy.yaml"), &self.policy).unwrap();
        let catalog = self.catalog.unwrap_or_else(|| fs::read_to_string(shipped_catalog()).unwrap());
        fs::write(folder.path().join("catalog.yaml"), catalog).unwrap();
        let mut sidecar = Sidecar {
            folder,
            child: None,
            keys: BTreeMap::new(),
            environment: self.environment,
            arguments: self.arguments,
            address,
            admin,
        };
        for id in self.accounts {
            sidecar.vicar(&["account", "create", &id, "--name", &id]).succeeded();
            let key = sidecar.new_key(&id, &["--name", "test"]);
            sidecar.keys.insert(id, key);
        }
        sidecar
    }

    /// Writes the folder, makes the accounts, serves, and waits until it is ready.
    pub fn start(self) -> Sidecar {
        let mut sidecar = self.prepare();
        sidecar.serve();
        sidecar
    }
}

// ===== a running one =====

impl Sidecar {
    /// Where integrations connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where health, metrics and the admin API are.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the sidecar is not running").id()
    }

    /// The key that was made for `account`.
    #[track_caller]
    pub fn key(&self, account: &str) -> &Key {
        self.keys.get(account).unwrap_or_else(|| panic!("no account {account} was asked for"))
    }

    /// The key of the account `app`.
    #[track_caller]
    pub fn app(&self) -> &Key {
        self.key("app")
    }

    /// Makes a further key through the command line; `options` are those of `key create`.
    pub fn new_key(&self, account: &str, options: &[&str]) -> Key {
        let made = self.vicar(&[&["key", "create", account, "--output", "json"], options].concat()).succeeded().json();
        let text = |field: &str| made[field].as_str().unwrap_or_else(|| panic!("no {field} in {made}")).to_owned();
        Key { account: text("account"), id: text("id"), secret: text("secret") }
    }

    /// Sends a call to the data port.
    pub fn send(&self, call: &Call) -> Answer {
        call.send(self.address)
    }

    /// Runs a `vicar` command on this sidecar's settings.
    pub fn vicar(&self, words: &[&str]) -> Ran {
        run(self.folder.path(), &self.environment, &[&["--config", "vicar.yaml"], words].concat())
    }

    /// All audit records so far, oldest first.
    pub fn records(&self) -> Vec<Value> {
        let out = self.vicar(&["audit", "query", "--output", "json"]).succeeded().stdout;
        out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("not a record ({e}): {line}"))).collect()
    }

    /// The closed record of one request, waited for.
    pub fn record(&self, request_id: &str) -> Value {
        eventually(&format!("a closed record of {request_id}"), || {
            self.records().into_iter().find(|r| r["request_id"] == request_id && !r["outcome"].is_null())
        })
    }

    /// Replaces the policy file, by rename, as editors and deployments do.
    pub fn write_policy(&self, text: &str) {
        self.write("policy.yaml", text);
    }

    /// Replaces a file of the folder, by rename.
    pub fn write(&self, name: &str, text: &str) {
        let new = self.folder.path().join(format!(".{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.path().join(name)).unwrap();
    }

    /// All that it has written to standard output and error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("serve.log")).unwrap_or_default()
    }

    /// Serves (again), and waits until it is ready.
    pub fn serve(&mut self) {
        self.launch();
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        let ready = Call::get("/readyz");
        eventually("the sidecar is ready", || {
            if let Some(ended) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("vicar serve ended with {ended}:\n{}", self.log());
            }
            TcpStream::connect(self.admin).ok()?;
            (ready.send(self.admin).status == 200).then_some(())
        });
    }

    /// Starts `vicar serve` without waiting for anything.
    pub fn launch(&mut self) {
        self.launch_as(Command::new(VICAR));
    }

    /// Starts `vicar serve` by way of `program`, which gets its words, and waits until it is ready.
    pub fn serve_as(&mut self, program: Command) {
        self.launch_as(program);
        self.wait_until_ready();
    }

    fn launch_as(&mut self, program: Command) {
        self.kill();
        let log = File::options().create(true).append(true).open(self.folder.path().join("serve.log")).unwrap();
        let child = steered(program, self.folder.path(), &self.environment)
            .args(["--config", "vicar.yaml", "serve"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Another sidecar with the same settings, keys and data address, in a folder and with an admin address of its own;
    /// not yet serving.
    pub fn twin(&self) -> Self {
        let folder = tempfile::Builder::new().prefix("vicar-test-").tempdir().unwrap();
        for name in ["vicar.yaml", "policy.yaml", "catalog.yaml", "keys.yaml"] {
            if let Ok(text) = fs::read_to_string(self.folder.path().join(name)) {
                let admin = loopback(free_port());
                fs::write(folder.path().join(name), text.replace(&self.admin.to_string(), &admin.to_string())).unwrap();
            }
        }
        let settings = fs::read_to_string(folder.path().join("vicar.yaml")).unwrap();
        let (_, after) = settings.split_once("admin: {address: \"").expect("an admin address");
        let admin = after.split('"').next().unwrap().parse().unwrap();
        Self {
            folder,
            child: None,
            keys: self.keys.clone(),
            environment: self.environment.clone(),
            arguments: self.arguments.clone(),
            address: self.address,
            admin,
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for it to end by itself, and gives its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("the sidecar is not running");
        let ended = eventually("the sidecar ends", || child.try_wait().unwrap());
        ended.code()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- the sidecar's last lines ---");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        } else {
            self.has_told_no_secret();
        }
    }
}

impl Sidecar {
    /// Looks through all that it has logged and recorded: whatever a test did, no key's secret and no admin's token is there.
    fn has_told_no_secret(&self) {
        let mut told = vec![self.folder.path().join("serve.log")];
        let mut folders = vec![self.folder.path().join("audit")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { told.push(entry.path()) }
            }
        }
        for file in told {
            let bytes = fs::read(&file).unwrap_or_default();
            if let Some(found) = vicar::identity::scan(&bytes).next() {
                panic!("{} has an {} at byte {}", file.display(), found.kind.as_str(), found.offset);
            }
        }
    }
}

// ===== commands =====

/// Runs `vicar` in `folder`, with nothing of the caller's environment that could steer it.
pub fn run(folder: &Path, environment: &[(String, String)], words: &[&str]) -> Ran {
    let out = command(folder, environment).args(words).stdin(Stdio::null()).output().unwrap();
    Ran {
        code: out.status.code(),
        stdout: String::from_utf8(out.stdout).expect("output is UTF-8"),
        stderr: String::from_utf8(out.stderr).expect("output is UTF-8"),
    }
}

fn command(folder: &Path, environment: &[(String, String)]) -> Command {
    steered(Command::new(VICAR), folder, environment)
}

fn steered(mut command: Command, folder: &Path, environment: &[(String, String)]) -> Command {
    command.current_dir(folder).env_remove("VICAR_CONFIG").env_remove("RUST_LOG").envs(environment.iter().map(|(n, v)| (n, v)));
    command
}

impl Ran {
    /// Fails unless it exited 0; shows what it said.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless it exited with `code`; shows what it said.
    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.stdout))
    }
}

// ===== ports =====

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port that nobody listens on. It lies below the range that the system hands out for outgoing
/// connections, so that none of those takes it before the test does; where to begin depends on the
/// process, so that tests in parallel do not try the same ones.
pub fn free_port() -> u16 {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(2_654_435_761);
    eventually("a free port", || {
        let step = TRIED.fetch_add(1, Ordering::SeqCst);
        let port = 10_240 + u16::try_from(begin.wrapping_add(step.wrapping_mul(7919)) % 21_000).unwrap();
        TcpListener::bind(loopback(port)).is_ok().then_some(port)
    })
}
