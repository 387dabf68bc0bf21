//! Hearing what a connection pushes.

use std::sync::{
    Weak,
    atomic::{AtomicU64, Ordering},
};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use super::Shared;
use crate::directory::{Change, News, Stamp};

/// Hears what a connection pushes, in the order of its answers.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) generation: u32,
    pub(super) shared: Weak<Shared>,
    /// The latest version that was told.
    pub(super) heard: AtomicU64,
    pub(super) gone: Notify,
}

impl Ear {
    pub(super) fn hear(&self, info: PushInfo) {
        match info.kind {
            PushKind::Disconnection => self.gone.notify_one(),
            PushKind::Message => self.message(&info.data),
            _ => {}
        }
    }

    fn message(&self, data: &[Value]) {
        let [_channel, Value::BulkString(payload)] = data else { return };
        let Some(shared) = self.shared.upgrade() else { return };
        let Some((version, what)) = understood(payload) else {
            // Not ours. If it took the place of one that was, the version will tell.
            tracing::warn!(channel = shared.names.channel, "something that Vicar did not write was published");
            return;
        };
        shared.tell(&News::Changed { stamp: Stamp::new(self.generation, version), what });
        self.heard.fetch_max(version, Ordering::AcqRel);
    }
}

fn understood(payload: &[u8]) -> Option<(u64, Change)> {
    let text = std::str::from_utf8(payload).ok()?;
    let (version, rest) = text.split_once(' ')?;
    let what = match rest.split_once(' ')? {
        ("key", id) => Change::Key(id.parse().ok()?),
        ("account", id) => Change::Account(id.parse().ok()?),
        _ => return None,
    };
    Some((version.parse().ok()?, what))
}
