//! `/.well-known/jwks.json`: how upstreams check what Vicar signs.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::Desk;
use crate::proxy::assertion::Signer;

/// The public keys; an empty set where nothing is signed.
pub(super) async fn keys(State(desk): State<Desk>) -> Json<Value> {
    Json(desk.shared.rules.load().assertion.as_ref().map_or_else(|| json!({"keys": []}), Signer::jwks))
}
