//! What `vicar init` writes: settings, a policy and a catalog that hold, and explain themselves.
//!
//! [`Plan::new`] decides on the files without touching the disk; [`Plan::write`] writes them, and never over another. The
//! first account and its key are made by `cli`, through the same way as every other.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use crate::{
    catalog::{self, Catalog, Endpoint, PathRules, ResourceId},
    identity::AccountId,
    policy,
    schema::{self, Document},
    settings::{Loaded, Overrides, Settings},
    source::{Complaints, Source},
};

/// The catalog that ships with Vicar.
pub const KISSFLOW: &str = include_str!("../config/catalog/kissflow.yaml");

/// What somebody asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The service behind.
    pub upstream: String,
    /// Where to listen.
    pub listen: String,
    /// Redis for accounts, keys and the audit stream; the keys file when `None`.
    pub redis: Option<String>,
    /// The catalog's file name without its ending, and its text.
    pub catalog: (String, String),
    /// The first account.
    pub account: AccountId,
}

/// The files to write.
#[derive(Debug, Clone)]
pub struct Plan {
    files: Vec<(PathBuf, String)>,
    /// A request that the first account may make.
    pub sample: String,
}

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// What would be written does not hold.
    #[error("{0}")]
    Unfit(Complaints),
    /// A secret would come to stand in the settings.
    #[error(
        "the Redis URL has a password in it, which would come to stand in vicar.yaml; write ${{env:NAME}} in its place, in single quotes"
    )]
    Password,
    /// Files that are there already. Nothing was written.
    #[error("{} is there already, and nothing is overwritten; name another folder", .0.display())]
    There(PathBuf),
    /// What the system said.
    #[error("{path}: {cause}", path = path.display())]
    Io {
        /// Of which file.
        path: PathBuf,
        /// What.
        cause: io::Error,
    },
}

impl Plan {
    /// Decides what to write.
    ///
    /// # Errors
    /// [`InitError`] when what is wanted would not hold.
    pub fn new(wanted: &Wanted, now: Timestamp) -> Result<Self, InitError> {
        if wanted.redis.as_deref().is_some_and(has_password) {
            return Err(InitError::Password);
        }
        let (name, text) = &wanted.catalog;
        let file = PathBuf::from("catalog").join(format!("{name}.yaml"));
        let settings = settings(wanted, name);
        let path = PathBuf::from("vicar.yaml");
        Settings::of_source(Source::new("vicar.yaml", settings.as_str()), &path, &Overrides::default()).map_err(InitError::Unfit)?;
        let mut complaints = Complaints::default();
        let Some(catalog) = catalog::load(&[Source::new(file.display().to_string(), text.as_str())], &mut complaints) else {
            return Err(InitError::Unfit(complaints));
        };
        let first = First::of(&catalog);
        let policy = Source::new("policy.yaml", policy(&wanted.account, &first));
        if let Some(compiled) = policy::load(&policy, &catalog, &mut complaints) {
            policy::verify(&compiled, &catalog, &PathRules::default(), now).complain(&policy, &mut complaints);
        }
        if complaints.has_errors() {
            return Err(InitError::Unfit(complaints));
        }
        let mut files = vec![(path, settings), (PathBuf::from("policy.yaml"), policy.text), (file, text.clone())];
        for of in Document::ALL {
            let text = serde_json::to_string_pretty(&schema::schema(of)).unwrap_or_default();
            files.push((PathBuf::from("schema").join(format!("{}.json", of.name())), format!("{text}\n")));
        }
        Ok(Self { files, sample: first.request() })
    }

    /// The files, relative to the folder.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// The settings as they will be once they stand in `folder`.
    ///
    /// # Errors
    /// [`InitError::Unfit`].
    pub fn settings_in(&self, folder: &Path) -> Result<Loaded, InitError> {
        let text = self.files.first().map(|(_, text)| text.as_str()).unwrap_or_default();
        let path = folder.join("vicar.yaml");
        Settings::of_source(Source::new("vicar.yaml", text), &path, &Overrides::default()).map_err(InitError::Unfit)
    }

    /// Writes them into `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// [`InitError`]: when one of them is there already, nothing is written.
    pub fn write(&self, folder: &Path) -> Result<(), InitError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |cause| InitError::Io { path, cause }
        };
        if let Some(there) = self.files.iter().map(|(path, _)| folder.join(path)).find(|path| fs::symlink_metadata(path).is_ok()) {
            return Err(InitError::There(there));
        }
        for (path, text) in &self.files {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(io(parent))?;
            }
            let new = OpenOptions::new().write(true).create_new(true).open(&path);
            new.and_then(|mut file| file.write_all(text.as_bytes())).map_err(io(&path))?;
        }
        Ok(())
    }
}

fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).rsplit_once('@').map(|(user, _)| user);
    authority.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty() && !password.starts_with("${"))
}

// ===== the first share =====

/// What the first account may do: enough to see a request go through, and no more.
#[derive(Debug)]
struct First {
    kind: String,
    actions: Vec<String>,
    method: &'static str,
    path: String,
}

impl First {
    /// Reading what is read most harmlessly: something with an id, datasets before others.
    fn of(catalog: &Catalog) -> Self {
        let harmless = |endpoint: &&Endpoint| endpoint.method == "GET" && matches!(&*endpoint.action_name, "list" | "read");
        let with_id = |endpoint: &&Endpoint| !matches!(endpoint.id, ResourceId::Whole);
        let reads = || catalog.endpoints().iter().filter(harmless);
        let chosen = reads()
            .find(|endpoint| &*endpoint.kind_name == "dataset" && &*endpoint.action_name == "list")
            .or_else(|| reads().find(with_id))
            .or_else(|| reads().next())
            .or_else(|| catalog.endpoints().first());
        match chosen {
            Some(endpoint) => {
                let of_kind: Vec<&str> =
                    catalog.endpoints().iter().filter(|other| other.kind == endpoint.kind).map(|other| &*other.action_name).collect();
                let mut actions: Vec<String> = ["list", "read"].into_iter().filter(|a| of_kind.contains(a)).map(str::to_owned).collect();
                if actions.is_empty() {
                    actions.push(endpoint.action_name.to_string());
                }
                Self { kind: endpoint.kind_name.to_string(), actions, method: endpoint.method, path: sample(endpoint) }
            }
            None => Self { kind: "*".to_owned(), actions: Vec::new(), method: "GET", path: "/".to_owned() },
        }
    }

    fn request(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A path that the endpoint takes: `{account_id}` becomes `account1`.
fn sample(endpoint: &Endpoint) -> String {
    let segments = endpoint.template.as_str().split('/').map(|segment| match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
        Some(name) => {
            let word = name.strip_suffix("_id").or_else(|| name.strip_suffix("Id")).unwrap_or(name);
            format!("{}1", word.replace(|c: char| !c.is_ascii_alphanumeric(), "-"))
        }
        None => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

// ===== the files =====

fn settings(wanted: &Wanted, catalog: &str) -> String {
    let Wanted { upstream, listen, redis, .. } = wanted;
    let (directory, stream) = match redis {
        Some(url) => (
            format!("# Accounts and keys, shared by all sidecars of this Redis.\ndirectory: {{redis: {}}}", quoted(url)),
            format!("  stream: {{redis: {}, name: vicar:audit, keep: 90d}}", quoted(url)),
        ),
        None => (
            "# Accounts and keys: hashes only. A file serves one sidecar; Redis is what a fleet shares.\ndirectory: {file: keys.yaml}             # or {redis: \"redis://127.0.0.1:6379\"}".to_owned(),
            "  # stream: {redis: \"redis://127.0.0.1:6379\", name: vicar:audit, keep: 90d}".to_owned(),
        ),
    };
    format!(
        r#"# yaml-language-server: $schema=schema/settings.json
#
# Vicar's settings, as `vicar init` wrote them. What is not here has a default that is safe to run with: `vicar check` reads
# this file, the policy and the catalog, says what does not hold, and prints everything that is in force. Paths are
# relative to this file; ${{env:NAME}} and ${{file:PATH}} keep secrets out of it.

version: 1

# Where integrations connect.
listen:
  - address: {listen}

# The service behind. It must be reachable through Vicar alone: whoever gets round Vicar can claim to be anybody.
upstream:
  url: {upstream}
  # What shows the service that it is Vicar who asks, if it wants to be shown:
  # headers: {{X-Api-Key: "${{env:WORKFLOW_API_KEY}}"}}

{directory}

# Who may do what, and what there is to be done. Edits of these are in force within a second, or refused whole.
policy: policy.yaml
catalog: [catalog/{catalog}.yaml]

# On whose behalf: how the service hears of the user. A header whose placeholder has no value is not sent.
# Placeholders: {{user}}, {{user.local}}, {{user.domain}}, {{account}}, {{key}}, {{request_id}}
impersonation:
  upstream_headers:
    X-Forwarded-User: "{{user}}"
    X-Forwarded-Account: "{{account}}"

# Every action is in the journal before it reaches the service.
audit:
  journal: {{path: audit, durability: process}}
{stream}

# Health, metrics, API and console. Not for integrations.
admin: {{address: 127.0.0.1:9090}}

# What a key may do about itself under /.vicar/: add rotate to let integrations change their own secrets.
self_service: [whoami]
"#,
        listen = quoted(listen),
        upstream = quoted(upstream),
    )
}

fn policy(account: &AccountId, first: &First) -> String {
    let First { kind, actions, .. } = first;
    let resource = if kind == "*" { "\"*\"".to_owned() } else { format!("\"{kind}:*\"") };
    let actions = if actions.is_empty() { "\"*\"".to_owned() } else { format!("[{}]", actions.join(", ")) };
    format!(
        r#"# yaml-language-server: $schema=schema/policy.json
#
# Who may do what, and on whose behalf. What is not shared here is refused; the order of rules never matters.
# An edit is in force within a second, unless something in it is wrong or one of its `tests` fails: then what was in force
# stays in force. See what an edit means before you save it:
#   vicar check
#   vicar explain --as {account} {request}
#   vicar simulate --policy NEW

version: 1

# Users by group: mail addresses, the API's own ids, patterns with *, or other groups as @name.
# groups:
#   finance: ["*@finance.acme.example"]

# Nobody acts for these, whatever is shared.
never_impersonate: ["admin@*"]

service_accounts:
  # A first share, to see something go through. Put what your integration needs in its place.
  {account}:
    shares:
      - resource: {resource}
        actions: {actions}
      # To let it act on behalf of people, name them; `required` says that it may not act as itself here:
      # - resource: process:Purchase_Order
      #   actions: [create, submit]
      #   impersonate: {{users: ["@finance"], required: true}}
    # What it may not do, whatever is shared:
    # deny:
    #   - {{resource: "dataset:Salaries", actions: "*"}}

# What you expect of this policy. They run before every edit is taken, and with `vicar test`.
tests:
  - {{as: {account}, request: {test}, expect: allow}}
"#,
        request = first.request(),
        test = quoted(&first.request()),
    )
}

/// A text in double quotes, as JSON and YAML have it in common.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
