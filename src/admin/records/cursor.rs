//! Where a page of records ended, and the next begins.

use std::time::Duration;

use jiff::Timestamp;

use crate::{admin::refusal::Refusal, audit::Record};

/// Where a page ended: a time and the record there.
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

    /// The end of its millisecond, which is as fine as the log tells.
    pub(super) fn after(&self) -> Timestamp {
        self.time.checked_add(Duration::from_millis(1)).unwrap_or(self.time)
    }

    pub(super) fn same_time(&self, time: Timestamp) -> bool {
        time.as_millisecond() == self.time.as_millisecond()
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.time.as_millisecond(), self.id)
    }
}
