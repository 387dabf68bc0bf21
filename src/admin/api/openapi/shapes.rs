//! The shapes of what is taken and given, where no type of ours has one of its own.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

pub(super) fn query<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

pub(super) fn named<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

pub(super) fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string", "description": "A URI that stays the same for the same code."},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "In plain words, and what to do next."},
            "code": {"type": "string", "description": "The same in one word, for programs."}
        }
    })
}

pub(super) fn strings() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

pub(super) fn maybe() -> Value {
    json!({"type": ["string", "null"]})
}

pub(super) fn shares() -> Value {
    shared("policy", digest())
}

pub(super) fn all_shares() -> Value {
    json!({
        "type": "object",
        "required": ["policy", "items"],
        "properties": {"policy": digest(), "items": {"type": "array", "items": shared("account", json!({"type": "string"}))}}
    })
}

fn digest() -> Value {
    json!({"type": "string", "description": "Digest of the policy in force."})
}

/// What is shared with one account, and of what.
fn shared(of: &str, what: Value) -> Value {
    let share = json!({
        "type": "object",
        "required": ["share", "resources", "actions", "impersonate", "until", "note"],
        "properties": {
            "share": {"type": "string"}, "resources": strings(), "actions": strings(), "until": maybe(), "note": maybe(),
            "impersonate": {"type": ["object", "null"], "properties": {"users": strings(), "required": {"type": "boolean"}, "json": maybe()}}
        }
    });
    let denial = json!({
        "type": "object",
        "required": ["rule", "resources", "actions", "until", "note"],
        "properties": {"rule": {"type": "string"}, "resources": strings(), "actions": strings(), "until": maybe(), "note": maybe()}
    });
    json!({
        "type": "object",
        "required": [of, "enforcement", "shares", "denials"],
        "properties": {
            of: what,
            "enforcement": {"type": "string", "enum": ["enforce", "observe"]},
            "shares": {"type": "array", "items": share}, "denials": {"type": "array", "items": denial}
        }
    })
}

pub(super) fn records() -> Value {
    let record = json!({
        "type": "object",
        "required": ["id", "time", "kind", "sidecar", "seq", "outcome", "prev", "hash"],
        "properties": {
            "id": {"type": "string"}, "time": {"type": "string", "format": "date-time"},
            "kind": {"type": "string", "enum": ["access", "admin", "system"]},
            "sidecar": {"type": "string"}, "seq": {"type": "integer"},
            "decision": {"enum": ["allow", "deny", null]},
            "outcome": {"enum": ["completed", "refused", "upstream_error", "interrupted"]},
            "prev": {"type": "string"}, "hash": {"type": "string"}
        }
    });
    json!({
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {"items": {"type": "array", "items": record}, "next_cursor": maybe()}
    })
}

pub(super) fn usage() -> Value {
    json!({
        "type": "object",
        "required": ["since", "accounts"],
        "properties": {
            "since": maybe(),
            "accounts": {"type": "array", "items": {
                "type": "object",
                "required": ["account", "allowed", "denied", "shares", "keys"],
                "properties": {
                    "account": {"type": "string"}, "allowed": {"type": "integer"}, "denied": {"type": "integer"},
                    "shares": {"type": "array", "items": {"type": "object", "required": ["share", "used"]}},
                    "keys": {"type": "array", "items": {"type": "object", "required": ["key", "used"]}}
                }
            }}
        }
    })
}

pub(super) fn diagnostics() -> Value {
    json!({"type": "array", "items": {
        "type": "object",
        "required": ["severity", "file", "line", "column", "message"],
        "properties": {
            "severity": {"enum": ["error", "warning"]}, "file": {"type": "string"}, "line": {"type": "integer"},
            "column": {"type": "integer"}, "message": {"type": "string"}, "help": {"type": "string"}
        }
    }})
}

pub(super) fn policy() -> Value {
    json!({
        "type": "object",
        "required": ["digest", "since", "file", "source", "diagnostics", "refused_edit"],
        "properties": {
            "digest": {"type": "string"}, "since": {"type": "string", "format": "date-time"}, "file": {"type": "string"},
            "source": {"type": "string"}, "diagnostics": diagnostics(),
            "refused_edit": {"type": ["object", "null"], "required": ["time", "diagnostics"], "properties": {"time": {"type": "string"}, "diagnostics": diagnostics()}}
        }
    })
}

pub(super) fn explanation() -> Value {
    json!({
        "type": "object",
        "required": ["decision", "reason", "account", "subject", "resource", "action", "endpoint", "share", "policy", "steps"],
        "properties": {
            "decision": {"enum": ["allow", "deny"]}, "reason": {"type": "string"}, "account": {"type": "string"}, "subject": maybe(),
            "resource": maybe(), "action": maybe(), "endpoint": maybe(), "share": maybe(), "policy": {"type": "string"},
            "enforcement": {"enum": ["enforce", "observe"]}, "steps": strings()
        }
    })
}

pub(super) fn trial() -> Value {
    let changes = json!({"type": "array", "items": {"type": "object", "required": ["account", "resource", "action", "subject", "reason", "was", "count", "example"]}});
    json!({
        "type": "object",
        "required": ["holds", "digest", "diagnostics"],
        "properties": {
            "holds": {"type": "boolean", "description": "Whether it would be taken: no mistakes, and its own tests pass."},
            "digest": maybe(), "diagnostics": diagnostics(),
            "replayed": {"type": "integer"}, "unchanged": {"type": "integer"}, "now_denied": changes, "now_allowed": changes, "now_for_others": changes
        }
    })
}
