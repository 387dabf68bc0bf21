//! The signed assertion: what an upstream gets, and what it can check it with.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::Value;

use crate::{
    USERS,
    support::{Call, Sidecar, Upstream, eventually},
};

/// An Ed25519 private key as `openssl genpkey` writes it (RFC 8410).
fn pem(seed: u8) -> String {
    let der = [&b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..], &[seed; 32]].concat();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

/// The claims of a token that one of the published keys has signed.
fn verified(token: &str, keys: &Value) -> Value {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let decode = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let head = decode(head);
    assert_eq!(head["alg"], "EdDSA");
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == head["kid"]).expect("its key is published");
    let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
    UnparsedPublicKey::new(&ED25519, public).verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    decode(claims)
}

#[test]
fn the_service_can_check_who_acts_for_whom() {
    let upstream = Upstream::start();
    let settings = "{assertion: {key: sign.pem, audience: workflow}}";
    let mut sidecar = Sidecar::behind(&upstream).set("impersonation", settings).prepare();
    sidecar.write("sign.pem", &pem(1));
    sidecar.serve();
    let call = Call::get(USERS).with(sidecar.app()).header("X-Vicar-Assertion", "forged").header("X_Vicar_Assertion", "forged");
    let answer = sidecar.send(&call.clone().on_behalf_of("Zoe@acme.example"));
    let keys = Call::get("/.well-known/jwks.json").send(sidecar.admin()).json();
    let seen = upstream.last();
    let old = seen.header("x-vicar-assertion").unwrap().to_owned();
    assert_eq!(seen.headers.iter().filter(|(name, _)| name.to_lowercase().replace('_', "-") == "x-vicar-assertion").count(), 1);
    let claims = verified(&old, &keys);
    assert_eq!((claims["iss"].as_str(), claims["aud"].as_str()), (Some("vicar"), Some("workflow")));
    assert_eq!((claims["sub"].as_str(), claims["act"]["sub"].as_str()), (Some("zoe@acme.example"), Some("app")));
    assert_eq!((claims["key"].as_str(), claims["jti"].as_str()), (Some(sidecar.app().id.as_str()), Some(answer.request_id().as_str())));
    assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= 60);
    sidecar.send(&call);
    let claims = verified(upstream.last().header("x-vicar-assertion").unwrap(), &keys);
    assert_eq!((claims["sub"].as_str(), claims.get("act")), (Some("app"), None));

    // The key is replaced; what the old one signed can still be checked.
    sidecar.write("next.pem", &pem(2));
    let text = std::fs::read_to_string(sidecar.folder().join("vicar.yaml")).unwrap();
    sidecar.write("vicar.yaml", &text.replace("key: sign.pem", "key: next.pem, previous: sign.pem"));
    let keys = eventually("both keys are published", || {
        let keys = Call::get("/.well-known/jwks.json").send(sidecar.admin()).json();
        (keys["keys"].as_array().unwrap().len() == 2).then_some(keys)
    });
    verified(&old, &keys);
    sidecar.send(&call);
    let new = upstream.last().header("x-vicar-assertion").unwrap().to_owned();
    verified(&new, &keys);
    assert_ne!(new.split('.').next(), old.split('.').next());
}
