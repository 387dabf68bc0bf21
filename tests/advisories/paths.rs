//! One path for the rule and for the service.

use super::{USERS, goes_nowhere, signed};
use crate::{
    http2::{self, Frames, Outcome},
    support::{Call, Sidecar, Upstream},
};

/// Everything is shared but the salaries.
const POLICY: &str = "version: 1\nservice_accounts:\n  app:\n    shares: [{resource: \"*\", actions: \"*\"}]\n    deny:\n      - {resource: [\"dataset:Salaries\", \"dataset:Geh\u{e4}lter\"], actions: \"*\"}\n";

/// Neither path may get to the service as the other.
fn never_salaries(targets: &[&str]) {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).policy(POLICY).start();
    sidecar.send(&Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.app())).expect_status(200);
    sidecar.send(&Call::get("/dataset/2/Ac1/Salaries/list").with(sidecar.app())).expect(403, "denied-by-rule");
    upstream.forget();
    for target in targets {
        goes_nowhere(&sidecar, &upstream, format!("GET {target} HTTP/1.1\r\n{}\r\n", signed(sidecar.app())).as_bytes());
    }
}

#[test]
fn dot_segments_are_not_matched_one_way_and_sent_another() {
    never_salaries(&[
        "/dataset/2/Ac1/Vendors/../Salaries/list",
        "/dataset/2/Ac1/Vendors/%2e%2e/Salaries/list",
        "/dataset/2/Ac1/Vendors/%2E%2E/Salaries/list",
        "/dataset/2/Ac1/Vendors/.%2e/Salaries/list",
        "/dataset/2/Ac1/Vendors/..;/Salaries/list",
        "/dataset/2/Ac1/./Salaries/list",
        "/dataset/2/Ac1/Vendors/%252e%252e/Salaries/list",
        "/user/../dataset/2/Ac1/Salaries/list",
    ]);
}

#[test]
fn escaped_slashes_are_not_matched_one_way_and_sent_another() {
    never_salaries(&[
        "/dataset/2/Ac1/Vendors%2f..%2fSalaries/list",
        "/dataset/2/Ac1/Vendors%2F..%2FSalaries/list",
        "/dataset/2/Ac1/Vendors%5c..%5cSalaries/list",
        "/dataset/2/Ac1/Vendors\\..\\Salaries/list",
        "/dataset%2f2%2fAc1%2fSalaries%2flist",
        "/dataset/2/Ac1%2fSalaries/list",
        "/dataset/2/Ac1/Vendors%252f..%252fSalaries/list",
    ]);
}

#[test]
fn a_fragment_is_not_matched_one_way_and_sent_another() {
    never_salaries(&[
        "/dataset/2/Ac1/Salaries/list#",
        "/dataset/2/Ac1/Salaries/list#/../../Vendors/list",
        "/dataset/2/Ac1/Vendors/list#/../../Salaries/list",
        "/dataset/2/Ac1/Salaries#/list",
        "/dataset/2/Ac1/Salaries/list%23",
        "/dataset/2/Ac1/Salaries/list?#x",
    ]);
}

#[test]
fn an_escape_means_the_same_in_capitals() {
    never_salaries(&[
        "/dataset/2/Ac1/%53alaries/list",
        "/dataset/2/Ac1/Salarie%73/list",
        "/dataset/2/Ac1/S%61laries/list",
        "/dataset/2/Ac1/%53%61%6C%61%72%69%65%73/list",
        "/dataset/2/Ac1/%53%61%6c%61%72%69%65%73/list",
        "/dataset/2/Ac1/Geh%C3%A4lter/list",
        "/dataset/2/Ac1/Geh%c3%a4lter/list",
        "/dataset/2/Ac1/Geh\u{e4}lter/list",
        "/d%61taset/2/Ac1/Salaries/%6cist",
    ]);
}

#[test]
fn slashes_are_not_merged_behind_the_rule() {
    never_salaries(&[
        "//dataset/2/Ac1/Salaries/list",
        "/dataset//2/Ac1/Salaries/list",
        "/dataset/2/Ac1//Salaries/list",
        "/dataset/2/Ac1/Salaries/list//",
        "//vicar.test/dataset/2/Ac1/Salaries/list",
        "///dataset/2/Ac1/Salaries/list",
        "/dataset/2/Ac1/Salaries/list/",
    ]);
}

#[test]
fn a_query_is_no_part_of_the_path_that_rules_see() {
    never_salaries(&[
        "/dataset/2/Ac1/Salaries/list?x=/dataset/2/Ac1/Vendors/list",
        "/dataset/2/Ac1/Salaries/list?/../../Vendors/list",
        "/not/in/the/catalog?/dataset/2/Ac1/Vendors/list",
    ]);
}

#[test]
fn a_method_or_path_in_a_header_is_no_method_and_no_path() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).policy(POLICY).start();
    for name in [
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Original-URI",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X_Original_URL",
    ] {
        let call = Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.app()).header(name, "/dataset/2/Ac1/Salaries/list");
        sidecar.send(&call).expect(400, "ambiguous-request");
    }
    upstream.saw_nothing();
}

#[test]
fn an_http_2_path_without_a_slash_is_no_way_round_a_rule() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).policy(POLICY).start();
    for path in ["dataset/2/Ac1/Salaries/list", "", "*", "http://vicar.test/dataset/2/Ac1/Salaries/list", "//dataset/2/Ac1/Salaries/list"] {
        let mut frames = Frames::open(sidecar.address());
        frames.request(1, &http2::fields(path, sidecar.app()));
        assert_ne!(frames.outcome(1), Outcome::Answered(Some(200)), "{path}");
    }
    upstream.saw_nothing();
    let mut frames = Frames::open(sidecar.address());
    frames.request(1, &http2::fields(USERS, sidecar.app()));
    assert_eq!(frames.outcome(1), Outcome::Answered(Some(200)));
}
