//! The shape of a policy file. Field docs are what `vicar schema policy` shows in editors.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::source::{At, Entries, OneOrMany, filled};

/// A Vicar policy: what each service account may do, to what, and on behalf of whom. What is not shared is refused.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Vicar policy")]
pub struct PolicyDocument {
    /// Version of this format: 1.
    #[schemars(extend("const" = 1))]
    pub version: At<u32>,
    /// `observe` lets through what policy and catalog would refuse, and records that; `enforce` unless set.
    #[serde(default, deserialize_with = "filled")]
    pub enforcement: Option<At<Enforcement>>,
    /// Users by group name: mail addresses, user ids, patterns with `*`, or other groups as `@name`.
    #[serde(default)]
    pub groups: Entries<Vec<At<String>>>,
    /// Users on whose behalf nobody acts, whatever is shared.
    #[serde(default)]
    pub never_impersonate: Vec<At<String>>,
    /// What is shared with each service account, by its id.
    #[serde(default)]
    pub service_accounts: Entries<AccountEntry>,
    /// What you expect of this policy. They run before an edit is taken: one that fails its own tests is not.
    #[serde(default)]
    pub tests: Vec<TestEntry>,
}

/// A file of further tests, for `vicar test --file`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Vicar policy tests")]
pub struct TestsDocument {
    /// Version of this format: 1.
    #[serde(default, deserialize_with = "filled")]
    pub version: Option<At<u32>>,
    /// What you expect of the policy.
    pub tests: Vec<TestEntry>,
}

/// Whether refusals are carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// Refuse what is not shared.
    #[default]
    Enforce,
    /// Let everything through, and record what would have been refused.
    Observe,
}

/// What is shared with one service account.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountEntry {
    /// Takes the place of the policy's own `enforcement` for this account.
    #[serde(default, deserialize_with = "filled")]
    pub enforcement: Option<At<Enforcement>>,
    /// What it may do. One share that covers a request is enough; their order never matters.
    #[serde(default)]
    pub shares: Vec<At<ShareEntry>>,
    /// What it may not do, whatever is shared.
    #[serde(default)]
    pub deny: Vec<At<DenyEntry>>,
}

/// One share: these actions on these resources, perhaps on behalf of these users.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareEntry {
    /// `kind:id`, `kind:PO_*`, `kind:*` for the kind and every one of it, `kind` for what concerns the kind as a whole, `*`
    /// for all; or a list of these.
    pub resource: OneOrMany,
    /// The actions, as the catalog names them; `"*"` for all.
    pub actions: OneOrMany,
    /// Acting on behalf of users.
    #[serde(default, deserialize_with = "filled")]
    pub impersonate: Option<ImpersonateEntry>,
    /// The last day (UTC) on which it counts, such as 2026-12-31, or an exact time, such as 2026-12-31T17:00:00Z.
    #[serde(default, deserialize_with = "filled")]
    pub until: Option<At<String>>,
    /// Who granted it, and why.
    #[serde(default, deserialize_with = "filled")]
    pub note: Option<String>,
}

/// One denial: never these actions on these resources.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DenyEntry {
    /// As in a share.
    pub resource: OneOrMany,
    /// As in a share.
    pub actions: OneOrMany,
    /// As in a share.
    #[serde(default, deserialize_with = "filled")]
    pub until: Option<At<String>>,
    /// Who asked for it, and why.
    #[serde(default, deserialize_with = "filled")]
    pub note: Option<String>,
}

/// Acting on behalf of users.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImpersonateEntry {
    /// On whose behalf: a mail address, a user id, a pattern with `*` within one side of the `@` or within an id, `@group`, or
    /// `"*"` alone for everybody.
    pub users: OneOrMany,
    /// Whether it may act on behalf of these users only, and not as itself.
    #[serde(default)]
    pub required: bool,
    /// Where the user is named, where no header does it.
    #[serde(default, deserialize_with = "filled")]
    pub from: Option<FromEntry>,
}

/// Where the user is named.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FromEntry {
    /// A JSON pointer (RFC 6901) into the request's body, such as `/_created_by/Email`.
    pub json: At<String>,
}

/// One expectation.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestEntry {
    /// What it shows, in a few words.
    #[serde(default, deserialize_with = "filled")]
    pub name: Option<String>,
    /// The service account that asks.
    #[serde(rename = "as")]
    pub account: At<String>,
    /// The user it acts for.
    #[serde(default, deserialize_with = "filled")]
    pub on_behalf_of: Option<At<String>>,
    /// METHOD and path, with its query where that counts: `GET /dataset/2/Ac1/Vendors/list`.
    pub request: At<String>,
    /// When it asks, for shares with an end; the time of the test unless set.
    #[serde(default, deserialize_with = "filled")]
    pub at: Option<At<String>>,
    /// Whether it may.
    pub expect: Expect,
    /// The reason code of the refusal.
    #[serde(default, deserialize_with = "filled")]
    pub because: Option<At<String>>,
}

/// What a test expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// The request goes through.
    Allow,
    /// It is refused; under `enforcement: observe`, it would have been.
    Deny,
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}
