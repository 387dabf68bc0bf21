//! The request's way through Vicar, one file a step; [`pipeline`] says how far it gets at once, and [`admission`] reads like
//! the table of the design.
//!
//! `lifecycle` starts [`server`]; whoever explains decisions asks [`foretell`]; nobody else calls in here. This room knows
//! every other room a request meets (`catalog`, `policy`, `directory`, `audit`) and none of them knows it.

mod admission;
pub mod arrival;
pub mod assertion;
pub mod body;
mod connection;
pub mod counts;
pub mod credentials;
pub mod deadline;
pub mod foretell;
mod forward;
pub mod guard;
pub mod limits;
mod local;
pub mod names;
pub mod outbox;
mod phase;
pub mod pipeline;
pub mod problem;
pub mod proxy_protocol;
pub mod query;
mod record;
pub mod request_id;
pub mod rewrite;
pub mod rules;
mod self_service;
pub mod server;
mod span;
pub mod stream;
mod streams;
pub mod subject;
pub mod tls;
mod trace;
mod unparsed;
mod upgrade;
pub mod upload;
pub mod upstream;
pub mod wire;
