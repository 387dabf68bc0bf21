//! Requests a minute that a fleet shares.

use serde_json::json;

use super::{
    CATALOG, POLICY, order,
    support::{Call, Redis, Sidecar, Upstream, eventually},
};

/// Few enough that a slow test does not wait for new ones, many enough that counting alone would stand out.
const PER_MINUTE: usize = 24;

/// Two sidecars of one fleet, in front of one service.
fn fleet(upstream: &Upstream, redis: &Redis) -> [Sidecar; 2] {
    let limits = format!("{{requests_per_minute: {PER_MINUTE}, requests_counted_by: fleet}}");
    let first = Sidecar::behind(upstream).catalog(CATALOG).policy(POLICY).redis(&redis.url()).set("limits", &limits).start();
    let second = Sidecar::behind(upstream).catalog(CATALOG).policy(POLICY).redis(&redis.url()).set("limits", &limits).accounts(&[]);
    [first, second.start()]
}

fn metric(sidecar: &Sidecar, name: &str) -> f64 {
    let page = Call::get("/metrics").send(sidecar.admin()).text();
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

/// Asks until one request is refused; how many were not.
fn until_refused(sidecar: &Sidecar, call: &Call) -> usize {
    (0..10 * PER_MINUTE).take_while(|_| sidecar.send(call).status == 200).count()
}

#[test]
fn two_sidecars_let_through_no_more_than_one_would() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let [first, second] = fleet(&upstream, &redis);
    let call = order(first.app());
    let (mut through, mut refused) = (0, None);
    for turn in 0..4 * PER_MINUTE {
        let sidecar = if turn % 2 == 0 { &first } else { &second };
        let answer = sidecar.send(&call);
        assert_eq!(answer.header("ratelimit-policy"), Some(format!("\"minute\";q={PER_MINUTE};w=60").as_str()));
        if answer.status == 200 {
            assert!(answer.header("ratelimit").unwrap().starts_with("\"minute\";r="));
            through += 1;
        } else {
            refused = Some(answer);
        }
    }
    assert!(through >= PER_MINUTE, "{through} of {PER_MINUTE}: somebody was refused what there was");
    assert!(through < 2 * PER_MINUTE - 6, "{through} of {PER_MINUTE}: each counted its own");
    let refused = refused.unwrap();
    refused.expect(429, "rate-limited");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit"), Some("\"minute\";r=0;t=60"));
    assert_eq!(first.record(&refused_by_first(&first, &call))["reason"], json!("rate-limited"));

    // What one used up is missing at the other that never saw the caller; another account has its own.
    first.vicar(&["account", "create", "other", "--name", "Other"]).succeeded();
    let other = first.new_key("other", &["--name", "x"]);
    let users = Call::get("/user").with(&other);
    assert!(until_refused(&first, &users) >= PER_MINUTE);
    assert!(until_refused(&second, &users) < PER_MINUTE);
    for sidecar in [&first, &second] {
        assert!(metric(sidecar, "vicar_limits_shared") > 0.0);
    }
}

fn refused_by_first(first: &Sidecar, call: &Call) -> String {
    eventually("the first refuses", || Some(first.send(call)).filter(|answer| answer.status == 429)).request_id()
}

#[test]
fn without_redis_each_sidecar_counts_alone_and_together_again_once_it_is_back() {
    let (upstream, mut redis) = (Upstream::start(), Redis::start());
    let sidecars = fleet(&upstream, &redis);
    let call = order(sidecars[0].app());
    for sidecar in &sidecars {
        sidecar.send(&call).expect_status(200);
        eventually("it counts with the fleet", || (metric(sidecar, "vicar_limits_shared") > 0.0).then_some(()));
    }
    redis.kill();
    for sidecar in &sidecars {
        let through = until_refused(sidecar, &call);
        // Nobody waits for Redis, nobody is let through without end; what was asked of Redis when it died is lost.
        assert!((PER_MINUTE / 2..2 * PER_MINUTE).contains(&through), "{through}");
        eventually("it counts alone", || (metric(sidecar, "vicar_limits_shared") == 0.0).then_some(()));
    }
    redis.launch();
    for sidecar in &sidecars {
        eventually("it counts with the fleet again", || {
            sidecar.send(&call);
            (metric(sidecar, "vicar_limits_shared") > 0.0).then_some(())
        });
    }
    // What both let through meanwhile is owed.
    assert!(sidecars.iter().map(|sidecar| until_refused(sidecar, &call)).sum::<usize>() < PER_MINUTE);
    assert!(sidecars[0].log().contains("counted by this sidecar alone"), "{}", sidecars[0].log());
}

#[test]
fn a_fleet_needs_a_redis_to_count_in() {
    let upstream = Upstream::start();
    let limits = "{requests_per_minute: 400, requests_counted_by: fleet}";
    let sidecar = Sidecar::behind(&upstream).accounts(&[]).set("limits", limits).prepare();
    let checked = sidecar.vicar(&["check"]).exited(1);
    assert!(
        checked.stderr.contains("no Redis for a fleet to count in") && checked.stderr.contains("requests_counted_by"),
        "{}",
        checked.stderr
    );
}
