//! The compiled rules of one account, by what they concern.
//!
//! A request looks into a fixed number of cells: its kind or any, its action or any, its id, every id, the kind as a
//! whole, and the globs of ids. Each cell holds at once what all its rules together allow, so that the number of
//! rules in it makes no difference.

use std::collections::HashMap;

use super::{globs::GlobMap, pattern::Glob, who::Token};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Milliseconds since 1970 at which a rule ends; the largest number for one without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Until(pub(super) i64);

impl Until {
    pub(super) const NEVER: Self = Self(i64::MAX);
}

/// A rule that covers something, and until when. Of several, the one that lasts longest stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) rule: u32,
    pub(super) until: Until,
}

impl Pick {
    const NONE: Self = Self { rule: u32::MAX, until: Until(i64::MIN) };

    /// The rule, if it still counts at `now`.
    pub(super) fn live(self, now: Until) -> Option<u32> {
        (self.until > now).then_some(self.rule)
    }

    /// Takes the better of both: what lasts longer, then what stands first.
    pub(super) fn better(&mut self, other: Self) {
        if (other.until, std::cmp::Reverse(other.rule)) > (self.until, std::cmp::Reverse(self.rule)) {
            *self = other;
        }
    }
}

impl Default for Pick {
    fn default() -> Self {
        Self::NONE
    }
}

/// What all shares of a cell allow together.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// A share, whoever it is for.
    pub(super) any: Pick,
    /// A share under which the account may act as itself.
    pub(super) itself: Pick,
    pub(super) behalf: Option<Box<Behalf>>,
}

/// On whose behalf.
#[derive(Debug, Default)]
pub(super) struct Behalf {
    users: Users,
    /// Numbers of JSON pointers at which users are named, and how long that counts.
    pub(super) sources: Vec<(u32, Until)>,
}

/// Most cells name one group or two, which a list finds faster than a map.
#[derive(Debug)]
enum Users {
    Few(Vec<(Token, Pick)>),
    Many(Map<Token, Pick>),
}

const FEW: usize = 8;

impl Default for Users {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Behalf {
    pub(super) fn add(&mut self, token: Token, pick: Pick) {
        match &mut self.users {
            Users::Few(list) => {
                if let Some((_, own)) = list.iter_mut().find(|(own, _)| *own == token) {
                    own.better(pick);
                } else if list.len() < FEW {
                    list.push((token, pick));
                } else {
                    let mut map: Map<Token, Pick> = list.drain(..).collect();
                    map.insert(token, pick);
                    self.users = Users::Many(map);
                }
            }
            Users::Many(map) => map.entry(token).or_default().better(pick),
        }
    }

    pub(super) fn get(&self, token: Token) -> Option<Pick> {
        match &self.users {
            Users::Few(list) => list.iter().find(|(own, _)| *own == token).map(|(_, pick)| *pick),
            Users::Many(map) => map.get(&token).copied(),
        }
    }

    pub(super) fn add_source(&mut self, pointer: u32, until: Until) {
        match self.sources.iter_mut().find(|(own, _)| *own == pointer) {
            Some((_, own)) => *own = until.max(*own),
            None => self.sources.push((pointer, until)),
        }
    }
}

/// Which resources of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Which {
    /// The kind as a whole.
    Whole,
    /// The whole, and every id.
    Every,
    /// The id of this number.
    Id(u32),
}

/// A kind, or any.
pub(super) type KindCode = u32;
/// An action, or any.
pub(super) type ActionCode = u32;
pub(super) const ANY: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Cell {
    kind: KindCode,
    action: ActionCode,
    which: Which,
}

/// What a request concerns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'r> {
    pub(super) kind: KindCode,
    pub(super) action: ActionCode,
    pub(super) id: Option<&'r str>,
    /// The number of that id, if a rule names it.
    pub(super) number: Option<u32>,
}

/// Rules by what they concern.
#[derive(Debug)]
pub(super) struct Index<V> {
    cells: Map<Cell, V>,
    globs: Map<(KindCode, ActionCode), GlobMap<V>>,
    any_kind: bool,
    any_action: bool,
}

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self { cells: Map::default(), globs: Map::default(), any_kind: false, any_action: false }
    }
}

impl<V: Default> Index<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.globs.is_empty()
    }

    pub(super) fn cell(&mut self, kind: KindCode, action: ActionCode, which: Which) -> &mut V {
        self.any_kind |= kind == ANY;
        self.any_action |= action == ANY;
        self.cells.entry(Cell { kind, action, which }).or_default()
    }

    pub(super) fn glob(&mut self, kind: KindCode, action: ActionCode, glob: &Glob) -> Option<&mut V> {
        self.any_action |= action == ANY;
        self.globs.entry((kind, action)).or_default().entry_for(glob)
    }

    /// Every cell that concerns `place`.
    pub(super) fn visit<'i>(&'i self, place: &Place<'_>, mut each: impl FnMut(&'i V)) {
        let actions = [place.action, ANY];
        for action in actions.into_iter().take(if self.any_action { 2 } else { 1 }) {
            let mut cell = |kind, which| {
                if let Some(value) = self.cells.get(&Cell { kind, action, which }) {
                    each(value);
                }
            };
            cell(place.kind, Which::Every);
            if self.any_kind {
                cell(ANY, Which::Every);
            }
            match (place.id, place.number) {
                (None, _) => cell(place.kind, Which::Whole),
                (Some(_), Some(number)) => cell(place.kind, Which::Id(number)),
                (Some(_), None) => {}
            }
            if let Some(id) = place.id
                && !self.globs.is_empty()
                && let Some(globs) = self.globs.get(&(place.kind, action))
            {
                globs.visit(id, &mut each);
            }
        }
    }
}
