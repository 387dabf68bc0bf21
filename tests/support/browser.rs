//! A real browser: headless Chromium, driven through chromedriver by the W3C WebDriver protocol.

use std::{
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Call, PATIENCE, eventually, sidecar::free_port};

/// The name under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser of a test's own, with nothing remembered. Closed on drop.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// Profile and downloads.
    folder: TempDir,
}

/// What differs from a plain browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scripts {
    On,
    Off,
}

impl Browser {
    /// Opens one. Fails, saying what to install, where there is none.
    pub fn open(scripts: Scripts) -> Self {
        let chromium = which(&["chromium", "chromium-browser", "google-chrome"]);
        let driver = which(&["chromedriver"]);
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let driver = Command::new(driver)
            .arg(format!("--port={port}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver cannot be started");
        eventually("chromedriver answers", || TcpStream::connect(address).ok());
        let mut browser = Self { driver, address, session: String::new(), folder };
        let profile = format!("--user-data-dir={}", browser.folder.path().join("profile").display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            &profile,
        ];
        let scripts = if scripts == Scripts::On { 1 } else { 2 };
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            // A page that a press leads to may take a moment.
            "timeouts": {"implicit": u64::try_from(PATIENCE.as_millis()).unwrap()},
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {
                "binary": chromium,
                "args": arguments,
                "prefs": {
                    "profile.managed_default_content_settings.javascript": scripts,
                    "download.default_directory": browser.folder.path(),
                },
            },
        }}});
        let made = browser.command("POST", "/session", &wanted);
        browser.session = made["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {made}")).to_owned();
        browser
    }

    /// Goes to an address and waits until the page is there.
    pub fn go(&self, url: &str) {
        self.leave(|| {
            self.ask("POST", "/url", &json!({"url": url}));
        });
    }

    /// Presses an element that leads to another page, and waits until that is there.
    pub fn follow(&self, css: &str) {
        self.leave(|| self.press(css));
    }

    /// Does what replaces the page, and waits for the page that follows: a busy driver answers before it is there.
    fn leave(&self, act: impl FnOnce()) {
        let page = format!("/session/{}/element/{}/name", self.session, self.find(":root"));
        act();
        eventually("another page is there", || {
            let told = self.tell("GET", &page, &Value::Null);
            let gone = ["stale element reference", "no such element"].iter().any(|error| told["error"] == **error);
            (gone && self.run("return document.readyState") == "complete").then_some(())
        });
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.ask("GET", "/url", &Value::Null).as_str().unwrap().to_owned()
    }

    pub fn title(&self) -> String {
        self.ask("GET", "/title", &Value::Null).as_str().unwrap().to_owned()
    }

    /// The page as it stands.
    pub fn source(&self) -> String {
        self.ask("GET", "/source", &Value::Null).as_str().unwrap().to_owned()
    }

    /// The text that somebody sees in an element.
    pub fn text(&self, css: &str) -> String {
        self.element(css, "GET", "/text", &Value::Null).as_str().unwrap().replace('\n', " ")
    }

    /// Whether there is such an element.
    pub fn has(&self, css: &str) -> bool {
        !self.run(&format!("return document.querySelector({}) === null", json!(css))).as_bool().unwrap()
    }

    /// Presses an element of a page that stays.
    pub fn press(&self, css: &str) {
        self.element(css, "POST", "/click", &json!({}));
    }

    /// Types into a field that is emptied first.
    pub fn fill(&self, css: &str, text: &str) {
        self.element(css, "POST", "/clear", &json!({}));
        self.element(css, "POST", "/value", &json!({"text": text}));
    }

    /// Sends keys to wherever the focus is.
    pub fn keys(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| [json!({"type": "keyDown", "value": key.to_string()}), json!({"type": "keyUp", "value": key.to_string()})])
            .collect();
        self.ask("POST", "/actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]}));
    }

    /// Runs a script in the page, outside its security policy.
    pub fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The same for one that calls back.
    pub fn run_async(&self, script: &str) -> Value {
        self.ask("POST", "/execute/async", &json!({"script": script, "args": []}))
    }

    /// What the browser has complained of since it was last asked; not what it advises.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", &json!({"type": "browser"}));
        log.as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["level"] != "DEBUG")
            .map(|entry| format!("{}: {}", entry["level"], entry["message"]))
            .collect()
    }

    /// Shows pages as somebody who likes it `dark` or `light` sees them.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("POST", "/goog/cdp/execute", &json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}));
    }

    /// Makes the window so wide, as that of a telephone.
    pub fn width(&self, width: u32) {
        let params = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": true});
        self.ask("POST", "/goog/cdp/execute", &json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": params}));
    }

    /// Keeps a picture of the whole page.
    pub fn picture(&self, file: &Path) {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let shot = self.ask("POST", "/goog/cdp/execute", &json!({"cmd": "Page.captureScreenshot", "params": params}));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// Where downloads go.
    pub fn downloads(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn find(&self, css: &str) -> String {
        let found = self.ask("POST", "/element", &json!({"using": "css selector", "value": css}));
        found[ELEMENT].as_str().unwrap_or_else(|| panic!("no element {css}: {found}")).to_owned()
    }

    /// Asks something of the element that answers to `css` now. Between finding it and asking, a page or its script may
    /// put another in its place: then that one is meant.
    #[track_caller]
    fn element(&self, css: &str, method: &str, what: &str, body: &Value) -> Value {
        eventually("the element stays in its place", || {
            let path = format!("/session/{}/element/{}{what}", self.session, self.find(css));
            let value = self.tell(method, &path, body);
            (value["error"] != "stale element reference").then(|| self.done(method, &path, value))
        })
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let session = self.session.clone();
        self.command(method, &format!("/session/{session}{path}"), body)
    }

    #[track_caller]
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.done(method, path, self.tell(method, path, body))
    }

    /// What the driver says to a command, be it that it cannot.
    fn tell(&self, method: &str, path: &str, body: &Value) -> Value {
        let call = Call::new(method, path).header("Host", &self.address.to_string());
        let call = if body.is_null() { call } else { call.json(body) };
        call.send(self.address).json()["value"].take()
    }

    #[track_caller]
    fn done(&self, method: &str, path: &str, value: Value) -> Value {
        if let Some(error) = value["error"].as_str() {
            let at = if self.session.is_empty() || path.ends_with("/url") { String::new() } else { format!(" at {}", self.url()) };
            panic!("the browser cannot {method} {path}{at}: {error}: {}", value["message"].as_str().unwrap_or_default());
        }
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.command("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // The browser itself outlives its driver for a moment, and works in the folder that goes now.
        let profile = self.folder.path().join("profile");
        eventually("the browser is gone", || (!running_in(&profile)).then_some(()));
    }
}

/// Whether a browser still uses this profile; ends it.
fn running_in(profile: &Path) -> bool {
    let mark = format!("--user-data-dir={}", profile.display());
    let mut found = false;
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(line) = std::fs::read(process.path().join("cmdline")) else { continue };
        if String::from_utf8_lossy(&line).contains(&mark)
            && let Some(pid) = process.file_name().to_str().and_then(|pid| pid.parse().ok()).and_then(rustix::process::Pid::from_raw)
        {
            found = true;
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    found
}

#[track_caller]
fn which(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name))).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("there is no {}; tests/run installs Debian's packages chromium and chromium-driver", names[0]))
}
