//! What is allowed to stand in a policy, and that somebody should look at all the same.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::{
    Enforcement, Policy,
    compile::{end_of, until_of},
    document::{AccountEntry, ImpersonateEntry, ShareEntry},
    explain::groups,
    groups::Groups,
    index::{ANY, Until},
    pattern::UserPattern,
    resource::{Reach, ResourcePattern, code},
};
use crate::{
    catalog::Catalog,
    identity::AccountId,
    source::{At, Complaints, OneOrMany, Source, Span},
    terminal::misleads,
};

/// How many other shares one share is compared with. Of so many on one resource, nobody reads the rest either.
const COMPARED: usize = 200;

/// Adds a warning for each thing somebody should look at. `source` is what `policy` was loaded from, `known` the accounts of the
/// directory where they are at hand.
pub fn lint(policy: &Policy, catalog: &Catalog, source: &Source, known: Option<&[AccountId]>, now: Timestamp, complaints: &mut Complaints) {
    let groups = groups(policy);
    let never = Never::read(&policy.document.never_impersonate, &groups);
    let entries = policy.document.groups.iter();
    let sweeping = entries.filter(|(_, users)| users.iter().any(|user| is_sweeping(user))).map(|(name, _)| name.as_str()).collect();
    let looked_at = HashMap::new();
    let mut linter = Linter { policy, catalog, source, groups, never, sweeping, looked_at, reach: Reach::new(catalog), now, complaints };
    linter.observing();
    linter.unused_groups();
    linter.tests(known.unwrap_or_default());
    if let Some(known) = known {
        linter.accounts(known);
    }
    for (name, entry) in policy.document.service_accounts.iter() {
        linter.account(name, entry);
    }
}

struct Linter<'l> {
    policy: &'l Policy,
    catalog: &'l Catalog,
    source: &'l Source,
    groups: Groups<'l>,
    never: Never<'l>,
    /// Groups that have somebody like `*@*` among their own users.
    sweeping: HashSet<&'l str>,
    looked_at: HashMap<&'l str, Group>,
    reach: Reach<'l>,
    now: Timestamp,
    complaints: &'l mut Complaints,
}

/// What holds for all users of a group, those of the groups within it included.
#[derive(Debug, Clone, Copy)]
struct Group {
    everybody: bool,
    protected: bool,
}

/// Those of `never_impersonate`, groups taken apart. A large policy has a hundred thousand users to compare them with.
#[derive(Debug, Default)]
struct Never<'l> {
    exact: HashSet<Box<str>>,
    wider: HashSet<UserPattern<'l>>,
}

/// A share or denial as it was written, with its words read.
struct Written<'l> {
    resources: Vec<(&'l At<String>, ResourcePattern)>,
    actions: Vec<(&'l At<String>, u32)>,
    until: Until,
    share: Option<&'l ShareEntry>,
    users: HashSet<&'l str>,
    name: String,
}

impl<'l> Never<'l> {
    fn read(written: &'l [At<String>], groups: &Groups<'l>) -> Self {
        let mut never = Self::default();
        for pattern in written.iter().filter_map(|written| UserPattern::parse(written).ok()) {
            match pattern {
                UserPattern::Group(name) => groups.users_within(name).for_each(|user| never.add(user.clone())),
                pattern => never.add(pattern),
            }
        }
        never
    }

    fn add(&mut self, pattern: UserPattern<'l>) {
        if let UserPattern::Exact(user) = pattern {
            self.exact.insert(user);
        } else {
            self.wider.insert(pattern);
        }
    }

    fn covers(&self, user: &UserPattern<'_>) -> bool {
        // A domain covers itself, as every pattern does.
        matches!(user, UserPattern::Exact(user) if self.exact.contains(user))
            || self.wider.contains(user)
            || self.wider.iter().any(|never| never.covers(user))
    }
}

impl<'l> Linter<'l> {
    fn observing(&mut self) {
        let document = &self.policy.document;
        let help = "`vicar suggest` writes a policy from what was recorded";
        if let Some(written) = document.enforcement.as_ref().filter(|written| written.value == Enforcement::Observe) {
            self.complaints
                .warning(self.source, written.span, "the policy only observes: what it would refuse is let through, and recorded")
                .help(help);
        }
        for (name, entry) in document.service_accounts.iter() {
            if let Some(written) = entry.enforcement.as_ref().filter(|written| written.value == Enforcement::Observe) {
                let message = format!("what the policy would refuse to {} is let through, and recorded", name.value);
                self.complaints.warning(self.source, written.span, message).help(help);
            }
        }
    }

    fn unused_groups(&mut self) {
        let document = &self.policy.document;
        let shares = document.service_accounts.iter().flat_map(|(_, entry)| &entry.shares);
        let users = shares.filter_map(|share| share.impersonate.as_ref()).flat_map(|behalf| behalf.users.iter());
        let mut used: HashSet<&str> = HashSet::new();
        for written in users.chain(&document.never_impersonate) {
            if let Some(name) = written.strip_prefix('@')
                && !used.contains(name)
            {
                used.extend(self.groups.names_within(name));
            }
        }
        for (name, members) in document.groups.iter() {
            if !used.contains(name.as_str()) {
                self.complaints
                    .warning(self.source, name.span, format!("no share and no `never_impersonate` names the group `{}`", name.value))
                    .help(format!("name it as `\"@{}\"`, or leave it out", name.value));
            }
            if members.is_empty() {
                self.complaints.warning(self.source, name.span, format!("the group `{}` has no members", name.value));
            }
        }
    }

    /// A test of an account that nobody has may expect a refusal, and shows nothing then.
    fn tests(&mut self, known: &[AccountId]) {
        let document = &self.policy.document;
        let names = || document.service_accounts.iter().map(|(name, _)| name.as_str()).chain(known.iter().map(AccountId::as_str));
        for account in document.tests.iter().map(|test| &test.account) {
            if !names().any(|name| name == account.as_str()) {
                self.complaints
                    .warning(self.source, account.span, format!("this test asks as `{}`, and there is no such account", account.value))
                    .suggest(account, names());
            }
        }
    }

    fn accounts(&mut self, known: &[AccountId]) {
        for (name, _) in self.policy.document.service_accounts.iter() {
            if !known.iter().any(|account| account.as_str() == name.as_str()) {
                self.complaints
                    .warning(self.source, name.span, format!("the directory has no account `{}`", name.value))
                    .help(format!("create it with `vicar account create {} --name NAME`", name.value))
                    .suggest(name, known.iter().map(AccountId::as_str));
            }
        }
        for account in known {
            let shares = self.policy.written(account).map_or(0, |written| written.shares().len());
            if shares == 0 {
                self.complaints
                    .warning(self.source, Span::default(), format!("nothing is shared with the account `{account}` of the directory"))
                    .help("every request of it is refused");
            }
        }
    }

    fn account(&mut self, name: &str, entry: &'l AccountEntry) {
        let denials: Vec<_> = entry
            .deny
            .iter()
            .enumerate()
            .map(|(at, denial)| {
                self.read(&denial.resource, &denial.actions, denial.until.as_ref(), None, format!("{name}/deny/{}", at + 1))
            })
            .collect();
        let shares: Vec<_> = entry
            .shares
            .iter()
            .enumerate()
            .map(|(at, share)| {
                let name = format!("{name}/shares/{}", at + 1);
                self.read(&share.resource, &share.actions, share.until.as_ref(), Some(&share.value), name)
            })
            .collect();
        for rule in shares.iter().chain(&denials) {
            self.ends(rule);
            self.partly_unreachable(rule);
            self.unseen(rule);
        }
        for share in &shares {
            self.void(share, &denials);
            if let Some(behalf) = share.share.and_then(|share| share.impersonate.as_ref()) {
                self.behalf(behalf);
            }
        }
        self.covered(&shares);
    }

    fn read(
        &self,
        resource: &'l OneOrMany,
        actions: &'l OneOrMany,
        until: Option<&'l At<String>>,
        share: Option<&'l ShareEntry>,
        name: String,
    ) -> Written<'l> {
        let pattern = |written: &'l At<String>| ResourcePattern::parse(written, self.catalog).ok().map(|pattern| (written, pattern));
        let action = |written: &'l At<String>| match written.as_str() {
            "*" => Some((written, ANY)),
            name => self.catalog.action(name).map(|action| (written, code(action.index()))),
        };
        Written {
            resources: resource.iter().filter_map(pattern).collect(),
            actions: actions.iter().filter_map(action).collect(),
            until: until.and_then(|written| end_of(written)).map_or(Until::NEVER, until_of),
            share,
            users: share
                .and_then(|share| share.impersonate.as_ref())
                .into_iter()
                .flat_map(|behalf| behalf.users.iter())
                .map(|user| user.as_str())
                .collect(),
            name,
        }
    }

    fn ends(&mut self, rule: &Written<'l>) {
        if rule.until > until_of(self.now) {
            return;
        }
        if let Some((word, _)) = rule.resources.first() {
            self.complaints
                .warning(self.source, word.span, format!("{} has ended and no longer counts", rule.name))
                .help("leave it out, or set a later `until`");
        }
    }

    /// A rule no endpoint reaches is an error; a word of it that none reaches is most likely one too many.
    fn partly_unreachable(&mut self, rule: &Written<'l>) {
        for (word, pattern) in &rule.resources {
            if !rule.actions.iter().any(|(_, action)| self.reach.any(pattern, *action)) {
                self.complaints.warning(self.source, word.span, format!("no endpoint does any of these actions to `{}`", word.value));
            }
        }
        for (word, action) in &rule.actions {
            if !rule.resources.iter().any(|(_, pattern)| self.reach.any(pattern, *action)) {
                self.complaints.warning(self.source, word.span, format!("no endpoint does `{}` to any of these resources", word.value));
            }
        }
    }

    /// What nobody sees in an id makes it another one: a denial of that protects nothing.
    fn unseen(&mut self, rule: &Written<'l>) {
        for (word, _) in &rule.resources {
            let Some((_, id)) = word.split_once(':') else { continue };
            let what = if id.trim() != id {
                "begins or ends with a blank".to_owned()
            } else if let Some(c) = id.chars().find(|c| misleads(*c)) {
                format!("holds U+{:04X}, which nobody sees", u32::from(c))
            } else {
                continue;
            };
            self.complaints
                .warning(self.source, word.span, format!("the id {id:?} {what}"))
                .help("leave it out, unless the service has an id like that");
        }
    }

    fn void(&mut self, share: &Written<'l>, denials: &[Written<'l>]) {
        let lasting = |denial: &&Written<'l>| denial.until >= share.until && denial.until > until_of(self.now);
        let denied = denials.iter().filter(lasting).find(|denial| covers_words(denial, share));
        if let (Some(denial), Some((word, _))) = (denied, share.resources.first()) {
            self.complaints
                .warning(self.source, word.span, format!("{} allows nothing: {} denies all of it", share.name, denial.name))
                .help("leave one of the two out");
        }
    }

    fn behalf(&mut self, behalf: &'l ImpersonateEntry) {
        let mut protected = 0;
        for written in behalf.users.iter() {
            let Ok(pattern) = UserPattern::parse(written) else { continue };
            if self.is_everybody(written, &pattern) {
                self.complaints
                    .warning(self.source, written.span, "this account may act on behalf of everybody")
                    .help("name those who agreed to it, such as \"*@finance.acme.example\" or a group");
            }
            if self.is_protected(&pattern) {
                protected += 1;
                let void = protected == behalf.users.len() && behalf.required;
                let rest = if void { ", so this share allows nothing" } else { "" };
                self.complaints
                    .warning(self.source, written.span, format!("`never_impersonate` protects all of `{}`{rest}", written.value))
                    .help("leave it out here, or take the user out of `never_impersonate`");
            }
        }
    }

    /// Whether a pattern, or the groups it names, holds for everybody.
    fn is_everybody(&mut self, written: &'l At<String>, pattern: &UserPattern<'l>) -> bool {
        match pattern {
            UserPattern::Group(name) => self.group(name).everybody,
            UserPattern::Everybody | UserPattern::Exact(_) | UserPattern::Domain(_) | UserPattern::Mail(_) | UserPattern::Opaque(_) => {
                is_sweeping(written)
            }
        }
    }

    /// Whether all users of a pattern are protected, as far as patterns show it.
    fn is_protected(&mut self, pattern: &UserPattern<'l>) -> bool {
        match pattern {
            UserPattern::Group(name) => self.group(name).protected,
            UserPattern::Everybody | UserPattern::Exact(_) | UserPattern::Domain(_) | UserPattern::Mail(_) | UserPattern::Opaque(_) => {
                self.never.covers(pattern)
            }
        }
    }

    /// What holds for a group, looked at once however many shares name it.
    fn group(&mut self, name: &'l str) -> Group {
        if let Some(known) = self.looked_at.get(name) {
            return *known;
        }
        let users = || self.groups.users_within(name);
        let group = Group {
            everybody: self.groups.names_within(name).iter().any(|inner| self.sweeping.contains(inner)),
            protected: users().next().is_some() && users().all(|user| self.never.covers(user)),
        };
        self.looked_at.insert(name, group);
        group
    }

    /// Shares that another covers wholly. Compared are those that name the same, and those with stars.
    fn covered(&mut self, shares: &[Written<'l>]) {
        let mut by_word: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut wide: HashMap<u32, Vec<usize>> = HashMap::new();
        for (at, share) in shares.iter().enumerate() {
            for (word, pattern) in &share.resources {
                let list =
                    if word.contains('*') { wide.entry(pattern.kind).or_default() } else { by_word.entry(word.as_str()).or_default() };
                if list.len() < COMPARED && list.last() != Some(&at) {
                    list.push(at);
                }
            }
        }
        for (at, share) in shares.iter().enumerate() {
            let Some((word, pattern)) = share.resources.first() else { continue };
            let same = by_word.get(word.as_str()).into_iter().flatten();
            let wider = [pattern.kind, ANY].into_iter().filter_map(|kind| wide.get(&kind)).flatten();
            let mut others: Vec<usize> = same.chain(wider).copied().filter(|other| *other != at).collect();
            others.sort_unstable();
            let others = || others.iter().filter_map(|other| shares.get(*other).map(|share| (*other, share)));
            // Of two that cover each other the later one is too many.
            let covering = others().find(|(other, wide)| covers_share(wide, share) && (*other < at || !covers_share(share, wide)));
            if let Some((_, other)) = covering {
                self.complaints
                    .warning(self.source, word.span, format!("{} allows nothing that {} does not allow", share.name, other.name))
                    .help("leave it out");
            } else if let Some((_, other)) = others().find(|(_, other)| undoes_requirement(other, share)) {
                self.complaints
                    .warning(
                        self.source,
                        word.span,
                        format!("{} wants a user to act for, and {} allows the same to the account itself", share.name, other.name),
                    )
                    .help("set `required: true` there as well, or leave it out here");
            }
        }
    }
}

/// Whether `required` of one share comes to nothing by another.
fn undoes_requirement(other: &Written<'_>, share: &Written<'_>) -> bool {
    let required = |rule: &Written<'_>| rule.share.and_then(|share| share.impersonate.as_ref()).is_some_and(|behalf| behalf.required);
    required(share) && !required(other) && other.until >= share.until && covers_words(other, share)
}

/// Whether everything one rule concerns the other concerns too.
fn covers_words(wide: &Written<'_>, narrow: &Written<'_>) -> bool {
    let resources = narrow.resources.iter().all(|(_, narrow)| wide.resources.iter().any(|(_, wide)| wide.covers(narrow)));
    let actions = |action| wide.actions.iter().any(|(_, wide)| *wide == ANY || *wide == action);
    resources && narrow.actions.iter().all(|(_, action)| actions(*action))
}

fn covers_share(wide: &Written<'_>, narrow: &Written<'_>) -> bool {
    wide.until >= narrow.until
        && covers_words(wide, narrow)
        && match (wide.share.map(|share| &share.impersonate), narrow.share.map(|share| &share.impersonate)) {
            (Some(None), Some(None)) => true,
            (Some(None), Some(Some(_))) => false,
            (Some(Some(wide)), Some(None)) => !wide.required,
            (Some(Some(wide_behalf)), Some(Some(narrow_behalf))) => {
                let sources =
                    narrow_behalf.from.as_ref().is_none_or(|from| wide_behalf.from.as_ref().is_some_and(|own| own.json == from.json));
                let users = wide.users.contains("*") || narrow.users.is_subset(&wide.users);
                (narrow_behalf.required || !wide_behalf.required) && sources && users
            }
            (None, _) | (_, None) => false,
        }
}

/// `*@*` is everybody with a mail address, `**` everybody with another id.
fn is_sweeping(written: &str) -> bool {
    written.contains('*') && written.chars().all(|c| matches!(c, '*' | '@' | '.'))
}
