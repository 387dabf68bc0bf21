//! Whether the log is as it was written.
//!
//! Every record's hash is computed anew, and each chain is followed by its numbers and hashes. What retention has
//! removed in front of the first record is no fault, if it has said so; anything missing, changed, moved or added is.

mod chains;
mod journal;
mod stream;

use serde::Serialize;

use super::{
    checkpoint::CheckpointKey,
    error::AuditError,
    read::{LogSource, Order, feed::Feed},
};
use chains::Chains;

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verification {
    /// Whether nothing is broken.
    pub ok: bool,
    /// How many records were looked at.
    pub records: u64,
    /// What is broken, in the order it was met; at most [`BROKEN_MAX`].
    pub broken: Vec<Broken>,
    /// The chains that were met.
    #[serde(skip)]
    pub chains: Vec<ChainSummary>,
    /// Up to which record each sidecar had shipped before the stream was read.
    #[serde(skip)]
    shipped: Vec<(String, u64)>,
}

/// Most problems that are listed.
pub const BROKEN_MAX: usize = 1000;

/// One thing that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Number of the record in its chain, as far as there is one.
    pub seq: Option<u64>,
    /// Whose chain.
    pub sidecar: String,
    /// What is wrong, in words.
    pub problem: String,
}

/// One sidecar's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainSummary {
    /// Whose.
    pub sidecar: String,
    /// Number of the first record that is there; what retention took stood before it.
    pub first: u64,
    /// Number of the last.
    pub last: u64,
    /// Hash of the last.
    pub hash: String,
    /// Signed checkpoints that were met.
    pub checkpoints: u64,
    /// Number of the last record that a good signature covers.
    pub signed_to: Option<u64>,
}

/// Looks at every record of `source`; `progress` hears how many there have been now and then. With a `key`, each
/// checkpoint's signature is checked, and a chain without any is broken.
///
/// # Errors
/// When the source cannot be read; what is wrong with its records is no error but an answer.
pub async fn verify(
    source: &LogSource,
    key: Option<&CheckpointKey>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Verification, AuditError> {
    let mut chains = Chains::new(key);
    match source {
        LogSource::Journal(path) => journal::verify(path, &mut chains, progress).await?,
        LogSource::Stream(settings) => stream::verify(settings, &mut chains, progress).await?,
        LogSource::File(_) => {
            let mut feed = Feed::open(source, Order::OldestFirst, None).await?;
            let mut line = Vec::new();
            while feed.next(&mut line).await? {
                chains.meet(&line);
                breathe(&chains, progress).await;
            }
        }
    }
    Ok(chains.conclude())
}

/// What two verified sources of one log have to say of each other: records that the stream lacks though the journal holds
/// them, they were shipped, and age cannot have taken them; and records of a sidecar that writes here which the stream has,
/// and the journal not any more. The journal is to have been verified first.
///
/// # Errors
/// When one of them cannot be read.
pub async fn compare(
    (stream, of_stream): (&LogSource, &Verification),
    (journal, of_journal): (&LogSource, &Verification),
) -> Result<Vec<Broken>, AuditError> {
    match stream {
        LogSource::Stream(settings) => stream::differences(settings, of_stream, journal, of_journal).await,
        LogSource::Journal(_) | LogSource::File(_) => Ok(Vec::new()),
    }
}

/// Lets others have a turn, and tells how far it is.
async fn breathe(chains: &Chains<'_>, progress: &mut (dyn FnMut(u64) + Send)) {
    if chains.records().is_multiple_of(4096) {
        progress(chains.records());
        tokio::task::yield_now().await;
    }
}
