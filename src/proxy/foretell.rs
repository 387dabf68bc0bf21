//! What becomes of a request before any policy is asked, told of one that nobody has sent: for whoever explains decisions.
//!
//! Each step here is asked of the file that does it for requests that come.

use std::borrow::Cow;

use http::uri::PathAndQuery;

use super::{guard, problem::Code, query, self_service};
use crate::{
    catalog::{CanonicalPath, Catalog, path::PathRules},
    policy::{Expect, Foretold, Judge},
    settings::SelfService,
};

/// What the settings say that counts before a policy.
#[derive(Debug, Clone)]
pub struct Terms<'s> {
    /// How paths are read.
    pub path: PathRules,
    /// Query names refused where the endpoint names none, folded.
    pub reserved_query: Cow<'s, [String]>,
    /// What a key may do about itself.
    pub self_service: &'s [SelfService],
}

/// What becomes of a test's request in a policy is what becomes of one that comes.
impl Judge for Terms<'_> {
    fn judge<'r>(&self, method: &str, target: &'r str, catalog: &Catalog) -> Result<CanonicalPath<'r>, Foretold> {
        foretell(method, target, catalog, self)
    }
}

/// The path that a policy is asked about, for a request whose method and target hold.
///
/// # Errors
/// [`Foretold`] where no policy is asked.
pub fn foretell<'r>(method: &str, target: &'r str, catalog: &Catalog, terms: &Terms<'_>) -> Result<CanonicalPath<'r>, Foretold> {
    if guard::never_passes(method) {
        return Err(refused(Code::MethodNotAllowed, &format!("{method} never passes Vicar")));
    }
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let ambiguous = |what: &str| refused(Code::AmbiguousRequest, &format!("The request could be read in more than one way ({what})"));
    let path = CanonicalPath::parse(path, terms.path).map_err(|error| ambiguous(&error.to_string()))?;
    if query.is_some_and(guard::holds_controls) {
        return Err(ambiguous("the query holds a control character"));
    }
    if query.is_some_and(|query| query.contains('#')) {
        return Err(ambiguous("the target has a fragment"));
    }
    if PathAndQuery::try_from(target).is_err() {
        let odd = target.chars().find(|c| PathAndQuery::try_from(format!("/?{c}")).is_err());
        return Err(ambiguous(&odd.map_or_else(
            || "the target is too long".to_owned(),
            |odd| format!("the query holds {odd:?}, which no URL holds: write its escape"),
        )));
    }
    if self_service::concerns(&path) {
        return Err(own(method, &path, terms.self_service));
    }
    // What no catalog names is refused as that, whatever its query.
    let takes = catalog.classify(method, &path).ok().map(|operation| operation.endpoint.query.as_deref());
    if let (Some(takes), Some(query)) = (takes, query)
        && let Some(name) = query::refused(query, takes, &terms.reserved_query)
    {
        return Err(refused(Code::QueryNotAllowed, &format!("The query has {name:?}, which this endpoint does not take")));
    }
    Ok(path)
}

fn refused(code: Code, what: &str) -> Foretold {
    let why = format!("{what}, so the guard refuses it with {} before any policy is asked.", code.status().as_u16());
    Foretold { decision: Expect::Deny, reason: code.as_str(), why }
}

/// What Vicar answers itself, it answers to every key, whatever a policy says.
fn own(method: &str, path: &CanonicalPath<'_>, switched_on: &[SelfService]) -> Foretold {
    let path = path.as_str();
    let (decision, reason, why) = match self_service::wanted(method, path) {
        Some(wanted) if switched_on.contains(&wanted) => {
            (Expect::Allow, self_service::REASON, "every key may ask it, as self_service in the settings says, whatever its policy")
        }
        Some(_) => (Expect::Deny, Code::EndpointUnknown.as_str(), "it is not switched on: name it under self_service in the settings"),
        None => (
            Expect::Deny,
            Code::EndpointUnknown.as_str(),
            "there is no such thing: there are GET /.vicar/whoami and POST /.vicar/rotate, and no catalog can name others",
        ),
    };
    Foretold { decision, reason, why: format!("Vicar itself answers {method} {path}, and {why}.") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::BEFOREHAND;

    /// A policy's tests name these, and this room makes them.
    #[test]
    fn what_a_test_can_expect_beforehand_is_what_is_given() {
        let given =
            [Code::AmbiguousRequest.as_str(), Code::MethodNotAllowed.as_str(), Code::QueryNotAllowed.as_str(), self_service::REASON];
        assert_eq!(BEFOREHAND.map(|(code, _)| code), given);
    }
}
