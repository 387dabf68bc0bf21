//! What somebody sees who has made a mistake in a file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::*;

/// A document with a bit of everything.
#[derive(Debug, Deserialize, JsonSchema)]
#[expect(dead_code, reason = "some fields are only there to be written wrongly")]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// Version of this format: 1.
    version: At<u32>,
    /// What it is called.
    name: At<String>,
    /// Whether it is served hot.
    #[serde(default)]
    hot: bool,
    #[serde(default)]
    style: Option<Style>,
    #[serde(default)]
    steps: Vec<At<String>>,
    #[serde(default)]
    parts: Entries<Part>,
    #[serde(default)]
    tags: OneOrMany,
    #[serde(default)]
    image: Option<At<PathBuf>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    from: Option<std::net::IpAddr>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some fields are only there to be written wrongly")]
struct Part {
    /// How much of it.
    #[serde(default)]
    grams: Option<At<u32>>,
    #[serde(default)]
    fresh: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Style {
    /// Slowly.
    Braised,
    /// Quickly.
    Fried,
}

fn read(text: &str) -> Result<Recipe, String> {
    let mut complaints = Complaints::default();
    let value = parse::<Recipe>(&Source::new("recipe.yaml", text), &mut complaints);
    assert_eq!(value.is_some(), complaints.is_empty(), "a value and complaints: {complaints}");
    value.ok_or_else(|| complaints.to_string())
}

fn refused(text: &str) -> String {
    match read(text) {
        Ok(recipe) => panic!("it was taken: {recipe:?}"),
        Err(complaints) => complaints,
    }
}

#[test]
fn a_good_document_is_read_with_the_place_of_each_word() {
    let text = "version: 1\nname: Ragù\nstyle: braised\nsteps: [cut, \"stew\"]\nparts:\n  meat: {grams: 500}\n  salt:\ntags: soup\n";
    let recipe = read(text).unwrap();
    let at = |span: Span| &text[span.start..span.end];
    assert_eq!((recipe.style, recipe.hot), (Some(Style::Braised), false));
    assert_eq!(at(recipe.name.span), "Ragù");
    assert_eq!(at(recipe.steps[1].span), "\"stew\"");
    let names: Vec<_> = recipe.parts.iter().map(|(name, part)| (at(name.span), part.grams.as_deref().copied())).collect();
    assert_eq!(names, [("meat", Some(500)), ("salt", None)]);
    assert_eq!((recipe.tags[0].as_str(), at(recipe.tags[0].span)), ("soup", "soup"));
}

#[test]
fn what_other_readers_take_for_booleans_and_numbers_is_the_text_it_is() {
    let recipe = read("version: 1\nname: no\nsteps: [on, 007, 1_000, 0x1F, 1e3, yes]\ntags: off\n").unwrap();
    assert_eq!(recipe.name.as_str(), "no");
    assert_eq!(recipe.steps.iter().map(|step| step.as_str()).collect::<Vec<_>>(), ["on", "007", "1_000", "0x1F", "1e3", "yes"]);
    assert_eq!(recipe.tags[0].as_str(), "off");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_make_no_difference() {
    let recipe = read("\u{feff}version: 1\r\nname: soup\r\nsteps:\r\n  - stir\r\n").unwrap();
    assert_eq!((recipe.name.as_str(), recipe.steps[0].as_str()), ("soup", "stir"));
    insta::assert_snapshot!("windows_line_ends", refused("\u{feff}version: 1\r\nname: soup\r\nstep:\r\n  - stir\r\n"));
}

#[test]
fn anchors_and_aliases_within_reason_are_taken() {
    let recipe = read("version: 1\nname: soup\nparts: {a: &p {grams: 1}, b: *p}\n").unwrap();
    assert_eq!(recipe.parts.0[1].1.grams.as_deref(), Some(&1));
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let text = r#"
version: one
nam: soup
hot: yes
style: boiled
steps: stir
parts:
  meat: {grams: -5, freh: true}
  meat: {grams: 7}
  salt: {grams: [1]}
from: nowhere
"#;
    insta::assert_snapshot!("all_mistakes", refused(text));
}

#[test]
fn a_mistake_that_only_reading_finds_hides_no_other() {
    insta::assert_snapshot!("beside_others", refused("version: 1\nname: soup\nfrom: nowhere\nhott: true\nimage: [a]\n"));
}

#[test]
fn a_missing_field_is_told_with_what_it_is_for() {
    insta::assert_snapshot!("missing_field", refused("name: soup\nhot: true\n"));
}

#[test]
fn a_tab_is_told_as_one() {
    insta::assert_snapshot!("tab", refused("version: 1\nname: soup\nparts:\n\tmeat: {grams: 1}\n"));
}

#[test]
fn a_key_that_stands_twice_is_told() {
    insta::assert_snapshot!("duplicate_key", refused("version: 1\nname: soup\nname: stew\n"));
}

#[test]
fn a_bracket_that_is_not_closed_is_told() {
    insta::assert_snapshot!("open_bracket", refused("version: 1\nname: soup\nsteps: [cut, stew\n"));
}

#[test]
fn a_quote_that_is_not_closed_is_told() {
    insta::assert_snapshot!("open_quote", refused("version: 1\nname: \"soup\nsteps: []\n"));
}

#[test]
fn a_second_document_is_told() {
    insta::assert_snapshot!("second_document", refused("version: 1\nname: soup\n---\nversion: 1\nname: stew\n"));
}

#[test]
fn a_merge_key_is_told() {
    insta::assert_snapshot!("merge_key", refused("version: 1\nname: soup\nparts:\n  a: &a {grams: 1}\n  b: {<<: *a, fresh: true}\n"));
}

#[test]
fn a_star_without_quotes_is_told() {
    insta::assert_snapshot!("bare_star", refused("version: 1\nname: *\n"));
    insta::assert_snapshot!("bare_star_pattern", refused("version: 1\nname: soup\ntags: [*@acme.example]\n"));
}

#[test]
fn an_at_sign_without_quotes_is_told() {
    insta::assert_snapshot!("bare_at", refused("version: 1\nname: soup\ntags: [@finance]\n"));
}

#[test]
fn an_empty_file_is_told() {
    for text in ["", "\n\n", "# only a comment\n", "---\n", "\u{feff}"] {
        assert_eq!(refused(text), "recipe.yaml: error: nothing stands in this file\n  = help: a file begins with `version: 1`", "{text:?}");
    }
}

#[test]
fn what_is_no_mapping_at_all_is_told() {
    insta::assert_snapshot!("a_list", refused("- version: 1\n"));
    insta::assert_snapshot!("a_text", refused("soup\n"));
}

#[test]
fn an_alias_bomb_is_refused_before_it_goes_off() {
    let mut bomb = String::from("version: 1\nname: soup\nparts:\n  a: &a {grams: 1}\ntags:\n");
    bomb.push_str("  - &b0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let items = vec![format!("*b{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("  - &b{n} [{items}]\n"));
    }
    let complaints = refused(&bomb);
    assert!(complaints.contains("recipe.yaml:"), "{complaints}");
}

#[test]
fn deep_nesting_is_refused_with_its_place() {
    insta::assert_snapshot!("deep", refused(&format!("version: 1\nname: soup\nsteps: {}{}\n", "[".repeat(70), "]".repeat(70))));
    for depth in [200, 5_000, 200_000] {
        let complaints = refused(&format!("version: 1\nname: soup\nsteps: {}", "[".repeat(depth)));
        assert!(complaints.contains("nested deeper"), "{}", complaints.chars().take(500).collect::<String>());
    }
}

#[test]
fn a_file_that_is_no_text_a_folder_and_none_at_all_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("latin1.yaml");
    std::fs::write(&file, b"version: 1\nname: Rag\xf9\n").unwrap();
    let error = |path: &std::path::Path| Source::read(path).unwrap_err().to_string().replace(&folder.path().display().to_string(), "DIR");
    assert_eq!(error(&file), "DIR/latin1.yaml:2:10: this is not UTF-8 text");
    let mut complaints = Complaints::default();
    complaints.unreadable("latin1.yaml", &Source::read(&file).unwrap_err());
    let caret = "  |\n2 | name: Rag\u{fffd}\n  |          ^\n  = help: save it as UTF-8";
    assert_eq!(complaints.to_string(), format!("latin1.yaml:2:10: error: this is not UTF-8 text\n{caret}"));
    assert_eq!(error(&folder.path().join("gone.yaml")), "DIR/gone.yaml: cannot be read: No such file or directory (os error 2)");
    assert_eq!(error(folder.path()), "DIR: cannot be read: Is a directory (os error 21)");
}

#[test]
fn a_tab_is_told_where_it_stands() {
    for (text, place) in [
        ("version: 1\n\tname: soup\n", "2:1"),
        ("version: 1\n\n\tname: soup\n", "3:1"),
        ("version: 1\nname: soup\n\tparts: {}\n", "3:1"),
        ("version: 1\nparts: {}\n\tname: soup\n", "3:1"),
    ] {
        let said = refused(text);
        assert!(said.starts_with(&format!("recipe.yaml:{place}: error: a tab stands")), "{text:?}: {said}");
    }
}

#[test]
fn a_number_or_list_out_of_place_is_told_in_plain_words() {
    for (text, place, message) in [
        ("version: 01\nname: soup\n", "1:10", "`01` stands where a whole number, 0 or more, belongs"),
        ("version: 1\nname: &a [soup]\nsteps: [x, *a]\n", "2:10", "a list stands where a text belongs"),
        ("version: 1\nname: soup\ntags: &a [x]\nsteps: [x, *a]\n", "4:12", "a text belongs here"),
    ] {
        let said = refused(text);
        assert!(said.starts_with(&format!("recipe.yaml:{place}: error: {message}")), "{text:?}: {said}");
    }
}

#[test]
fn a_file_of_a_hundred_mebibytes_is_refused_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.yaml");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(100 << 20).unwrap();
    assert!(matches!(Source::read(&path), Err(ReadError::Large { .. })));
}

#[test]
fn of_very_many_mistakes_the_first_are_told_and_the_rest_counted() {
    let mut text = String::from("version: 1\nname: soup\nparts:\n");
    for n in 0..1_000 {
        text.push_str(&format!("  p{n}: {{gram: 1}}\n"));
    }
    let complaints = refused(&text);
    assert!(complaints.ends_with("… and 500 more"), "{}", &complaints[complaints.len() - 200..]);
}

#[test]
fn salvaging_gives_the_rest_to_go_on_with() {
    let text = "version: 1\nname: soup\nhott: true\nparts: {meat: {grams: 7, frsh: true}, salt: {grams: x}}\nsteps:\n  - [a]\n  - stir\nfrom: nowhere\n";
    let mut complaints = Complaints::default();
    let recipe = salvage::<Recipe>(&Source::new("recipe.yaml", text), &mut complaints).unwrap();
    assert_eq!(complaints.len(), 5, "{complaints}");
    assert_eq!(recipe.parts.0[0].1.grams.as_deref(), Some(&7));
    assert_eq!(recipe.steps.iter().map(|step| step.as_str()).collect::<Vec<_>>(), ["stir"]);
    assert_eq!(&text[recipe.steps[0].span.start..recipe.steps[0].span.end], "stir");
}
