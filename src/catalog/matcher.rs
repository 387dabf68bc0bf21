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

mod flat;

pub(super) use flat::Matcher;

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::{
    Unclassified,
    template::{Part, Template},
};
use flat::Plan;

/// A tree that still grows.
#[derive(Debug)]
pub(super) struct Builder {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// What a value of the parameter never equals, letter case folded, each with the literals that are written so.
    words: HashMap<Box<str>, Vec<Literal>, FixedState>,
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

impl Default for Builder {
    fn default() -> Self {
        let mut root = Node::default();
        root.reserve(fold(SELF_SERVICE).into());
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
                let same = node.reserve(fold(text).into());
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
        self.lay_out()
    }

    /// Numbers the nodes anew, in the order of a walk that goes down first.
    fn lay_out(&self) -> Matcher {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut numbers = vec![0; self.nodes.len()];
        let mut ahead = vec![0];
        while let Some(at) = ahead.pop() {
            let (Some(node), Some(number)) = (self.nodes.get(at), numbers.get_mut(at)) else { continue };
            *number = order.len();
            order.push(node);
            ahead.extend(node.words.values().flatten().map(|literal| literal.next));
            ahead.extend(node.parameter);
        }
        let renumbered = |old: usize| numbers.get(old).copied().unwrap_or_default();
        let mut matcher = Matcher::default();
        for node in order {
            let words = node.words.iter().flat_map(|(word, literals)| {
                let written = literals.iter().map(|literal| Some((&*literal.text, renumbered(literal.next))));
                let reserved = literals.is_empty().then_some(None);
                written.chain(reserved).map(move |literal| (&**word, literal))
            });
            matcher.add(&Plan { words: words.collect(), parameter: node.parameter.map(renumbered), ends: &node.ends });
        }
        matcher
    }

    /// For each node with a parameter, the literals of the other nodes that the same path leads to when parameters are
    /// preferred to literals on the way.
    fn foreign_words(&self) -> Vec<(usize, Vec<Box<str>>)> {
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

// ===== impl Node =====

impl Node {
    /// Takes a word, folded, from what the parameter may be; the literals that are written so.
    fn reserve(&mut self, word: Box<str>) -> &mut Vec<Literal> {
        self.words.entry(word).or_default()
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
