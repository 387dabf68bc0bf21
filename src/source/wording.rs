//! What the YAML reader says, in words for somebody who edits a file.

use serde_yaml::{
    DeserializeError as Error,
    budget::BudgetBreach,
    granit_parser::{ErrorKind, ScanError},
};

/// A message, and what to do.
pub(super) struct Words {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

fn words(message: impl Into<String>, help: &str) -> Words {
    Words { message: message.into(), help: (!help.is_empty()).then(|| help.to_owned()) }
}

/// Whether a tab stands where none may.
pub(super) fn is_tab(error: &ScanError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar
            | ErrorKind::InvalidBlockEntryWhitespace
            | ErrorKind::InvalidMappingValueWhitespace
    )
}

/// Of a text that is no YAML.
pub(super) fn scan(error: &ScanError) -> Words {
    match error.kind() {
        _ if is_tab(error) => words("a tab stands where YAML takes spaces only", "indent with spaces"),
        ErrorKind::UnclosedFlowCollection { open } => {
            words(format!("the `{open}` before this is never closed"), "close it, or look for a comma or quote that is missing")
        }
        ErrorKind::UnexpectedEofFlowSequence => words("a `[` is never closed", "add the `]`"),
        ErrorKind::UnexpectedEofFlowMapping | ErrorKind::UnexpectedEofImplicitFlowMapping => words("a `{` is never closed", "add the `}`"),
        ErrorKind::UnclosedQuotedScalar => words("a quote is never closed", "add the closing quote"),
        ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::ExpectedFlowSequenceSeparator => {
            words("a comma or a closing bracket belongs here", "within `{…}` and `[…]` a comma stands between two entries")
        }
        ErrorKind::InvalidIndentation
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::InvalidFlowScalarIndent => {
            words("this line is indented as nothing before it is", "entries of one list or mapping begin in the same column")
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            words("this is neither `key: value` nor a list item", "a colon behind the key is missing, or the text before it needs quotes")
        }
        ErrorKind::MappingValueNotAllowed | ErrorKind::MappingKeyNotAllowed | ErrorKind::InvalidColonPlacement => {
            words("a second `key: value` begins in the middle of this line", "put a text that holds a colon and a space in quotes")
        }
        ErrorKind::UnexpectedCharacter { character } => {
            words(format!("{character:?} cannot begin a text here"), "put a text that begins with one of @ ` % & * ! | > in quotes")
        }
        ErrorKind::BomInsideDocument => words("a byte-order mark stands in the middle of the file", "take it out"),
        ErrorKind::UnknownAnchor => unresolved(),
        ErrorKind::MissingAnchorOrAliasName => {
            words("an alias or anchor has no name", "a text that begins with `*` or `&` needs quotes: `\"*\"`")
        }
        // Rarer ones are told as the reader tells them.
        _ => words(format!("this is no YAML: {}", error.info()), ""),
    }
}

/// Of YAML that does not make the value it should.
pub(super) fn typed(error: &Error) -> Words {
    match error.without_snippet() {
        Error::AliasError { error, .. } => typed(error),
        Error::Eof { .. } => words("the file ends where something should stand", ""),
        Error::MultipleDocuments { .. } => second_document(),
        Error::MergeKeyNotAllowed { .. } => words("a merge key (`<<`) is not taken", "YAML 1.2 has no merge keys: write the fields out"),
        Error::DuplicateMappingKey { key, .. } => {
            words(format!("`{}` stands here twice", key.as_deref().unwrap_or("this key")), "leave one of the two out")
        }
        Error::NullIntoString { .. } => {
            words("nothing stands where a text belongs", "an empty text is `\"\"`, the word null is `\"null\"`")
        }
        Error::InvalidBooleanStrict { .. } => words("this is neither `true` nor `false`", ""),
        Error::SerdeUnknownField { field, .. } => words(format!("no field is called `{field}` here"), ""),
        Error::SerdeMissingField { field, .. } => words(format!("the field `{field}` is missing here"), ""),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            words(format!("`{variant}` is none of the words that can stand here"), &format!("write one of {}", expected.join(", ")))
        }
        Error::SerdeInvalidType { unexpected, expected, .. } => words(format!("{unexpected} stands where {expected} belongs"), ""),
        Error::SerdeInvalidValue { unexpected, expected, .. } => words(format!("{unexpected} is not {expected}"), ""),
        Error::InvalidScalar { ty, .. } => words(format!("{} belongs here", plain(ty)), ""),
        Error::Unexpected { expected, .. } => words(format!("{} belongs here", plain(expected)), ""),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::RecursiveReferencesRequireWeakTypes { .. } => aliases(),
        Error::Budget { breach, .. } => match breach {
            BudgetBreach::Depth { .. } => deep(),
            BudgetBreach::Aliases { .. } | BudgetBreach::Anchors { .. } | BudgetBreach::AliasAnchorRatio { .. } => aliases(),
            _ => words("the document has more parts than are read", "split it, or write patterns for long lists"),
        },
        Error::UnknownAnchor { .. } => unresolved(),
        Error::UnsupportedTag { tag, .. } => words(format!("the tag `{tag}` means nothing here"), "leave it out"),
        Error::Message { msg, .. } => words(msg.as_str(), ""),
        other => words(first_line(&other.to_string()), ""),
    }
}

/// What the reader wants, for somebody who edits a file.
fn plain(wanted: &str) -> &str {
    match wanted {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number, 0 or more, without a zero before it,",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number without a zero before it",
        "f32" | "f64" => "a number",
        "bool" => "`true` or `false`",
        _ if wanted.contains("scalar") || wanted.contains("string") => "a text",
        _ if wanted.contains("mapping") => "fields (`name: …`)",
        _ if wanted.contains("sequence") => "a list",
        other => other,
    }
}

/// Whether the reader misses something, rather than finding something wrong.
pub(super) fn is_hole(error: &Error) -> bool {
    matches!(
        error.without_snippet(),
        Error::SerdeMissingField { .. }
            | Error::Unexpected { .. }
            | Error::NullIntoString { .. }
            | Error::Eof { .. }
            | Error::UnknownAnchor { .. }
    )
}

pub(super) fn second_document() -> Words {
    words("a second document begins here", "one file holds one document: leave out the `---` and what follows, or put it into another file")
}

pub(super) fn unresolved() -> Words {
    words("this is an alias, of an anchor that does not stand before it", "a text that begins with `*` needs quotes: `\"*@acme.example\"`")
}

pub(super) fn deep() -> Words {
    words(format!("nested deeper than {} levels", super::tree::MAX_DEPTH), "a bracket or an indentation is most likely repeated by mistake")
}

pub(super) fn aliases() -> Words {
    words("the aliases of this file spell out to far more than stands in it", "write the values out")
}

/// Without the place, which is told beside it.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.split(" at line ").next().unwrap_or(line).to_owned()
}
