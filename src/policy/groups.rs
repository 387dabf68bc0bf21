//! Groups: members checked, groups within groups flattened, cycles refused.

use std::collections::{HashMap, HashSet};

use super::pattern::{UserPattern, is_group_name};
use crate::source::{At, Complaints, Entries, Source};

/// The groups of a policy, members read.
#[derive(Debug, Default)]
pub(super) struct Groups<'d> {
    list: Vec<Group<'d>>,
    numbers: HashMap<&'d str, usize>,
}

#[derive(Debug)]
struct Group<'d> {
    name: &'d str,
    users: Vec<UserPattern<'d>>,
    within: Vec<(usize, &'d At<String>)>,
}

impl<'d> Groups<'d> {
    pub(super) fn read(entries: &'d Entries<Vec<At<String>>>, source: &Source, complaints: &mut Complaints) -> Self {
        let numbers: HashMap<&str, usize> = entries.iter().enumerate().map(|(number, (name, _))| (name.as_str(), number)).collect();
        let mut groups = Self { list: Vec::with_capacity(entries.0.len()), numbers };
        for (name, members) in entries.iter() {
            if !is_group_name(name) {
                complaints
                    .error(source, name.span, format!("`{}` is no name of a group", name.value))
                    .help("use letters, digits, `_`, `-` and `.`; `@` stands before it only where it is used");
            }
            let mut group = Group { name, users: Vec::with_capacity(members.len()), within: Vec::new() };
            for member in members {
                match groups.user(member, source, complaints) {
                    Some(UserPattern::Group(inner)) => {
                        if let Some(number) = groups.numbers.get(inner) {
                            group.within.push((*number, member));
                        }
                    }
                    Some(user) => group.users.push(user),
                    None => {}
                }
            }
            groups.list.push(group);
        }
        groups.refuse_cycles(source, complaints);
        groups
    }

    /// Reads a user pattern; a group must exist.
    pub(super) fn user(&self, written: &'d At<String>, source: &Source, complaints: &mut Complaints) -> Option<UserPattern<'d>> {
        match UserPattern::parse(written) {
            Ok(UserPattern::Group(name)) if !self.numbers.contains_key(name) => {
                let told = !complaints.is_full();
                let complaint = complaints.error(source, source.within(written.span, written), format!("no group is called `{name}`"));
                match name.contains('.').then(|| format!("for everybody of a domain write `*@{name}`")) {
                    Some(help) => complaint.help(help),
                    None => complaint.help(format!("declare it under `groups:` as `{name}: [user@example.com]`")),
                };
                if told {
                    let names: Vec<String> = self.numbers.keys().map(|known| format!("@{known}")).collect();
                    complaint.suggest(written, names.iter().map(String::as_str));
                }
                None
            }
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let what = if written.is_empty() { "an empty text".to_owned() } else { format!("`{}`", written.value) };
                complaints
                    .error(source, written.span, format!("{what} {error}"))
                    .help("write a mail address, a user id, a pattern such as `*@acme.example`, or a group as `@name`");
                None
            }
        }
    }

    /// The users of a group and of all groups within it.
    pub(super) fn users_within(&self, name: &str) -> impl Iterator<Item = &UserPattern<'d>> {
        self.within(name).flat_map(|group| &group.users)
    }

    /// The names of a group and of all groups within it.
    pub(super) fn names_within(&self, name: &str) -> Vec<&'d str> {
        self.within(name).map(|group| group.name).collect()
    }

    fn within(&self, name: &str) -> impl Iterator<Item = &Group<'d>> {
        let mut seen = HashSet::new();
        let mut ahead: Vec<usize> = self.numbers.get(name).copied().into_iter().collect();
        std::iter::from_fn(move || {
            while let Some(number) = ahead.pop() {
                if let Some(group) = self.list.get(number).filter(|_| seen.insert(number)) {
                    ahead.extend(group.within.iter().map(|(inner, _)| *inner));
                    return Some(group);
                }
            }
            None
        })
    }

    /// Walks without recursion: a file may nest groups deeper than a stack is.
    fn refuse_cycles(&self, source: &Source, complaints: &mut Complaints) {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            Not,
            OnTheWay,
            Done,
        }
        let mut seen = vec![Seen::Not; self.list.len()];
        for root in 0..self.list.len() {
            let mut way: Vec<(usize, usize)> = Vec::new();
            if seen.get(root) == Some(&Seen::Not) {
                way.push((root, 0));
            }
            while let Some((number, next)) = way.pop() {
                let Some(group) = self.list.get(number) else { continue };
                set(&mut seen, number, Seen::OnTheWay);
                let Some((inner, written)) = group.within.get(next) else {
                    set(&mut seen, number, Seen::Done);
                    continue;
                };
                way.push((number, next + 1));
                match seen.get(*inner) {
                    Some(Seen::Not) => way.push((*inner, 0)),
                    Some(Seen::OnTheWay) => {
                        let from = way.iter().position(|(on, _)| on == inner).unwrap_or(0);
                        let names = way.iter().skip(from).map(|(on, _)| *on).chain([*inner]);
                        let names: Vec<&str> = names.filter_map(|on| self.list.get(on)).map(|group| group.name).collect();
                        let message = format!("the group `{}` is within itself", names.first().copied().unwrap_or_default());
                        complaints.error(source, written.span, message).help(format!("break the circle {}", names.join(" → ")));
                    }
                    Some(Seen::Done) | None => {}
                }
            }
        }

        fn set(seen: &mut [Seen], number: usize, to: Seen) {
            if let Some(slot) = seen.get_mut(number) {
                *slot = to;
            }
        }
    }
}
