//! Vicar: an authenticating reverse-proxy sidecar that gives a users-only API service accounts.
//!
//! The rooms, in the order a request meets them:
//!
//! - [`lifecycle`] starts everything in the right order, takes edits into force, and drains.
//! - [`proxy`] is the request's way: one file a step, [`proxy::pipeline`] is the table.
//! - [`directory`] says who may sign in: accounts and keys, in a file or in Redis, behind a cache that hears of
//!   revocations.
//! - [`catalog`] turns a method and a path into a resource and an action.
//! - [`policy`] decides, purely: no I/O, no clock, no HTTP.
//! - [`audit`] writes down what was done before it is done, chains it, and ships it.
//! - [`admin`] is the other listener: health, metrics, API, console.
//! - [`cli`] is the command line, [`init`] what it begins with, [`demo`] the tour; they sit beside the proxy and never inside it.
//!
//! Underneath: [`identity`] (the nouns), [`source`] (documents people edit, and complaints about them),
//! [`settings`] (`vicar.yaml`), [`schema`] (what editors know of the three), [`telemetry`] (logs), [`terminal`] (what people
//! see), `signing` (Ed25519 keys) and `private` (files that nobody else may read).

pub mod admin;
pub mod audit;
pub mod catalog;
pub mod cli;
pub mod demo;
pub mod directory;
pub mod identity;
pub mod init;
pub mod lifecycle;
pub mod policy;
mod private;
pub mod proxy;
pub mod schema;
pub mod settings;
mod signing;
pub mod source;
pub mod telemetry;
pub mod terminal;
