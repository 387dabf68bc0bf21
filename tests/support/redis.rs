//! A Redis of a test's own.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{eventually, sidecar::free_port};

/// A `redis-server` on a free loopback port, with its files in a folder of its own. Killed on drop.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    options: Vec<String>,
    folder: TempDir,
    child: Option<Child>,
}

impl Redis {
    /// Starts one that keeps every write (append-only file, synced always).
    pub fn start() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts one with these options.
    pub fn with(options: &[&str]) -> Self {
        let mut redis =
            Self { port: 0, options: options.iter().map(|&o| o.to_owned()).collect(), folder: tempfile::tempdir().unwrap(), child: None };
        redis.port = free_port();
        redis.launch();
        redis
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("Redis is down").id()
    }

    /// SIGKILL: nothing is saved that was not on disk.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again, on the same port and files.
    pub fn launch(&mut self) {
        self.kill();
        let child = Command::new(server())
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server cannot be started; tests/run installs it");
        self.child = Some(child);
        eventually("Redis answers", || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "the server ended at once: has it been built with what {:?} need?", self.options);
            self.try_command(&["PING"]).filter(|answer| answer.contains("PONG") || answer.contains("NOAUTH"))
        });
    }

    /// Stops it in place (SIGSTOP), as a hung server is.
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// Sends a command and gives the reply as it came, in RESP.
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words).expect("Redis is not there")
    }

    /// How often a command was called, by anybody, scripts included.
    pub fn calls(&self, command: &str) -> u64 {
        let stats = self.command(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn try_command(&self, words: &[&str]) -> Option<String> {
        ask(self.port, words)
    }

    /// The value of an option it was started with.
    pub fn option(&self, name: &str) -> &str {
        let at = self.options.iter().position(|option| option == name).unwrap_or_else(|| panic!("it was not started with {name}"));
        &self.options[at + 1]
    }
}

/// The program that stands in for Redis: `redis-server`, or what `VICAR_TEST_REDIS` names, such as a `valkey-server`.
pub fn server() -> std::ffi::OsString {
    std::env::var_os("VICAR_TEST_REDIS").unwrap_or_else(|| "redis-server".into())
}

/// Sends a command to whoever speaks RESP on a port, and gives the reply as it came.
pub fn ask(port: u16, words: &[&str]) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).ok()?;
    let mut ask = format!("*{}\r\n", words.len());
    for word in words {
        ask.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    // QUIT makes the server close, so that the reply can be read to its end. A sentinel does not know it.
    ask.push_str("*1\r\n$4\r\nQUIT\r\n");
    stream.set_read_timeout(Some(super::PATIENCE)).ok()?;
    stream.write_all(ask.as_bytes()).ok()?;
    let mut reply = Vec::new();
    let mut piece = [0u8; 4096];
    loop {
        match stream.read(&mut piece).ok()? {
            0 => break,
            read => reply.extend_from_slice(&piece[..read]),
        }
        if let Some(unknown) = reply.windows(20).position(|w| w == b"-ERR unknown command") {
            reply.truncate(unknown);
            break;
        }
    }
    let reply = String::from_utf8(reply).ok()?;
    Some(reply.strip_suffix("+OK\r\n").unwrap_or(&reply).to_owned())
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
