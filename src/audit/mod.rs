//! What was done, written down before it is done, chained, and shipped.
//!
//! `proxy` opens an [`Entry`] for each request before it goes upstream and closes it after, under load several at once
//! ([`Closings`]); `lifecycle`, `admin` and `cli` record [`Event`]s. A record is in the journal when a call returns.
//! Readers take a [`LogSource`].

mod chain;
mod checkpoint;
mod digest;
mod entry;
mod error;
mod event;
mod export;
mod flood;
mod journal;
mod line;
mod mark;
mod read;
mod record;
mod ship;
mod stats;
mod stream;
mod upkeep;
mod usage;
mod verify;
mod writer;

pub use checkpoint::{CheckpointKey, CheckpointMark};
pub use entry::{Closings, Entry, Passed};
pub use error::{AuditError, AuditUnavailable};
pub use event::Event;
pub use export::{Format, export};
pub use read::{Filter, Line, LogSource, NoPosition, Order, Page, Position, follow, read, read_from};
pub use record::{Concerned, Decision, Kind, Opening, Outcome, Record, Standing};
pub use stats::{AuditStats, ShippingStats};
pub use stream::stream_warnings;
pub use usage::{AccountUsage, KeyUsage, KnownKey, KnownShare, ShareUsage, SubjectUsage, Usage, UsageQuestion, usage};
pub use verify::{BROKEN_MAX, Broken, ChainSummary, Verification, compare, verify};
pub use writer::{Audit, Opened, Writer, in_use};

#[cfg(test)]
mod tests;
