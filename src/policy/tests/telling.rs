//! Explaining, replaying, suggesting.

use super::*;
use crate::policy::{Fate, Past, Simulation, Suggestion};

fn told(asked: &Asked, account: &str, subject: &str, request: &str) -> String {
    let (method, path) = request.split_once(' ').unwrap();
    let path = CanonicalPath::parse(path, PathRules::default()).unwrap();
    let subject = (!subject.is_empty()).then(|| Subject::parse(subject.as_bytes()).unwrap());
    let account = account.parse().unwrap();
    let question = crate::policy::Asked { account: &account, subject: subject.as_ref(), method, path: &path };
    explain(&asked.policy, &asked.catalog, &question, now()).to_string()
}

#[test]
fn the_way_to_a_decision_is_told_in_words() {
    let p = policy(DESIGN);
    let po = "POST /process/2/Ac1/Purchase_Order";
    let asked = [
        ("procure-to-pay", "zoe@acme.example", po),
        ("procure-to-pay", "", po),
        ("procure-to-pay", "max@acme.example", po),
        ("procure-to-pay", "ceo@acme.example", po),
        ("procure-to-pay", "", "GET /dataset/2/Ac1/Vendors/list"),
        ("reporting", "", "GET /dataset/2/Ac1/Vendors/list"),
        ("reporting", "", "GET /dataset/2/Ac1/Salaries/list"),
        ("reportign", "", "GET /dataset/2/Ac1/Salaries/list"),
        ("reporting", "", "GET /nowhere"),
        ("reporting", "", "PUT /dataset/2/Ac1/Salaries/list"),
        ("reporting", "", "GET /dataset/2/Ac1/Salaries/LIST"),
        ("reporting", "", "get /dataset/2/Ac1/Vendors/list"),
        ("reporting", "", "put /dataset/2/Ac1/Vendors/list"),
    ];
    let text: Vec<_> = asked
        .iter()
        .map(|(account, subject, request)| format!("{account} {subject} {request}\n{}", told(&p, account, subject, request)))
        .collect();
    insta::assert_snapshot!("explained", text.join("\n\n"));
}

#[test]
fn an_explanation_as_json_has_the_agreed_fields() {
    let p = policy(DESIGN);
    let path = CanonicalPath::parse("/dataset/2/Ac1/Salaries/list", PathRules::default()).unwrap();
    let account = "reporting".parse().unwrap();
    let question = crate::policy::Asked { account: &account, subject: None, method: "GET", path: &path };
    let value = serde_json::to_value(explain(&p.policy, &p.catalog, &question, now())).unwrap();
    assert_eq!(value["decision"], "deny");
    assert_eq!(value["reason"], "denied-by-rule");
    assert_eq!(value["account"], "reporting");
    assert_eq!(value["subject"], serde_json::Value::Null);
    assert_eq!(value["resource"], "dataset:Salaries");
    assert_eq!(value["action"], "list");
    assert_eq!(value["endpoint"], "GET /dataset/2/{a}/{d}/list");
    assert_eq!(value["share"], "reporting/deny/1");
    assert_eq!(value["policy"], p.policy.digest());
}

fn past<'r>(account: &'r str, subject: Option<&'r str>, method: &'r str, path: &'r str, reason: &'r str, fate: Fate) -> Past<'r> {
    Past { id: "01KB0000000000000000000000", time: now(), account, subject, method, path, reason, fate }
}

#[test]
fn an_edit_that_breaks_an_integration_shows_before_it_does() {
    let edited = policy(&DESIGN.replace("actions: [list, read]", "actions: [read]").replace("dataset:Salaries", "dataset:Secrets"));
    let mut simulation = Simulation::new(&edited.policy, &edited.catalog, PathRules::default(), now());
    for _ in 0..3 {
        simulation.replay(&past("reporting", None, "GET", "/dataset/2/Ac1/Vendors/list", "shared", Fate::Passed));
    }
    simulation.replay(&past("reporting", None, "GET", "/dataset/2/Ac1/Vendors/7", "shared", Fate::Passed));
    simulation.replay(&past("reporting", None, "GET", "/dataset/2/Ac1/Salaries/7", "denied-by-rule", Fate::Refused));
    simulation.replay(&past("procure-to-pay", Some("zoe@acme.example"), "POST", "/process/2/Ac1/PO_1", "shared", Fate::Passed));
    simulation.replay(&past("reporting", None, "GET", "/.vicar/whoami", "self-service", Fate::Passed));
    simulation.replay(&past("reporting", None, "GET", "/x", "rate-limited", Fate::Refused));
    let outcome = simulation.finish();
    insta::assert_snapshot!("simulated", serde_json::to_string_pretty(&outcome).unwrap());
}

#[test]
fn a_policy_is_suggested_from_what_went_through() {
    let catalog = catalog();
    let mut suggestion = Suggestion::new(&catalog, PathRules::default(), &["process:PO_*".to_owned()]).unwrap();
    for name in ["Vendors", "Boards", "Vendors"] {
        suggestion.learn(&past("reporting", None, "GET", &format!("/dataset/2/Ac1/{name}/list"), "shared", Fate::Passed));
        suggestion.learn(&past("reporting", None, "GET", &format!("/dataset/2/Ac1/{name}/7"), "not-shared", Fate::Passed));
    }
    suggestion.learn(&past("reporting", None, "GET", "/dataset/2/Ac1/Salaries/7", "denied-by-rule", Fate::Refused));
    // While a policy only observes, these go through as well.
    for _ in 0..2 {
        suggestion.learn(&past("reporting", None, "GET", "/dataset/2/Ac1/Salaries/7", "denied-by-rule", Fate::Passed));
    }
    suggestion.learn(&past("reporting", Some("ceo@acme.example"), "GET", "/dataset/2/Ac1/Vendors/7", "never-impersonate", Fate::Passed));
    suggestion.learn(&past("reporting", None, "GET", "/nowhere/at/all", "endpoint-unknown", Fate::Passed));
    suggestion.learn(&past("reporting", None, "GET", "/user/2/Ac1", "shared", Fate::Passed));
    for (n, user) in ["zoe@acme.example", "Us8KMQ", "zoe@acme.example"].into_iter().enumerate() {
        suggestion.learn(&past("on", Some(user), "POST", &format!("/process/2/Ac1/PO_{n}"), "shared", Fate::Passed));
    }
    suggestion.learn(&past("on", None, "GET", "/process/2/Ac1/a*b", "shared", Fate::Passed));
    let text = suggestion.finish();
    insta::assert_snapshot!("suggested", text);
    let suggested = policy(&text);
    assert_eq!(suggested.ask("on", "Us8KMQ", "POST /process/2/Ac1/PO_9"), "allow on/shares/1");
    assert_eq!(suggested.ask("on", "", "GET /process/2/Ac1/aXb"), "not-shared -");
}

#[test]
fn a_policy_under_which_nobody_is_acted_for_any_more_shows() {
    let past = || past("procure-to-pay", Some("zoe@acme.example"), "POST", "/process/2/Ac1/Purchase_Order", "shared", Fate::Passed);
    let text = "version: 1\nenforcement: observe\nservice_accounts:\n  procure-to-pay:\n    shares:\n      - {resource: \"process:*\", actions: [create, submit]}\n";
    let edited = policy(text);
    let mut simulation = Simulation::new(&edited.policy, &edited.catalog, PathRules::default(), now());
    simulation.replay(&past());
    let outcome = simulation.finish();
    assert_eq!((outcome.unchanged, outcome.now_for_others.len(), outcome.now_denied.len()), (0, 1, 0), "{outcome:?}");
}

#[test]
fn who_would_be_acted_for_at_last_or_no_more_shows() {
    let with = |behalf: &str| {
        policy(&format!(
            "version: 1\nservice_accounts:\n  bot:\n    shares:\n      - {{resource: \"process:*\", actions: [create]{behalf}}}\n"
        ))
    };
    let from = with(", impersonate: {users: [\"*@acme.example\"], from: {json: /u}}");
    let replayed = |tried: &Asked, reason: &str| {
        let mut simulation = Simulation::new(&tried.policy, &tried.catalog, PathRules::default(), now()).beside(&from.policy);
        simulation.replay(&past("bot", Some("zoe@acme.example"), "POST", "/process/2/Ac1/PO", reason, Fate::Passed));
        let outcome = simulation.finish();
        (outcome.unchanged, outcome.now_denied.len(), outcome.now_for_others.len())
    };
    assert_eq!(replayed(&from, "shared"), (1, 0, 0));
    // Nobody looks into the body any more: it is not refused, it is made as the account itself.
    assert_eq!(replayed(&with(""), "shared"), (0, 0, 1));
    // Only observed, it went up without the user; now it would go with her.
    assert_eq!(replayed(&from, "impersonation-not-allowed"), (0, 0, 1));
}

#[test]
fn a_suggestion_reads_users_where_the_policy_in_force_does() {
    let from = "version: 1\nservice_accounts:\n  bot:\n    shares:\n      - {resource: \"process:*\", actions: [create], impersonate: {users: [\"*@acme.example\"], required: true, from: {json: /u}}}\n";
    let in_force = policy(from);
    let mut suggestion = Suggestion::new(&in_force.catalog, PathRules::default(), &[]).unwrap().beside(&in_force.policy);
    let past = || past("bot", Some("zoe@acme.example"), "POST", "/process/2/Ac1/PO", "shared", Fate::Passed);
    suggestion.learn(&past());
    let text = suggestion.finish();
    assert!(text.contains("from: {json: \"/u\"}"), "{text}");
    // Whether a policy looks for users where they were named shows beside the one in force alone.
    for (tried, for_others) in [(text.as_str(), 0), (&text.replace("          from: {json: \"/u\"}\n", ""), 1)] {
        let tried = policy(tried);
        let mut simulation = Simulation::new(&tried.policy, &tried.catalog, PathRules::default(), now()).beside(&in_force.policy);
        simulation.replay(&past());
        assert_eq!(simulation.finish().now_for_others.len(), for_others);
    }
}

#[test]
fn ids_fold_only_to_what_the_catalog_knows() {
    let catalog = catalog();
    let error = |fold: &str| Suggestion::new(&catalog, PathRules::default(), &[fold.to_owned()]).unwrap_err().to_string();
    assert_eq!(error("datasets"), "no kind is called \"datasets\"; did you mean dataset?");
    assert_eq!(error("dataset:"), "\"dataset:\" folds no ids: write a kind such as dataset, or a pattern such as process:PO_*");
}
