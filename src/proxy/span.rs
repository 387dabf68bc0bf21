//! One request's span, where spans are exported: filled in on the way, sent when it is dropped.

use std::time::SystemTime;

use http::StatusCode;

use super::trace::Trace;
use crate::{
    audit::{Decision, Opening},
    telemetry::spans::{Span, Spans},
};

/// A span under way.
#[derive(Debug)]
pub struct Recording {
    spans: Spans,
    span: Span,
}

impl Recording {
    /// A span of `trace`, unless nobody wants it.
    pub(super) fn begin(spans: Option<&Spans>, trace: &Trace, method: &str) -> Option<Box<Self>> {
        let spans = spans.filter(|_| trace.sampled())?;
        let span = Span {
            trace: trace.id().to_owned(),
            id: trace.span().to_owned(),
            parent: trace.parent().map(str::to_owned),
            name: method.to_owned(),
            began: SystemTime::now(),
            ended: SystemTime::now(),
            attributes: vec![("http.request.method", method.to_owned())],
            status: 0,
        };
        Some(Box::new(Self { spans: spans.clone(), span }))
    }

    /// Writes down what the audit record says, too.
    pub(super) fn note(&mut self, opening: &Opening<'_>, template: Option<String>) {
        let span = &mut self.span;
        if let Some(template) = template {
            span.name = format!("{} {template}", opening.method);
            span.attributes.push(("http.route", template));
        }
        let decision = match opening.decision {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
        };
        span.attributes.push(("vicar.request_id", opening.id.to_string()));
        span.attributes.push(("vicar.decision", decision.to_owned()));
        span.attributes.push(("vicar.reason", opening.reason.to_owned()));
        for (key, value) in [("vicar.account", opening.account), ("vicar.action", opening.action), ("vicar.share", opening.share)] {
            span.attributes.extend(value.map(|value| (key, value.to_owned())));
        }
    }

    /// Writes down the status of the answer.
    pub(super) fn status(&mut self, status: StatusCode) {
        self.span.status = status.as_u16();
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.span.ended = SystemTime::now();
        self.spans.send(self.span.clone());
    }
}
