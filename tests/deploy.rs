//! What stands in `config/deploy/`: it holds, and speaks of commands that there are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
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
    policy::verify(&policy, &catalog, vicar::catalog::PathRules::default(), "2027-01-01T00:00:00Z".parse().unwrap())
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
