//! OCSF 1.3, class API Activity (6003): <https://schema.ocsf.io/1.3.0/classes/api_activity>.
//!
//! The service account is the application that acted (`actor.app_uid`), the subject the user it acted for
//! (`actor.user`); without a subject the account is that user itself. What OCSF has no place for stands in `unmapped`.
//! The version is one that SIEMs take by now; what later ones added to the class (a type of user for services, methods
//! such as PATCH, the answer's length) is written as this one has it.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::audit::record::{Decision, Kind, Outcome, Record};

const VERSION: &str = "1.3.0";
/// The methods that this version knows.
const METHODS: [&str; 8] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE"];

pub(super) fn event(out: &mut Vec<u8>, record: &Record) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(&mut *out, &Event::of(record));
    out.push(b'\n');
}

#[derive(Serialize)]
struct Event<'r> {
    category_uid: u32,
    category_name: &'static str,
    class_uid: u32,
    class_name: &'static str,
    type_uid: u32,
    #[serde(serialize_with = "displayed")]
    type_name: TypeName<'r>,
    activity_id: u32,
    activity_name: &'r str,
    /// Milliseconds since 1970.
    time: i64,
    severity_id: u32,
    severity: &'static str,
    status_id: u32,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_detail: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'r str>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
    metadata: Metadata<'r>,
    actor: Actor<'r>,
    api: Api<'r>,
    src_endpoint: Endpoint<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<[Resource<'r>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_request: Option<HttpRequest<'r>>,
    unmapped: Unmapped<'r>,
}

struct TypeName<'r>(&'r str);

impl fmt::Display for TypeName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "API Activity: {}", self.0)
    }
}

fn displayed<S: Serializer>(value: &TypeName<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[derive(Serialize)]
struct Metadata<'r> {
    version: &'static str,
    product: Product,
    uid: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_uid: Option<&'r str>,
    log_name: &'static str,
    log_provider: &'r str,
    sequence: u64,
    original_time: String,
}

#[derive(Serialize)]
struct Product {
    name: &'static str,
    vendor_name: &'static str,
    version: &'static str,
}

#[derive(Serialize, Default)]
struct Actor<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    app_uid: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_name: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User<'r>>,
}

#[derive(Serialize)]
struct User<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_addr: Option<&'r str>,
    type_id: u32,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_uid: Option<&'r str>,
}

#[derive(Serialize)]
struct Api<'r> {
    operation: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Uid<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response<'r>>,
}

#[derive(Serialize)]
struct Uid<'r> {
    uid: &'r str,
}

#[derive(Serialize)]
struct Response<'r> {
    code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'r str>,
}

#[derive(Serialize)]
struct Endpoint<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'r str>,
}

#[derive(Serialize)]
struct Resource<'r> {
    uid: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'r str>,
    r#type: &'r str,
}

#[derive(Serialize)]
struct HttpRequest<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    http_method: Option<&'r str>,
    url: Url<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'r str>,
}

#[derive(Serialize)]
struct Url<'r> {
    path: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_string: Option<&'r str>,
}

#[derive(Serialize)]
struct Unmapped<'r> {
    kind: Kind,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'r str>,
    stale: bool,
    bytes_in: u64,
    bytes_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'r str>,
    prev: &'r str,
    hash: &'r str,
}

/// What OCSF calls the activity.
#[derive(Debug, Clone, Copy)]
enum Activity {
    Create = 1,
    Read = 2,
    Update = 3,
    Delete = 4,
    Other = 99,
}

impl<'r> Event<'r> {
    fn of(record: &'r Record) -> Self {
        let activity = activity(record);
        let operation = operation(record);
        let activity_name = match activity {
            Activity::Create => "Create",
            Activity::Read => "Read",
            Activity::Update => "Update",
            Activity::Delete => "Delete",
            Activity::Other => operation,
        };
        let failed = match record.outcome {
            Outcome::Refused | Outcome::UpstreamError => true,
            Outcome::Completed | Outcome::Interrupted => record.status.is_some_and(|status| status >= 400),
        };
        let (status_id, status) = match (record.outcome, failed) {
            (Outcome::Interrupted, _) => (99, "Interrupted"),
            (_, true) => (2, "Failure"),
            (_, false) => (1, "Success"),
        };
        let (severity_id, severity) = match record.decision {
            Some(Decision::Deny) => (2, "Low"),
            Some(Decision::Allow) | None => (1, "Informational"),
        };
        let detail = record.detail.as_deref();
        Self {
            category_uid: 6,
            category_name: "Application Activity",
            class_uid: 6003,
            class_name: "API Activity",
            type_uid: 600_300 + activity as u32,
            type_name: TypeName(activity_name),
            activity_id: activity as u32,
            activity_name,
            time: record.time.as_millisecond(),
            severity_id,
            severity,
            status_id,
            status,
            status_code: record.status.map(|status| status.to_string()),
            status_detail: record.reason.as_deref().or(detail),
            message: detail,
            duration: record.total_us.map(|us| us / 1000),
            metadata: Metadata {
                version: VERSION,
                product: Product { name: "Vicar", vendor_name: "Vicar", version: env!("CARGO_PKG_VERSION") },
                uid: &record.id,
                correlation_uid: record.request_id.as_deref(),
                log_name: "audit",
                log_provider: &record.sidecar,
                sequence: record.seq,
                original_time: format!("{:.3}", record.time),
            },
            actor: actor(record),
            api: Api {
                operation,
                request: record.request_id.as_deref().map(|uid| Uid { uid }),
                response: record
                    .status
                    .map(|code| Response { code, error: record.reason.as_deref().filter(|_| record.decision == Some(Decision::Deny)) }),
            },
            src_endpoint: Endpoint { ip: record.client.as_deref(), name: record.client.is_none().then_some(&record.sidecar) },
            resources: record.resource.as_deref().map(|uid| match uid.split_once(':') {
                Some((kind, id)) => [Resource { uid, name: Some(id), r#type: kind }],
                None => [Resource { uid, name: None, r#type: uid }],
            }),
            http_request: record.method.as_deref().map(|method| HttpRequest {
                http_method: known(method),
                url: Url { path: record.path.as_deref().unwrap_or_default(), query_string: record.query.as_deref() },
                user_agent: record.user_agent.as_deref(),
                uid: record.request_id.as_deref(),
            }),
            unmapped: Unmapped {
                kind: record.kind,
                outcome: record.outcome,
                decision: record.decision,
                method: record.method.as_deref().filter(|method| known(method).is_none()),
                share: record.share.as_deref(),
                policy: record.policy.as_deref(),
                stale: record.stale,
                bytes_in: record.bytes_in,
                bytes_out: record.bytes_out,
                upstream_us: record.upstream_us,
                total_us: record.total_us,
                trace_id: record.trace_id.as_deref(),
                prev: &record.prev,
                hash: &record.hash,
            },
        }
    }
}

fn known(method: &str) -> Option<&str> {
    METHODS.contains(&method).then_some(method)
}

/// The catalog's action, else the method, else what it is about.
fn operation(record: &Record) -> &str {
    let asked = record.action.as_deref().or(record.method.as_deref());
    asked.unwrap_or(record.kind.as_str())
}

fn activity(record: &Record) -> Activity {
    // An admin's verb is `account.create`; the catalog's actions are the words themselves.
    let action = record.action.as_deref().unwrap_or_default();
    match action.rsplit('.').next().unwrap_or_default() {
        "create" | "add" => return Activity::Create,
        "read" | "list" | "show" | "export" => return Activity::Read,
        "update" | "submit" | "approve" | "reject" | "change" | "rename" | "enable" | "disable" | "rotate" => return Activity::Update,
        "delete" | "revoke" => return Activity::Delete,
        _ => {}
    }
    match (record.kind, record.method.as_deref()) {
        (Kind::Access, Some("GET" | "HEAD")) => Activity::Read,
        (Kind::Access, Some("POST")) => Activity::Create,
        (Kind::Access, Some("PUT" | "PATCH")) => Activity::Update,
        (Kind::Access, Some("DELETE")) => Activity::Delete,
        (Kind::Access | Kind::Admin | Kind::System, _) => Activity::Other,
    }
}

fn actor(record: &Record) -> Actor<'_> {
    match record.kind {
        Kind::Access => Actor {
            app_uid: record.account.as_deref(),
            app_name: record.account.as_deref(),
            user: Some(User { credential_uid: record.key.as_deref(), ..acted_for(record) }),
        },
        Kind::Admin => {
            let name = record.operator.as_deref().unwrap_or("unknown");
            Actor { user: Some(User { name: Some(name), ..User::of(2, "Admin") }), ..Actor::default() }
        }
        Kind::System => Actor { app_name: Some("vicar"), ..Actor::default() },
    }
}

fn acted_for(record: &Record) -> User<'_> {
    match (record.subject.as_deref(), record.account.as_deref()) {
        (Some(subject), _) if subject.contains('@') => User { name: Some(subject), email_addr: Some(subject), ..User::of(1, "User") },
        (Some(subject), _) => User { uid: Some(subject), ..User::of(1, "User") },
        // 99 is "other": the word beside it says what.
        (None, Some(account)) => User { uid: Some(account), name: Some(account), ..User::of(99, "Service") },
        (None, None) => User { name: Some("unknown"), ..User::of(0, "Unknown") },
    }
}

impl User<'_> {
    fn of(type_id: u32, r#type: &'static str) -> Self {
        Self { uid: None, name: None, email_addr: None, type_id, r#type, credential_uid: None }
    }
}
