use super::*;
use crate::source::{Complaints, Source};

const SMALL: &str = r#"
version: 1
kinds: {process: {title: Processes}, user: {title: Users}}
endpoints:
  - {request: "POST /process/2/{account_id}/{process_id}", resource: "process:{process_id}", action: create}
  - {request: "GET /process/2/{account_id}/admin/{process_id}/item", resource: "process:{process_id}", action: admin}
  - {request: "GET /user/2/{account_id}/", resource: user, action: list}
  - {request: "GET /user/2/{account_id}/{user_id}", resource: "user:{user_id}", action: read}
"#;

fn small() -> Catalog {
    let mut complaints = Complaints::default();
    load(&[Source::new("catalog.yaml", SMALL)], &mut complaints).unwrap_or_else(|| panic!("{complaints}"))
}

fn reading(catalog: &Catalog, method: &str, path: &str) -> String {
    let path = CanonicalPath::parse(path, PathRules::default()).unwrap();
    match catalog.classify(method, &path) {
        Ok(operation) => format!("{} {}", operation.action_name(), operation.resource()),
        Err(error) => format!("{error:?}"),
    }
}

/// Blank is not the same as left out, which takes any query but a few names.
#[test]
fn a_blank_query_is_told() {
    for field in ["query", "content_types", "body"] {
        let text = format!("version: 1\nkinds: {{user: }}\nendpoints:\n  - {{request: GET /, resource: user, action: list, {field}: }}\n");
        let mut complaints = Complaints::default();
        assert!(load(&[Source::new("catalog.yaml", text)], &mut complaints).is_none(), "{field}");
        let said = complaints.to_string();
        assert!(said.starts_with("catalog.yaml:4:") && said.contains(&format!("leave `{field}` out")), "{said}");
    }
}

#[test]
fn a_request_is_read_as_the_action_and_the_resource_of_its_endpoint() {
    let catalog = small();
    assert_eq!(reading(&catalog, "POST", "/process/2/Ac1/PO"), "create process:PO");
    assert_eq!(reading(&catalog, "GET", "/process/2/Ac1/admin/PO/item"), "admin process:PO");
    assert_eq!(reading(&catalog, "GET", "/user/2/Ac1"), "list user");
    assert_eq!(reading(&catalog, "HEAD", "/user/2/Ac1/U%20s/"), "read user:U s");
    assert_eq!(reading(&catalog, "POST", "/process/2/Ac1/Admin"), "Parameter");
    assert_eq!(reading(&catalog, "OPTIONS", "/user/2/Ac1"), "Method");
}
