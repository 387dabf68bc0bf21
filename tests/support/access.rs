//! A request as the audit log is told of it, for tests that write the log themselves.

use std::time::Instant;

use jiff::Timestamp;
use ulid::Ulid;
use vicar::audit::{Concerned, Decision, Opening, Standing};

/// The `n`th of many that are alike and let through.
pub fn opening(n: u64) -> Opening<'static> {
    Opening {
        id: Ulid::from_parts(1_764_000_000_000 + n, u128::from(n)),
        time: Timestamp::now(),
        began: Instant::now(),
        standing: Standing::SignedIn,
        account: Some("app"),
        key: Some("VKAAAAAAAAAAAAAAAAAAAA"),
        subject: Some("zoe@acme.example"),
        method: "GET",
        path: "/dataset/2/Ac1/Vendors/list",
        query: None,
        resource: Some(Concerned { kind: "dataset", id: Some("Vendors") }),
        action: Some("list"),
        decision: Decision::Allow,
        reason: "shared",
        share: Some("app/1"),
        policy: "0123456789abcdef",
        stale: false,
        client: "192.0.2.1".parse().unwrap(),
        user_agent: Some(b"curl/8"),
        trace_id: None,
    }
}
