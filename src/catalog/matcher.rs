//! From method and path to the one endpoint that fits: a tree of segments.
//!
//! At each node a segment is either one of the node's literals, or a value of its parameter, never
//! both: a value that equals a literal in all but letter case is neither. So the way through the
//! tree never turns back, and costs one look-up a segment whatever the number of endpoints.
//!
//! That alone leaves a second reading to a service that prefers parameters where we prefer literals: beside
//! `/process/admin/{process}/{item}` and `/process/{process}/{item}/progress`, it would take
//! `/process/admin/PO/progress` for the progress of an item of the process `admin`. So, once all templates are in,
//! [`Builder::build`] follows for each node the others that such a service could be at, and their literals are no
//! values here either.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::{
    Unclassified,
    path::CanonicalPath,
    template::{Part, Template},
};

/// The tree.
#[derive(Debug)]
pub(super) struct Matcher {
    nodes: Vec<Node>,
}

/// A tree that still grows.
#[derive(Debug)]
pub(super) struct Builder {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// What a value of the parameter never equals, letter case folded, each with the literals that are written so.
    /// The keys come from the catalog alone, so nobody who sends requests can make them collide.
    words: HashMap<Box<[u8]>, Vec<Literal>, FixedState>,
    /// Length in bytes of the longest of `words`.
    longest: usize,
    parameter: Option<usize>,
    /// What ends here, by method.
    ends: Vec<End>,
}

#[derive(Debug)]
struct Literal {
    text: Box<str>,
    next: usize,
}

#[derive(Debug, Clone, Copy)]
struct End {
    method: &'static str,
    endpoint: usize,
}

/// The first segment of what Vicar answers itself, and so what no parameter takes.
pub(super) const SELF_SERVICE: &str = ".vicar";

/// Longest segment that is folded without an allocation, in bytes. A literal longer than this is rare.
const FOLD_IN_PLACE: usize = 128;

impl Default for Builder {
    fn default() -> Self {
        let mut root = Node::default();
        root.reserve(fold(SELF_SERVICE).into_bytes().into());
        Self { nodes: vec![root] }
    }
}

// ===== impl Builder =====

impl Builder {
    /// Adds an endpoint; the one that already takes these requests, if there is one.
    pub(super) fn insert(&mut self, method: &'static str, template: &Template, endpoint: usize) -> Result<(), usize> {
        let mut at = 0;
        for part in template.parts() {
            at = self.child(at, part);
        }
        let Some(node) = self.nodes.get_mut(at) else { return Ok(()) };
        if let Some(end) = node.ends.iter().find(|end| end.method == method) {
            return Err(end.endpoint);
        }
        node.ends.push(End { method, endpoint });
        Ok(())
    }

    fn child(&mut self, at: usize, part: &Part) -> usize {
        let next = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return next };
        let child = match part {
            Part::Literal(text) => {
                let same = node.reserve(fold(text).into_bytes().into());
                match same.iter().find(|literal| literal.text == *text) {
                    Some(literal) => literal.next,
                    None => {
                        same.push(Literal { text: text.clone(), next });
                        next
                    }
                }
            }
            Part::Parameter(_) => *node.parameter.get_or_insert(next),
        };
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }

    /// The tree, once every endpoint is in.
    pub(super) fn build(mut self) -> Matcher {
        for (at, words) in self.foreign_words() {
            if let Some(node) = self.nodes.get_mut(at) {
                for word in words {
                    node.reserve(word);
                }
            }
        }
        Matcher { nodes: self.nodes }
    }

    /// For each node with a parameter, the literals of the other nodes that the same path leads to when parameters are
    /// preferred to literals on the way.
    fn foreign_words(&self) -> Vec<(usize, Vec<Box<[u8]>>)> {
        let mut found = Vec::new();
        let mut waiting: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new())];
        while let Some((at, others)) = waiting.pop() {
            let Some(node) = self.nodes.get(at) else { continue };
            let other_nodes = || others.iter().filter_map(|other| self.nodes.get(*other));
            if let Some(parameter) = node.parameter {
                let words: Vec<_> = other_nodes().flat_map(|other| other.words.keys().cloned()).collect();
                if !words.is_empty() {
                    found.push((at, words));
                }
                waiting.push((parameter, other_nodes().filter_map(|other| other.parameter).collect()));
            }
            for (word, literals) in &node.words {
                for literal in literals {
                    let mut next: Vec<usize> = std::iter::once(node)
                        .chain(other_nodes())
                        .flat_map(|other| {
                            let same = other.words.get(word).into_iter().flatten().map(|literal| literal.next);
                            same.chain(other.parameter)
                        })
                        .filter(|next| *next != literal.next)
                        .collect();
                    next.sort_unstable();
                    next.dedup();
                    waiting.push((literal.next, next));
                }
            }
        }
        found
    }
}

// ===== impl Matcher =====

impl Matcher {
    /// The endpoint that takes `method` on `path`.
    pub(super) fn find(&self, method: &str, path: &CanonicalPath<'_>) -> Result<usize, Unclassified> {
        let method = if method == "HEAD" { "GET" } else { method };
        let mut at = 0;
        for segment in path.segments() {
            let node = self.nodes.get(at).ok_or(Unclassified::Unknown)?;
            at = node.step(&segment.decode())?;
        }
        let node = self.nodes.get(at).ok_or(Unclassified::Unknown)?;
        match node.ends.iter().find(|end| end.method == method) {
            Some(end) => Ok(end.endpoint),
            None if node.ends.is_empty() => Err(Unclassified::Unknown),
            None => Err(Unclassified::Method),
        }
    }
}

impl Node {
    /// Takes a word, folded, from what the parameter may be; the literals that are written so.
    fn reserve(&mut self, word: Box<[u8]>) -> &mut Vec<Literal> {
        self.longest = self.longest.max(word.len());
        self.words.entry(word).or_default()
    }

    fn step(&self, value: &str) -> Result<usize, Unclassified> {
        match self.written_so(value) {
            Some(literals) => {
                literals.iter().find(|literal| *literal.text == *value).map(|literal| literal.next).ok_or(Unclassified::Parameter)
            }
            None => self.parameter.ok_or(Unclassified::Unknown),
        }
    }

    /// The literals that `value` is, letter case aside; `None` when it can be a parameter's.
    fn written_so(&self, value: &str) -> Option<&Vec<Literal>> {
        if self.words.is_empty() {
            return None;
        }
        if !value.is_ascii() {
            return self.words.get(fold(value).as_bytes());
        }
        // Folding leaves ASCII as long as it was.
        if value.len() > self.longest {
            return None;
        }
        let mut buffer = [0; FOLD_IN_PLACE];
        match buffer.get_mut(..value.len()) {
            Some(folded) => {
                folded.copy_from_slice(value.as_bytes());
                folded.make_ascii_lowercase();
                self.words.get(&*folded)
            }
            None => self.words.get(value.to_ascii_lowercase().as_bytes()),
        }
    }
}

/// Letter case folded as no upstream does more thoroughly: whatever some server's lower-casing *or* upper-casing
/// takes for the same text is the same text here (`K` the Kelvin sign is `k`, `ſ` is `s`, `ß` is `ss`).
pub(crate) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}
