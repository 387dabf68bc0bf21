//! `vicar.yaml`: what holds is taken, what does not is said where it stands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use vicar::{
    settings::{Loaded, Overrides, Settings},
    source::Complaints,
};

/// The shortest file that holds.
const LEAST: &str = "version: 1\nlisten: [{address: \"127.0.0.1:8080\"}]\nupstream: {url: \"http://127.0.0.1:3000\"}\npolicy: policy.yaml\ncatalog: [catalog.yaml]\n";

/// A folder with a settings file in it.
struct Folder(TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("vicar.yaml", text);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, overrides: &Overrides) -> Result<Loaded, Complaints> {
        Settings::load(&self.path("vicar.yaml"), overrides)
    }

    /// What is wrong with it, as a user sees it in this folder.
    fn complaints(&self, overrides: &Overrides) -> String {
        let complaints = self.load(overrides).expect_err("it was taken");
        complaints.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// The least file with further lines.
fn least_and(more: &str) -> Folder {
    Folder::with(&format!("{LEAST}{more}"))
}

fn listening_on(address: &str) -> Folder {
    Folder::with(&LEAST.replace("\"127.0.0.1:8080\"", address))
}

fn in_front_of(upstream: &str) -> Folder {
    Folder::with(&LEAST.replace("{url: \"http://127.0.0.1:3000\"}", upstream))
}

#[track_caller]
fn refused(folder: &Folder, name: &str) {
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(name, folder.complaints(&Overrides::default())) });
}

#[test]
fn a_log_level_that_is_none_is_no_target_either() {
    for (level, advice) in
        [("wran", "did you mean `warn`?"), ("vicar=infoo", "did you mean `info`?"), ("vicar", "write off, error"), ("", "write off")]
    {
        let said = least_and(&format!("log: {{level: \"{level}\"}}\n")).complaints(&Overrides::default());
        assert!(said.contains("is no level") && said.contains(advice), "{said}");
    }
    for level in ["off", "INFO", "vicar=debug,hyper=warn", "warn,vicar::proxy=trace"] {
        least_and(&format!("log: {{level: \"{level}\"}}\n")).load(&Overrides::default()).unwrap();
    }
}

/// Blank is not the same as left out: who has taken out the lines below `client_ca:` does not mean to take every caller.
#[test]
fn a_blank_field_is_told() {
    for (blank, name) in [
        ("limits: {requests_per_minute: }", "requests_per_minute"),
        ("limits: {key_lifetime: ~, timeouts: {head: 5s}}", "key_lifetime"),
        ("limits: {timeouts: {total: null}}", "total"),
        ("audit: {stream: }", "stream"),
        ("audit: {checkpoint: }", "checkpoint"),
        ("admin: {tls: }", "tls"),
        ("admin: {tls: {certificate: a.crt, key: a.key, client_ca: }}", "client_ca"),
        ("impersonation: {assertion: }", "assertion"),
        ("directory: {tls: {ca: }}", "ca"),
        ("sidecar:", "sidecar"),
    ] {
        let said = least_and(&format!("{blank}\n")).complaints(&Overrides::default());
        assert!(said.starts_with("vicar.yaml:6:"), "{said}");
        assert!(said.contains("nothing stands where") && said.contains(&format!("leave `{name}` out")), "{said}");
    }
}

// ===== what holds =====

#[test]
fn paths_are_relative_to_the_file_they_stand_in() {
    let folder = least_and("audit: {journal: {path: log}}\n");
    let settings = folder.load(&Overrides::default()).unwrap().settings;
    assert_eq!(settings.policy.value, folder.path("policy.yaml"));
    assert_eq!(settings.catalog[0].value, folder.path("catalog.yaml"));
    assert_eq!(settings.audit.journal.path, folder.path("log"));
    // Accounts and keys live beside the settings unless something else is said.
    assert_eq!(settings.directory.file.unwrap().value, folder.path("keys.yaml"));
    let sockets =
        Folder::with(&LEAST.replace("127.0.0.1:8080", "unix:vicar.sock").replace("http://127.0.0.1:3000", "unix:///run/app.sock"));
    let settings = sockets.load(&Overrides::default()).unwrap().settings;
    assert_eq!(settings.listen[0].address.as_str(), format!("unix:{}", sockets.path("vicar.sock").display()));
    assert_eq!(settings.upstream.url.as_str(), "unix:/run/app.sock");
}

#[test]
fn secrets_stand_outside_the_file() {
    let folder = least_and("directory: {redis: \"redis://vicar:${file:redis-password}@cache:6379/2\"}\n");
    folder.write("redis-password", "hunter2\n");
    let text = fs::read_to_string(folder.path("vicar.yaml")).unwrap();
    let headers = "headers: {Authorization: \"Bearer ${env:CARGO_PKG_NAME}\", X-Tenant: acme, X-Api-Key: plain}}";
    folder.write("vicar.yaml", &text.replace("3000\"}", &format!("3000\", {headers}")));
    let loaded = folder.load(&Overrides::default()).unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.upstream.headers["Authorization"].as_str(), "Bearer vicar");
    assert_eq!(settings.directory.redis.as_ref().unwrap().as_str(), "redis://vicar:hunter2@cache:6379/2");
    assert_eq!(loaded.files, [folder.path("redis-password")]);
    for shown in [format!("{settings:?}"), settings.in_force_yaml()] {
        assert!(!shown.contains("hunter2") && !shown.contains("Bearer vicar"), "{shown}");
    }
    let shown = settings.in_force();
    assert_eq!(shown["upstream"]["headers"]["Authorization"], "Bearer ${env:CARGO_PKG_NAME}");
    assert_eq!(shown["upstream"]["headers"]["X-Tenant"], "acme");
    assert_eq!(shown["upstream"]["headers"]["X-Api-Key"], "***");
    let warned = loaded.warnings.to_string();
    assert!(loaded.warnings.len() == 1 && warned.contains("as X-Api-Key"), "{warned}");
}

#[test]
fn every_name_in_redis_begins_with_the_prefix_unless_it_is_named() {
    for (more, name) in [
        ("directory: {redis: \"redis://cache\"}\naudit: {stream: {redis: \"redis://cache\"}}\n", "vicar:audit"),
        ("directory: {redis: \"redis://cache\", prefix: \"acme:\"}\naudit: {stream: {redis: \"redis://cache\"}}\n", "acme:audit"),
        ("directory: {redis: \"redis://cache\", prefix: \"acme:\"}\naudit: {stream: {redis: \"redis://cache\", name: log}}\n", "log"),
    ] {
        let settings = least_and(more).load(&Overrides::default()).unwrap().settings;
        assert_eq!(settings.audit.stream.as_ref().unwrap().name, name);
        assert_eq!(settings.in_force()["audit"]["stream"]["name"], name);
    }
    let redis = Overrides { redis: Some("redis://cache".to_owned()), ..Overrides::default() };
    let settings = least_and("directory: {prefix: \"acme:\"}\n").load(&redis).unwrap().settings;
    assert_eq!(settings.audit.stream.unwrap().name, "acme:audit");
}

#[test]
fn the_command_line_overrides_the_commonest_fields() {
    let folder =
        Folder::with(&format!("{LEAST}directory: {{file: keys.yaml}}\n").replace("3000\"}", "3000\", also: [\"http://127.0.0.1:3001\"]}"));
    let overrides = Overrides {
        listen: vec!["127.0.0.1:1".to_owned(), "[::1]:1".to_owned()],
        upstream: Some("http://service:80".to_owned()),
        redis: Some("redis://cache".to_owned()),
        policy: Some("other.yaml".into()),
    };
    let settings = folder.load(&overrides).unwrap().settings;
    let listening: Vec<&str> = settings.listen.iter().map(|listen| listen.address.as_str()).collect();
    assert_eq!(listening, overrides.listen);
    assert_eq!((settings.upstream.url.as_str(), settings.upstream.also.len()), ("http://service:80", 0));
    assert_eq!(settings.directory.redis.unwrap().as_str(), "redis://cache");
    assert_eq!(settings.audit.stream.unwrap().redis.as_str(), "redis://cache");
    assert!(settings.directory.file.is_none());
    // Beside where the command was given, not beside the settings.
    assert_eq!(settings.policy.value, std::env::current_dir().unwrap().join("other.yaml"));
}

#[test]
fn a_listener_from_the_command_line_keeps_the_tls_of_the_file() {
    let folder = Folder::with(&LEAST.replace("8080\"}", "8080\", tls: {certificate: tls.crt, key: tls.key}}"));
    folder.write("tls.crt", "-----BEGIN CERTIFICATE-----\n");
    folder.write("tls.key", "-----BEGIN PRIVATE KEY-----\n");
    let settings = folder.load(&Overrides { listen: vec!["127.0.0.1:1".to_owned()], ..Overrides::default() }).unwrap().settings;
    assert_eq!(settings.listen[0].tls.as_ref().unwrap().key, folder.path("tls.key"));
}

#[test]
fn a_mistake_on_the_command_line_is_shown_there() {
    let folder = least_and("");
    let overrides = Overrides { listen: vec![":8080".to_owned()], redis: Some("reddis://cache".to_owned()), ..Overrides::default() };
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!("command_line", folder.complaints(&overrides)) });
}

#[test]
fn what_is_printed_as_in_force_is_a_settings_file_with_the_same_effect() {
    let more = "directory: {redis: \"redis://cache\", stale_for: 2h}\nlimits: {body: 1MiB, requests_per_minute: 400, timeouts: {total: 90s}}\ntrusted_proxies: [10.0.0.0/8, 192.0.2.1]\nself_service: [whoami, rotate]\nguard: {pass: [set_cookie]}\naudit: {stream: {redis: \"redis://cache\"}, query_values: [page_number]}\n";
    let folder = least_and(more);
    let settings = folder.load(&Overrides::default()).unwrap().settings;
    folder.write("vicar.yaml", &settings.in_force_yaml());
    let again =
        folder.load(&Overrides::default()).unwrap_or_else(|complaints| panic!("{complaints}\n{}", settings.in_force_yaml())).settings;
    assert_eq!(settings.in_force(), again.in_force());
    assert_eq!(again.in_force()["limits"]["timeouts"]["total"], "90s");
    assert_eq!(again.in_force()["limits"]["accounts"], 25);
    assert_eq!(again.in_force()["trusted_proxies"][1], "192.0.2.1/32");
}

#[test]
fn looking_after_accounts_needs_no_secret_of_the_upstream() {
    let folder = in_front_of("{url: \"https://api\", headers: {X-Api-Key: \"${env:VICAR_NO_SUCH}\"}, tls: {ca: none.pem}}");
    assert!(folder.load(&Overrides::default()).is_err());
    assert!(Settings::load_to_operate(&folder.path("vicar.yaml"), &Overrides::default()).is_ok());
    let folder = least_and("directory: {redis: \"redis://:${env:VICAR_NO_SUCH}@cache\"}\n");
    assert!(Settings::load_to_operate(&folder.path("vicar.yaml"), &Overrides::default()).is_err());
}

// ===== what does not =====

#[test]
fn fields_that_do_not_exist_or_are_missing() {
    refused(&least_and("limts: {body: 1MiB}\n"), "unknown_section");
    refused(&least_and("limits: {boddy: 1MiB}\n"), "unknown_field");
    refused(&Folder::with("version: 1\n"), "missing_fields");
    refused(&Folder::with(&LEAST.replace("version: 1", "version: 2")), "version");
    refused(&least_and("policy: other.yaml\n"), "duplicate_field");
}

#[test]
fn addresses_that_nobody_can_listen_on() {
    refused(&listening_on("\":8080\""), "listen_without_host");
    refused(&listening_on("\"localhost:8080\""), "listen_on_a_name");
    refused(&listening_on("\"::1:8080\""), "listen_ipv6_without_brackets");
    refused(&listening_on("\"127.0.0.1:80800\""), "listen_port_out_of_range");
    refused(&listening_on("\"127.0.0.1:9090\""), "listen_where_admin_does");
    refused(&listening_on("\"127.0.0.1:8080\", mode: \"0660\""), "listen_mode_on_tcp");
    refused(&listening_on("unix:/run/v.sock, mode: \"0999\""), "listen_mode_not_octal");
    refused(&listening_on(&format!("unix:/{}", "x".repeat(200))), "listen_socket_path_too_long");
    refused(&listening_on("\"127.0.0.1:8080\", proxy_protocol: true"), "listen_proxy_protocol_from_nobody");
    refused(&listening_on("\"127.0.0.1:8080\", tls: {certificate: tls.crt, key: tls.key}"), "listen_tls_files_missing");
    refused(&Folder::with(&LEAST.replace("[{address: \"127.0.0.1:8080\"}]", "[]")), "listen_nowhere");
}

#[test]
fn upstreams_that_are_none() {
    refused(&in_front_of("{url: \"127.0.0.1:3000\"}"), "upstream_without_scheme");
    refused(&in_front_of("{url: \"ftp://127.0.0.1\"}"), "upstream_scheme");
    refused(&in_front_of("{url: \"http://127.0.0.1:3000/api/v2\"}"), "upstream_with_path");
    refused(&in_front_of("{url: \"http://user:pw@127.0.0.1\"}"), "upstream_with_user");
    refused(&in_front_of("{url: \"http://127.0.0.1:8080\"}"), "upstream_is_vicar");
    refused(&in_front_of("{url: \"http://a\", also: [\"https://b\", \"http://a\"]}"), "upstream_also");
    refused(&in_front_of("{url: \"http://a\", tls: {server_name: b}}"), "upstream_tls_on_http");
    refused(&in_front_of("{url: \"http://a\", host: b, preserve_host: true}"), "upstream_two_hosts");
}

#[test]
fn headers_that_mean_something_else_already() {
    let with = |headers: &str| in_front_of(&format!("{{url: \"http://a\", headers: {{{headers}}}}}"));
    refused(&with("X-Api-Key: \"${env:VICAR_NO_SUCH}\""), "header_from_unset_variable");
    refused(&with("X-Api-Key: \"${file:none}\""), "header_from_missing_file");
    refused(&with("X-Api-Key: \"${vault:secret/x}\""), "header_from_nowhere");
    refused(&with("Connection: close, Host: b, X-Forwarded-For: c"), "header_not_to_set");
    refused(&with("X-Tenant: a, x_tenant: b"), "header_twice");
    refused(&with("\"X Api Key\": a"), "header_name");
    refused(&least_and("credentials: {secret_header: x-access-key-id}\n"), "credentials_same_header");
    refused(&least_and("credentials: {id_header: Authorization}\n"), "credentials_in_authorization");
    refused(&least_and("impersonation: {subject_header: Cookie}\n"), "subject_in_cookie");
    refused(&least_and("impersonation: {upstream_headers: {X-User: \"{user.lokal}\", X-Who: \"{user\"}}\n"), "placeholder");
    let both = in_front_of("{url: \"http://a\", headers: {authorization: b}}\nguard: {pass: [authorization]}");
    refused(&both, "authorization_from_two_sides");
}

#[test]
fn stores_that_do_not_fit() {
    refused(&least_and("directory: {file: keys.yaml, redis: \"redis://cache\"}\n"), "directory_twice");
    refused(&least_and("directory: {redis: \"cache:6379\"}\n"), "redis_without_scheme");
    refused(&least_and("directory: {redis: \"redis://cache:6379/main\"}\n"), "redis_database");
    refused(&least_and("directory: {redis: \"redis+sentinel://a,b\"}\n"), "sentinel_without_service");
    refused(&least_and("directory: {redis: \"redis://cache\", tls: {server_name: cache}}\n"), "redis_tls_without_tls");
    refused(&least_and("directory: {redis: \"redis://cache\", fresh_for: 1m, stale_for: 10s}\n"), "stale_before_fresh");
    refused(&least_and("audit: {journal: {segment: 1GiB, max_size: 1GiB}}\n"), "journal_too_small");
    refused(&least_and("audit: {stream: {redis: \"redis://cache\", backlog: 1GiB}, journal: {max_size: 512MiB}}\n"), "backlog_too_large");
    refused(&least_and("audit: {query_values: [api_key]}\n"), "secret_query_value");
    refused(&Folder::with(&LEAST.replace("[catalog.yaml]", "[]")), "no_catalog");
}

#[test]
fn numbers_out_of_range() {
    refused(&least_and("limits: {timeouts: {head: 0s}}\n"), "timeout_of_nothing");
    refused(&least_and("limits: {body: 50 megs}\n"), "size");
    refused(&least_and("limits: {timeouts: {head: 10}}\n"), "duration_without_unit");
    refused(&least_and("limits: {accounts: 0, header_bytes: 1GiB}\n"), "limits");
    refused(&least_and("trusted_proxies: [10.0.0.0/8, everybody]\n"), "trusted_proxies");
    refused(&least_and("workers: 0\n"), "workers");
    let assertion = least_and("impersonation:\n  assertion: {key: signing.pem, audience: workflow, valid_for: 5m}\n");
    assertion.write("signing.pem", "-----BEGIN PRIVATE KEY-----\n");
    refused(&assertion, "assertion_lives_too_long");
}
