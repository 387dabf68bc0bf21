//! One scene of the tour: a request goes out, and the answer, what the API saw and what the audit
//! log holds are printed and compared with what should have come.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::{net::TcpStream, time::timeout};

use super::{
    DemoError,
    commands::vicar,
    files::{Folder, KeyPair},
    terminal::{Ink, Terminal},
    workflow_api::WorkflowApi,
};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes.
const ANSWER_MAX: usize = 1 << 20;
/// How often something is tried that takes hold in a moment: a revocation, a record's end.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(25);

/// Where scenes are played, and what went otherwise than expected.
#[derive(Debug)]
pub(super) struct Stage<'d> {
    folder: &'d Folder,
    api: &'d WorkflowApi,
    vicar: SocketAddr,
    pub(super) terminal: Terminal,
    pub(super) surprises: Vec<String>,
    pub(super) allowed: usize,
    pub(super) refused: usize,
}

/// One request, and what should come of it.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    says: &'a str,
    method: &'a str,
    path: String,
    door: Door<'a>,
    headers: Vec<(&'a str, &'a str)>,
    body: Option<Value>,
    show: &'a [&'a str],
    whole_record: bool,
    takes_hold: bool,
    expected: Expected<'a>,
}

/// How a caller comes in.
#[derive(Debug, Clone, Copy)]
enum Door<'a> {
    /// Through Vicar, with nothing.
    Nobody,
    /// Through Vicar, key and secret as Basic credentials.
    Basic(&'a KeyPair),
    /// Through Vicar, key and secret in the two headers.
    Headers(&'a KeyPair),
    /// Through Vicar, this key with that one's secret.
    Mixed(&'a KeyPair, &'a KeyPair),
    /// Not through Vicar: a user's own session, at the API itself.
    Session { variable: &'a str, token: &'a str },
}

/// What should come of a scene.
#[derive(Debug, Clone, Copy)]
enum Expected<'a> {
    /// 200, and the API believes this one is acting.
    Reaches(&'a str),
    /// This status and code, for this reason in the record, and nothing reaches the API.
    Refused { status: u16, code: &'a str, reason: &'a str },
    /// The API itself refuses with this status.
    ApiRefuses(u16),
}

/// What came back.
#[derive(Debug)]
struct Came {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

// ===== writing a scene =====

impl<'a> Scene<'a> {
    fn new(method: &'a str, path: impl Into<String>) -> Self {
        Self {
            says: "",
            method,
            path: path.into(),
            door: Door::Nobody,
            headers: Vec::new(),
            body: None,
            show: &[],
            whole_record: false,
            takes_hold: false,
            expected: Expected::Reaches(""),
        }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub(super) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { body: Some(body), ..Self::new("POST", path) }
    }

    pub(super) fn says(self, says: &'a str) -> Self {
        Self { says, ..self }
    }

    pub(super) fn signed_in(self, key: &'a KeyPair) -> Self {
        Self { door: Door::Basic(key), ..self }
    }

    pub(super) fn signed_in_by_headers(self, key: &'a KeyPair) -> Self {
        Self { door: Door::Headers(key), ..self }
    }

    pub(super) fn with_secret_of(self, key: &'a KeyPair, other: &'a KeyPair) -> Self {
        Self { door: Door::Mixed(key, other), ..self }
    }

    pub(super) fn in_session(self, variable: &'a str, token: &'a str) -> Self {
        Self { door: Door::Session { variable, token }, ..self }
    }

    pub(super) fn on_behalf_of(self, user: &'a str) -> Self {
        self.header("X-Impersonate-User", user)
    }

    pub(super) fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Which fields of the answer are shown.
    pub(super) fn show(self, show: &'a [&'a str]) -> Self {
        Self { show, ..self }
    }

    pub(super) fn with_whole_record(self) -> Self {
        Self { whole_record: true, ..self }
    }

    /// What is expected takes a moment to take hold: tries again until it has.
    pub(super) fn takes_hold(self) -> Self {
        Self { takes_hold: true, ..self }
    }

    pub(super) fn reaches_the_api_as(self, who: &'a str) -> Self {
        Self { expected: Expected::Reaches(who), ..self }
    }

    pub(super) fn refused(self, status: u16, code: &'a str) -> Self {
        Self { expected: Expected::Refused { status, code, reason: code }, ..self }
    }

    /// Refused, where the record tells more than the caller hears.
    pub(super) fn refused_because(self, status: u16, code: &'a str, reason: &'a str) -> Self {
        Self { expected: Expected::Refused { status, code, reason }, ..self }
    }

    pub(super) fn refused_by_the_api(self, status: u16) -> Self {
        Self { expected: Expected::ApiRefuses(status), ..self }
    }

    fn direct(&self) -> bool {
        matches!(self.door, Door::Session { .. })
    }

    /// The request as a command to paste.
    fn curl(&self) -> String {
        let mut line = "curl".to_owned();
        match self.door {
            Door::Nobody => {}
            Door::Basic(key) => line.push_str(&format!(" -u \"${}\"", key.variable)),
            Door::Headers(key) => {
                line.push_str(&format!(" -H \"X-Access-Key-Id: ${{{0}%%:*}}\" -H \"X-Access-Key-Secret: ${{{0}#*:}}\"", key.variable))
            }
            Door::Mixed(key, other) => line.push_str(&format!(" -u \"${{{}%%:*}}:${{{}#*:}}\"", key.variable, other.variable)),
            Door::Session { variable, .. } => line.push_str(&format!(" -H \"Authorization: Bearer ${variable}\"")),
        }
        for (name, value) in &self.headers {
            line.push_str(&format!(" -H '{name}: {value}'"));
        }
        line.push_str(&format!(" \"${}{}\"", if self.direct() { "API" } else { "VICAR" }, self.path));
        if let Some(body) = &self.body {
            line.push_str(&format!(" --json '{}'", body.to_string().replace('\'', "'\\''")));
        }
        line
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, http::Error> {
        let basic = |id: &str, secret: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("{id}:{secret}")));
        let mut request = Request::builder().method(self.method).uri(&self.path).header("host", "vicar.demo");
        request = match self.door {
            Door::Nobody => request,
            Door::Basic(key) => request.header("authorization", basic(&key.id, &key.secret)),
            Door::Headers(key) => request.header("X-Access-Key-Id", &key.id).header("X-Access-Key-Secret", &key.secret),
            Door::Mixed(key, other) => request.header("authorization", basic(&key.id, &other.secret)),
            Door::Session { token, .. } => request.header("authorization", format!("Bearer {token}")),
        };
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        let body = match &self.body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        request.body(Full::new(body))
    }
}

// ===== playing it =====

impl<'d> Stage<'d> {
    pub(super) fn new(folder: &'d Folder, api: &'d WorkflowApi, vicar: SocketAddr) -> Self {
        Self { folder, api, vicar, terminal: Terminal::of_this_process(), surprises: Vec::new(), allowed: 0, refused: 0 }
    }

    pub(super) fn api(&self) -> &'d WorkflowApi {
        self.api
    }

    pub(super) fn folder(&self) -> &'d Folder {
        self.folder
    }

    pub(super) fn vicar(&self) -> SocketAddr {
        self.vicar
    }

    /// Runs a command of ours, and shows it.
    pub(super) async fn command(&self, words: &[&str]) -> Result<String, DemoError> {
        self.terminal.line("")?;
        self.terminal.command(&format!("vicar {}", words.join(" ")))?;
        vicar(self.folder, words).await
    }

    /// Asks the API itself, as a user at the product's front end does; nothing is printed.
    pub(super) async fn as_user(&mut self, email: &str, path: &str, body: Value) -> Result<Value, DemoError> {
        let token = self.api.sign_in(email).unwrap_or_default();
        let came = self.send(&Scene::post(path, body).in_session("", &token)).await?;
        if came.status != 200 {
            self.surprises.push(format!("{email} could not POST {path} at the API itself: {}", came.status));
        }
        Ok(came.body)
    }

    /// Plays a scene and gives the answer's body.
    pub(super) async fn play(&mut self, scene: Scene<'_>) -> Result<Value, DemoError> {
        let mut came = self.send(&scene).await?;
        let wanted = match scene.expected {
            Expected::Reaches(_) => 200,
            Expected::Refused { status, .. } | Expected::ApiRefuses(status) => status,
        };
        let mut tries = 0;
        while scene.takes_hold && came.status != wanted && tries < TRIES {
            tries += 1;
            tokio::time::sleep(PAUSE).await;
            came = self.send(&scene).await?;
        }
        self.terminal.line("")?;
        if !scene.says.is_empty() {
            self.terminal.paragraph(scene.says)?;
        }
        self.terminal.command(&scene.curl())?;
        let ink = if came.status < 400 { Ink::Green } else { Ink::Red };
        self.terminal.part("answer", ink, &format!("{} {}", came.status, short(&came.body, scene.show)))?;
        let mut problems = Vec::new();
        if came.status != wanted {
            problems.push(format!("status {} instead of {wanted}", came.status));
        }
        if !scene.direct() {
            self.look_behind(&scene, &came, &mut problems).await?;
        }
        for problem in problems {
            self.terminal.part("NOT SO", Ink::Red, &problem)?;
            self.surprises.push(format!("{} {}: {problem}", scene.method, scene.path));
        }
        match scene.expected {
            Expected::Reaches(_) => self.allowed += 1,
            Expected::Refused { .. } | Expected::ApiRefuses(_) => self.refused += 1,
        }
        Ok(came.body)
    }

    /// What the API and the audit log say about it.
    async fn look_behind(&self, scene: &Scene<'_>, came: &Came, problems: &mut Vec<String>) -> Result<(), DemoError> {
        let id = came.headers.get("x-request-id").and_then(|v| v.to_str().ok()).unwrap_or_default();
        if id.is_empty() {
            problems.push("the answer has no X-Request-Id".to_owned());
        }
        let seen = self.api.received(id);
        let saw = seen.as_ref().map_or("nothing", |seen| seen.acting.as_str());
        self.terminal.part("API saw", Ink::Plain, saw)?;
        let record = self.record(id).await?;
        let text = |field: &str| record.get(field).and_then(Value::as_str).unwrap_or_default();
        match scene.expected {
            Expected::Reaches(who) => {
                if saw != who {
                    problems.push(format!("the API saw {saw} instead of {who}"));
                }
                if let Some(leak) = seen.as_ref().and_then(|seen| leaked(&seen.headers)) {
                    problems.push(format!("the API received {leak}"));
                }
                if (text("decision"), text("outcome")) != ("allow", "completed") {
                    problems.push("the record does not say allowed and completed".to_owned());
                }
            }
            Expected::Refused { code, reason, .. } => {
                if seen.is_some() {
                    problems.push("it reached the API".to_owned());
                }
                let said = came.body.get("code").and_then(Value::as_str).unwrap_or_default();
                if said != code {
                    problems.push(format!("code {said:?} instead of {code:?}"));
                }
                if (text("reason"), text("outcome")) != (reason, "refused") {
                    problems.push(format!("the record does not say refused as {reason}"));
                }
            }
            Expected::ApiRefuses(_) => {}
        }
        let shown = if scene.whole_record { record.to_string() } else { short(&record, &RECORD_FIELDS) };
        self.terminal.part("audit", Ink::Dim, if record.is_null() { "no record" } else { &shown })
    }

    /// The closed record of a request; null when there is none. It is closed a moment after the answer's last byte.
    async fn record(&self, request_id: &str) -> Result<Value, DemoError> {
        let mut found = Value::Null;
        for _ in 0..TRIES {
            let log = vicar(self.folder, &["audit", "query", "--output", "json"]).await?;
            let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            found = records.into_iter().find(|r| r.get("request_id").and_then(Value::as_str) == Some(request_id)).unwrap_or_default();
            if found.get("outcome").is_some_and(|outcome| !outcome.is_null()) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(found)
    }

    async fn send(&self, scene: &Scene<'_>) -> Result<Came, DemoError> {
        let address = if scene.direct() { self.api.address() } else { self.vicar };
        let silent = |cause: String| DemoError::Silent(address, cause);
        let exchange = async {
            let stream = TcpStream::connect(address).await.map_err(|e| silent(e.to_string()))?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| silent(e.to_string()))?;
            let connection = tokio::spawn(connection);
            let request = scene.request().map_err(|e| silent(e.to_string()))?;
            let (head, body) = sender.send_request(request).await.map_err(|e| silent(e.to_string()))?.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|e| silent(e.to_string()))?.to_bytes();
            connection.abort();
            let body = std::str::from_utf8(&body).ok().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
            Ok(Came { status: head.status.as_u16(), headers: head.headers, body })
        };
        timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(silent("nothing came in time".to_owned())))
    }
}

// ===== reading what came =====

/// Fields of a record that tell its story.
const RECORD_FIELDS: [&str; 9] = ["account", "subject", "action", "resource", "decision", "reason", "share", "status", "outcome"];

/// The named fields of an object, as JSON; of a problem, its code and what it advises.
fn short(value: &Value, fields: &[&str]) -> String {
    let Some(object) = value.as_object() else { return value.to_string() };
    if let (Some(code), Some(detail)) = (object.get("code").and_then(Value::as_str), object.get("detail").and_then(Value::as_str)) {
        return format!("{code}: {detail}");
    }
    if fields.is_empty() {
        return value.to_string();
    }
    let picked = fields.iter().filter_map(|field| object.get_key_value(*field)).filter(|(_, value)| !value.is_null());
    let picked: Map<String, Value> = picked.map(|(field, value)| (field.clone(), value.clone())).collect();
    Value::Object(picked).to_string()
}

/// A credential or a second identity that got through to the API.
fn leaked(headers: &HeaderMap) -> Option<String> {
    headers.keys().map(http::HeaderName::as_str).find_map(|name| {
        let folded = name.replace('_', "-");
        let credential = folded.starts_with("x-access-key") || folded == "authorization" || folded == "x-impersonate-user";
        let doubled = folded == "x-forwarded-user" && headers.get_all("x-forwarded-user").iter().count() != 1;
        (credential || doubled).then(|| name.to_owned())
    })
}
