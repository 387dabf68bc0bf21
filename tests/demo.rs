//! The demo, as a newcomer meets it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use support::{Call, eventually, sidecar::VICAR, sidecar::run};

#[test]
fn the_tour_shows_the_four_use_cases_and_each_answer_is_the_expected_one() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("TMPDIR".to_owned(), folder.path().display().to_string())];
    let ran = run(folder.path(), &environment, &["demo", "--exit"]).succeeded();
    let out = &ran.stdout;
    for chapter in ["1. ", "2. ", "3. ", "4. ", "5. ", "All as expected"] {
        assert!(out.lines().any(|line| line.starts_with(&format!("── {chapter}"))), "no chapter {chapter} in\n{out}");
    }
    let starting = |label: &str| out.lines().filter(|line| line.trim_start().starts_with(label)).count();
    assert_eq!(
        starting("$ "),
        starting("answer ") + 2,
        "a command without its answer, or the reverse (two commands are not requests):\n{out}"
    );
    assert_eq!(starting("API saw "), starting("audit "), "a request through Vicar without its record:\n{out}");
    for told in [
        "\"subject\":\"zoe@acme.example\"",
        "\"subject\":\"maya@acme.example\"",
        "\"reason\":\"denied-by-rule\"",
        "\"reason\":\"key-disabled\"",
    ] {
        assert!(out.replace('\n', "").replace("            ", "").contains(told), "no {told} in\n{out}");
    }
    assert!(!out.contains("vsk_"), "a secret in the tour:\n{out}");
    assert!(!out.contains('\x1b'), "colours without a terminal");
    let wide: Vec<&str> = out.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty(), "wider than 100 columns: {wide:#?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "it left something behind");
}

#[test]
fn it_stays_up_to_be_tried_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(VICAR)
        .arg("demo")
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let source = lines.by_ref().map(Result::unwrap).find_map(|line| line.trim().strip_prefix("$         . ").map(str::to_owned)).unwrap();
    let environment = fs::read_to_string(&source).unwrap();
    let value = |name: &str| {
        let line = environment.lines().find_map(|line| line.trim_start_matches("export ").strip_prefix(&format!("{name}="))).unwrap();
        line.trim_matches('\'').to_owned()
    };
    let key = value("REPORTING");
    let (id, secret) = key.split_once(':').unwrap();
    let call = Call::get("/dataset/2/Ac1/Vendors/list").header("X-Access-Key-Id", id).header("X-Access-Key-Secret", secret);
    let answer = call.send(value("VICAR").trim_start_matches("http://").parse().unwrap());
    assert_eq!(answer.expect_status(200).json()["Total"], 3);
    let shown = lines.by_ref().map(Result::unwrap).find(|line| line.contains("dataset:Vendors") && line.contains("reporting"));
    assert!(shown.is_some(), "the live log does not show the call");
    kill_process(Pid::from_raw(i32::try_from(demo.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let ended = eventually("the demo ends", || demo.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "it left something behind");
}

#[test]
fn the_sample_api_runs_alone_too() {
    let mut api = Command::new(VICAR)
        .args(["demo", "--api", "127.0.0.1:0"])
        .env("WORKFLOW_API_KEY", "k")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(api.stderr.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.trim().rsplit("http://").next().unwrap().parse().unwrap();
    let call = Call::get("/user/2/Ac1").header("X-Forwarded-User", "zoe@acme.example");
    call.send(address).expect_status(401);
    assert_eq!(
        call.header("X-Api-Key", "k").send(address).expect_status(200).header("x-acting-as"),
        Some("Zoe Lindqvist <zoe@acme.example>")
    );
    kill_process(Pid::from_raw(i32::try_from(api.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(eventually("the API ends", || api.try_wait().unwrap()).code(), Some(0));
    let mut said = String::new();
    api.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said.lines().count(), 2, "{said}");
}
