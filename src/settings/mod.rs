//! `vicar.yaml`, read and checked whole.
//!
//! [`Settings::load`] is the way in: it reads the file, resolves `${env:…}` and `${file:…}`, takes
//! paths relative to the file, checks every field, and hands out values that need no second look.
//! `cli`, `lifecycle` and the rooms' constructors take their part of it; nobody reads it per request.

mod check;
mod defaults;
mod document;
mod files;
mod in_force;
mod load;
mod places;
mod text;
mod units;

pub use document::{
    Admin, Assertion, Audit, Checkpoint, Counting, Credentials, DirectoryBackend, Durability, Guard, Health, Impersonation, Journal,
    Limits, Listen, Log, LogFormat, Pass, SelfService, Settings, Stream, Timeouts, Tls, Upstream, UpstreamTls,
};
pub use load::{Loaded, Overrides};
pub use text::Text;
pub use units::{Size, Span};
