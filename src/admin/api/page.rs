//! Lists in pages, single things with their revision.

use std::{fmt::Display, str::FromStr};

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

    /// The page of `all`, in the order of their places. A cursor is the place of the last thing on the page before, which
    /// need not be there any more.
    pub(super) fn cut<T, P: Ord + Display + FromStr>(self, mut all: Vec<T>, place: impl Fn(&T) -> P) -> Result<Page<T>, Refusal> {
        let limit = match self.limit {
            None => DEFAULT,
            Some(limit @ 1..=MOST) => limit,
            Some(_) => return Err(Refusal::Invalid(format!("limit is a number from 1 to {MOST}."))),
        };
        let behind = self.cursor.map(|cursor| cursor.parse::<P>()).transpose();
        let behind = behind.map_err(|_| Refusal::Invalid("The cursor is none that was given here; begin again without it.".to_owned()))?;
        all.sort_by_cached_key(&place);
        let mut rest = all.into_iter().filter(|thing| behind.as_ref().is_none_or(|behind| place(thing) > *behind));
        let items: Vec<T> = rest.by_ref().take(limit).collect();
        let next_cursor = rest.next().and_then(|_| items.last().map(|last| place(last).to_string()));
        Ok(Page { items, next_cursor })
    }
}

impl<T> Page<T> {
    /// The same page of what each thing is shown as.
    pub(super) fn map<V>(self, view: impl FnMut(T) -> V) -> Page<V> {
        Page { items: self.items.into_iter().map(view).collect(), next_cursor: self.next_cursor }
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
