//! Header names, and what becomes of them: each name means one thing.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue};

use super::{super::Settings, Desk};
use crate::{
    settings::{Pass, in_force::is_secret, places::Way},
    source::nearest,
};

/// What a message or its connection is framed with. Nobody may set these.
const FRAMING: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
];
/// What Vicar sets on every request, or carries on.
const OWN: [&str; 7] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "x-request-id", "traceparent", "tracestate"];
/// What refuses a request that has it.
const REFUSED: [&str; 6] =
    ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url", "x-original-uri"];
/// What a request has in any case, so that it can carry nothing of ours.
const COMMON: [&str; 10] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-type",
    "cookie",
    "referer",
    "user-agent",
];
/// The placeholders of `impersonation.upstream_headers`.
pub(in crate::settings) const PLACEHOLDERS: [&str; 6] = ["{user}", "{user.local}", "{user.domain}", "{account}", "{key}", "{request_id}"];

pub(super) fn check(settings: &Settings, desk: &mut Desk<'_>) {
    callers(settings, desk);
    upstreams(settings, desk);
    content_types(settings, desk);
    for (number, name) in settings.guard.reserved_query.iter().enumerate() {
        if name.is_empty() {
            desk.error(&Way::to("guard.reserved_query").item(number), "a query name is missing")
                .help("write the name of a query parameter");
        }
    }
}

/// The headers that callers send: three different ones.
fn callers(settings: &Settings, desk: &mut Desk<'_>) {
    let mut taken: HashMap<String, Way> = HashMap::new();
    for (way, name) in [
        (Way::to("credentials.id_header"), settings.credentials.id_header.as_str()),
        (Way::to("credentials.secret_header"), settings.credentials.secret_header.as_str()),
        (Way::to("impersonation.subject_header"), settings.impersonation.subject_header.as_str()),
    ] {
        if !token(name) {
            desk.error(&way, format!("{name:?} is no header name")).help("use letters, digits and `-`");
            continue;
        }
        let folded = fold(name);
        if folded == "authorization" {
            desk.error(&way, "Authorization is taken beside these headers, as HTTP Basic")
                .help("leave it to credentials.basic, and name another header");
        } else if [&FRAMING[..], &OWN, &REFUSED, &COMMON, &["host"]].concat().contains(&folded.as_str()) {
            desk.error(&way, format!("`{name}` has another meaning in every request"))
                .help("name a header of your own, such as X-Access-Key-Id");
        } else if let Some(other) = taken.get(&folded) {
            desk.error(&way, format!("`{name}` is the same header as {other}"))
                .help("each of the three has a header of its own; `-`, `_` and letter case make no difference");
        }
        taken.insert(folded, way);
    }
}

/// The headers that the upstream gets.
fn upstreams(settings: &Settings, desk: &mut Desk<'_>) {
    let mut taken: HashMap<String, Way> = HashMap::new();
    for (name, value) in &settings.upstream.headers {
        let way = Way::to("upstream.headers").field(name);
        upstream_name(name, &way, settings, &mut taken, desk);
        if HeaderValue::from_str(value).is_err() {
            desk.error(&way, "this value holds a control character").help("a header's value is one line of text");
        } else if value.trim().is_empty() && !value.is_reference() {
            desk.error(&way, "a value is missing").help("write one, or leave the header out");
        } else if is_secret(name) && !value.is_reference() {
            desk.warning(&way, format!("what looks like a secret stands in this file, as {name}"))
                .help("write ${env:NAME} or ${file:PATH}, and keep the secret there");
        }
    }
    for (name, template) in &settings.impersonation.upstream_headers {
        let way = Way::to("impersonation.upstream_headers").field(name);
        upstream_name(name, &way, settings, &mut taken, desk);
        self::template(template, &way, desk);
    }
    if let Some(assertion) = &settings.impersonation.assertion {
        let way = Way::to("impersonation.assertion.header");
        upstream_name(&assertion.header, &way, settings, &mut taken, desk);
        if assertion.audience.trim().is_empty() {
            desk.error(&Way::to("impersonation.assertion.audience"), "an audience is missing")
                .help("write the upstream's name, as it checks it in `aud`");
        }
    }
}

fn upstream_name(name: &str, way: &Way, settings: &Settings, taken: &mut HashMap<String, Way>, desk: &mut Desk<'_>) {
    if !token(name) {
        desk.error_in_name(way, format!("{name:?} is no header name")).help("use letters, digits and `-`");
        return;
    }
    let folded = fold(name);
    if folded == "host" {
        desk.error_in_name(way, "Host is no header to add").help("set upstream.host, or upstream.preserve_host");
    } else if FRAMING.contains(&folded.as_str()) {
        desk.error_in_name(way, format!("`{name}` belongs to the connection, not to the request")).help("leave it out");
    } else if OWN.contains(&folded.as_str()) {
        desk.error_in_name(way, format!("Vicar sets `{name}` itself")).help("leave it out, or choose another name");
    } else if REFUSED.contains(&folded.as_str()) {
        desk.error_in_name(way, format!("`{name}` would make the upstream read another request")).help("leave it out");
    } else if let Some((pass, _)) = [(Pass::Authorization, "authorization"), (Pass::Cookie, "cookie")]
        .into_iter()
        .find(|(pass, passed)| folded == *passed && settings.guard.pass.contains(pass))
    {
        let word = match pass {
            Pass::Authorization => "authorization",
            Pass::Cookie | Pass::SetCookie | Pass::PathParameters => "cookie",
        };
        desk.error_in_name(way, format!("guard.pass lets the caller's own `{name}` through"))
            .help(format!("leave {word} out of guard.pass, or this header out"));
    } else if let Some(other) = taken.get(&folded) {
        desk.error_in_name(way, format!("`{name}` is the same header as {other}"))
            .help("name it once; `-`, `_` and letter case make no difference");
    }
    taken.insert(folded, way.clone());
}

fn template(template: &str, way: &Way, desk: &mut Desk<'_>) {
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (_, open) = rest.split_at(at);
        let Some(end) = open.find('}').filter(|_| open.starts_with('{')) else {
            desk.error(way, "a brace without its other half").help(format!("placeholders are {}", PLACEHOLDERS.join(", ")));
            return;
        };
        let (placeholder, after) = open.split_at(end + 1);
        if !PLACEHOLDERS.contains(&placeholder) {
            let help = match nearest(placeholder, PLACEHOLDERS) {
                _ if rest.get(..at).is_some_and(|before| before.ends_with('$')) => {
                    "a fixed value belongs under upstream.headers".to_owned()
                }
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("placeholders are {}", PLACEHOLDERS.join(", ")),
            };
            desk.error(way, format!("`{placeholder}` is no placeholder")).help(help);
        }
        rest = after;
    }
    if template.trim().is_empty() {
        desk.error(way, "a value is missing").help("write a placeholder such as {user}");
    } else if template.chars().any(char::is_control) {
        desk.error(way, "this value holds a control character").help("a header's value is one line of text");
    }
}

fn content_types(settings: &Settings, desk: &mut Desk<'_>) {
    let token = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    for (number, written) in settings.guard.content_types.iter().enumerate() {
        if !written.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub)) {
            desk.error(&Way::to("guard.content_types").item(number), format!("{written:?} is no media type"))
                .help("write one such as application/json, without parameters or wildcards");
        }
    }
}

fn token(name: &str) -> bool {
    // `_` is taken by some servers for `-`, so what is set under such a name could be overridden under the other.
    HeaderName::try_from(name).is_ok() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// A name as the laxest server reads it.
fn fold(name: &str) -> String {
    name.bytes().map(|b| if b == b'_' { '-' } else { char::from(b.to_ascii_lowercase()) }).collect()
}
