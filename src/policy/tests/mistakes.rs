//! What somebody sees who has made a mistake in a policy.

use super::*;

/// A policy with `body` for the account `bot`.
fn bot(shares: &str) -> String {
    format!("version: 1\ngroups:\n  finance: [\"*@finance.acme.example\"]\nservice_accounts:\n  bot:\n    shares:\n{shares}")
}

#[test]
fn an_unknown_field_is_told_with_the_one_that_was_meant() {
    insta::assert_snapshot!("unknown_field", refused(&bot("      - {resource: \"dataset:*\", action: [list]}\n")));
}

#[test]
fn an_unknown_kind_is_told() {
    insta::assert_snapshot!("unknown_kind", refused(&bot("      - {resource: \"proces:Order\", actions: [create]}\n")));
}

#[test]
fn an_unknown_action_is_told() {
    insta::assert_snapshot!("unknown_action", refused(&bot("      - {resource: \"process:Order\", actions: [list, creat]}\n")));
}

#[test]
fn an_unknown_group_is_told() {
    let shares = "      - resource: process:Order\n        actions: [create]\n        impersonate: {users: [\"@finanse\"]}\n";
    insta::assert_snapshot!("unknown_group", refused(&bot(shares)));
}

#[test]
fn a_domain_taken_for_a_group_is_told_as_one() {
    let shares = "      - resource: process:Order\n        actions: [create]\n        impersonate: {users: \"@acme.example\"}\n";
    insta::assert_snapshot!("domain_as_group", refused(&bot(shares)));
}

#[test]
fn a_share_that_no_endpoint_can_reach_is_told() {
    insta::assert_snapshot!("unreachable_action", refused(&bot("      - {resource: \"user:*\", actions: [delete]}\n")));
    insta::assert_snapshot!("unreachable_whole", refused(&bot("      - {resource: dataset, actions: [list, read]}\n")));
    insta::assert_snapshot!("unreachable_id", refused(&bot("      - {resource: \"process:a/b\", actions: \"*\"}\n")));
    insta::assert_snapshot!(
        "unreachable_lists",
        refused(&bot("      - resource: [\"user:*\", process]\n        actions: [delete, submit]\n"))
    );
}

#[test]
fn a_denial_that_no_endpoint_can_reach_is_told() {
    let text = "version: 1\nservice_accounts:\n  bot:\n    deny:\n      - {resource: dataset:Salaries, actions: [submit]}\n";
    insta::assert_snapshot!("unreachable_denial", refused(text));
}

#[test]
fn groups_in_a_circle_are_told_with_the_way_round() {
    let text = "version: 1\ngroups:\n  a: [\"@b\"]\n  b: [zoe@acme.example, \"@c\"]\n  c: [\"@a\"]\n  d: [\"@d\"]\n";
    insta::assert_snapshot!("circle", refused(text));
}

#[test]
fn odd_users_are_told() {
    let users = "[\"zoe@\", \"a@b@c\", \"zoe max\", \"\", \"jürgen@acme.example\"]";
    let shares = format!("      - resource: process:Order\n        actions: [create]\n        impersonate: {{users: {users}}}\n");
    insta::assert_snapshot!("odd_users", refused(&bot(&shares)));
}

#[test]
fn odd_resources_are_told() {
    let shares = "      - {resource: [\"*:Order\", \"process:\", Process:Order], actions: [create]}\n      - {resource: [], actions: []}\n";
    insta::assert_snapshot!("odd_resources", refused(&bot(shares)));
}

#[test]
fn odd_ends_and_pointers_are_told() {
    let shares = "      - resource: process:Order\n        actions: [create]\n        until: 31.12.2026\n        impersonate: {users: \"@finance\", from: {json: _created_by.Email}}\n";
    insta::assert_snapshot!("odd_ends", refused(&bot(shares)));
}

/// Whoever has taken out all that stood below `impersonate:` has not said that the account may act as itself.
#[test]
fn a_blank_field_is_told_and_means_nothing() {
    let text = r#"
version: 1
enforcement:
service_accounts:
  idle:
  bot:
    enforcement: ~
    shares:
      - resource: process:Order
        actions: [create]
        impersonate:
        #  users: [zoe@acme.example]
      - {resource: process:Order, actions: [read], until: , note: null}
      - {resource: process:Order, actions: [list], impersonate: {users: "*", from: }}
    deny:
      - {resource: dataset:Salaries, actions: "*", until: }
tests:
  - {as: bot, request: GET /root, expect: deny, because: , on_behalf_of: , at: , name: }
"#;
    insta::assert_snapshot!("blank", refused(text));
    // One of them alone, too.
    for blank in ["impersonate:", "until: ~", "note: null"] {
        let told = refused(&bot(&format!("      - resource: process:Order\n        actions: [create]\n        {blank}\n")));
        assert!(told.contains("nothing stands where"), "{blank}: {told}");
    }
}

#[test]
fn an_odd_account_and_version_are_told() {
    insta::assert_snapshot!("odd_account", refused("version: 2\nservice_accounts:\n  Procure_To_Pay: {}\n"));
}

#[test]
fn odd_tests_are_told() {
    let text = r#"
version: 1
tests:
  - {as: bot, request: /dataset/2/Ac1/Vendors/list, expect: allow}
  - {as: bot, request: get /dataset/2/Ac1/Vendors/list, expect: alow}
  - {as: bot, request: GET /dataset/../x, expect: deny, because: denied-by-rul}
  - {as: bot, request: GET /dataset/2/Ac1/Vendors/list, expect: allow, because: not-shared}
  - {as: bot, on_behalf_of: "a,b", request: GET /dataset/2/Ac1/Vendors/list, expect: deny, at: soon}
"#;
    insta::assert_snapshot!("odd_tests", refused(text));
}

#[test]
fn a_test_that_fails_says_what_the_policy_says() {
    let text = r#"
version: 1
service_accounts:
  reporting:
    shares:
      - {resource: "dataset:*", actions: [list]}
tests:
  - {as: reporting, request: GET /dataset/2/Ac1/Vendors/list, expect: deny}
  - {as: reporting, request: DELETE /dataset/2/Ac1/Vendors/7, expect: allow}
  - {as: reportign, request: GET /dataset/2/Ac1/Vendors/list, expect: allow}
  - {as: reporting, request: GET /datasets/2/Ac1/Vendors/list, expect: allow}
  - {as: reporting, request: DELETE /dataset/2/Ac1/Vendors/7, expect: deny, because: denied-by-rule}
  - {as: reporting, request: GET /datasets/2/Ac1/Vendors/list, expect: deny}
"#;
    let asked = policy(text);
    let report = verify(&asked.policy, &asked.catalog, &PathRules::default(), now());
    assert_eq!((report.passed, report.failed), (1, 5));
    let mut complaints = Complaints::default();
    report.complain(&Source::new("policy.yaml", text), &mut complaints);
    insta::assert_snapshot!("failed_tests", complaints);
}

#[test]
fn an_id_that_is_a_word_of_the_catalog_in_its_place_is_none_that_an_endpoint_reaches() {
    let endpoints = r#"version: 1
kinds: {p: {title: Ps}}
endpoints:
  - {request: "POST /p/{x}", resource: "p:{x}", action: create}
  - {request: "GET /p/a", resource: p, action: list}
  - {request: "GET /b/{x}", resource: "p:{x}", action: read}
"#;
    let mut complaints = Complaints::default();
    let catalog = catalog::load(&[Source::new("catalog.yaml", endpoints)], &mut complaints).unwrap_or_else(|| panic!("{complaints}"));
    for (id, action, reached) in [
        ("a", "create", false),
        ("A", "create", false),
        ("b", "create", true),
        ("a", "read", true),
        ("b", "read", true),
        ("*", "create", true),
    ] {
        let text = format!("version: 1\nservice_accounts:\n  bot:\n    shares:\n      - {{resource: \"p:{id}\", actions: [{action}]}}\n");
        let mut complaints = Complaints::default();
        let taken = load(&Source::new("policy.yaml", &text), &catalog, &mut complaints).is_some();
        assert_eq!(taken, reached, "{id} {action}: {complaints}");
    }
}

#[test]
fn a_test_that_held_until_a_share_ended_is_warned_of_and_stops_nothing() {
    let text = |until: &str, at: &str| {
        format!(
            "version: 1\nservice_accounts:\n  reporting:\n    shares:\n      - {{resource: \"dataset:*\", actions: [list], until: {until}}}\n\
             tests:\n  - {{as: reporting, request: GET /dataset/2/Ac1/Vendors/list, expect: allow{at}}}\n"
        )
    };
    for (until, at, failed, errors) in [
        ("2099-12-31", "", 0, false),
        ("2020-12-31", "", 1, false),
        ("2020-12-31", ", at: 2020-12-31", 0, false),
        ("2020-12-31", ", at: 2021-01-01", 1, true),
    ] {
        let text = text(until, at);
        let asked = policy(&text);
        let report = verify(&asked.policy, &asked.catalog, &PathRules::default(), now());
        let mut complaints = Complaints::default();
        report.complain(&Source::new("policy.yaml", &text), &mut complaints);
        assert_eq!((report.failed, complaints.has_errors()), (failed, errors), "{until}{at}: {complaints}");
        assert_eq!(complaints.is_empty(), failed == 0, "{until}{at}: {complaints}");
    }
}

#[test]
fn of_a_long_line_the_part_around_the_word_is_shown() {
    let many: String = (0..500).map(|n| format!("\"a{n}\": {{\"shares\": []}}, ")).collect();
    let text = format!("{{\"version\": 1, \"service_accounts\": {{{many} \"last\": {{\"share\": []}}}}}}");
    let told = refused(&text);
    assert!(told.len() < 1000 && told.contains("\"share\"") && told.contains('…'), "{told}");
    let lines: Vec<_> = told.lines().collect();
    let (shown, carets) = (lines[2], lines[3]);
    let at = carets.chars().position(|c| c == '^').unwrap();
    assert_eq!(shown.chars().skip(at).take(7).collect::<String>(), "\"share\"", "{told}");
}

#[test]
fn mistakes_of_shape_and_of_meaning_are_told_together() {
    let text = r#"
version: 1
enforcment: observe
groups:
  finance: zoe@acme.example
never_impersonate: ["@executives"]
service_accounts:
  reporting:
    shares:
      - {resource: "dataset:*", actions: [lisst]}
      - {resource: "datasets:*", actions: [list], untill: 2026-12-31}
      - {resource: "dataset:*"}
"#;
    insta::assert_snapshot!("together", refused(text));
}

#[test]
fn what_somebody_should_look_at_is_warned_of() {
    let text = r#"
version: 1
enforcement: observe
groups:
  finance: ["*@finance.acme.example", "@audit"]
  audit: [eve@acme.example]
  executives: [ceo@acme.example]
  nobody: []
never_impersonate: ["@executives", "*@board.acme.example"]
service_accounts:
  bot:
    shares:
      - {resource: "dataset:*", actions: [list, read]}
      - {resource: dataset:Vendors, actions: [read]}
      - {resource: dataset:Vendors, actions: [read, submit]}
      - {resource: process:Old, actions: [read], until: 2020-01-01, note: Maya was away}
      - {resource: process:Order, actions: [create], impersonate: {users: "*"}}
      - {resource: process:Order, actions: [create], impersonate: {users: [ceo@acme.example, "a*@board.acme.example"], required: true}}
      - {resource: process:Order, actions: [create], impersonate: {users: "@finance", required: true}}
      - {resource: dataset:Salaries, actions: [delete]}
    deny:
      - {resource: "dataset:Sal*", actions: "*"}
  reportign:
    shares:
      - {resource: "dataset:*", actions: "*"}
tests:
  - {as: bto, request: GET /dataset/2/Ac1/Salaries/list, expect: deny}
  - {as: reporting, request: GET /dataset/2/Ac1/Salaries/list, expect: deny}
"#;
    let asked = policy(text);
    let known = ["bot".parse().unwrap(), "reporting".parse().unwrap()];
    let mut complaints = Complaints::default();
    lint(&asked.policy, &asked.catalog, &Source::new("policy.yaml", text), Some(&known), now(), &mut complaints);
    assert!(!complaints.has_errors());
    insta::assert_snapshot!("warnings", complaints);
}

/// Each share names a group of thousands, and nobody of `never_impersonate` is in it: to compare all with all would take
/// longer than anybody waits.
#[test]
fn a_policy_of_many_shares_large_groups_and_many_protected_users_is_looked_through() {
    let (groups, members) = (40, 2_500);
    let users = |group: usize| (0..members).map(|at| format!("u{at}@g{group}.example")).collect::<Vec<_>>().join(", ");
    let mut text = "version: 1\ngroups:\n  board: [ceo@acme.example, \"@cfos\"]\n  cfos: [cfo@acme.example]\n".to_owned();
    for group in 0..groups {
        text.push_str(&format!("  g{group}: [{}]\n", users(group)));
    }
    let never = (0..2_000).map(|at| format!("c{at}@acme.example")).collect::<Vec<_>>().join(", ");
    text.push_str(&format!("never_impersonate: [\"@board\", {never}]\nservice_accounts:\n  bot:\n    shares:\n"));
    for share in 0..2_000 {
        let group = if share == 1_999 { "board".to_owned() } else { format!("g{}", share % groups) };
        text.push_str(&format!("      - {{resource: \"process:P{share}\", actions: [create], impersonate: {{users: [\"@{group}\"]}}}}\n"));
    }
    let asked = policy(&text);
    let mut complaints = Complaints::default();
    lint(&asked.policy, &asked.catalog, &Source::new("policy.yaml", text.as_str()), None, now(), &mut complaints);
    let told: Vec<&str> = complaints.iter().map(|complaint| complaint.message.as_str()).collect();
    assert_eq!(told, ["`never_impersonate` protects all of `@board`"]);
}

#[test]
fn whoever_may_act_for_everybody_is_told_of_however_it_is_written() {
    let groups = "groups:\n  all: [\"*\"]\n  any: [\"*@*\"]\n  outer: [\"@any\"]\n  finance:";
    for (users, told) in
        [("*", true), ("*@*", true), ("**", true), ("*@acme.example", false), ("@all", true), ("@outer", true), ("@finance", false)]
    {
        let text = bot(&format!("      - {{resource: process:Order, actions: [create], impersonate: {{users: \"{users}\"}}}}\n"));
        let text = text.replace("groups:\n  finance:", groups);
        let asked = policy(&text);
        let mut complaints = Complaints::default();
        lint(&asked.policy, &asked.catalog, &Source::new("policy.yaml", text.as_str()), None, now(), &mut complaints);
        assert_eq!(complaints.to_string().contains("on behalf of everybody"), told, "{users}: {complaints}");
    }
}

#[test]
fn a_share_that_undoes_what_another_requires_is_told_of() {
    let required = "      - {resource: process:Order, actions: [create], impersonate: {users: \"@finance\", required: true}}\n";
    for (other, told) in [
        ("process:Order, actions: [create, read]", true),
        ("\"process:*\", actions: \"*\"", true),
        ("process:Order, actions: [create], impersonate: {users: \"*@sales.acme.example\"}", true),
        ("process:Order, actions: [create], impersonate: {users: \"*@sales.acme.example\", required: true}", false),
        ("process:Order, actions: [read]", false),
        ("process:Order, actions: [create], until: 2020-01-01", false),
    ] {
        let text = bot(&format!("{required}      - {{resource: {other}}}\n"));
        let asked = policy(&text);
        let mut complaints = Complaints::default();
        lint(&asked.policy, &asked.catalog, &Source::new("policy.yaml", text.as_str()), None, now(), &mut complaints);
        assert_eq!(complaints.to_string().contains("allows the same to the account itself"), told, "{other}: {complaints}");
    }
}

#[test]
fn an_id_that_no_path_can_name_is_told() {
    for (id, advice) in [
        ("Purchase%20Order", "not `Purchase%20Order`"),
        ("a%2Fb", "not `Purchase%20Order`"),
        ("a;b", "an id cannot hold ';'"),
        ("a\\\\b", "an id cannot hold"),
        (".", "process"),
        ("..", "process"),
        ("*%41*", "not `Purchase%20Order`"),
    ] {
        let said =
            refused(&format!("version: 1\nservice_accounts:\n  bot:\n    deny:\n      - {{resource: \"process:{id}\", actions: \"*\"}}\n"));
        assert!(said.contains(advice), "{id}: {said}");
    }
    // What merely looks like one.
    policy(&bot("      - {resource: \"process:100% of it\", actions: [read]}\n"));
}

#[test]
fn the_last_day_there_is_is_a_date() {
    policy(&bot("      - {resource: \"process:Order\", actions: [read], until: 9999-12-31}\n"));
}
