//! Many globs at once: which of them match a text.
//!
//! A glob is found by its head, then by its tail: one look-up for each *length* that heads (and, among those with
//! this head, tails) have, never one for each glob. No text has more matching lengths than it has bytes, so the cost is
//! bounded by the text. Globs with two stars or more that share both head and tail are tried one by one.

use std::collections::HashMap;

use super::pattern::{Glob, holds_in_order};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Values by glob.
#[derive(Debug)]
pub(super) struct GlobMap<V> {
    heads: Map<Box<[u8]>, Tails<V>>,
    /// The lengths that heads have, shortest first.
    lengths: Vec<usize>,
}

#[derive(Debug)]
struct Tails<V> {
    /// The glob that ends in its only star.
    open: Option<V>,
    /// The others.
    closed: Option<Box<Closed<V>>>,
}

#[derive(Debug)]
struct Closed<V> {
    tails: Map<Box<[u8]>, Map<Middle, V>>,
    lengths: Vec<usize>,
}

/// What stands between two stars each.
type Middle = Box<[Box<str>]>;

impl<V> Default for GlobMap<V> {
    fn default() -> Self {
        Self { heads: Map::default(), lengths: Vec::new() }
    }
}

impl<V: Default> GlobMap<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The value of this glob, made where there is none yet.
    pub(super) fn entry(&mut self, head: &str, middle: &[Box<str>], tail: &str) -> &mut V {
        note_length(&mut self.lengths, head.len());
        let tails = self.heads.entry(head.as_bytes().into()).or_insert_with(|| Tails { open: None, closed: None });
        if middle.is_empty() && tail.is_empty() {
            return tails.open.get_or_insert_default();
        }
        let closed = tails.closed.get_or_insert_with(|| Box::new(Closed { tails: Map::default(), lengths: Vec::new() }));
        note_length(&mut closed.lengths, tail.len());
        closed.tails.entry(tail.as_bytes().into()).or_default().entry(middle.into()).or_default()
    }

    /// As [`GlobMap::entry`]; nothing for a glob without a star.
    pub(super) fn entry_for(&mut self, glob: &Glob) -> Option<&mut V> {
        match glob {
            Glob::Exact(_) => None,
            Glob::Stars { head, middle, tail } => Some(self.entry(head, middle, tail)),
        }
    }

    /// The values of all globs that match `text`.
    pub(super) fn visit<'m>(&'m self, text: &str, mut each: impl FnMut(&'m V)) {
        let text = text.as_bytes();
        for length in &self.lengths {
            let Some((head, rest)) = text.split_at_checked(*length) else { break };
            let Some(tails) = self.heads.get(head) else { continue };
            if let Some(value) = &tails.open {
                each(value);
            }
            let Some(closed) = &tails.closed else { continue };
            for length in &closed.lengths {
                let Some(at) = rest.len().checked_sub(*length) else { break };
                let (between, tail) = rest.split_at(at);
                for (middle, value) in closed.tails.get(tail).into_iter().flatten() {
                    if holds_in_order(between, middle) {
                        each(value);
                    }
                }
            }
        }
    }
}

fn note_length(lengths: &mut Vec<usize>, length: usize) {
    if let Err(at) = lengths.binary_search(&length) {
        lengths.insert(at, length);
    }
}
