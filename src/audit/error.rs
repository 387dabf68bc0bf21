//! What goes wrong in this room.

use std::path::PathBuf;

/// The audit log cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Another process writes here.
    #[error(
        "the audit journal {path} is in use by another process{holder}; one sidecar writes one journal: give each its own audit.journal.path, and where they ship to one stream its own name (`sidecar`)"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// ` (process 123)`, if it said so.
        holder: String,
    },
    /// The journal belongs to another sidecar.
    #[error(
        "the audit journal {path} was written by the sidecar {found:?}, and this one is {wanted:?}; set `sidecar: {found}`, or name another audit.journal.path"
    )]
    OtherSidecar {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who we are.
        wanted: String,
    },
    /// A file that was given as an export, and is none.
    #[error("{path} is no audit log: none of its lines is a record; `vicar audit export --format jsonl` writes what can be read again")]
    NoLog {
        /// The file.
        path: PathBuf,
    },
    /// A file that is no journal.
    #[error("{path} is no journal of Vicar's ({why}); nothing was changed: move it away, or name another audit.journal.path")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A journal of a later format.
    #[error("{path} is a journal of format {version}, which this version of Vicar does not know; use a newer one (nothing was changed)")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// The disk or its file system says no.
    #[error("the audit journal {path}: {cause}")]
    Io {
        /// What was used.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A sidecar's name that the log cannot hold.
    #[error("{0:?} cannot be a sidecar's name in the audit log: use 1 to 200 bytes without control characters")]
    Name(String),
    /// No such key, or not of this kind.
    #[error(
        "the checkpoint key {path} cannot be used: {why}; make one with `openssl genpkey -algorithm ed25519 -out checkpoint.pem`, and its public half with `openssl pkey -in checkpoint.pem -pubout`"
    )]
    CheckpointKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Redis cannot be asked.
    #[error("the audit stream in Redis: {why}")]
    Stream {
        /// What went wrong.
        why: String,
    },
    /// No such source of records.
    #[error("{asked:?} is no source of records: use journal, stream, or the name of a file that `vicar audit export --format jsonl` wrote")]
    Source {
        /// What was asked for.
        asked: String,
    },
    /// A stream was asked for, and none is set.
    #[error("the settings name no audit.stream; read the journal (--from journal), or set one")]
    NoStream,
    /// A position in another log.
    #[error("this position is in another log than the one that is read now; begin again without it")]
    Elsewhere,
    /// There is no journal yet.
    #[error("there is no audit journal at {path} yet; it begins when `vicar serve` first starts")]
    NoJournal {
        /// The folder.
        path: PathBuf,
    },
    /// The output cannot be written.
    #[error("cannot write what was asked for: {0}")]
    Output(std::io::Error),
    /// No thread for the journal's keeper.
    #[error("the system gives no thread: {0}")]
    Thread(std::io::Error),
}

/// A record cannot be taken now; what it is about must not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditUnavailable {
    /// No space for the next segment.
    #[error("the audit journal has no space left on its disk")]
    Full,
    /// The disk does not take what it is given.
    #[error("the audit journal's disk does not work")]
    Broken,
    /// More waits for Redis than the settings allow.
    #[error("more audit records wait for the stream than audit.stream.backlog allows")]
    Backlog,
    /// Its files have been removed under it.
    #[error("the audit journal's files were removed while it was in use; the sidecar has to be started again")]
    Removed,
    /// The sidecar is ending.
    #[error("the audit journal is closed")]
    Closed,
}
