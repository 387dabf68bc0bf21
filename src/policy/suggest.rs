//! From what was done to the smallest policy that allows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use jiff::Timestamp;

use super::{
    Fate, Past, Policy, Reason,
    decide::Sources,
    pattern::Glob,
    resource::{ResourcePattern, code},
};
use crate::{
    catalog::{CanonicalPath, Catalog, Operation, PathRules},
    identity::{AccountId, Subject},
    source::nearest,
    terminal::misleads,
};

/// A policy in the making: it learns from requests that went through, and allows these and no others.
#[derive(Debug)]
pub struct Suggestion<'c> {
    catalog: &'c Catalog,
    paths: PathRules,
    folds: Vec<Fold>,
    /// The policy in force, which says where in a body users are named: no record does.
    in_force: Option<&'c Policy>,
    accounts: BTreeMap<AccountId, Deeds>,
    learned: u64,
    skipped: u64,
    /// What went through and is not allowed: who, what and why, and how often.
    left_out: BTreeMap<(String, String, &'static str), u64>,
    span: Option<(Timestamp, Timestamp)>,
}

/// More of what is left out is not told one by one: a caller may have made up its paths.
const LEFT_OUT: usize = 100;

/// A text that ids cannot be folded to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// No kind of the catalog has this name.
    #[error("no kind is called {kind:?}{}", near.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    Kind {
        /// The name.
        kind: String,
        /// A kind of a similar name.
        near: Option<String>,
    },
    /// A resource pattern it is not, or none that folds.
    #[error("{0:?} folds no ids: write a kind such as dataset, or a pattern such as process:PO_*")]
    Pattern(String),
}

/// What an account did to each resource.
type Deeds = BTreeMap<String, BTreeMap<String, Uses>>;

/// For whom something was done, and how often.
#[derive(Debug, Clone, Default)]
struct Uses {
    itself: u64,
    behalf: BTreeMap<String, u64>,
    /// Where in the body the users may have been named.
    pointers: BTreeSet<String>,
}

/// For whom, without how often.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Doers {
    itself: bool,
    users: BTreeSet<String>,
    pointers: BTreeSet<String>,
}

/// A share in the making.
#[derive(Debug)]
struct Share<'d> {
    doers: Doers,
    actions: BTreeSet<&'d str>,
    resources: Vec<&'d str>,
}

/// Ids that are written as one pattern.
#[derive(Debug)]
struct Fold {
    text: String,
    pattern: ResourcePattern,
}

// ===== impl Suggestion =====

impl<'c> Suggestion<'c> {
    /// Begins with nothing learned. Ids that one of `folds` holds for are written as that pattern; a kind alone stands for all of
    /// it. No other id becomes a pattern.
    ///
    /// # Errors
    /// [`FoldError`] for a text that ids cannot be folded to.
    pub fn new(catalog: &'c Catalog, paths: PathRules, folds: &[String]) -> Result<Self, FoldError> {
        let folds = folds.iter().map(|text| Fold::parse(text, catalog)).collect::<Result<_, _>>()?;
        Ok(Self {
            catalog,
            paths,
            folds,
            in_force: None,
            accounts: BTreeMap::new(),
            learned: 0,
            skipped: 0,
            left_out: BTreeMap::new(),
            span: None,
        })
    }

    /// Takes from the policy in force where users are named in bodies.
    #[must_use]
    pub fn beside(mut self, policy: &'c Policy) -> Self {
        self.in_force = Some(policy);
        self
    }

    /// Takes a request into account, if it went through and an endpoint of the catalog took it.
    pub fn learn(&mut self, past: &Past<'_>) {
        match self.take(past) {
            Some(()) => {
                self.learned += 1;
                let (first, last) = self.span.unwrap_or((past.time, past.time));
                self.span = Some((first.min(past.time), last.max(past.time)));
            }
            None => self.skipped += 1,
        }
    }

    /// How many requests it was made from.
    #[must_use]
    pub fn learned(&self) -> u64 {
        self.learned
    }

    /// How many records are not in it: refused, self-service, the log's own, or left out.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn take(&mut self, past: &Past<'_>) -> Option<()> {
        let reason = Reason::parse(past.reason).filter(|_| past.fate == Fate::Passed)?;
        let path = CanonicalPath::parse(past.path, self.paths).ok()?;
        let account: AccountId = past.account.parse().ok()?;
        let subject = past.subject.map(|subject| Subject::parse(subject.as_bytes())).transpose().ok()?;
        let Ok(operation) = self.catalog.classify(past.method, &path) else {
            return self.leave_out(&account, format!("{} {}", past.method, past.path), "no endpoint of the catalog takes it");
        };
        // Only observed, it went through all the same: somebody has said that it never should.
        let forbidden = match reason {
            Reason::DeniedByRule => Some("a deny rule covers it"),
            Reason::NeverImpersonate => Some("never_impersonate protects the user"),
            _ => None,
        };
        if let Some(why) = forbidden {
            let behalf = subject.as_ref().map(|subject| format!(" on behalf of {subject}")).unwrap_or_default();
            return self.leave_out(&account, format!("{} {operation}{behalf}", operation.action_name()), why);
        }
        let resource = self.resource(&operation);
        let sources = self.in_force.map(|policy| policy.subject_sources(&account, &operation, past.time));
        let pointers: BTreeSet<String> = sources.iter().flat_map(Sources::iter).map(ToOwned::to_owned).collect();
        let actions = self.accounts.entry(account).or_default().entry(resource).or_default();
        let uses = actions.entry(operation.action_name().to_owned()).or_default();
        match subject {
            None => uses.itself += 1,
            Some(subject) => {
                *uses.behalf.entry(subject.as_str().to_owned()).or_default() += 1;
                uses.pointers.extend(pointers);
            }
        }
        Some(())
    }

    fn leave_out(&mut self, account: &AccountId, what: String, why: &'static str) -> Option<()> {
        let key = (account.to_string(), what, why);
        if self.left_out.len() < LEFT_OUT || self.left_out.contains_key(&key) {
            *self.left_out.entry(key).or_default() += 1;
        }
        None
    }

    fn resource(&self, operation: &Operation<'_, '_>) -> String {
        let (kind, id) = (code(operation.kind.index()), operation.id.as_deref());
        if let Some(fold) = self.folds.iter().find(|fold| fold.pattern.matches(kind, id)) {
            return fold.text.clone();
        }
        match id {
            Some(id) => format!("{}:{}", operation.kind_name(), Glob::escape(id)),
            None => operation.kind_name().to_owned(),
        }
    }

    /// The policy, as a file.
    #[must_use]
    pub fn finish(self) -> String {
        let mut text = String::new();
        let _ = match self.span {
            Some((first, last)) => writeln!(text, "# Made from {} that went through from {first} to {last}.", requests(self.learned)),
            None => writeln!(text, "# Made from no request: nothing in the log went through."),
        };
        text.push_str(
            "# It allows what was done, and nothing else. The numbers are requests. Read it before you use it:\n\
             # what was done is not always what was meant.\n",
        );
        if !self.left_out.is_empty() {
            text.push_str("# Left out, though it went through:\n");
        }
        for ((account, what, why), count) in &self.left_out {
            let plain: String = format!("{account}: {what}").chars().map(|c| if misleads(c) { '\u{fffd}' } else { c }).collect();
            let _ = writeln!(text, "#   {plain}, {}: {why}", requests(*count));
        }
        text.push_str("version: 1\n");
        if self.accounts.is_empty() {
            text.push_str("service_accounts: {}\n");
            return text;
        }
        text.push_str("service_accounts:\n");
        for (account, deeds) in &self.accounts {
            let total = deeds.values().flat_map(BTreeMap::values).map(Uses::total).sum();
            let _ = writeln!(text, "  {}:  # {}\n    shares:", word(account.as_str()), requests(total));
            for share in shares(deeds) {
                share.write(&mut text, deeds);
            }
        }
        text
    }
}

impl Uses {
    fn total(&self) -> u64 {
        self.itself + self.behalf.values().sum::<u64>()
    }

    fn doers(&self) -> Doers {
        Doers { itself: self.itself > 0, users: self.behalf.keys().cloned().collect(), pointers: self.pointers.clone() }
    }
}

/// Puts together what can stand in one share without allowing more: first the actions of one resource that the same users
/// did, then the resources with the same actions and users.
fn shares(deeds: &Deeds) -> Vec<Share<'_>> {
    let mut by_actions: BTreeMap<(Doers, BTreeSet<&str>), Vec<&str>> = BTreeMap::new();
    for (resource, actions) in deeds {
        let mut by_doers: BTreeMap<Doers, BTreeSet<&str>> = BTreeMap::new();
        for (action, uses) in actions {
            by_doers.entry(uses.doers()).or_default().insert(action);
        }
        for (doers, actions) in by_doers {
            by_actions.entry((doers, actions)).or_default().push(resource);
        }
    }
    let mut shares: Vec<_> = by_actions.into_iter().map(|((doers, actions), resources)| Share { doers, actions, resources }).collect();
    shares.sort_by(|a, b| a.resources.cmp(&b.resources));
    shares
}

impl Share<'_> {
    fn write(&self, text: &mut String, deeds: &Deeds) {
        let Self { doers, actions, resources } = self;
        let uses = |resource: &str, action: &str| deeds.get(resource).and_then(|actions| actions.get(action));
        let sum = |count: &dyn Fn(&Uses) -> u64, resources: &[&str], actions: &BTreeSet<&str>| -> u64 {
            resources.iter().flat_map(|resource| actions.iter().filter_map(|action| uses(resource, action))).map(count).sum()
        };
        text.push_str("      - resource:\n");
        for resource in resources {
            let _ = writeln!(text, "          - {}  # {}", word(resource), sum(&Uses::total, &[resource], actions));
        }
        text.push_str("        actions:\n");
        for action in actions {
            let _ = writeln!(text, "          - {}  # {}", word(action), sum(&Uses::total, resources, &BTreeSet::from([*action])));
        }
        if doers.users.is_empty() {
            return;
        }
        if doers.itself {
            let _ = writeln!(text, "        impersonate:  # {} as itself", sum(&|uses| uses.itself, resources, actions));
        } else {
            text.push_str("        impersonate:\n          required: true\n");
        }
        text.push_str("          users:\n");
        for user in &doers.users {
            let count = sum(&|uses| uses.behalf.get(user).copied().unwrap_or_default(), resources, actions);
            let _ = writeln!(text, "            - {}  # {count}", word(user));
        }
        let mut pointers = doers.pointers.iter();
        if let Some(first) = pointers.next() {
            let _ = writeln!(text, "          from: {{json: {}}}", word(first));
        }
        for other in pointers {
            let _ = writeln!(text, "          # Another share in force reads them at {}: that takes a share of its own.", word(other));
        }
    }
}

impl Fold {
    fn parse(text: &str, catalog: &Catalog) -> Result<Self, FoldError> {
        let written = if text.contains([':', '*']) { text.to_owned() } else { format!("{text}:*") };
        let kind = written.split(':').next().unwrap_or_default();
        if kind != "*" && catalog.kind(kind).is_none() {
            let near = nearest(kind, catalog.kinds().map(|kind| &*kind.name)).map(ToOwned::to_owned);
            return Err(FoldError::Kind { kind: kind.to_owned(), near });
        }
        match ResourcePattern::parse(&written, catalog) {
            Ok(pattern) => Ok(Self { text: written, pattern }),
            Err(_) => Err(FoldError::Pattern(text.to_owned())),
        }
    }
}

/// A text as YAML: as it is where every reader takes it for a text, else in quotes (JSON's are YAML's).
fn word(text: &str) -> String {
    const TAKEN_FOR_OTHERS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '*')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:@/+*".contains(&byte))
        && !TAKEN_FOR_OTHERS.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    for c in serde_json::Value::from(text).to_string().chars() {
        // Whoever reads this is not to be misled: YAML has an escape for what turns the direction of writing.
        if misleads(c) {
            let _ = write!(quoted, "\\U{:08x}", u32::from(c));
        } else {
            quoted.push(c);
        }
    }
    quoted
}

fn requests(count: u64) -> String {
    if count == 1 { "1 request".to_owned() } else { format!("{count} requests") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_wrote_is_quoted_where_it_would_mislead() {
        for (text, written) in [("zoe@acme.example", "zoe@acme.example"), ("no", "\"no\""), ("a\u{202e}b", "\"a\\U0000202eb\"")] {
            assert_eq!(word(text), written);
            assert_eq!(serde_yaml::from_str::<String>(&word(text)).unwrap(), text);
        }
    }
}
