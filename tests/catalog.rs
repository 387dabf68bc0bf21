//! The shipped catalog: every published endpoint of Kissflow is read as intended, and nothing else is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::{collections::BTreeSet, path::Path};

use vicar::{
    catalog::{self, CanonicalPath, Catalog, Part, PathRules},
    source::{Complaints, Source},
};

/// The list of endpoints: method, path, resource, action, what it does.
const LIST: &str = include_str!("data/kissflow.tsv");

struct Published<'l> {
    method: &'l str,
    template: &'l str,
    resource: &'l str,
    action: &'l str,
}

fn published() -> Vec<Published<'static>> {
    let fields = LIST.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    fields.map(|f| Published { method: f[0], template: f[1], resource: f[2], action: f[3] }).collect()
}

fn shipped() -> Catalog {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/catalog/kissflow.yaml");
    let mut complaints = Complaints::default();
    let catalog = catalog::load(&[Source::read(&file).unwrap()], &mut complaints);
    assert!(complaints.is_empty(), "{complaints}");
    catalog.unwrap()
}

/// `action resource`, or why there is none.
fn read(catalog: &Catalog, method: &str, path: &str) -> String {
    let path = CanonicalPath::parse(path, PathRules::default()).unwrap_or_else(|error| panic!("{path}: {error}"));
    match catalog.classify(method, &path) {
        Ok(operation) => format!("{} {operation}", operation.action_name()),
        Err(error) => format!("{error:?}"),
    }
}

/// The template with each placeholder filled in: `{process_id}` by `value("process_id")`.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let segments = template.split('/').map(|segment| match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
        Some(name) => value(name),
        None => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

fn sample(name: &str) -> String {
    format!("A-{name}.1")
}

fn with_other_slash(path: &str) -> String {
    path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned)
}

#[test]
fn every_published_endpoint_is_read_as_intended() {
    let catalog = shipped();
    let list = published();
    assert_eq!(list.len(), 105);
    for line in &list {
        let path = fill(line.template, sample);
        let kind_and_id: Vec<&str> = line.resource.splitn(2, ':').collect();
        let resource = match kind_and_id[..] {
            [kind, id] => format!("{kind}:{}", fill(id, sample)),
            _ => line.resource.to_owned(),
        };
        let expected = format!("{} {resource}", line.action);
        for path in [with_other_slash(&path), path] {
            assert_eq!(read(&catalog, line.method, &path), expected, "{} {path}", line.method);
            if line.method == "GET" {
                assert_eq!(read(&catalog, "HEAD", &path), expected, "HEAD {path}");
            }
        }
    }
}

#[test]
fn what_clients_use_beyond_the_published_list_is_known_too() {
    let catalog = shipped();
    for (method, path, expected) in [
        ("POST", "/process/2/Ac1/admin/PO/item", "admin process:PO"),
        ("GET", "/process/2/Ac1/admin/PO/item/p3/50", "admin process:PO"),
        ("GET", "/process/2/Ac1/PO/myitems", "list process:PO"),
        ("GET", "/flow/2/Ac1/myitems", "list my_items"),
        ("GET", "/flow/2/Ac1/mytasks", "list my_items"),
        ("GET", "/integration/2/Ac1", "list integration"),
        ("GET", "/integration/2/Ac1/In1", "read integration:In1"),
        ("POST", "/integration/2/Ac1/In1/run", "run integration:In1"),
        ("GET", "/chat/2/Ac1/General/messages", "read chat:General"),
        ("POST", "/chat/2/Ac1/General/messages", "create chat:General"),
    ] {
        assert_eq!(read(&catalog, method, path), expected, "{method} {path}");
    }
}

#[test]
fn every_kind_has_a_title_for_people() {
    let catalog = shipped();
    let kinds: BTreeSet<&str> = catalog.kinds().map(|kind| &*kind.name).collect();
    let expected = ["my_items", "user", "group", "process", "board", "dataset", "dataform", "portal", "integration", "chat"];
    assert_eq!(kinds, expected.into_iter().collect());
    assert!(catalog.kinds().all(|kind| kind.title != *kind.name));
}

#[test]
fn uploads_take_forms_and_nothing_else_does() {
    let catalog = shipped();
    for endpoint in catalog.endpoints() {
        let path = endpoint.template.as_str();
        let upload = endpoint.method == "POST" && (path.ends_with("/attachment") || path.ends_with("/image"));
        let batch = path.starts_with("/dataset/") && path.ends_with("/batch");
        let takes: Vec<&str> = endpoint.content_types.iter().flatten().map(|t| &**t).collect();
        let expected: &[&str] = match (upload, batch) {
            (true, _) => &["multipart/form-data"],
            (_, true) => &["multipart/form-data", "application/json"],
            _ => &[],
        };
        assert_eq!(takes, expected, "{endpoint}");
        assert!(endpoint.summary.is_some(), "{endpoint} has no summary");
    }
}

#[test]
fn an_id_is_never_a_word_of_the_api() {
    let catalog = shipped();
    for (method, path) in [
        ("POST", "/process/2/Ac1/admin"),
        ("POST", "/process/2/Ac1/ADMIN"),
        ("POST", "/process/2/Ac1/Admin/"),
        ("POST", "/process/2/Ac1/pwa"),
        ("POST", "/process/2/Ac1/%61dmin"),
        ("GET", "/process/2/Ac1/Admin/PO/item"),
        ("GET", "/process/2/Ac1/admin/PO/ITEM"),
        ("GET", "/user/2/Ac1/batch"),
        ("GET", "/user/2/Ac1/Portal"),
        ("GET", "/group/2/Ac1/LIST"),
        ("GET", "/process/2/Ac1/PO/Myitems"),
        ("GET", "/case/2/Ac1/Moves/lookup"),
        ("POST", "/case/2/Ac1/Moves/batch/Delete"),
        ("DELETE", "/form/2/Ac1/Survey/Batch"),
    ] {
        let read = read(&catalog, method, path);
        assert!(["Parameter", "Unknown", "Method"].contains(&&*read), "{method} {path} is read as {read}");
    }
    // `items` is a word in that place: a list of the view `Pk1`, not an item that moves to the step `items`.
    assert_eq!(read(&catalog, "POST", "/case/2/Ac1/Moves/Pk1/items"), "list board:Moves");
}

#[test]
fn no_value_of_any_parameter_makes_one_request_into_another() {
    // Every parameter of every endpoint is filled with every literal of the catalog, as written and in capitals: what comes
    // out is refused, or is what some endpoint says literally there.
    let catalog = shipped();
    let literals: BTreeSet<&str> = catalog
        .endpoints()
        .iter()
        .flat_map(|endpoint| endpoint.template.parts())
        .filter_map(|part| match part {
            Part::Literal(text) => Some(&**text),
            Part::Parameter(_) => None,
        })
        .collect();
    let mut refused = 0;
    for endpoint in catalog.endpoints() {
        for name in endpoint.template.parameters() {
            for literal in &literals {
                for value in [(*literal).to_owned(), literal.to_uppercase()] {
                    let path = fill(endpoint.template.as_str(), |own| if own == name { value.clone() } else { sample(own) });
                    let path = CanonicalPath::parse(&path, PathRules::default()).unwrap();
                    match catalog.classify(endpoint.method, &path) {
                        Ok(operation) => assert_one_reading(&catalog, &path, operation.endpoint),
                        Err(_) => refused += 1,
                    }
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

/// Fails when a service of another make, which forgets letter case and prefers parameters, could take `path` for another
/// endpoint than `ours`: one with a literal where `ours` has a parameter.
fn assert_one_reading(catalog: &Catalog, path: &CanonicalPath<'_>, ours: &catalog::Endpoint) {
    let segments: Vec<_> = path.segments().map(|segment| segment.decode().to_lowercase()).collect();
    for other in catalog.endpoints().iter().filter(|other| other.template.parts().len() == segments.len()) {
        let fits = other.template.parts().iter().zip(&segments).all(|(part, segment)| match part {
            Part::Literal(text) => text.to_lowercase() == *segment,
            Part::Parameter(_) => true,
        });
        let pairs = || other.template.parts().iter().zip(ours.template.parts());
        let tells_apart = pairs().any(|(other, ours)| matches!((other, ours), (Part::Literal(_), Part::Parameter(_))));
        assert!(!(fits && tells_apart), "{path} is read as {ours}, and could be {other}");
    }
}

#[test]
fn only_what_is_named_passes() {
    let catalog = shipped();
    for (method, path, expected) in [
        ("OPTIONS", "/user/2/Ac1", "Method"),
        ("TRACE", "/user/2/Ac1", "Method"),
        ("get", "/user/2/Ac1", "Method"),
        ("PATCH", "/dataset/2/Ac1/Vendors", "Method"),
        ("HEAD", "/process/2/Ac1/PO", "Method"),
        ("GET", "/User/2/Ac1", "Parameter"),
        ("GET", "/user/2", "Unknown"),
        ("GET", "/user/3/Ac1", "Unknown"),
        ("GET", "/", "Unknown"),
        ("GET", "/user/2/Ac1/Us1/more", "Unknown"),
        ("GET", "/.vicar/whoami", "Parameter"),
        ("GET", "/backup/2/Ac1/everything", "Unknown"),
    ] {
        assert_eq!(read(&catalog, method, path), expected, "{method} {path}");
    }
}
