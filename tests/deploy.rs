//! What stands in `config/deploy/`: it holds, and speaks of commands that there are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use support::sidecar::run;
use vicar::{
    catalog, policy,
    settings::{Overrides, Settings},
    source::{Complaints, Source},
};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/deploy")
}

fn read(file: &str) -> String {
    fs::read_to_string(deploy().join(file)).unwrap()
}

#[test]
fn the_settings_of_the_manifests_hold() {
    let compose: Value =
        serde_yaml::from_str::<Value>(&read("compose.yaml").replace("<<: &locked", "x-locked: &locked").replace("<<: *locked", ""))
            .expect("YAML");
    let compose = compose["configs"]["settings"]["content"].as_str().unwrap().replace("$$", "$");
    for (name, text) in [("compose.yaml", compose), ("kubernetes/vicar.yaml", read("kubernetes/vicar.yaml"))] {
        // Secrets are there where it is deployed.
        let text = text.replace("${env:WORKFLOW_API_KEY}", "x").replace("${file:/run/secrets/vicar/workflow-api-key}", "x");
        let text = text.replace("${file:/run/secrets/vicar/redis-url}", "redis://redis:6379");
        let loaded = Settings::of_source(Source::new(name, text), &deploy().join("vicar.yaml"), &Overrides::default());
        loaded.unwrap_or_else(|complaints| panic!("{complaints}"));
    }
}

#[test]
fn the_policy_of_the_manifests_holds() {
    let mut complaints = Complaints::default();
    let shipped = Source::read(&deploy().join("../catalog/kissflow.yaml")).unwrap();
    let catalog = catalog::load(&[shipped], &mut complaints).unwrap();
    let source = Source::new("kubernetes/policy.yaml", read("kubernetes/policy.yaml"));
    let policy = policy::load(&source, &catalog, &mut complaints).unwrap_or_else(|| panic!("{complaints}"));
    policy::verify(&policy, &catalog, &vicar::catalog::PathRules::default(), "2027-01-01T00:00:00Z".parse().unwrap())
        .complain(&source, &mut complaints);
    assert!(complaints.is_empty(), "{complaints}");
}

#[test]
fn the_manifests_run_commands_that_there_are() {
    let unit = read("vicar.service");
    let starts = unit.lines().filter_map(|line| line.strip_prefix("ExecStart=").or_else(|| line.strip_prefix("ExecStartPre=")));
    let mut commands: BTreeSet<String> = starts.map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect();
    for file in ["compose.yaml", "kubernetes/deployment.yaml"] {
        for line in read(file).lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("args: [").or_else(|| line.strip_prefix("command: [")) {
                let first = words.split([',', ']']).next().unwrap();
                if !first.ends_with("-server") {
                    commands.insert(first.to_owned());
                }
            }
        }
    }
    assert_eq!(commands, ["demo", "serve"].map(str::to_owned).into());
    let nowhere = tempfile::tempdir().unwrap();
    for command in commands {
        run(nowhere.path(), &[], &[&command, "--help"]).succeeded();
    }
}

/// Whether this machine has the tool; `tests/run` says which it could not get.
fn have(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).is_file())
}

/// Runs a tool of those who take what is deployed.
fn tool(program: &str, words: &[&str]) -> Output {
    let mut command = Command::new(program);
    if let Some(packages) = std::env::var_os("VICAR_TEST_KUBERNETES_VALIDATE") {
        command.env("PYTHONPATH", packages);
    }
    command.args(words).output().unwrap_or_else(|error| panic!("{program} cannot be started: {error}"))
}

#[track_caller]
fn finds_nothing(program: &str, words: &[&str]) {
    let output = tool(program, words);
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&told));
}

#[test]
fn kubernetes_takes_every_field_of_the_manifests() {
    if !have("kubectl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rendered = tool("kubectl", &["kustomize", deploy().join("kubernetes").to_str().unwrap()]);
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let manifests = String::from_utf8(rendered.stdout).unwrap();
    assert!(manifests.contains("kind: NetworkPolicy") && manifests.contains("vicar.yaml: |"), "{manifests}");
    if std::env::var_os("VICAR_TEST_KUBERNETES_VALIDATE").is_none() {
        return;
    }
    let file = folder.path().join("manifests.yaml");
    let against = |version| ["-m", "kubernetes_validate", "--strict", "-k", version, file.to_str().unwrap()];
    fs::write(&file, &manifests).unwrap();
    // The oldest that they say they need, and the newest there is.
    for version in ["1.30", "1.37"] {
        finds_nothing("python3", &against(version));
    }
    fs::write(&file, manifests.replace("readOnlyRootFilesystem", "readOnlyRootFs")).unwrap();
    assert!(!tool("python3", &against("1.30")).status.success(), "a field that does not exist is found");
}

#[test]
fn the_units_are_ones_that_systemd_takes_and_holds_for_safe() {
    if !have("systemd-analyze") {
        return;
    }
    let unit = deploy().join("vicar.service");
    // In tenths of what systemd calls exposure.
    finds_nothing("systemd-analyze", &["security", "--offline=yes", "--threshold=20", unit.to_str().unwrap()]);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = read("vicar.service").replace("/usr/local/bin/vicar", env!("CARGO_BIN_EXE_vicar"));
    fs::write(path("vicar.service"), text).unwrap();
    fs::copy(deploy().join("vicar.socket"), path("vicar.socket")).unwrap();
    let words = ["verify", "--man=no", path("vicar.service").to_str().unwrap(), path("vicar.socket").to_str().unwrap()].map(str::to_owned);
    let told = tool("systemd-analyze", &words.each_ref().map(String::as_str));
    let told = [told.stdout, told.stderr].concat();
    // A directive that it does not know makes no failure, only a line.
    assert_eq!(String::from_utf8_lossy(&told), "");
}
