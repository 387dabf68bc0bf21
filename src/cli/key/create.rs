//! `vicar key create|rotate`: the two that show a secret, once.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use ipnet::IpNet;
use serde::Serialize;

use super::{
    binding::{certificate, source},
    known_key,
};
use crate::{
    cli::{
        Done, Failure, Options, Output,
        account::known,
        listing::Facts,
        operator::Operator,
        options::{directory, now},
        print::{say_json, tell},
        when::{apart, expiry, minute},
    },
    directory::{Created, Expiry, NewKey, RotatedBy},
    identity::{AccountId, Fingerprint, Key, KeyId, Secret},
    settings::Span,
};

/// Make an access key for an account. Its secret is shown once, now.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vicar key create reporting --name \"nightly job\"\n  vicar key create reporting --name ci --expires 6mo --from 10.0.0.0/8 --save ci.key"
)]
pub(super) struct CreateArgs {
    /// For which account.
    account: AccountId,
    /// What people call it, such as where it is used; under 80 characters.
    #[arg(long)]
    name: String,
    /// When it ends: after a time (90d, 6mo, 2y), with a day (in UTC), or never.
    #[arg(long, value_name = "TIME|DATE|never", default_value = "90d", value_parser = expiry)]
    expires: Expiry,
    /// Take it only from these addresses (repeatable, 64 networks at most).
    #[arg(long, value_name = "CIDR", value_parser = source)]
    from: Vec<IpNet>,
    /// Take it only from who shows this client certificate: a PEM file, or a SHA-256 fingerprint (repeatable, 64 at most, for
    /// a change of certificates). The listener needs `tls.client_ca`.
    #[arg(long, value_name = "PEM|SHA256", value_parser = certificate)]
    client_cert: Vec<Fingerprint>,
    #[command(flatten)]
    save: Save,
}

/// Give a key a new secret, shown once, now. The old one lives on for a while, so that nothing stops.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vicar key rotate VKAAAAAAAAAAAAAAAAAAAA --overlap 24h\n  vicar key rotate VKAAAAAAAAAAAAAAAAAAAA --overlap 0s      (the old secret has leaked)"
)]
pub(super) struct RotateArgs {
    /// Which key.
    #[arg(value_name = "KEY_ID")]
    id: KeyId,
    /// How long the old secret still works [default: limits.rotate_overlap, 24h unless set].
    #[arg(long, value_name = "TIME")]
    overlap: Option<Span>,
    #[command(flatten)]
    save: Save,
}

#[derive(Debug, Args)]
struct Save {
    /// Write id and secret to this new file, readable by you alone, and print no secret in the table.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// What is shown once.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    account: &'a AccountId,
    id: KeyId,
    secret: &'a str,
    name: &'a str,
    expires: Option<jiff::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_until: Option<jiff::Timestamp>,
}

pub(super) async fn create(args: CreateArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    known(&*directory, &args.account).await?;
    let place = args.save.reserve()?;
    let operator = Operator::open(&loaded, directory)?;
    let attempt = operator.event_about("key.create", &format!("account:{}", args.account), &format!("named {}", args.name.trim()));
    let attempt = attempt.account(args.account.as_str());
    let new = NewKey { account: args.account, name: args.name, expires: args.expires, sources: args.from, client_certs: args.client_cert };
    let directory = &operator.directory;
    let made = operator
        .create(
            attempt,
            directory.create_key(new, jiff::Timestamp::now()),
            |made: &Created| {
                let event = operator.event_about("key.create", &format!("key:{}", made.key.id), &about(&made.key));
                event.account(made.key.account.as_str()).key(made.key.id.as_str())
            },
            async |made: &Created| directory.delete_key(made.key.id, None).await.map(drop),
        )
        .await?;
    operator.finish().await;
    show(&made.key, &made.secret, place, options)
}

pub(super) async fn rotate(args: RotateArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let overlap = args.overlap.unwrap_or(loaded.settings.limits.rotate_overlap);
    let directory = directory(&loaded).await?;
    let key = known_key(&*directory, args.id).await?;
    let place = args.save.reserve()?;
    let operator = Operator::open(&loaded, directory)?;
    let event = operator.event_about("key.rotate", &format!("key:{}", key.id), &format!("the old secret lives on for {overlap}"));
    let event = event.account(key.account.as_str()).key(key.id.as_str());
    let rotated =
        operator.change(event, operator.directory.rotate_key(key.id, RotatedBy::Operator, overlap.0, jiff::Timestamp::now())).await?;
    operator.finish().await;
    show(&rotated.key, &rotated.secret, place, options)
}

fn about(key: &Key) -> String {
    let ends = key.expires.map_or("never expires".to_owned(), |end| format!("expires {}", minute(end)));
    format!("named {}, {ends}", key.name)
}

/// Shows the secret. A reader that went away is a failure here: what it has not read, nobody has.
fn show(key: &Key, secret: &Secret, place: Option<Place>, options: &Options) -> Done {
    let saved = place.map(|place| place.write(key, secret)).transpose()?;
    let safe = saved.is_some();
    print(key, secret, saved, options).map_err(|failure| {
        if safe {
            return failure;
        }
        Failure::failed(format!(
            "the secret could not be printed; the key {} is there, but its secret is lost: rotate or delete it",
            key.id
        ))
    })
}

fn print(key: &Key, secret: &Secret, saved: Option<PathBuf>, options: &Options) -> Done {
    let previous_until = key.previous.until();
    let shown = Shown { account: &key.account, id: key.id, secret: secret.reveal(), name: &key.name, expires: key.expires, previous_until };
    match options.output {
        Output::Json => say_json(&shown)?,
        Output::Table => {
            let now = now();
            let mut facts = Facts::default();
            facts.add("account", key.account.as_str()).add("name", key.name.as_str()).add("key id", key.id.as_str());
            if saved.is_none() {
                facts.add("secret", secret.reveal());
            }
            facts.add("expires", key.expires.map_or("never".to_owned(), |end| format!("{} ({})", minute(end), apart(end, now))));
            if let Some(until) = previous_until {
                facts.add("old secret", format!("taken until {} ({})", minute(until), apart(until, now)));
            }
            if let Some(path) = &saved {
                facts.add("saved to", path.display().to_string());
            }
            facts.print()?;
            if saved.is_none() {
                tell("\nThe secret is shown this once; only its hash is kept.");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

// ===== the credentials file =====

/// A new, empty file that is the caller's alone.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    file: File,
    written: bool,
}

impl Save {
    /// Takes the place before the secret is made: a secret that cannot be saved is one that nobody ever has.
    fn reserve(self) -> Result<Option<Place>, Failure> {
        let Some(path) = self.save else { return Ok(None) };
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => Ok(Some(Place { path, file, written: false })),
            Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Failure::failed(format!("{} is there already and is not overwritten; name another file", path.display())))
            }
            Err(cause) => Err(Failure::failed(format!("{}: {cause}; nothing was changed", path.display()))),
        }
    }
}

impl Place {
    fn write(mut self, key: &Key, secret: &Secret) -> Result<PathBuf, Failure> {
        let text = credentials(key, secret);
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        self.written = written.is_ok();
        let path = self.path.clone();
        written.map(|()| path).map_err(|cause| {
            let advice = format!("the key {} is there, but its secret is lost: rotate or delete it", key.id);
            Failure::failed(format!("{}: {cause}; {advice}", self.path.display()))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.written {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Lines that a shell, systemd and every .env reader take.
fn credentials(key: &Key, secret: &Secret) -> String {
    let name: String = key.name.chars().filter(|c| !c.is_control()).collect();
    let ends = key.expires.map_or("never".to_owned(), |end| end.to_string());
    format!(
        "# Vicar access key of {} ({name}), expires {ends}\nVICAR_ACCESS_KEY_ID={}\nVICAR_ACCESS_KEY_SECRET={}\n",
        key.account,
        key.id,
        secret.reveal()
    )
}
