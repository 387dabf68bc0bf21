use super::*;

/// A document with these paths, in flow style: `/pets: {get: {}}`.
fn document(paths: &str) -> String {
    format!("openapi: 3.1.0\ninfo: {{title: Test, version: '1'}}\npaths:\n{paths}")
}

fn imported(text: &str) -> Imported {
    import(&Source::new("openapi.yaml", text)).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refused(text: &str) -> String {
    import(&Source::new("openapi.yaml", text)).expect_err("a catalog came out").to_string()
}

/// `METHOD /path: action resource` for each endpoint, in the order of the catalog.
fn readings(text: &str) -> Vec<String> {
    let mut complaints = Complaints::default();
    let catalog = load::load(&[Source::new("catalog.yaml", imported(text).yaml)], &mut complaints).unwrap();
    let line = |endpoint: &crate::catalog::Endpoint| {
        let parts = endpoint.template.parts();
        let name = |place: &usize| match &parts[*place] {
            crate::catalog::Part::Parameter(name) => format!("{{{name}}}"),
            crate::catalog::Part::Literal(text) => text.to_string(),
        };
        let id = match &endpoint.id {
            crate::catalog::ResourceId::Whole => String::new(),
            crate::catalog::ResourceId::Segment(place) => format!(":{}", name(place)),
            crate::catalog::ResourceId::Segments(places) => format!(":{}", places.iter().map(name).collect::<Vec<_>>().join("/")),
            crate::catalog::ResourceId::Fixed(id) => format!(":{id}"),
        };
        format!("{endpoint}: {} {}{id}", endpoint.action_name, endpoint.kind_name)
    };
    catalog.endpoints().iter().map(line).collect()
}

fn reading(paths: &str) -> String {
    readings(&document(paths)).join("\n")
}

#[test]
fn the_first_parameters_name_the_resource_and_what_is_behind_them_goes_with_the_action() {
    let paths = "  /repos/{owner}/{repo}/issues: {get: {}, post: {}}\n  /repos/{owner}/{repo}/issues/{number}: {get: {}, patch: {}}\n  /repos/{owner}/{repo}/issues/{number}/lock: {post: {}, delete: {}}\n  /repos/{owner}/{repo}: {get: {}, put: {}, delete: {}}\n";
    assert_eq!(
        readings(&document(paths)),
        [
            "GET /repos/{owner}/{repo}/issues: list-issues repo:{owner}/{repo}",
            "POST /repos/{owner}/{repo}/issues: create-issues repo:{owner}/{repo}",
            "GET /repos/{owner}/{repo}/issues/{number}: read-issues repo:{owner}/{repo}",
            "PATCH /repos/{owner}/{repo}/issues/{number}: update-issues repo:{owner}/{repo}",
            "POST /repos/{owner}/{repo}/issues/{number}/lock: lock-issues repo:{owner}/{repo}",
            "DELETE /repos/{owner}/{repo}/issues/{number}/lock: delete-issues-lock repo:{owner}/{repo}",
            "GET /repos/{owner}/{repo}: read repo:{owner}/{repo}",
            "PUT /repos/{owner}/{repo}: update repo:{owner}/{repo}",
            "DELETE /repos/{owner}/{repo}: delete repo:{owner}/{repo}",
        ]
    );
}

#[test]
fn a_path_without_parameters_concerns_a_kind_as_a_whole() {
    let paths = "  /store/orders: {get: {}}\n  /store/orders/{id}: {get: {}}\n  /store/orders/export: {get: {}}\n  /health: {get: {}}\n";
    assert_eq!(
        readings(&document(paths)),
        [
            "GET /health: read health",
            "GET /store/orders: list order",
            "GET /store/orders/{id}: read order:{id}",
            "GET /store/orders/export: read-export order",
        ]
    );
}

#[test]
fn words_that_say_where_the_api_begins_are_no_kinds() {
    assert_eq!(reading("  /api/v2/pets: {get: {}}\n  /api/v2/toys: {get: {}}\n"), "GET /api/v2/pets: list pet\nGET /api/v2/toys: list toy");
    assert_eq!(reading("  /acme/pets: {get: {}}\n  /acme/toys: {get: {}}\n"), "GET /acme/pets: list pet\nGET /acme/toys: list toy");
    assert_eq!(reading("  /pets/{id}: {get: {}}\n"), "GET /pets/{id}: read pet:{id}");
    // Where a path begins with its parameters, they are a part of the id.
    assert_eq!(reading("  /v1/{tenant}/boxes/{box}/lids: {get: {}}\n"), "GET /v1/{tenant}/boxes/{box}/lids: list-lids box:{tenant}/{box}");
    // Where nothing is left, the tag is the kind.
    assert_eq!(reading("  /{id}: {get: {tags: [Things]}}\n"), "GET /{id}: read thing:{id}");
    assert_eq!(reading("  /: {get: {tags: [Home page]}}\n"), "GET /: read home-page");
}

#[test]
fn the_operation_id_tells_a_list_and_the_word_what_is_done() {
    assert_eq!(reading("  /users/{id}/history: {get: {operationId: listHistory}}\n"), "GET /users/{id}/history: list-history user:{id}");
    assert_eq!(reading("  /users/{id}/history: {get: {operationId: getHistory}}\n"), "GET /users/{id}/history: read-history user:{id}");
    assert_eq!(reading("  /jobs: {post: {operationId: search-jobs}}\n"), "POST /jobs: list job");
    assert_eq!(reading("  /teams/{id}/addMembers: {post: {}}\n"), "POST /teams/{id}/addMembers: add-members team:{id}");
    // `emojis` is no plural by its ending; that there are single ones says what it is.
    let paths = "  /apps/{id}/emojis: {post: {}}\n  /apps/{id}/emojis/{emoji}: {get: {}}\n";
    assert!(reading(paths).starts_with("POST /apps/{id}/emojis: create-emojis app:{id}\n"), "{}", reading(paths));
}

#[test]
fn the_document_can_say_it_itself() {
    let paths = "  /a/{x}/b/{y}:\n    x-vicar-resource: 'thing:{y}'\n    get: {x-vicar-action: peek}\n    delete: {x-vicar-resource: 'thing:{x}/{y}'}\n    post: {x-vicar-resource: 'thing:{z}'}\n    put: {x-vicar-action: Put It}\n";
    let text = document(paths);
    assert_eq!(readings(&text), ["GET /a/{x}/b/{y}: peek thing:{y}", "DELETE /a/{x}/b/{y}: delete-b thing:{x}/{y}"]);
    let left_out: Vec<String> = imported(&text).left_out.into_iter().map(|one| format!("{}: {}", one.request, one.because)).collect();
    assert_eq!(
        left_out,
        [
            "POST /a/{x}/b/{y}: x-vicar-resource: `thing:{z}` names what is no parameter of the path",
            "PUT /a/{x}/b/{y}: x-vicar-action: `Put It` is no name of an action: use a-z, 0-9, _ and -",
        ]
    );
}

#[test]
fn what_was_said_of_vicar_and_means_nothing_is_told() {
    let text = "openapi: 3.1.0\ninfo: {title: T, version: '1'}\nx-vicar-resource: all\npaths:\n  x-vicar-kind: thing\n  /a/{x}:\n    x-vicar-resource: 7\n    get: {}\n    put: {x-vicar-resource: 'a:{x}', x-vicar-action: [read]}\n    post: {x-vicar-resource: 'a:{x}', x-vicar-acton: peek}\n  /b/{x}:\n    x-vicar-title: B\n    get: {x-vicar-action: null}\n    trace: {}\n    additionalOperations: {PURGE: {}}\n";
    let told = imported(text);
    let left_out: Vec<String> = told.left_out.iter().map(|one| format!("{}: {}", one.request, one.because)).collect();
    assert_eq!(
        left_out,
        [
            "GET /a/{x}: x-vicar-resource: `7` is no text: write kind, or kind:{parameter}",
            "PUT /a/{x}: x-vicar-action: `[\"read\"]` is no text: write one action",
            "TRACE /b/{x}: TRACE never passes Vicar",
            "PURGE /b/{x}: it stands under additionalOperations, which is not read: name it in the catalog by hand",
            "GET /b/{x}: x-vicar-action: `null` is no text: write one action",
        ]
    );
    assert_eq!(
        told.notes,
        [
            "x-vicar-acton on POST /a/{x} means nothing; did you mean x-vicar-action?",
            "x-vicar-kind on the paths as a whole means nothing; there are x-vicar-resource and x-vicar-action, on an operation or on its path",
            "x-vicar-resource on the document as a whole means nothing; it goes on an operation, or on its path",
            "x-vicar-title on /b/{x} means nothing; there are x-vicar-resource and x-vicar-action, on an operation or on its path",
        ]
    );
    assert_eq!(readings(text), ["POST /a/{x}: create a:{x}"]);
}

#[test]
fn what_has_no_place_is_told() {
    let paths = "  /a/{x}.json: {get: {}}\n  /a/{x}...{y}: {get: {}}\n  /a/{x}: {get: {}}\n  /a/{y}: {get: {}, post: {}}\n  /a//b: {get: {}}\n  /c?d=e: {get: {}}\n  '/#x': {get: {}}\n  /.vicar/me: {get: {}}\n  relative: {get: {}}\n  /other: {$ref: 'paths.yaml#/other'}\n  /lost: {$ref: '#/components/pathItems/lost'}\n  /{x}: {get: {}}\n";
    let imported = imported(&document(paths));
    let left_out: Vec<String> = imported.left_out.iter().map(|one| format!("{}: {}", one.request, one.because)).collect();
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(left_out.join("\n")) });
    assert_eq!(imported.endpoints, 2);
    // It stands in the catalog, too, so that nobody has to wonder.
    assert!(imported.yaml.contains("# Left out, and so refused:\n#   /other: "), "{}", imported.yaml);
}

#[test]
fn references_within_the_document_are_followed() {
    let text = "openapi: 3.1.0\ninfo: {title: T, version: '1'}\npaths:\n  /files: {$ref: '#/components/pathItems/files'}\n  /copies: {$ref: '#/paths/~1files'}\ncomponents:\n  pathItems:\n    files: {post: {requestBody: {$ref: '#/components/requestBodies/form'}, parameters: [{$ref: '#/components/parameters/token'}]}}\n  requestBodies:\n    form: {content: {multipart/form-data: {}, 'application/json; charset=utf-8': {}, '*/*': {}}}\n  parameters:\n    token: {in: query, name: token}\n";
    let imported = imported(text);
    let line =
        "  - {request: \"POST /files\", resource: file, action: create, content_types: [\"multipart/form-data\", \"application/json\"]}";
    assert!(imported.yaml.contains(line), "{}", imported.yaml);
    assert_eq!(imported.endpoints, 2);
    let about = |word: &str| imported.notes.iter().filter(|note| note.contains(word)).count();
    assert_eq!((about("in its query"), about("names no media type")), (2, 2), "{:?}", imported.notes);
}

#[test]
fn the_servers_url_stands_before_each_path() {
    let text =
        |servers: &str| format!("openapi: 3.0.3\nservers: {servers}\ninfo: {{title: T, version: '1'}}\npaths: {{/pets: {{get: {{}}}}}}\n");
    assert_eq!(readings(&text("[{url: 'https://host/api/v3/'}]")), ["GET /api/v3/pets: list pet"]);
    assert_eq!(readings(&text("[{url: '/base'}]")), ["GET /base/pets: list pet"]);
    assert_eq!(readings(&text("[{url: 'https://host'}]")), ["GET /pets: list pet"]);
    assert_eq!(readings(&text("[{url: '//host/x'}]")), ["GET /x/pets: list pet"]);
    let variables = "[{url: 'https://{region}.host/{version}', variables: {region: {default: eu}, version: {default: v7}}}]";
    assert_eq!(readings(&text(variables)), ["GET /v7/pets: list pet"]);
}

#[test]
fn json_and_yaml_give_the_same() {
    let json = r##"{"openapi": "3.0.0", "info": {"title": "T", "version": "1"}, "paths": {"/pets/{id}": {"get": {"summary": "One pet", "deprecated": true}}}}"##;
    let yaml =
        "openapi: 3.0.0\ninfo: {title: T, version: '1'}\npaths:\n  /pets/{id}:\n    get:\n      summary: One pet\n      deprecated: true\n";
    assert_eq!(imported(json).yaml, imported(yaml).yaml);
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(imported(json).yaml) });
}

#[test]
fn texts_of_the_document_stay_comments() {
    let text = r##"{"openapi": "3.0.0", "info": {"title": "T\nversion: 2\n# x", "version": "1\r\nevil: true"}, "paths": {"/pets": {"get": {"tags": ["a: b"], "summary": "one\ntwo: {\u2028three\u0000"}}, "/\"x\"/{a\"b}": {"get": {}}, "/o/{a}/{a}": {"get": {}}}}"##;
    let imported = imported(text);
    assert!(imported.yaml.contains("\n  # one two: { three\n"), "{}", imported.yaml);
    assert!(!imported.yaml.contains("\nversion: 2") && !imported.yaml.contains("\nevil"), "{}", imported.yaml);
    assert!(imported.yaml.contains("GET /o/{a}/{a_2}"), "{}", imported.yaml);
}

#[test]
fn what_is_no_openapi_document_is_refused() {
    assert!(refused("").contains("no OpenAPI document") || refused("").contains("neither JSON nor YAML"));
    assert!(refused("a: b").contains("no OpenAPI document"));
    assert!(refused("[1, 2]").contains("no OpenAPI document"));
    assert!(refused("{\"openapi\": ").contains("neither JSON nor YAML"));
    assert!(refused("swagger: '2.0'\npaths: {}\n").contains("Swagger 2.0"));
    assert!(refused("openapi: 4.0.0\npaths: {}\n").contains("OpenAPI 4.0.0"));
    assert!(refused("openapi: 3.0.0\npaths: {}\n").contains("describes no operation"));
    assert!(refused("openapi: 3.0.0\ninfo: {}\n").contains("describes no operation"));
    assert!(refused(&document("  /a.{b}: {get: {}}\n")).contains("none of its 1 operations"));
}

#[test]
fn hostile_documents_are_errors() {
    let cycle = "openapi: 3.1.0\npaths:\n  /a: {$ref: '#/components/pathItems/b'}\ncomponents:\n  pathItems:\n    b: {$ref: '#/components/pathItems/c'}\n    c: {$ref: '#/components/pathItems/b'}\n";
    assert!(refused(cycle).contains("leads back to itself"));
    let own = "openapi: 3.1.0\npaths:\n  /a: {post: {requestBody: {$ref: '#/paths/~1a/post/requestBody'}}}\n";
    assert!(refused(own).contains("leads back to itself"));
    let deep = format!("openapi: 3.0.0\npaths: {}{}", "{a: ".repeat(10_000), "}".repeat(10_000));
    assert!(refused(&deep).contains("neither JSON nor YAML"));
    let deep = format!("{{\"openapi\": \"3.0.0\", \"paths\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(refused(&deep).contains("neither JSON nor YAML"));
    let bomb =
        format!("openapi: 3.0.0\na0: &a0 [x, x]\n{}", (1..40).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect::<String>());
    assert!(refused(&bomb).contains("neither JSON nor YAML"));
    let long =
        format!("{{\"openapi\": \"3.0.0\", \"paths\": {{\"/{}\": {{\"get\": {{}}}}, \"/b\": {{\"get\": {{}}}}}}}}", "a/".repeat(2_000));
    assert_eq!(imported(&long).left_out.len(), 1);
    let many: String = (0..60_000).map(|n| format!("\"/p{n}\": {{\"get\": {{}}}},")).collect();
    let many = format!("{{\"openapi\": \"3.0.0\", \"paths\": {{{}\"/z\": {{}}}}}}", many);
    assert!(refused(&many).contains("more than 50000 operations"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    /// Whatever the paths are, each operation is in the catalog or among those left out, and the catalog holds.
    #[test]
    fn every_operation_is_accounted_for(paths in proptest::collection::hash_set("(/([a-z]{1,3}s?|v1|\\{[a-c]{1,2}\\}|[%.;A-Z{}?#\\\\ é-]{1,3})){1,5}/?", 1..8)) {
        let count = paths.len();
        let paths: serde_json::Map<String, serde_json::Value> = paths.into_iter().map(|path| (path, serde_json::json!({"get": {}}))).collect();
        let text = serde_json::json!({"openapi": "3.1.0", "paths": paths}).to_string();
        match import(&Source::new("openapi.json", text)) {
            Ok(imported) => proptest::prop_assert_eq!(imported.endpoints + imported.left_out.len(), count),
            Err(ImportError::Nothing { count: left_out, .. }) => proptest::prop_assert_eq!(left_out, count),
            Err(error) => proptest::prop_assert!(false, "{}", error),
        }
    }
}

#[test]
fn what_no_catalog_can_say_is_told() {
    let told = imported(&document(
        "  /files: {post: {requestBody: {content: {image/*: {}, application/json: {}}}}}\n  /only: {head: {}}\n  /both: {get: {}, head: {}}\n",
    ));
    assert!(told.notes.iter().any(|note| note.contains("POST /files takes `image/*`")), "{:?}", told.notes);
    let left: Vec<_> = told.left_out.iter().map(|left| left.request.as_str()).collect();
    assert_eq!(left, ["HEAD /only"]);
    assert!(!refused("openapi: 3.1.0\npaths: {/a: {}, /a: {}}\n").contains("DuplicateKeyPolicy"));
}

#[test]
fn a_document_of_which_nothing_can_be_an_endpoint_is_not_called_no_json() {
    let document = r#"{"openapi": "3.0.0", "info": {"title": "a", "version": "1"}, "paths": {"x": {"get": {"responses": {}}}}}"#;
    let said = import(&Source::new("openapi.json", document)).unwrap_err().to_string();
    assert!(said.starts_with("none of its 1 operations can be an endpoint") && said.contains("GET x"), "{said}");
}
