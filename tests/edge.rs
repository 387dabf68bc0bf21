//! The edge: what callers speak, where Vicar listens, how it reaches the service, how it ends.

// As in `support`: a panic is how a test says no.
#![allow(dead_code, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

#[path = "edge/assertion.rs"]
mod assertion;
#[path = "edge/certificates.rs"]
mod certificates;
#[path = "edge/clients.rs"]
mod clients;
#[path = "edge/ending.rs"]
mod ending;
#[path = "edge/front.rs"]
mod front;
#[path = "edge/http2.rs"]
mod http2;
#[path = "edge/listeners.rs"]
mod listeners;
#[path = "edge/second.rs"]
mod second;
#[path = "edge/service.rs"]
mod service;
#[path = "edge/slow.rs"]
mod slow;
#[path = "edge/tls.rs"]
mod tls;
#[path = "edge/websocket.rs"]
mod websocket;

/// An endpoint of the shipped catalog that takes a GET.
const USERS: &str = "/user/2/Ac1";
/// One that takes a POST of JSON.
const ORDERS: &str = "/process/2/Ac1/Purchase_Order";
