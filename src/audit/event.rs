//! What is recorded beside requests: changes that operators make, and what happens to the sidecar itself.

use jiff::Timestamp;

use super::{
    checkpoint::CheckpointMark,
    record::{Kind, Outcome},
};

/// A record in the making, of kind `admin` or `system`.
#[derive(Debug, Clone)]
pub struct Event {
    pub(super) kind: Kind,
    pub(super) time: Option<Timestamp>,
    pub(super) action: String,
    pub(super) resource: Option<String>,
    pub(super) account: Option<String>,
    pub(super) key: Option<String>,
    pub(super) operator: Option<String>,
    pub(super) client: Option<std::net::IpAddr>,
    pub(super) detail: Option<String>,
    pub(super) checkpoint: Option<CheckpointMark>,
    pub(super) outcome: Outcome,
}

impl Event {
    /// Something about the sidecar itself: `start`, `reload`, `drain`, …
    #[must_use]
    pub fn system(what: &str) -> Self {
        Self::new(Kind::System, what)
    }

    /// A change that `operator` makes: `verb` (`account.create`) done to `object` (`account:reporting`).
    #[must_use]
    pub fn admin(operator: &str, verb: &str, object: &str) -> Self {
        Self { operator: Some(operator.to_owned()), resource: Some(object.to_owned()), ..Self::new(Kind::Admin, verb) }
    }

    fn new(kind: Kind, action: &str) -> Self {
        Self {
            kind,
            time: None,
            action: action.to_owned(),
            resource: None,
            account: None,
            key: None,
            operator: None,
            client: None,
            detail: None,
            checkpoint: None,
            outcome: Outcome::Completed,
        }
    }

    /// What else there is to say.
    #[must_use]
    pub fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = Some(text.into());
        self
    }

    /// The account it concerns.
    #[must_use]
    pub fn account(mut self, id: impl Into<String>) -> Self {
        self.account = Some(id.into());
        self
    }

    /// The key it concerns.
    #[must_use]
    pub fn key(mut self, id: impl Into<String>) -> Self {
        self.key = Some(id.into());
        self
    }

    /// Where the operator was, if not on this machine.
    #[must_use]
    pub fn client(mut self, address: std::net::IpAddr) -> Self {
        self.client = Some(address);
        self
    }

    pub(super) fn checkpoint(mut self, mark: CheckpointMark) -> Self {
        self.checkpoint = Some(mark);
        self
    }

    /// The change was not allowed, or could not be made.
    #[must_use]
    pub fn refused(mut self) -> Self {
        self.outcome = Outcome::Refused;
        self
    }
}
