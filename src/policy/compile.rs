//! From the document to what decides, with a complaint for every mistake.

use std::collections::HashMap;

use jiff::{Timestamp, civil, tz::TimeZone};

use super::{
    Account, Policy,
    document::{AccountEntry, Enforcement, ImpersonateEntry, PolicyDocument},
    groups::Groups,
    index::{ANY, ActionCode, Index, Pick, Shared, Until, Which},
    pattern::{Glob, UserPattern},
    resource::{Ids, Reach, ResourcePattern, ResourcePatternError, code},
    verify,
    who::{Token, Who},
};
use crate::{
    catalog::Catalog,
    identity::AccountId,
    source::{At, Complaints, OneOrMany, Source, salvage},
};

/// How many entries a policy may compile to: resources times actions times users of each share, and members of the groups in
/// use, groups within groups counted each time. A policy of 100,000 shares has less than a tenth of it.
const MAX_ENTRIES: usize = 8_000_000;

/// How many places in a body users may be named at, over the whole policy.
const MAX_POINTERS: usize = 256;

/// Reads a policy file. What is wrong goes to `complaints`; an error means no policy.
pub fn load(source: &Source, catalog: &Catalog, complaints: &mut Complaints) -> Option<Policy> {
    let mut found = Complaints::default();
    let document = salvage::<PolicyDocument>(source, &mut found);
    let policy = document.map(|document| Compiler::new(source, catalog, &mut found).compile(document));
    let taken = !found.has_errors();
    complaints.extend(found);
    policy.filter(|_| taken)
}

struct Compiler<'w> {
    source: &'w Source,
    catalog: &'w Catalog,
    reach: Reach<'w>,
    complaints: &'w mut Complaints,
    ids: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    pointers: Vec<Box<str>>,
    entries: usize,
}

/// A share or a denial with its words read.
struct Rule {
    resources: Vec<ResourcePattern>,
    actions: Vec<ActionCode>,
    pick: Pick,
    behalf: Option<Tokens>,
}

/// On whose behalf, with the words read.
struct Tokens {
    users: Vec<Token>,
    required: bool,
    pointer: Option<u32>,
}

/// Gives each group and each pattern that shares name a token.
struct Tokenizer<'d, 'g> {
    groups: &'g Groups<'d>,
    tokens: HashMap<UserPattern<'d>, Token, foldhash::fast::RandomState>,
    who: Who,
}

impl<'w> Compiler<'w> {
    fn new(source: &'w Source, catalog: &'w Catalog, complaints: &'w mut Complaints) -> Self {
        let reach = Reach::new(catalog);
        Self { source, catalog, reach, complaints, ids: HashMap::default(), pointers: Vec::new(), entries: 0 }
    }

    fn compile(mut self, document: PolicyDocument) -> Policy {
        if document.version.value != 1 {
            self.complaints
                .error(self.source, document.version.span, format!("version {} is not known", document.version.value))
                .help("this Vicar reads version 1");
        }
        let groups = Groups::read(&document.groups, self.source, self.complaints);
        let mut tokenizer = Tokenizer { groups: &groups, tokens: HashMap::default(), who: Who::default() };
        for written in &document.never_impersonate {
            if let Some(pattern) = groups.user(written, self.source, self.complaints) {
                self.entries += tokenizer.protect(&pattern);
            }
        }
        let mut accounts = HashMap::with_capacity_and_hasher(document.service_accounts.0.len(), foldhash::fast::RandomState::default());
        let default = document.enforcement.as_ref().map_or_else(Enforcement::default, |written| written.value);
        for (number, (name, entry)) in document.service_accounts.iter().enumerate() {
            match name.parse::<AccountId>() {
                Ok(id) => {
                    let account = self.account(number, name, entry, default, &mut tokenizer);
                    accounts.insert(id, account);
                }
                Err(error) => {
                    self.complaints.error(self.source, name.span, error.to_string());
                }
            }
        }
        if self.entries > MAX_ENTRIES {
            let message = format!("the policy spells out to more than {} million entries", MAX_ENTRIES / 1_000_000);
            self.complaints.error(self.source, document.version.span, message).help(
                "write `*` for long lists of actions, a pattern for long lists of ids, and a group for users that several shares name",
            );
        }
        let who = tokenizer.who;
        let tests = verify::read(&document.tests, self.source, self.complaints);
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.catalog.digest().as_bytes()).update(self.source.text.as_bytes());
        let digest = hasher.finalize().to_hex().chars().take(16).collect();
        let (ids, pointers) = (self.ids, self.pointers);
        Policy { digest, enforcement: default, accounts, ids, pointers, who, tests, document }
    }

    fn account<'d>(
        &mut self,
        number: usize,
        name: &At<String>,
        entry: &'d AccountEntry,
        default: Enforcement,
        tokenizer: &mut Tokenizer<'d, '_>,
    ) -> Account {
        let mut account = Account {
            entry: number,
            enforcement: entry.enforcement.as_ref().map_or(default, |written| written.value),
            allow: Index::default(),
            deny: Index::default(),
            shares: Vec::with_capacity(entry.shares.len()),
            denials: Vec::with_capacity(entry.deny.len()),
            names_in_body: false,
        };
        for (at, share) in entry.shares.iter().enumerate() {
            account.shares.push(rule_name(name, "shares", at));
            let pick = self.pick(at, share.until.as_ref());
            let words = self.words(&share.resource, &share.actions);
            let behalf = share.impersonate.as_ref().map(|behalf| self.behalf(behalf, tokenizer));
            if let Some((resources, actions)) = words
                && self.fits(resources.len(), actions.len(), behalf.as_ref().map_or(1, |behalf| behalf.users.len()))
            {
                account.names_in_body |= behalf.as_ref().is_some_and(|behalf| behalf.pointer.is_some());
                self.allow(&mut account.allow, &Rule { resources, actions, pick, behalf });
            }
        }
        for (at, denial) in entry.deny.iter().enumerate() {
            account.denials.push(rule_name(name, "deny", at));
            let pick = self.pick(at, denial.until.as_ref());
            if let Some((resources, actions)) = self.words(&denial.resource, &denial.actions)
                && self.fits(resources.len(), actions.len(), 1)
            {
                let rule = Rule { resources, actions, pick, behalf: None };
                self.each_cell(&mut account.deny, &rule, |own: &mut Pick| own.better(pick));
            }
        }
        account
    }

    /// Counts what a rule spells out to; past the limit nothing more is put into the index.
    fn fits(&mut self, resources: usize, actions: usize, users: usize) -> bool {
        self.entries = self.entries.saturating_add(resources.saturating_mul(actions).saturating_mul(users.max(1)));
        self.entries <= MAX_ENTRIES
    }

    fn allow(&mut self, index: &mut Index<Shared>, rule: &Rule) {
        let pick = rule.pick;
        self.each_cell(index, rule, |cell: &mut Shared| {
            cell.any.better(pick);
            match &rule.behalf {
                None => cell.itself.better(pick),
                Some(tokens) => {
                    if !tokens.required {
                        cell.itself.better(pick);
                    }
                    let behalf = cell.behalf.get_or_insert_default();
                    for token in &tokens.users {
                        behalf.add(*token, pick);
                    }
                    if let Some(pointer) = tokens.pointer {
                        behalf.add_source(pointer, pick.until);
                    }
                }
            }
        });
    }

    fn each_cell<V: Default>(&mut self, index: &mut Index<V>, rule: &Rule, mut put: impl FnMut(&mut V)) {
        for resource in &rule.resources {
            for action in &rule.actions {
                let cell = match &resource.ids {
                    Ids::Whole => Some(index.cell(resource.kind, *action, Which::Whole)),
                    Ids::Every => Some(index.cell(resource.kind, *action, Which::Every)),
                    Ids::Named(Glob::Exact(id)) => {
                        let next = code(self.ids.len());
                        let number = match self.ids.get(id) {
                            Some(number) => *number,
                            None => *self.ids.entry(id.clone()).or_insert(next),
                        };
                        Some(index.cell(resource.kind, *action, Which::Id(number)))
                    }
                    Ids::Named(glob) => index.glob(resource.kind, *action, glob),
                };
                if let Some(cell) = cell {
                    put(cell);
                }
            }
        }
    }

    // ===== words =====

    fn pick(&mut self, at: usize, until: Option<&At<String>>) -> Pick {
        let until = until.map_or(Until::NEVER, |written| match end_of(written) {
            Some(end) => until_of(end),
            None => {
                self.complaints
                    .error(self.source, written.span, format!("`{}` is no date", written.value))
                    .help("write the last day on which it counts, such as 2026-12-31, or a time such as 2026-12-31T17:00:00Z");
                Until::NEVER
            }
        });
        Pick { rule: code(at), until }
    }

    /// The resources and actions of a rule; nothing where one of them is wrong.
    fn words(&mut self, resource: &OneOrMany, actions: &OneOrMany) -> Option<(Vec<ResourcePattern>, Vec<ActionCode>)> {
        for (list, what) in [(resource, "resource"), (actions, "action")] {
            if list.is_empty() {
                self.complaints.error(self.source, list.span, format!("the rule names no {what}")).help("write `\"*\"` for all");
                return None;
            }
        }
        let patterns: Vec<_> = resource.iter().map(|written| self.resource(written)).collect();
        let codes: Vec<_> = actions.iter().map(|written| self.action(written)).collect();
        let patterns = patterns.into_iter().collect::<Option<Vec<_>>>()?;
        let mut codes = codes.into_iter().collect::<Option<Vec<_>>>()?;
        let reached = patterns.iter().any(|pattern| codes.iter().any(|action| self.reach.any(pattern, *action)));
        if !reached {
            self.unreachable(resource, &patterns, actions);
            return None;
        }
        codes.sort_unstable();
        codes.dedup();
        if codes.contains(&ANY) {
            codes = vec![ANY];
        }
        Some((patterns, codes))
    }

    fn resource(&mut self, written: &At<String>) -> Option<ResourcePattern> {
        let error = match ResourcePattern::parse(written, self.catalog) {
            Ok(pattern) => return Some(pattern),
            Err(error) => error,
        };
        let (source, complaints) = (self.source, &mut *self.complaints);
        match error {
            error if complaints.is_full() => {
                complaints.error(source, written.span, format!("{error:?}"));
            }
            ResourcePatternError::Kind(name) => {
                let kinds = || self.catalog.kinds().map(|kind| &*kind.name);
                complaints
                    .error(source, source.within(written.span, name), format!("no kind is called `{name}`"))
                    .help(format!("the catalog has {}", listed(kinds())))
                    .suggest(name, kinds());
            }
            ResourcePatternError::AnyKind => {
                complaints
                    .error(source, written.span, format!("`{}`: a `*` cannot stand within a kind", written.value))
                    .help("write `kind:*` for all of one kind, `*` alone for everything, or a list");
            }
            ResourcePatternError::Id => {
                complaints.error(source, written.span, "an id is missing behind the colon").help(format!(
                    "write `{0}*` for all of them, `{1}` for the kind as a whole",
                    written.value,
                    written.trim_end_matches(':')
                ));
            }
            ResourcePatternError::Character(odd) => {
                complaints.error(source, written.span, format!("an id cannot hold {odd:?}: no path can name it"));
            }
            ResourcePatternError::Escape => {
                complaints
                    .error(source, written.span, "an id is written as it reads, without the escapes of a URL: no path can name this one")
                    .help("write what the escapes stand for: `Purchase Order`, not `Purchase%20Order`");
            }
        }
        None
    }

    fn action(&mut self, written: &At<String>) -> Option<ActionCode> {
        if written.as_str() == "*" {
            return Some(ANY);
        }
        if let Some(action) = self.catalog.action(written) {
            return Some(code(action.index()));
        }
        if self.complaints.is_full() {
            self.complaints.error(self.source, written.span, "no endpoint does this");
            return None;
        }
        let actions = || self.catalog.actions().map(|(_, name)| name);
        self.complaints
            .error(self.source, written.span, format!("no endpoint does `{}`", written.value))
            .help(format!("the catalog has {}", listed(actions())))
            .suggest(written, actions());
        None
    }

    fn unreachable(&mut self, resource: &OneOrMany, patterns: &[ResourcePattern], actions: &OneOrMany) {
        let (Some(first), Some(pattern)) = (resource.first(), patterns.first()) else { return };
        let (span, message) = match (resource.texts.as_slice(), actions.texts.as_slice()) {
            ([_], [action]) if action.as_str() != "*" => {
                (action.span, format!("no endpoint does `{}` to `{}`, so nothing can use this", action.value, first.value))
            }
            ([_], _) => (first.span, format!("no endpoint does any of these actions to `{}`, so nothing can use this", first.value)),
            _ => (first.span, "no endpoint does any of these actions to any of these resources, so nothing can use this".to_owned()),
        };
        let mut possible: Vec<&str> =
            self.catalog.actions().filter(|(action, _)| self.reach.any(pattern, code(action.index()))).map(|(_, name)| name).collect();
        possible.sort_unstable();
        let kind = first.split(':').next().unwrap_or_default();
        let help = match (possible.is_empty(), &pattern.ids) {
            (false, _) => format!("what endpoints do to `{}`: {}", first.value, possible.join(", ")),
            (true, Ids::Whole) => format!("endpoints concern single ones of this kind; did you mean `{kind}:*`?"),
            (true, Ids::Every | Ids::Named(_)) if !self.reach.has_ids(pattern.kind) => {
                format!("endpoints concern this kind as a whole; did you mean `{kind}`?")
            }
            (true, Ids::Every | Ids::Named(_)) => format!("no endpoint takes an id like this; `{kind}:*` are all that one takes"),
        };
        self.complaints.error(self.source, span, message).help(help);
    }

    fn behalf<'d>(&mut self, entry: &'d ImpersonateEntry, tokenizer: &mut Tokenizer<'d, '_>) -> Tokens {
        let mut users = Vec::with_capacity(entry.users.len());
        if entry.users.is_empty() {
            self.complaints
                .error(self.source, entry.users.span, "names nobody to act for")
                .help("leave `impersonate` out where the account acts as itself only");
        }
        for written in entry.users.iter() {
            if let Some(pattern) = tokenizer.groups.user(written, self.source, self.complaints) {
                let (token, added) = tokenizer.token(pattern);
                self.entries = self.entries.saturating_add(added);
                users.push(token);
            }
        }
        users.sort_unstable();
        users.dedup();
        let pointer = entry.from.as_ref().and_then(|from| self.pointer(&from.json));
        Tokens { users, required: entry.required, pointer }
    }

    fn pointer(&mut self, written: &At<String>) -> Option<u32> {
        let escapes = written.split('~').skip(1).all(|behind| behind.starts_with(['0', '1']));
        if !written.starts_with('/') || !escapes {
            self.complaints
                .error(self.source, written.span, format!("`{}` is no JSON pointer", written.value))
                .help("it begins with `/` and goes from key to key: `/_created_by/Email`; `~1` is a `/` within a key, `~0` a `~`");
            return None;
        }
        if let Some(at) = self.pointers.iter().position(|own| **own == *written.value) {
            return Some(code(at));
        }
        if self.pointers.len() >= MAX_POINTERS {
            self.complaints.error(
                self.source,
                written.span,
                format!("the policy names more than {MAX_POINTERS} different places in bodies"),
            );
            return None;
        }
        self.pointers.push(written.as_str().into());
        Some(code(self.pointers.len() - 1))
    }
}

impl<'d> Tokenizer<'d, '_> {
    /// The token of a group or pattern, and how many members that added.
    fn token(&mut self, pattern: UserPattern<'d>) -> (Token, usize) {
        if let Some(token) = self.tokens.get(&pattern) {
            return (*token, 0);
        }
        let token = Token(code(self.tokens.len() + 1));
        let added = self.hold(&pattern, token);
        self.tokens.insert(pattern, token);
        (token, added)
    }

    fn protect(&mut self, pattern: &UserPattern<'d>) -> usize {
        self.hold(pattern, Token::NEVER)
    }

    fn hold(&mut self, pattern: &UserPattern<'d>, token: Token) -> usize {
        match pattern {
            UserPattern::Group(name) => {
                let mut added = 0;
                for user in self.groups.users_within(name) {
                    added += 1;
                    self.who.add(user, token);
                }
                added
            }
            UserPattern::Everybody | UserPattern::Exact(_) | UserPattern::Domain(_) | UserPattern::Mail(_) | UserPattern::Opaque(_) => {
                self.who.add(pattern, token);
                1
            }
        }
    }
}

/// What the record calls a rule: `procure-to-pay/shares/1`, counted from 1 in the order of the file.
fn rule_name(account: &str, list: &str, at: usize) -> Box<str> {
    format!("{account}/{list}/{}", at + 1).into()
}

/// The moment at which something ends that counts through a day (UTC) or until a time.
pub(super) fn end_of(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    // A longer text that begins with a date is no date here: what stands behind it would be ignored.
    let day: civil::Date = text.parse().ok().filter(|day: &civil::Date| day.to_string() == text)?;
    // The last day there is has no end that could be written down.
    let end = |next: civil::Date| TimeZone::UTC.to_timestamp(next.at(0, 0, 0, 0)).ok();
    Some(day.tomorrow().ok().and_then(end).unwrap_or(Timestamp::MAX))
}

pub(super) fn until_of(time: Timestamp) -> Until {
    Until(time.as_millisecond())
}

/// `a, b, c and 12 more`.
fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    const SHOWN: usize = 20;
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
}
