//! The shape of a catalog file. Field docs are what `vicar schema catalog` shows in editors.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    settings::Size,
    source::{At, Entries, filled},
};

/// A Vicar catalog: which endpoints the service has, and what each does to which resource.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Vicar catalog")]
pub struct CatalogDocument {
    /// Version of this format: 1.
    #[schemars(extend("const" = 1))]
    pub version: At<u32>,
    /// The kinds of resources, by the name that policies use. A kind belongs to one file; endpoints of every file may use it.
    #[serde(default)]
    pub kinds: Entries<KindEntry>,
    /// The endpoints. What no catalog names is refused.
    #[serde(default)]
    pub endpoints: Vec<EndpointEntry>,
}

/// What a kind of resources is called.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KindEntry {
    /// What people call it; the name itself unless set.
    #[serde(default, deserialize_with = "filled")]
    pub title: Option<At<String>>,
}

/// One endpoint.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointEntry {
    /// METHOD and path template: `POST /process/2/{account_id}/{process_id}`. GET stands for HEAD, too.
    pub request: At<String>,
    /// What it concerns: `kind:{parameter}` for the one that the path names, `kind:{a}/{b}` where it takes two parameters to
    /// name it, `kind:id` for a fixed one, `kind` for the kind as a whole.
    pub resource: At<String>,
    /// What it does to it: `list`, `read`, `create`, `update`, `submit`, `approve`, `reject`, `delete`, `admin`, or a word of your own.
    pub action: At<String>,
    /// The query parameters it takes; any but `guard.reserved_query` unless set.
    #[serde(default, deserialize_with = "filled")]
    pub query: Option<Vec<At<String>>>,
    /// The media types of the bodies it takes; `guard.content_types` unless set.
    #[serde(default, deserialize_with = "filled")]
    pub content_types: Option<Vec<At<String>>>,
    /// The largest body it takes; `limits.body` unless set.
    #[serde(default, deserialize_with = "filled")]
    pub body: Option<Size>,
    /// What it is for, in a few words.
    #[serde(default, deserialize_with = "filled")]
    pub summary: Option<String>,
}
