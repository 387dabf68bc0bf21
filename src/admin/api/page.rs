//! Lists in pages, single things with their revision.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::refusal::Refusal;

/// How many things a page of accounts or keys has unless said.
const DEFAULT: usize = 50;
/// How many it may have.
const MOST: usize = 200;

/// Which page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    /// How many to give; 50 unless said.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One page of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Page<T> {
    /// What is on it.
    pub(super) items: Vec<T>,
    /// What to send as `cursor` for the next page; `null` on the last.
    pub(super) next_cursor: Option<String>,
}

impl PageQuery {
    /// Asked for beside other things.
    pub(super) fn new(limit: Option<usize>, cursor: Option<String>) -> Self {
        Self { limit, cursor }
    }

    /// The page of `all`, whose things are told apart by `id`.
    pub(super) fn cut<T>(self, all: Vec<T>, id: impl Fn(&T) -> &str) -> Result<Page<T>, Refusal> {
        let limit = match self.limit {
            None => DEFAULT,
            Some(limit @ 1..=MOST) => limit,
            Some(_) => return Err(Refusal::Invalid(format!("limit is a number from 1 to {MOST}."))),
        };
        let skip = match &self.cursor {
            None => 0,
            Some(cursor) => match all.iter().position(|thing| id(thing) == cursor) {
                Some(at) => at + 1,
                None => return Err(Refusal::Invalid("The thing that the cursor stood at is gone; begin again without it.".to_owned())),
            },
        };
        let mut rest = all.into_iter().skip(skip);
        let items: Vec<T> = rest.by_ref().take(limit).collect();
        let next_cursor = rest.next().and_then(|_| items.last().map(|last| id(last).to_owned()));
        Ok(Page { items, next_cursor })
    }
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// One thing, with its revision as its `ETag`.
#[derive(Debug)]
pub(super) struct Revised<T> {
    pub(super) status: StatusCode,
    pub(super) revision: u64,
    pub(super) thing: T,
}

impl<T: Serialize> IntoResponse for Revised<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.thing)).into_response();
        if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", self.revision)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}
