//! One action as the log holds it.

use std::{fmt, net::IpAddr, time::Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::checkpoint::CheckpointMark;

/// One record, read back. Fields that do not apply to a kind are absent (`null` in the log).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// A ULID; of an access, the request's id.
    pub id: String,
    /// When it began.
    pub time: Timestamp,
    /// What sort of action.
    pub kind: Kind,
    /// Who wrote it.
    pub sidecar: String,
    /// Its number in the sidecar's chain, from 1 and without gaps.
    pub seq: u64,
    /// The service account.
    #[serde(default)]
    pub account: Option<String>,
    /// The access key.
    #[serde(default)]
    pub key: Option<String>,
    /// The user on whose behalf.
    #[serde(default)]
    pub subject: Option<String>,
    /// The request's method.
    #[serde(default)]
    pub method: Option<String>,
    /// Its canonical path.
    #[serde(default)]
    pub path: Option<String>,
    /// The names in its query, joined by `&`; `name=value` where the settings allow the value.
    #[serde(default)]
    pub query: Option<String>,
    /// What it was done to.
    #[serde(default)]
    pub resource: Option<String>,
    /// What was done: of an access the catalog's action, else the change or event itself.
    #[serde(default)]
    pub action: Option<String>,
    /// What was decided.
    #[serde(default)]
    pub decision: Option<Decision>,
    /// Why, as a code.
    #[serde(default)]
    pub reason: Option<String>,
    /// The share or rule that decided.
    #[serde(default)]
    pub share: Option<String>,
    /// Digest of the policy in force.
    #[serde(default)]
    pub policy: Option<String>,
    /// Whether the key was known from the cache alone, the directory being away.
    #[serde(default)]
    pub stale: bool,
    /// The status that the caller got.
    #[serde(default)]
    pub status: Option<u16>,
    /// What became of it.
    pub outcome: Outcome,
    /// Bytes of the request's body.
    #[serde(default)]
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    #[serde(default)]
    pub bytes_out: u64,
    /// Microseconds until the upstream's answer began.
    #[serde(default)]
    pub upstream_us: Option<u64>,
    /// Microseconds from the request's first step to its end.
    #[serde(default)]
    pub total_us: Option<u64>,
    /// Where the request came from.
    #[serde(default)]
    pub client: Option<String>,
    /// What the caller calls its program.
    #[serde(default)]
    pub user_agent: Option<String>,
    /// The id that the caller and the upstream saw.
    #[serde(default)]
    pub request_id: Option<String>,
    /// The trace it belongs to.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// Who changed something, of kind `admin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// What else there is to say, of kinds `admin` and `system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The signature, of a checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointMark>,
    /// Hash of the record before, in hexadecimal; zeros before the first.
    pub prev: String,
    /// Hash of this one.
    pub hash: String,
}

/// What sort of action a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A request on the data port.
    Access,
    /// A change of accounts, keys or tokens.
    Admin,
    /// Something about the sidecar itself.
    System,
}

/// What was decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

/// What became of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It came to its end.
    Completed,
    /// It was not let through.
    Refused,
    /// The upstream did not answer, or broke off.
    UpstreamError,
    /// The caller went away, or the sidecar ended.
    Interrupted,
}

/// Whether the caller that an opening names has proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It signed in.
    SignedIn,
    /// It only says so; many such refusals from one address are folded together.
    Claimed,
}

/// The resource that a request concerns, as the log names it: `kind:id`, or the kind alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concerned<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// Which one of the kind.
    pub id: Option<&'a str>,
}

/// What is known of a request when it is let through, or refused. Borrowed from the request.
pub struct Opening<'a> {
    /// The request's id.
    pub id: Ulid,
    /// When it came, by the clock.
    pub time: Timestamp,
    /// When it came, for durations.
    pub began: Instant,
    /// Whether the caller proved who it is.
    pub standing: Standing,
    /// The service account.
    pub account: Option<&'a str>,
    /// The access key.
    pub key: Option<&'a str>,
    /// The user on whose behalf.
    pub subject: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The canonical path.
    pub path: &'a str,
    /// The query as it came.
    pub query: Option<&'a str>,
    /// What it concerns.
    pub resource: Option<Concerned<'a>>,
    /// What it does.
    pub action: Option<&'a str>,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: &'a str,
    /// By which share or rule.
    pub share: Option<&'a str>,
    /// Digest of the policy in force.
    pub policy: &'a str,
    /// Whether the key was known from the cache alone.
    pub stale: bool,
    /// Where it came from.
    pub client: IpAddr,
    /// What the caller calls its program.
    pub user_agent: Option<&'a [u8]>,
    /// The trace it belongs to.
    pub trace_id: Option<&'a str>,
}

// ===== words =====

impl Kind {
    /// The word in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Admin => "admin",
            Self::System => "system",
        }
    }
}

impl Decision {
    /// The word in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl Outcome {
    /// The word in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::UpstreamError => "upstream_error",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("id", &self.id)
            .field("account", &self.account)
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
