//! `/api/v1/openapi.json`: what this API takes and gives, in OpenAPI 3.1.
//!
//! One table names every operation; the schemas come from the types that are read and written. A test asks the running
//! listener for each operation and holds the answers to the schemas.

mod shapes;

use std::sync::LazyLock;

use axum::Json;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    accounts::{AccountBody, AccountPatch},
    keys::{KeyBody, KeyPatch, KeysQuery, RotateBody},
    log::{AuditQuery, UsageQuery},
    page::{Page, PageQuery},
    rules::{SharesQuery, SimulateBody},
};
use crate::admin::{
    trials::Question,
    views::{AccountView, KeyView, SecretView},
};
use shapes::{all_shares, explanation, named, policy, problem, query, records, shares, trial, usage};

/// Where the operation's own kind of answer stands.
enum Answer {
    /// A JSON document of this schema.
    Json(u16, Value),
    /// Nothing.
    Empty,
}

struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    takes: Option<Value>,
    asks: Option<Value>,
    gives: Answer,
    revised: Revised,
}

/// Whether `If-Match` and `ETag` mean something here.
#[derive(PartialEq, Eq)]
enum Revised {
    No,
    /// The answer has an `ETag`.
    Tagged,
    /// And `If-Match` is taken.
    Matched,
}

pub(super) async fn openapi() -> Json<&'static Value> {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(document);
    Json(&DOCUMENT)
}

fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for operation in operations(&mut generator) {
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(operation.method.to_owned(), operation.written());
        }
    }
    let mut schemas: Map<String, Value> = generator.take_definitions(true);
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Vicar admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Service accounts, access keys, what is shared with them, and the audit log. Shares are granted in the policy file alone; nothing here changes them.",
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"}
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "An admin token, as `vicar admin create` shows it once."}},
            "responses": {"Problem": {
                "description": "Why not, and what to do: RFC 9457.",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
            }},
            "schemas": schemas
        }
    })
}

fn operations(generator: &mut SchemaGenerator) -> Vec<Operation> {
    let account = generator.subschema_for::<AccountView>().to_value();
    let key = generator.subschema_for::<KeyView>().to_value();
    let secret = generator.subschema_for::<SecretView>().to_value();
    let page = query::<PageQuery>();
    let list = |things: Value| Answer::Json(200, things);
    let accounts = generator.subschema_for::<Page<AccountView>>().to_value();
    let keys = generator.subschema_for::<Page<KeyView>>().to_value();
    let all_keys = list(keys.clone());
    let mut body = |schema: fn(&mut SchemaGenerator) -> Value| Some(schema(generator));
    let [account_body, account_patch, key_body, key_patch, rotate, question, simulate] = [
        body(named::<AccountBody>),
        body(named::<AccountPatch>),
        body(named::<KeyBody>),
        body(named::<KeyPatch>),
        body(named::<RotateBody>),
        body(named::<Question>),
        body(named::<SimulateBody>),
    ];
    let plain =
        |method, path, id, summary, gives| Operation { method, path, id, summary, takes: None, asks: None, gives, revised: Revised::No };
    vec![
        Operation {
            asks: Some(page.clone()),
            ..plain("get", "/api/v1/accounts", "listAccounts", "Every service account that you may see, by id.", list(accounts))
        },
        Operation {
            takes: account_body,
            revised: Revised::Tagged,
            ..plain("post", "/api/v1/accounts", "createAccount", "Makes a service account.", Answer::Json(201, account.clone()))
        },
        Operation {
            revised: Revised::Tagged,
            ..plain("get", "/api/v1/accounts/{id}", "showAccount", "One service account.", Answer::Json(200, account.clone()))
        },
        Operation {
            takes: account_patch,
            revised: Revised::Matched,
            ..plain(
                "patch",
                "/api/v1/accounts/{id}",
                "changeAccount",
                "Renames, describes, disables or enables one. A disabled one takes no change but being enabled.",
                Answer::Json(200, account),
            )
        },
        Operation {
            revised: Revised::Matched,
            ..plain("delete", "/api/v1/accounts/{id}", "deleteAccount", "Deletes one and its keys, for good.", Answer::Empty)
        },
        Operation {
            asks: Some(page),
            ..plain("get", "/api/v1/accounts/{id}/keys", "listKeys", "Its access keys, oldest first.", list(keys))
        },
        Operation {
            takes: key_body,
            revised: Revised::Tagged,
            ..plain(
                "post",
                "/api/v1/accounts/{id}/keys",
                "createKey",
                "Makes an access key. The secret is shown this once.",
                Answer::Json(201, secret.clone()),
            )
        },
        plain(
            "get",
            "/api/v1/accounts/{id}/shares",
            "listShares",
            "What the policy in force shares with it, and denies to it.",
            Answer::Json(200, shares()),
        ),
        Operation {
            asks: Some(query::<SharesQuery>()),
            ..plain(
                "get",
                "/api/v1/shares",
                "listAllShares",
                "What the policy in force shares with every account that you may see, and denies to it.",
                Answer::Json(200, all_shares()),
            )
        },
        Operation {
            asks: Some(query::<KeysQuery>()),
            ..plain("get", "/api/v1/keys", "listAllKeys", "The access keys of every account that you may see.", all_keys)
        },
        Operation {
            revised: Revised::Tagged,
            ..plain("get", "/api/v1/keys/{id}", "showKey", "One access key.", Answer::Json(200, key.clone()))
        },
        Operation {
            takes: key_patch,
            revised: Revised::Matched,
            ..plain(
                "patch",
                "/api/v1/keys/{id}",
                "changeKey",
                "Renames, disables or enables one, changes its expiry, where it may come from or which client certificate it needs.",
                Answer::Json(200, key),
            )
        },
        Operation {
            revised: Revised::Matched,
            ..plain("delete", "/api/v1/keys/{id}", "deleteKey", "Deletes one, for good.", Answer::Empty)
        },
        Operation {
            takes: rotate,
            revised: Revised::Tagged,
            ..plain(
                "post",
                "/api/v1/keys/{id}/rotate",
                "rotateKey",
                "Gives one a new secret, shown this once; the old one lives for the overlap.",
                Answer::Json(200, secret),
            )
        },
        Operation {
            asks: Some(query::<AuditQuery>()),
            ..plain(
                "get",
                "/api/v1/audit",
                "queryAudit",
                "Audit records, each exactly as it stands in the log.",
                Answer::Json(200, records()),
            )
        },
        Operation {
            asks: Some(query::<UsageQuery>()),
            ..plain("get", "/api/v1/usage", "showUsage", "What is used, and which shares and keys nobody used.", Answer::Json(200, usage()))
        },
        plain(
            "get",
            "/api/v1/policy",
            "showPolicy",
            "The policy in force, what to look at in it, and the last edit if it was refused.",
            Answer::Json(200, policy()),
        ),
        Operation {
            takes: question,
            ..plain(
                "post",
                "/api/v1/explain",
                "explain",
                "What would be decided about a request, and why. Nothing is sent.",
                Answer::Json(200, explanation()),
            )
        },
        Operation {
            takes: simulate,
            ..plain(
                "post",
                "/api/v1/simulate",
                "simulate",
                "Asks past requests of another policy: which would fare differently.",
                Answer::Json(200, trial()),
            )
        },
    ]
}

impl Operation {
    fn written(self) -> Value {
        let mut parameters: Vec<Value> = Vec::new();
        if self.path.contains("{id}") {
            parameters.push(json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}));
        }
        if self.revised == Revised::Matched {
            parameters.push(json!({
                "name": "If-Match", "in": "header", "required": false, "schema": {"type": "string"},
                "description": "The ETag that was looked at; without it the change is made whatever there is now."
            }));
        }
        parameters.extend(self.asks.iter().flat_map(asked));
        let (status, answer) = match self.gives {
            Answer::Empty => ("204".to_owned(), json!({"description": "Done."})),
            Answer::Json(status, schema) => {
                let content = json!({"application/json": {"schema": schema}});
                let answer = match self.revised {
                    Revised::No => json!({"description": "As asked.", "content": content}),
                    Revised::Tagged | Revised::Matched => json!({
                        "description": "As asked.",
                        "content": content,
                        "headers": {"ETag": {"description": "Its revision.", "schema": {"type": "string"}}}
                    }),
                };
                (status.to_string(), answer)
            }
        };
        let mut operation = Map::new();
        let mut say = |name: &str, value: Value| operation.insert(name.to_owned(), value);
        say("operationId", self.id.into());
        say("summary", self.summary.into());
        if !parameters.is_empty() {
            say("parameters", parameters.into());
        }
        if let Some(schema) = self.takes {
            // How to rotate may be left out; what to make or change may not.
            say("requestBody", json!({"required": self.id != "rotateKey", "content": {"application/json": {"schema": schema}}}));
        }
        say("responses", json!({status: answer, "default": {"$ref": "#/components/responses/Problem"}}));
        Value::Object(operation)
    }
}

/// The parameters of a query, from the schema of the type that reads it.
fn asked(schema: &Value) -> Vec<Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description")).unwrap_or_default();
        json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema})
    };
    properties.into_iter().flatten().map(parameter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not described is not there: the routes, as they stand in the source, are the operations.
    #[test]
    fn every_route_is_described_and_nothing_else() {
        let source = include_str!("mod.rs");
        let mut served = Vec::new();
        for route in source.split(".route(\"").skip(1) {
            let (path, handlers) = route.split_once('"').unwrap();
            let handlers = handlers.lines().next().unwrap();
            for method in ["get", "post", "put", "patch", "delete"] {
                if handlers.contains(&format!("{method}(")) && path != "/openapi.json" {
                    served.push(format!("{method} /api/v1{path}"));
                }
            }
        }
        let document = document();
        let described = document["paths"].as_object().unwrap().iter();
        let mut described: Vec<String> = described
            .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
            .collect();
        served.sort();
        described.sort();
        assert_eq!(served, described);
    }
}
