//! What can go wrong between us and a server, and what that means to whoever asked.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::{address::Host, link::Shared};
use crate::directory::DirectoryError;

/// What went wrong.
#[derive(Debug)]
pub(super) enum Fault {
    /// Another node has the data.
    Moved(Redirect),
    /// It will have the data, or be able to, in a moment.
    Wait(String),
    /// This server takes no changes: it is no master any more.
    ReadOnly,
    /// The script is not known there yet.
    NoScript,
    /// It did not happen, or nobody knows whether it did: the connection is broken or silent.
    Broken(String),
    /// It says no, and will say no again.
    Refused(String),
    /// What is there is not ours.
    Foreign(String),
}

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) host: Host,
    pub(super) asking: bool,
}

impl Fault {
    /// What an error of the client library is. `asked` is the server that was asked.
    pub(super) fn of(error: RedisError, asked: &Host) -> Self {
        let text = error.to_string();
        // Before Redis 7, what a script ran into is told as an error of the script.
        if error.code() == Some("WRONGTYPE") || text.contains("WRONGTYPE") {
            return Self::Foreign("a value of another type".to_owned());
        }
        match error.kind() {
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::Moved | ServerErrorKind::Ask => {
                    let to = error.redirect_node().and_then(|(to, _)| Host::redirected(to, asked));
                    match to {
                        Some(host) => Self::Moved(Redirect { host, asking: matches!(kind, ServerErrorKind::Ask) }),
                        None => Self::Broken(text),
                    }
                }
                ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::NotBusy => Self::Wait(text),
                ServerErrorKind::ReadOnly => Self::ReadOnly,
                ServerErrorKind::NoScript => Self::NoScript,
                _ if text.contains("READONLY") => Self::ReadOnly,
                _ => Self::Refused(advised(text)),
            },
            ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => Self::Refused(advised(text)),
            ErrorKind::Extension if error.code() == Some("BUSY") => Self::Wait(text),
            ErrorKind::Extension => Self::Refused(advised(text)),
            _ => Self::Broken(text),
        }
    }

    /// What whoever asked is told.
    pub(super) fn into_error(self, shared: &Shared) -> DirectoryError {
        let place = shared.address.to_string();
        match self {
            Self::Moved(redirect) => shared.unavailable(format!("the data has moved to {}", redirect.host)),
            Self::Wait(cause) | Self::Broken(cause) => DirectoryError::Unavailable { place, cause },
            Self::ReadOnly => {
                DirectoryError::Unavailable { place, cause: "the server takes no changes; a failover may be under way".to_owned() }
            }
            Self::NoScript => DirectoryError::Unavailable { place, cause: "the server forgets scripts".to_owned() },
            Self::Refused(cause) => DirectoryError::Refused { place, cause },
            Self::Foreign(what) => DirectoryError::Foreign { place: format!("{place} {}", shared.names.directory), what },
        }
    }
}

fn advised(text: String) -> String {
    // The client library says some codes its own way (`NoPerm`); of a script, Valkey has its own words.
    let told = text.to_lowercase();
    let advice = if ["noperm", "executing the script can't", "no permissions"].iter().any(|words| told.contains(words)) {
        "; give the user the rights that the README lists"
    } else if ["wrongpass", "noauth", "password", "authentication"].iter().any(|word| told.contains(word)) {
        "; see user and password in directory.redis"
    } else if told.contains("oom") {
        "; the server is out of memory: raise its maxmemory"
    } else if told.contains("misconf") {
        "; the server cannot write to its disk"
    } else if told.contains("hello") {
        "; Redis 6 or Valkey is needed"
    } else {
        ""
    };
    format!("{text}{advice}")
}
