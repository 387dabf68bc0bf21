//! Files that somebody, or something, has mangled: each is taken or told of, and none takes the program down.

use proptest::{prelude::*, sample::select};

use super::*;

#[derive(Debug, Clone)]
enum Change {
    Cut(usize, usize),
    Put(usize, &'static str),
    Copy(usize, usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let words = select(vec![
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        ", ",
        "&a ",
        "*a",
        "*a ",
        "<<: *a\n",
        "\t",
        "\n",
        "\n  ",
        "---\n",
        "...\n",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "!!binary ",
        "!!str ",
        "!x ",
        "%YAML 1.1\n",
        "é",
        "\u{feff}",
        "# ",
        "null",
        "~",
        "? ",
        "@",
        "*",
        "\\",
        "\r",
        "\0",
        "\u{2028}",
        "1e999",
        "0x1",
        "yes",
        "@executives",
        "@finance",
        "\"@loop\"",
        "process:",
        "until: 2026-13-01\n",
    ]);
    let place = 0..2_000_usize;
    prop_oneof![
        (place.clone(), 0..40_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (place.clone(), words).prop_map(|(at, word)| Change::Put(at, word)),
        (place.clone(), 0..120_usize, place).prop_map(|(from, length, to)| Change::Copy(from, length, to)),
    ]
}

fn mangled(text: &str, changes: &[Change]) -> String {
    let mut text = text.to_owned();
    for change in changes {
        let at = |at: usize| text.floor_char_boundary(at % (text.len() + 1));
        match change {
            Change::Cut(from, length) => {
                let from = at(*from);
                let to = text.floor_char_boundary((from + length).min(text.len())).max(from);
                text.replace_range(from..to, "");
            }
            Change::Put(to, word) => text.insert_str(at(*to), word),
            Change::Copy(from, length, to) => {
                let from = at(*from);
                let end = text.floor_char_boundary((from + length).min(text.len())).max(from);
                let copied = text[from..end].to_owned();
                text.insert_str(at(*to), &copied);
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn a_mangled_policy_is_taken_or_told_of(changes in prop::collection::vec(change(), 1..6)) {
        let text = mangled(DESIGN, &changes);
        let catalog = catalog();
        let source = Source::new("policy.yaml", text.as_str());
        let mut complaints = Complaints::default();
        let policy = load(&source, &catalog, &mut complaints);
        prop_assert_eq!(policy.is_none(), complaints.has_errors(), "{}", complaints);
        for complaint in complaints.iter() {
            prop_assert!(complaint.line <= text.lines().count().max(1), "{}", complaint);
        }
        if let Some(policy) = policy {
            verify(&policy, &catalog, &PathRules::default(), now()).complain(&source, &mut complaints);
            lint(&policy, &catalog, &source, Some(&[]), now(), &mut complaints);
        }
        let _ = complaints.to_string();
    }

    #[test]
    fn a_mangled_catalog_is_taken_or_told_of(changes in prop::collection::vec(change(), 1..6)) {
        let text = mangled(CATALOG, &changes);
        let mut complaints = Complaints::default();
        let taken = catalog::load(&[Source::new("catalog.yaml", text)], &mut complaints);
        prop_assert_eq!(taken.is_none(), complaints.has_errors(), "{}", complaints);
        let _ = complaints.to_string();
    }
}
