//! The options that may stand anywhere on the line, and what they lead to: settings, directory, this moment.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::Failure;
use crate::{
    directory::{self, Directory},
    settings::{Loaded, Overrides, Settings},
    source::Complaints,
};

const EVERYWHERE: &str = "Everywhere";
const OVER: &str = "Over the settings file";

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The settings file [default: vicar.yaml, then config/vicar.yaml].
    #[arg(short, long, global = true, value_name = "FILE", env = "VICAR_CONFIG", hide_env_values = true, help_heading = EVERYWHERE)]
    pub config: Option<PathBuf>,
    /// What is printed: for people, or for programs.
    #[arg(long, global = true, value_enum, default_value_t, hide_possible_values = true, value_name = "table|json", help_heading = EVERYWHERE)]
    pub output: Output,
    /// Listen here instead (repeatable).
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = OVER)]
    pub listen: Vec<String>,
    /// Forward to this service instead.
    #[arg(long, global = true, value_name = "URL", help_heading = OVER)]
    pub upstream: Option<String>,
    /// Keep accounts, keys and the audit stream in this Redis instead.
    #[arg(long, global = true, value_name = "URL", help_heading = OVER)]
    pub redis: Option<String>,
}

/// How listings are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

impl Options {
    /// The settings in force, for looking after what Vicar keeps: secrets for the upstream may be missing here.
    ///
    /// # Errors
    /// When there is no file, or it does not hold; the complaints are rendered whole.
    pub fn settings(&self) -> Result<Loaded, Failure> {
        self.settings_with(None)
    }

    /// The same, with another policy in place of the one the file names.
    ///
    /// # Errors
    /// As [`Options::settings`].
    pub fn settings_with(&self, policy: Option<PathBuf>) -> Result<Loaded, Failure> {
        let loaded = Settings::load_to_operate(&self.file()?, &self.overrides(policy));
        loaded.map_err(|complaints| Failure::documents(&complaints))
    }

    /// The settings in force, for serving: all that they name must be there.
    ///
    /// # Errors
    /// As [`Options::settings`].
    pub fn settings_to_serve(&self, policy: Option<PathBuf>) -> Result<Loaded, Failure> {
        self.read_settings(policy)?.map_err(|complaints| Failure::documents(&complaints))
    }

    /// The same, with the complaints as they are.
    ///
    /// # Errors
    /// When there is no file at all.
    pub(super) fn read_settings(&self, policy: Option<PathBuf>) -> Result<Result<Loaded, Complaints>, Failure> {
        Ok(Settings::load(&self.file()?, &self.overrides(policy)))
    }

    fn file(&self) -> Result<PathBuf, Failure> {
        match &self.config {
            Some(path) => Ok(path.clone()),
            None => ["vicar.yaml", "config/vicar.yaml"].map(PathBuf::from).into_iter().find(|p| p.exists()).ok_or_else(|| {
                Failure::failed("there is no vicar.yaml here; name one with --config FILE, or write one with `vicar init --upstream URL`")
            }),
        }
    }

    fn overrides(&self, policy: Option<PathBuf>) -> Overrides {
        Overrides { listen: self.listen.clone(), upstream: self.upstream.clone(), redis: self.redis.clone(), policy }
    }
}

/// The directory that the settings name.
///
/// # Errors
/// When it cannot be had.
pub(super) async fn directory(loaded: &Loaded) -> Result<Arc<dyn Directory>, Failure> {
    directory::open(&loaded.settings.directory, &loaded.settings.limits).await.map_err(Failure::failed)
}

/// This moment, to the second: what people are shown and what is stored need no more.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
