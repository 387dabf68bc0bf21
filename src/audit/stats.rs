//! How the log is doing, for metrics and readiness.

use std::time::Duration;

use super::error::AuditUnavailable;

/// A look at the log.
#[derive(Debug, Clone, Default)]
pub struct AuditStats {
    /// Records written since the start.
    pub records: u64,
    /// Requests under way whose entry is open.
    pub open_entries: u64,
    /// Disk that the journal takes.
    pub journal_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Why no record can be taken now, if so.
    pub unavailable: Option<AuditUnavailable>,
    /// Records that could not be taken since the start; their requests got 503.
    pub refused: u64,
    /// Refusals that were counted instead of recorded one by one.
    pub folded: u64,
    /// Torn or damaged bytes found at the start.
    pub cut_bytes: u64,
    /// How shipping does, where a stream is set.
    pub shipping: Option<ShippingStats>,
}

/// A look at shipping.
#[derive(Debug, Clone, Default)]
pub struct ShippingStats {
    /// Whether Redis answered last time.
    pub connected: bool,
    /// Records that Redis took since the start.
    pub shipped: u64,
    /// Records that wait.
    pub backlog_records: u64,
    /// Their bytes.
    pub backlog_bytes: u64,
    /// How many bytes may wait before requests are refused.
    pub backlog_limit: u64,
    /// Age of the oldest that waits; zero when none does.
    pub lag: Duration,
    /// How often the stream had records under this sidecar's name that its journal has not: once after a journal was lost,
    /// again and again where two sidecars have one name.
    pub conflicts: u64,
    /// What Redis said last, when it did not take a batch.
    pub last_error: Option<String>,
}
