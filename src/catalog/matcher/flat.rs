//! The tree as requests meet it.
//!
//! Among thousands of endpoints a look-up costs what waiting for memory costs; comparing is next to nothing. So there is
//! no allocation for each node: nodes stand in the order of a walk that goes down first, and so do their words. What
//! lies behind a word that few templates have is side by side then, and comes with one cache line or two.

use std::{hash::BuildHasher as _, num::NonZeroU32, ops::Range};

use foldhash::fast::FixedState;

use super::{super::path::CanonicalPath, End, Unclassified, fold};

/// The tree.
#[derive(Debug, Default)]
pub(in crate::catalog) struct Matcher {
    nodes: Vec<Node>,
    slots: Vec<Slot>,
    ends: Vec<End>,
    texts: String,
}

#[derive(Debug, Default)]
struct Node {
    /// Its words, as a hash table that is as long as a power of two.
    slots: Range<u32>,
    /// Length in bytes of its longest word.
    longest: u32,
    /// No parameter leads to the root, which is the first.
    parameter: Option<NonZeroU32>,
    ends: Range<u32>,
}

/// A word that no parameter takes, and where one writing of it leads. A word of several writings has a slot for each.
#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    /// Of the word; 0 where the slot is free.
    hash: u32,
    /// Letter case folded.
    word: Text,
    written: Text,
    /// Nowhere if only other nodes have the word.
    next: Option<NonZeroU32>,
}

/// A stretch of the texts, in bytes.
#[derive(Debug, Default, Clone, Copy)]
struct Text {
    start: u32,
    len: u32,
}

/// A node to be added: what has a number is added in the order of the numbers.
#[derive(Debug)]
pub(super) struct Plan<'b> {
    /// Each word, folded, with a writing and the number of the node that it leads to.
    pub(super) words: Vec<(&'b str, Option<(&'b str, usize)>)>,
    pub(super) parameter: Option<usize>,
    pub(super) ends: &'b [End],
}

/// Longest segment that is folded without an allocation, in bytes. A literal longer than this is rare.
const FOLD_IN_PLACE: usize = 128;

// ===== laying it out =====

impl Matcher {
    pub(super) fn add(&mut self, plan: &Plan<'_>) {
        let first = self.slots.len();
        let room = match plan.words.len() {
            0 => 0,
            words => (words + words / 2).next_power_of_two(),
        };
        self.slots.resize(first + room, Slot::default());
        let mut longest = 0;
        for (word, literal) in &plan.words {
            longest = longest.max(word.len());
            let (place, hash) = hashed(word.as_bytes(), room);
            let word = self.text(word);
            let (written, next) = match literal {
                Some((written, next)) => (self.text(written), number(*next)),
                None => (Text::default(), None),
            };
            let table = self.slots.get_mut(first..).unwrap_or_default();
            let (before, behind) = table.split_at_mut_checked(place).unwrap_or_default();
            if let Some(free) = behind.iter_mut().chain(before).find(|slot| slot.hash == 0) {
                *free = Slot { hash, word, written, next };
            }
        }
        let first_end = self.ends.len();
        self.ends.extend_from_slice(plan.ends);
        self.nodes.push(Node {
            slots: short(first)..short(first + room),
            longest: short(longest),
            parameter: plan.parameter.and_then(number),
            ends: short(first_end)..short(self.ends.len()),
        });
    }

    /// A word and its one writing are most often the same, one behind the other.
    fn text(&mut self, text: &str) -> Text {
        if !self.texts.ends_with(text) {
            self.texts.push_str(text);
        }
        Text { start: short(self.texts.len() - text.len()), len: short(text.len()) }
    }
}

/// Where the search for a word begins in a table of this length, and what tells it from most others. The words come from
/// the catalog alone, so nobody who sends requests can make them collide.
fn hashed(word: &[u8], room: usize) -> (usize, u32) {
    let hash = FixedState::default().hash_one(word);
    (short_of(hash) as usize & room.wrapping_sub(1), short_of(hash >> 32) | 1)
}

fn short_of(hash: u64) -> u32 {
    (hash & u64::from(u32::MAX)) as u32
}

/// A catalog that is read has less than 2^26 bytes, and so less than that of anything.
fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn number(node: usize) -> Option<NonZeroU32> {
    NonZeroU32::new(short(node))
}

// ===== finding =====

impl Matcher {
    /// The endpoint that takes `method` on `path`.
    pub(in crate::catalog) fn find(&self, method: &str, path: &CanonicalPath<'_>) -> Result<usize, Unclassified> {
        let method = if method == "HEAD" { "GET" } else { method };
        let mut node = self.nodes.first().ok_or(Unclassified::Unknown)?;
        for segment in path.segments() {
            let next = self.step(node, &segment.decode())?;
            node = self.nodes.get(next.get() as usize).ok_or(Unclassified::Unknown)?;
        }
        let ends = slice(&self.ends, &node.ends);
        match ends.iter().find(|end| end.method == method) {
            Some(end) => Ok(end.endpoint),
            None if ends.is_empty() => Err(Unclassified::Unknown),
            None => Err(Unclassified::Method),
        }
    }

    fn step(&self, node: &Node, value: &str) -> Result<NonZeroU32, Unclassified> {
        let table = slice(&self.slots, &node.slots);
        let longest = node.longest as usize;
        let mut buffer = [0; FOLD_IN_PLACE];
        let found = if table.is_empty() {
            None
        } else if !value.is_ascii() {
            self.look_up(table, fold(value).as_bytes(), value)
        } else if value.len() > longest {
            // Folding leaves ASCII as long as it was.
            None
        } else if let Some(folded) = buffer.get_mut(..value.len()) {
            folded.copy_from_slice(value.as_bytes());
            folded.make_ascii_lowercase();
            self.look_up(table, folded, value)
        } else {
            self.look_up(table, value.to_ascii_lowercase().as_bytes(), value)
        };
        match found {
            Some(literal) => literal,
            None => node.parameter.ok_or(Unclassified::Unknown),
        }
    }

    /// Where a literal that is `value` leads, if `folded` is a word of the table at all: other writings of it are no value.
    fn look_up(&self, table: &[Slot], folded: &[u8], value: &str) -> Option<Result<NonZeroU32, Unclassified>> {
        let (place, hash) = hashed(folded, table.len());
        let (before, behind) = table.split_at_checked(place)?;
        let slots = behind.iter().chain(before).take_while(|slot| slot.hash != 0);
        let mut known = None;
        for slot in slots.filter(|slot| slot.hash == hash && self.is(slot.word, folded)) {
            match slot.next {
                Some(next) if self.is(slot.written, value.as_bytes()) => return Some(Ok(next)),
                Some(_) | None => known = Some(Err(Unclassified::Parameter)),
            }
        }
        known
    }

    fn is(&self, text: Text, other: &[u8]) -> bool {
        let (start, len) = (text.start as usize, text.len as usize);
        self.texts.as_bytes().get(start..start + len) == Some(other)
    }
}

fn slice<'m, T>(all: &'m [T], range: &Range<u32>) -> &'m [T] {
    all.get(range.start as usize..range.end as usize).unwrap_or_default()
}
