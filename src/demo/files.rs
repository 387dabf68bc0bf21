//! The demo's folder: settings, policy, catalog and keys, as somebody would write them for a real service.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{DemoError, commands::vicar};

/// The catalog that ships with Vicar.
const CATALOG: &str = include_str!("../../config/catalog/kissflow.yaml");

/// The policy of the tour; it is small enough to read in one go.
pub(super) const POLICY: &str = include_str!("policy.yaml");

/// A temporary folder, readable by its owner only; dropping it removes it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// What Vicar shows the sample API, so that nobody gets round Vicar.
    pub(super) api_key: String,
}

/// An access key of the tour.
#[derive(Debug, Clone)]
pub(super) struct KeyPair {
    pub(super) id: String,
    pub(super) secret: String,
    /// The shell variable that stands for it in what is printed.
    pub(super) variable: &'static str,
}

/// The keys of the tour's two accounts.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) procure: KeyPair,
    pub(super) reporting: KeyPair,
    /// A second key of `reporting`, made to be revoked.
    pub(super) spare: KeyPair,
}

impl Folder {
    pub(super) fn make() -> Result<Self, DemoError> {
        let random = random_hex();
        let path = std::env::temp_dir().join(format!("vicar-demo-{}", random.get(..12).unwrap_or(&random)));
        DirBuilder::new().mode(0o700).create(&path).map_err(|cause| DemoError::File { path: path.clone(), cause })?;
        Ok(Self { path, api_key: random_hex() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn settings(&self) -> PathBuf {
        self.path.join("vicar.yaml")
    }

    /// Writes the files and makes two accounts with their keys, through the commands an operator would use.
    pub(super) async fn furnish(&self, upstream: SocketAddr) -> Result<Keys, DemoError> {
        self.write("vicar.yaml", &settings(upstream))?;
        self.write("policy.yaml", POLICY)?;
        self.write("kissflow.yaml", CATALOG)?;
        self.write("api-key", &self.api_key)?;
        for (id, name, description) in [
            ("procure-to-pay", "Procure to pay", "Turns purchase requests into orders, and approves for those who delegated to it"),
            ("reporting", "Reporting", "Reads datasets and boards for the nightly report"),
        ] {
            vicar(self, &["account", "create", id, "--name", name, "--description", description]).await?;
        }
        Ok(Keys {
            procure: self.key("procure-to-pay", "integration platform", "PROCURE").await?,
            reporting: self.key("reporting", "nightly job", "REPORTING").await?,
            spare: self.key("reporting", "old laptop", "OLD_LAPTOP").await?,
        })
    }

    async fn key(&self, account: &str, name: &str, variable: &'static str) -> Result<KeyPair, DemoError> {
        let made = vicar(self, &["key", "create", account, "--name", name, "--expires", "1d", "--output", "json"]).await?;
        let made: Value = serde_json::from_str(&made).unwrap_or_default();
        let text = |field: &str| made.get(field).and_then(Value::as_str).map(str::to_owned);
        match (text("id"), text("secret")) {
            (Some(id), Some(secret)) => Ok(KeyPair { id, secret, variable }),
            _ => Err(DemoError::Command { words: format!("key create {account}"), said: "it printed no key".to_owned() }),
        }
    }

    /// A file to source in another terminal, so that the printed commands work there as they stand.
    pub(super) fn write_environment(&self, vicar: SocketAddr, api: SocketAddr, keys: &Keys) -> Result<(), DemoError> {
        let mut text = format!("export VICAR_CONFIG='{}'\nVICAR=http://{vicar}\nAPI=http://{api}\n", self.settings().display());
        // Whoever has just built it has no `vicar` on the path yet.
        if let Ok(program) = std::env::current_exe() {
            text.push_str(&format!("vicar() {{ '{}' \"$@\"; }}\n", program.display()));
        }
        for key in [&keys.procure, &keys.reporting, &keys.spare] {
            text.push_str(&format!("{}='{}:{}'\n", key.variable, key.id, key.secret));
        }
        self.write("env", &text)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let path = self.path.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|cause| DemoError::File { path, cause })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing can be done about a folder that will not go; it holds a dead demo's keys only.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// 128 random bits. Without any, the demo's folder name and API key are merely guessable.
fn random_hex() -> String {
    let mut bits = [0u8; 16];
    let _ = getrandom::fill(&mut bits);
    format!("{:032x}", u128::from_be_bytes(bits))
}

fn settings(upstream: SocketAddr) -> String {
    format!(
        r#"version: 1
listen:
  - address: 127.0.0.1:0
upstream:
  url: http://{upstream}
  headers: {{X-Api-Key: "${{file:api-key}}"}}
directory: {{file: keys.yaml}}
policy: policy.yaml
catalog: [kissflow.yaml]
impersonation:
  upstream_headers:
    X-Forwarded-User: "{{user}}"
    X-Forwarded-Account: "{{account}}"
audit:
  journal: {{path: audit, segment: 1MiB}}
admin: {{address: "127.0.0.1:0"}}
log: {{level: warn}}
sidecar: demo
"#
    )
}
