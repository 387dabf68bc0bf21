//! What becomes of a request before a policy is asked. That is for others to know: this room knows no HTTP, so whoever asks
//! it about requests that nobody has sent brings a [`Judge`].

use super::{Expect, Reason};
use crate::catalog::{CanonicalPath, Catalog, PathRules};

/// Knows which requests come as far as a policy.
pub trait Judge {
    /// The path that a policy is asked about.
    ///
    /// # Errors
    /// [`Foretold`] where no policy is asked.
    fn judge<'r>(&self, method: &str, target: &'r str, catalog: &Catalog) -> Result<CanonicalPath<'r>, Foretold>;
}

/// What is decided without a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foretold {
    /// Whether it is answered.
    pub decision: Expect,
    /// The reason code.
    pub reason: &'static str,
    /// Why, in a sentence or two.
    pub why: String,
}

/// The reason codes that a [`Judge`] may give and a policy does not, with what is decided.
pub const BEFOREHAND: [(&str, Expect); 4] = [
    ("ambiguous-request", Expect::Deny),
    ("method-not-allowed", Expect::Deny),
    ("query-not-allowed", Expect::Deny),
    ("self-service", Expect::Allow),
];

/// A reason code as a test of a policy may name it, and what it is the reason of.
pub(super) fn expected(code: &str) -> Option<(&'static str, Expect)> {
    all().find(|(own, _)| *own == code)
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Expect)> {
    let own = Reason::ALL.into_iter().map(|reason| {
        let decision = if reason == Reason::Shared { Expect::Allow } else { Expect::Deny };
        (reason.as_str(), decision)
    });
    own.chain(BEFOREHAND)
}

/// Judges by the path alone, for whoever has no settings.
impl Judge for PathRules {
    fn judge<'r>(&self, _: &str, target: &'r str, _: &Catalog) -> Result<CanonicalPath<'r>, Foretold> {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        CanonicalPath::parse(path, *self).map_err(|error| Foretold {
            decision: Expect::Deny,
            reason: "ambiguous-request",
            why: format!("The request could be read in more than one way ({error})."),
        })
    }
}
