//! How far a page that follows the log has shown it.

use jiff::Timestamp;

use crate::{admin::refusal::Refusal, audit::Record};

/// The newest record that was shown, and when its action began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admin) struct Cursor {
    pub(in crate::admin) time: Timestamp,
    pub(in crate::admin) id: String,
}

impl Cursor {
    pub(in crate::admin) fn of(record: &Record) -> Self {
        Self { time: record.time, id: record.id.clone() }
    }

    pub(in crate::admin) fn parse(raw: &str) -> Result<Self, Refusal> {
        let read = || {
            let (ms, id) = raw.split_once('_')?;
            let time = Timestamp::from_millisecond(ms.parse().ok()?).ok()?;
            let shaped = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric());
            shaped.then(|| Self { time, id: id.to_owned() })
        };
        read().ok_or_else(|| Refusal::Invalid("The cursor is none that was given here; begin again without it.".to_owned()))
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.time.as_millisecond(), self.id)
    }
}
