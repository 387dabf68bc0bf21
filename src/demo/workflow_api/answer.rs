//! What the sample API says back.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

/// A status and a JSON body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Value,
}

impl Answer {
    pub(super) fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body }
    }

    pub(super) fn refused(status: u16, why: &str) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, body: json!({"error": why}) }
    }

    pub(super) fn missing(what: &str) -> Self {
        Self::refused(404, &format!("there is no such {what}"))
    }

    /// A page of `all`, as `page_number` and `page_size` of the query ask.
    pub(super) fn page(all: Vec<Value>, query: &str) -> Self {
        let number = |name: &str, or: usize| query_value(query, name).and_then(|v| v.parse().ok()).unwrap_or(or);
        let size = number("page_size", 50).clamp(1, 100);
        let skip = number("page_number", 1).saturating_sub(1).saturating_mul(size);
        let total = all.len();
        let data: Vec<Value> = all.into_iter().skip(skip).take(size).collect();
        Self::ok(json!({"Data": data, "Total": total}))
    }

    pub(super) fn into_response(self, acting: &str, head_only: bool) -> Response<Full<Bytes>> {
        let text = serde_json::to_vec(&self.body).unwrap_or_default();
        let length = text.len();
        let mut response = Response::new(Full::new(if head_only { Bytes::new() } else { Bytes::from(text) }));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, length.into());
        if let Ok(acting) = HeaderValue::from_str(acting) {
            headers.insert("x-acting-as", acting);
        }
        response
    }
}

/// The first value of `name` in a query, as it stands there.
pub(super) fn query_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}
