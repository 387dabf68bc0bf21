//! The compiled policy decides as somebody would who reads the file from top to bottom, on policies and requests made at
//! random. The reading here shares no code with the compiled one.

use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;
use crate::policy::{Fate, Past, Simulation, Suggestion};

/// Both actions on the kind as a whole and on ids, so that every share has an endpoint.
const WIDE: &str = r#"
version: 1
kinds: {task: {title: Tasks}, note: {title: Notes}}
endpoints:
  - {request: "GET /task", resource: task, action: read}
  - {request: "POST /task", resource: task, action: write}
  - {request: "GET /task/{id}", resource: "task:{id}", action: read}
  - {request: "POST /task/{id}", resource: "task:{id}", action: write}
  - {request: "GET /note", resource: note, action: read}
  - {request: "POST /note", resource: note, action: write}
  - {request: "GET /note/{id}", resource: "note:{id}", action: read}
  - {request: "POST /note/{id}", resource: "note:{id}", action: write}
"#;

#[derive(Debug, Clone)]
struct Rule {
    resources: Vec<String>,
    actions: Vec<String>,
    behalf: Option<(Vec<String>, bool, Option<String>)>,
    until: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct Model {
    groups: Vec<Vec<String>>,
    never: Vec<String>,
    observe: bool,
    shares: Vec<Rule>,
    deny: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Request {
    kind: &'static str,
    id: Option<String>,
    action: &'static str,
    subject: Option<String>,
}

// ===== the naive reading =====

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => glob(rest, text) || text.split_first().is_some_and(|(_, tail)| glob(pattern, tail)),
        (Some((p, rest)), Some((t, tail))) => p == t && glob(rest, tail),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn resource_holds(pattern: &str, request: &Request) -> bool {
    match pattern.split_once(':') {
        None => pattern == "*" || pattern == request.kind && request.id.is_none(),
        Some((kind, ids)) if kind == request.kind => match &request.id {
            None => ids.bytes().all(|byte| byte == b'*'),
            Some(id) => glob(ids.as_bytes(), id.as_bytes()),
        },
        Some(_) => false,
    }
}

fn user_holds(model: &Model, pattern: &str, subject: &str) -> bool {
    if let Some(group) = pattern.strip_prefix("@g") {
        return model.groups[group.parse::<usize>().unwrap()].iter().any(|member| user_holds(model, member, subject));
    }
    if pattern == "*" {
        return true;
    }
    match (pattern.to_lowercase().split_once('@'), subject.split_once('@')) {
        (Some((local, domain)), Some((user, at))) => glob(local.as_bytes(), user.as_bytes()) && glob(domain.as_bytes(), at.as_bytes()),
        (None, None) => glob(pattern.as_bytes(), subject.as_bytes()),
        _ => false,
    }
}

fn rule_holds(rule: &Rule, request: &Request) -> bool {
    rule.until != Some("2020-01-31")
        && rule.resources.iter().any(|pattern| resource_holds(pattern, request))
        && rule.actions.iter().any(|action| action == "*" || action == request.action)
}

fn naive(model: &Model, request: &Request) -> (Reason, Vec<usize>) {
    let of = |rules: &[Rule]| -> Vec<usize> { (0..rules.len()).filter(|at| rule_holds(&rules[*at], request)).collect() };
    let denied = of(&model.deny);
    if !denied.is_empty() {
        return (Reason::DeniedByRule, denied);
    }
    let covering = of(&model.shares);
    if covering.is_empty() {
        return (Reason::NotShared, vec![]);
    }
    let Some(subject) = &request.subject else {
        let own: Vec<_> =
            covering.into_iter().filter(|at| model.shares[*at].behalf.as_ref().is_none_or(|(_, required, _)| !required)).collect();
        return (if own.is_empty() { Reason::ImpersonationRequired } else { Reason::Shared }, own);
    };
    if model.never.iter().any(|pattern| user_holds(model, pattern, subject)) {
        return (Reason::NeverImpersonate, vec![]);
    }
    let for_user = |at: &usize| {
        model.shares[*at].behalf.as_ref().is_some_and(|(users, ..)| users.iter().any(|pattern| user_holds(model, pattern, subject)))
    };
    let covering: Vec<_> = covering.into_iter().filter(for_user).collect();
    (if covering.is_empty() { Reason::ImpersonationNotAllowed } else { Reason::Shared }, covering)
}

// ===== policies and requests at random =====

fn resource() -> impl Strategy<Value = String> {
    let kind = select(vec!["task", "note"]);
    let id = prop_oneof![
        2 => select(vec!["*", "**", "P*", "PO_*", "*_1", "P*1", "*O*", "*P*O*", "PO_1", "P", "O", "PO_12", "é*"]).prop_map(str::to_owned),
        1 => "[PO_1*é]{1,6}",
    ];
    prop_oneof![
        1 => Just("*".to_owned()),
        2 => kind.clone().prop_map(str::to_owned),
        8 => (kind, id).prop_map(|(kind, id)| format!("{kind}:{id}")),
    ]
}

fn user(groups: usize) -> BoxedStrategy<String> {
    let plain = select(vec![
        "zoe@a.x", "Zoe@a.x", "max@a.x", "zoe@b.x", "*@a.x", "*@B.x", "zoe@*", "z*@a.x", "*o*@*", "*@*", "m*x@*.x", "*", "Us1", "Us*",
        "*1", "U*1", "us1", "*U*1*",
    ]);
    if groups == 0 {
        return plain.prop_map(str::to_owned).boxed();
    }
    prop_oneof![3 => plain.prop_map(str::to_owned), 1 => (0..groups).prop_map(|group| format!("@g{group}"))].boxed()
}

fn rule(shares: bool) -> impl Strategy<Value = Rule> {
    let pointer = proptest::option::of(select(vec!["/a", "/b", "/c~1d"]).prop_map(str::to_owned));
    let behalf = (prop::collection::vec(user(4), 1..4), any::<bool>(), pointer);
    (
        prop::collection::vec(resource(), 1..4),
        prop::collection::vec(select(vec!["read", "write", "*"]).prop_map(str::to_owned), 1..3),
        if shares { proptest::option::of(behalf).boxed() } else { Just(None).boxed() },
        proptest::option::weighted(0.3, select(vec!["2020-01-31", "2026-11-24", "2099-12-31", "2026-11-24T12:00:01Z"])),
    )
        .prop_map(|(resources, actions, behalf, until)| Rule { resources, actions, behalf, until })
}

fn model() -> impl Strategy<Value = Model> {
    // A group names only those before it, so no circle closes.
    let groups = (
        prop::collection::vec(user(0), 0..4),
        prop::collection::vec(user(1), 0..4),
        prop::collection::vec(user(2), 0..4),
        prop::collection::vec(user(3), 0..4),
    );
    (
        groups,
        prop::collection::vec(user(4), 0..3),
        prop::bool::weighted(0.1),
        prop::collection::vec(rule(true), 0..7),
        prop::collection::vec(rule(false), 0..2),
    )
        .prop_map(|((a, b, c, d), never, observe, shares, deny)| Model { groups: vec![a, b, c, d], never, observe, shares, deny })
}

fn request() -> impl Strategy<Value = Request> {
    let id = prop_oneof![
        2 => select(vec!["P", "O", "PO_1", "PO_12", "PO_", "xPO_1", "1", "é", "éP", "POPO"]).prop_map(str::to_owned),
        1 => "[PO_1é]{1,6}",
    ];
    let subject =
        select(vec!["zoe@a.x", "max@a.x", "zoe@b.x", "mx@c.x", "moo@a.y", "Us1", "us1", "Us11", "U", "zoe"]).prop_map(str::to_owned);
    (
        select(vec!["task", "note"]),
        proptest::option::weighted(0.85, id),
        select(vec!["read", "write"]),
        proptest::option::weighted(0.6, subject),
    )
        .prop_map(|(kind, id, action, subject)| Request { kind, id, action, subject })
}

// ===== both side by side =====

fn yaml_rule(rule: &Rule) -> Value {
    let mut entry = json!({"resource": rule.resources, "actions": rule.actions});
    if let Some((users, required, pointer)) = &rule.behalf {
        entry["impersonate"] = json!({"users": users, "required": required});
        if let Some(pointer) = pointer {
            entry["impersonate"]["from"] = json!({"json": pointer});
        }
    }
    if let Some(until) = rule.until {
        entry["until"] = json!(until);
    }
    entry
}

impl Model {
    fn text(&self) -> String {
        let groups: serde_json::Map<_, _> =
            self.groups.iter().enumerate().map(|(at, members)| (format!("g{at}"), json!(members))).collect();
        json!({
            "version": 1,
            "enforcement": if self.observe { "observe" } else { "enforce" },
            "groups": groups,
            "never_impersonate": self.never,
            "service_accounts": {"bot": {
                "shares": self.shares.iter().map(yaml_rule).collect::<Vec<_>>(),
                "deny": self.deny.iter().map(yaml_rule).collect::<Vec<_>>(),
            }},
        })
        .to_string()
    }
}

fn wide() -> Catalog {
    catalog::load(&[Source::new("wide.yaml", WIDE)], &mut Complaints::default()).unwrap()
}

fn compiled(catalog: &Catalog, text: &str) -> Policy {
    let mut complaints = Complaints::default();
    load(&Source::new("policy.yaml", text), catalog, &mut complaints).unwrap_or_else(|| panic!("{complaints}\n{text}"))
}

impl Request {
    fn method(&self) -> &'static str {
        if self.action == "read" { "GET" } else { "POST" }
    }

    fn path(&self) -> String {
        let escaped = |id: &String| format!("/{}", id.replace('é', "%C3%A9"));
        format!("/{}{}", self.kind, self.id.as_ref().map(escaped).unwrap_or_default())
    }

    fn subject(&self) -> Option<Subject> {
        self.subject.as_ref().map(|subject| Subject::parse(subject.as_bytes()).unwrap())
    }
}

/// Reason, whether it goes on, the rule that decided, the pointers.
fn asked(policy: &Policy, catalog: &Catalog, request: &Request) -> (Reason, Fate, Option<usize>, Vec<String>) {
    let path = request.path();
    let path = CanonicalPath::parse(&path, PathRules::default()).unwrap();
    let operation = catalog.classify(request.method(), &path).unwrap();
    let account = "bot".parse().unwrap();
    let verdict = policy.decide(&account, Some(&operation), request.subject(), now());
    let fate = match &verdict {
        Verdict::Allowed(grant) => {
            assert_eq!(grant.subject(), request.subject().as_ref());
            Fate::Passed
        }
        Verdict::Observed(grant, _) => {
            assert_eq!(grant.subject(), None);
            Fate::Passed
        }
        Verdict::Denied(_) => Fate::Refused,
    };
    let rule = verdict.rule().map(|rule| rule.rsplit('/').next().unwrap().parse::<usize>().unwrap() - 1);
    let mut pointers: Vec<String> = policy.subject_sources(&account, &operation, now()).iter().map(str::to_owned).collect();
    pointers.sort();
    (verdict.reason(), fate, rule, pointers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_policy_decides_as_a_naive_reading_of_the_file(
        model in model(),
        requests in prop::collection::vec(request(), 1..12),
        order in any::<prop::sample::Index>(),
    ) {
        let catalog = wide();
        let policy = compiled(&catalog, &model.text());
        let mut other_way = model.clone();
        let turn = |rules: &mut Vec<Rule>| if !rules.is_empty() {
            let by = order.index(rules.len());
            rules.rotate_left(by);
            rules.reverse();
        };
        turn(&mut other_way.shares);
        turn(&mut other_way.deny);
        let turned = compiled(&catalog, &other_way.text());
        for request in &requests {
            let (reason, rules) = naive(&model, request);
            let (found, fate, rule, pointers) = asked(&policy, &catalog, request);
            prop_assert_eq!(found, reason, "{:?}", request);
            prop_assert_eq!(fate == Fate::Passed, model.observe || reason == Reason::Shared);
            match rule {
                Some(rule) => prop_assert!(rules.contains(&rule), "{rule} did not decide {request:?}"),
                None => prop_assert!(!matches!(reason, Reason::Shared | Reason::DeniedByRule)),
            }
            let live = model.shares.iter().filter(|share| rule_holds(share, request));
            let mut expected: Vec<String> = live.filter_map(|share| share.behalf.as_ref()?.2.clone()).collect();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(pointers, expected);
            prop_assert_eq!(asked(&turned, &catalog, request).0, reason, "in another order");
        }
    }

    #[test]
    fn a_policy_made_from_a_log_changes_nothing_of_it(model in model(), requests in prop::collection::vec(request(), 0..40)) {
        let catalog = wide();
        let policy = compiled(&catalog, &model.text());
        let log: Vec<_> = requests.iter().map(|request| {
            let (reason, fate, ..) = asked(&policy, &catalog, request);
            (request.path(), request.method(), request.subject.clone(), reason, fate)
        }).collect();
        let past = |entry: &(String, &'static str, Option<String>, Reason, Fate), each: &mut dyn FnMut(&Past<'_>)| {
            let (path, method, subject, reason, fate) = entry;
            let subject = subject.as_deref();
            each(&Past { id: "01", time: now(), account: "bot", subject, method, path, reason: reason.as_str(), fate: *fate });
        };
        let mut suggestion = Suggestion::new(&catalog, PathRules::default(), &[]).unwrap();
        log.iter().for_each(|entry| past(entry, &mut |past| suggestion.learn(past)));
        let text = suggestion.finish();
        let suggested = compiled(&catalog, &text);
        let mut simulation = Simulation::new(&suggested, &catalog, PathRules::default(), now());
        log.iter().for_each(|entry| past(entry, &mut |past| simulation.replay(past)));
        let outcome = simulation.finish();
        prop_assert_eq!(outcome.replayed, log.len() as u64);
        // What was only observed although somebody forbids it is left out; what had a user that was not passed on gets it.
        let forbidden = |reason| matches!(reason, Reason::DeniedByRule | Reason::NeverImpersonate | Reason::EndpointUnknown);
        let number = |wanted: &dyn Fn(Reason, Fate, bool) -> bool| {
            log.iter().filter(|(_, _, subject, reason, fate)| wanted(*reason, *fate, subject.is_some())).count() as u64
        };
        let left_out = number(&|reason, fate, _| fate == Fate::Passed && forbidden(reason));
        let at_last = number(&|reason, fate, named| fate == Fate::Passed && named && reason != Reason::Shared && !forbidden(reason));
        let count = |changes: &[crate::policy::Change]| changes.iter().map(|change| change.count).sum::<u64>();
        prop_assert_eq!(count(&outcome.now_denied), left_out, "{}", text);
        prop_assert_eq!(&outcome.now_allowed, &vec![], "{}", text);
        prop_assert_eq!(count(&outcome.now_for_others), at_last, "{}", text);
        prop_assert_eq!(outcome.unchanged + left_out + at_last, outcome.replayed);
    }
}
