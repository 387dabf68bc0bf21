//! The other listener: health, metrics, the admin API and the console (DESIGN §7).
//!
//! `lifecycle` starts it with [`serve`] before requests are taken and ends it after the last one, and tells it through
//! [`Status`] what becomes of edits. It runs apart from the serving threads, so nothing that is asked here holds up a
//! request. This room looks at every other room but `cli` and is called by none.

mod api;
mod changes;
mod console;
mod expiring;
mod exposition;
mod health;
mod input;
mod inventory;
mod jwks;
mod listener;
mod metrics;
mod records;
mod refusal;
mod roles;
mod sessions;
mod sign_in;
mod status;
mod trials;
mod views;

use std::sync::Arc;

use axum::{Router, routing::get};

use crate::proxy::server::Shared;
use inventory::Inventory;
use records::Readers;
use sessions::Sessions;
use sign_in::Throttle;

pub use expiring::watch_expiring;
pub use listener::{Door, Listener, serve};
pub use roles::{Reach, Right};
pub use status::{InForce, RefusedEdit, Reloads, Status};

/// What every answer of this listener is made from.
#[derive(Debug, Clone)]
pub struct Desk {
    /// What the serving threads share.
    pub shared: Arc<Shared>,
    /// What lifecycle tells.
    pub status: Arc<Status>,
    /// Whether browsers speak TLS with this listener, so that cookies can be bound to that.
    secure: bool,
    throttle: Arc<Throttle>,
    inventory: Arc<Inventory>,
    sessions: Arc<Sessions>,
    readers: Arc<Readers>,
}

impl Desk {
    /// For one sidecar.
    #[must_use]
    pub fn new(shared: Arc<Shared>, status: Arc<Status>) -> Self {
        let secure = status.in_force().settings.admin.tls.is_some();
        Self {
            shared,
            status,
            secure,
            throttle: Arc::default(),
            inventory: Arc::default(),
            sessions: Arc::default(),
            readers: Arc::default(),
        }
    }
}

/// Everything that this listener answers.
fn router(desk: Desk) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/.well-known/jwks.json", get(jwks::keys))
        .merge(api::routes())
        .merge(console::routes())
        .with_state(desk)
}
