//! Which groups and patterns hold for a user.
//!
//! Every group and every pattern that a share names is a [`Token`]. A user's tokens are found by address or id,
//! by domain, and among the globs; groups within groups were flattened when the policy was compiled. So the cost depends
//! on how many groups a user is in, not on how many groups, members or shares there are.

use std::collections::HashMap;

use super::{globs::GlobMap, pattern::UserPattern};
use crate::identity::Subject;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A group, or a pattern named by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Token(pub(super) u32);

impl Token {
    /// Those on whose behalf nobody acts.
    pub(super) const NEVER: Self = Self(0);
}

/// Tokens by user.
#[derive(Debug, Default)]
pub(super) struct Who {
    /// Whether anybody at all has [`Token::NEVER`].
    protects: bool,
    everybody: Vec<Token>,
    exact: Map<Box<str>, Vec<Token>>,
    domains: Map<Box<str>, Vec<Token>>,
    mail: GlobMap<Vec<Token>>,
    opaque: GlobMap<Vec<Token>>,
}

impl Who {
    /// Makes `token` hold for the users of `pattern`. Groups were taken apart before.
    pub(super) fn add(&mut self, pattern: &UserPattern<'_>, token: Token) {
        self.protects |= token == Token::NEVER;
        let tokens = match pattern {
            UserPattern::Everybody => &mut self.everybody,
            UserPattern::Group(_) => return,
            UserPattern::Exact(text) => self.exact.entry(text.clone()).or_default(),
            UserPattern::Domain(domain) => self.domains.entry(domain.clone()).or_default(),
            UserPattern::Mail(glob) => match self.mail.entry_for(glob) {
                Some(tokens) => tokens,
                None => return,
            },
            UserPattern::Opaque(glob) => match self.opaque.entry_for(glob) {
                Some(tokens) => tokens,
                None => return,
            },
        };
        if tokens.last() != Some(&token) {
            tokens.push(token);
        }
    }

    /// The tokens that hold for `subject`; one may come twice.
    pub(super) fn visit(&self, subject: &Subject, mut each: impl FnMut(Token)) {
        let mut all = |tokens: &Vec<Token>| tokens.iter().copied().for_each(&mut each);
        all(&self.everybody);
        let (subject, domain) = (subject.as_str(), subject.domain());
        if let Some(tokens) = self.exact.get(subject) {
            all(tokens);
        }
        match domain {
            Some(domain) => {
                if let Some(tokens) = self.domains.get(domain) {
                    all(tokens);
                }
                if !self.mail.is_empty() {
                    self.mail.visit(subject, all);
                }
            }
            None if self.opaque.is_empty() => {}
            None => self.opaque.visit(subject, all),
        }
    }

    /// Whether nobody acts on behalf of `subject`.
    pub(super) fn is_protected(&self, subject: &Subject) -> bool {
        if !self.protects {
            return false;
        }
        let mut protected = false;
        self.visit(subject, |token| protected |= token == Token::NEVER);
        protected
    }
}
