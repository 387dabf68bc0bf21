//! A document as a tree of nodes with their places. It is built only where reading has failed, to find every mistake at
//! once; the value itself never comes from here.

use serde_yaml::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError, StructureStyle};

use super::{
    Span,
    shape::{Cut, Within},
};

/// Deepest nesting that is read. No document of ours needs ten.
pub(super) const MAX_DEPTH: usize = 64;
/// How many nodes a tree may have: 8 million take about a gigabyte, and only a generated file has them.
const MAX_NODES: usize = 4_000_000;

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) shape: Shape,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Shape {
    /// A text, and whether it stands there without quotes.
    Scalar { text: String, plain: bool },
    /// `- a` or `[a]`.
    List { items: Vec<Node>, flow: bool },
    /// `a: b` or `{a: b}`.
    Map { entries: Vec<(Node, Node)>, flow: bool },
    /// `*name`: a node that stands elsewhere.
    Alias,
}

/// Why there is no tree.
#[derive(Debug)]
pub(super) enum NoTree {
    /// No YAML.
    Scan(ScanError),
    /// Nothing but white space and comments.
    Empty,
    /// Nested deeper than [`MAX_DEPTH`].
    Deep(Span),
    /// Too large to look through.
    Large,
}

/// A document, and where a second one begins.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Node,
    pub(super) second: Option<Span>,
    /// Aliases of anchors that do not stand before them.
    pub(super) unresolved: Vec<Span>,
}

impl Node {
    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Scalar { text, .. } => Some(text),
            Shape::List { .. } | Shape::Map { .. } | Shape::Alias => None,
        }
    }

    /// The innermost entry or item that `at` stands in.
    pub(super) fn entry_around(&self, at: usize) -> Option<Cut> {
        let holds = |span: Span| span.start <= at && at < span.end.max(span.start + 1);
        let (span, within, inner) = match &self.shape {
            Shape::Map { entries, flow } => {
                let whole = |(key, value): &(Self, Self)| Span { start: key.span.start, end: value.span.end.max(key.span.end + 1) };
                let entry = entries.iter().find(|entry| holds(whole(entry)))?;
                (whole(entry), if *flow { Within::Flow } else { Within::Block }, &entry.1)
            }
            Shape::List { items, flow } => {
                let item = items.iter().find(|item| holds(item.span))?;
                (item.span, if *flow { Within::Flow } else { Within::BlockList }, item)
            }
            Shape::Scalar { .. } | Shape::Alias => return None,
        };
        inner.entry_around(at).or(Some(Cut { span, within }))
    }

    /// Whether nothing stands here: `key:`, `~`, `null`.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(&self.shape, Shape::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Builds the tree of the first document of `text`.
pub(super) fn build(text: &str) -> Result<Tree, NoTree> {
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        // The depth is judged here, with the place where it gets too deep.
        flow_nesting_limit: MAX_DEPTH + 8,
        block_nesting_limit: MAX_DEPTH + 8,
    };
    let mut building = Building { open: Vec::new(), root: None, nodes: 0, unresolved: Vec::new() };
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, place) = match event {
            Ok(event) => event,
            Err(error) if *error.kind() == ErrorKind::RecursionLimitExceeded => return Err(NoTree::Deep(place_of(&error))),
            // What comes behind the first document is told of as a whole.
            Err(_) if documents > 1 => break,
            Err(error) => return Err(NoTree::Scan(error)),
        };
        let span = place.byte_range().map_or_else(Span::default, |range| Span { start: range.start, end: range.end });
        match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return building.finish(Some(span));
                }
            }
            Event::Scalar(text, style, ..) => {
                building.add(Node { span, shape: Shape::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain } })?;
            }
            Event::Alias(_) => building.add(Node { span, shape: Shape::Alias })?,
            Event::UnresolvedAlias(_) => {
                building.unresolved.push(span);
                building.add(Node { span, shape: Shape::Alias })?;
            }
            Event::SequenceStart(style, ..) => {
                let flow = style == StructureStyle::Flow;
                building.begin(Node { span, shape: Shape::List { items: Vec::new(), flow } })?;
            }
            Event::MappingStart(style, ..) => {
                let flow = style == StructureStyle::Flow;
                building.begin(Node { span, shape: Shape::Map { entries: Vec::new(), flow } })?;
            }
            Event::SequenceEnd | Event::MappingEnd => building.end(span)?,
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Anchor(..) => {}
            // The parser may learn of further metadata; nodes are all named above.
            _ => {}
        }
    }
    building.finish(None)
}

pub(super) fn place_of(error: &ScanError) -> Span {
    let start = error.marker().byte_offset().unwrap_or_default();
    Span { start, end: start + 1 }
}

struct Building {
    /// Collections that are not at their end, and the key that waits for its value.
    open: Vec<(Node, Option<Node>)>,
    root: Option<Node>,
    nodes: usize,
    unresolved: Vec<Span>,
}

impl Building {
    fn begin(&mut self, node: Node) -> Result<(), NoTree> {
        if self.open.len() >= MAX_DEPTH {
            return Err(NoTree::Deep(Span { start: node.span.start, end: node.span.start + 1 }));
        }
        self.open.push((node, None));
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), NoTree> {
        let Some((mut node, _)) = self.open.pop() else { return Ok(()) };
        let inner_end = match &node.shape {
            Shape::List { items, flow: false } => items.last().map(|last| last.span.end),
            Shape::Map { entries, flow: false } => entries.last().map(|(key, value)| value.span.end.max(key.span.end)),
            Shape::List { .. } | Shape::Map { .. } | Shape::Scalar { .. } | Shape::Alias => Some(span.end),
        };
        node.span.end = inner_end.unwrap_or(node.span.end).max(node.span.start);
        self.add(node)
    }

    fn add(&mut self, node: Node) -> Result<(), NoTree> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(NoTree::Large);
        }
        match self.open.last_mut() {
            None => {
                self.root.get_or_insert(node);
            }
            Some((Node { shape: Shape::List { items, .. }, .. }, _)) => items.push(node),
            Some((Node { shape: Shape::Map { entries, .. }, .. }, key)) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => *key = Some(node),
            },
            Some(_) => {}
        }
        Ok(())
    }

    fn finish(self, second: Option<Span>) -> Result<Tree, NoTree> {
        match self.root {
            Some(root) if root.span.start < root.span.end || !root.is_nothing() => Ok(Tree { root, second, unresolved: self.unresolved }),
            _ => Err(NoTree::Empty),
        }
    }
}
