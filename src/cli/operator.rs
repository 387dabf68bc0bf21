//! Changes that an operator makes: each is in the audit log, or is not made.
//!
//! What changes or removes something is recorded first. What makes something new is recorded before anything of it is
//! shown, and taken back if that fails: the log names the new key, and nobody has a secret that the log does not know.

use std::{env, fs, sync::Arc};

use super::{Failure, options::now, print::tell};
use crate::{
    audit::{Audit, Event, Writer},
    directory::{Directory, DirectoryError, NewAccount},
    identity::Account,
    lifecycle,
    settings::Loaded,
};

/// Longest operator name that is recorded, in characters.
const NAME_MAX: usize = 80;

/// Somebody at this machine, with the directory to change and the log to answer to.
#[derive(Debug)]
pub(super) struct Operator {
    name: String,
    detail: Option<String>,
    audit: Audit,
    /// What is changed.
    pub(super) directory: Arc<dyn Directory>,
}

/// Who runs this command.
#[derive(Debug, PartialEq, Eq)]
struct Who {
    /// What the log calls them.
    name: String,
    /// The user of the operating system, where the name is not that.
    user: Option<String>,
}

impl Operator {
    /// Takes the operators' journal, to change `directory`. Others wait for it meanwhile, so everything that takes a
    /// person's time comes before.
    ///
    /// # Errors
    /// When it cannot be had: nothing may be changed then.
    pub(super) fn open(loaded: &Loaded, directory: Arc<dyn Directory>) -> Result<Self, Failure> {
        let settings = &loaded.settings;
        let sidecar = lifecycle::sidecar_name(settings);
        let audit = Audit::open(&settings.audit, &sidecar, Writer::Operator)
            .map_err(|cause| Failure::failed(format!("nothing was changed, for it could not be recorded: {cause}")))?;
        let who = Who::runs_this();
        let detail = who.user.map(|user| format!("as the system's user {user}"));
        Ok(Self { name: who.name, detail, audit, directory })
    }

    /// A record in this operator's name.
    pub(super) fn event(&self, verb: &str, object: &str) -> Event {
        self.with_detail(Event::admin(&self.name, verb, object), None)
    }

    /// The same, with something to add.
    pub(super) fn event_about(&self, verb: &str, object: &str, detail: &str) -> Event {
        self.with_detail(Event::admin(&self.name, verb, object), Some(detail))
    }

    fn with_detail(&self, event: Event, detail: Option<&str>) -> Event {
        match (detail, &self.detail) {
            (Some(detail), Some(user)) => event.detail(format!("{detail}; {user}")),
            (Some(detail), None) => event.detail(detail),
            (None, Some(user)) => event.detail(user),
            (None, None) => event,
        }
    }

    /// Records `event`, then makes the change. A change that fails is recorded as refused, too.
    ///
    /// # Errors
    /// When it cannot be recorded (nothing is changed then), or cannot be made.
    pub(super) async fn change<T>(&self, event: Event, change: impl Future<Output = Result<T, DirectoryError>>) -> Result<T, Failure> {
        self.record(event.clone()).await?;
        match change.await {
            Ok(done) => Ok(done),
            Err(error) => Err(self.refused(event, &error).await),
        }
    }

    /// Makes something new, then records what `event` says of it; takes it back by `undo` if that fails.
    ///
    /// # Errors
    /// When it cannot be made, or cannot be recorded (it is not there then).
    pub(super) async fn create<T>(
        &self,
        attempt: Event,
        create: impl Future<Output = Result<T, DirectoryError>>,
        event: impl FnOnce(&T) -> Event,
        undo: impl AsyncFnOnce(&T) -> Result<(), DirectoryError>,
    ) -> Result<T, Failure> {
        let made = match create.await {
            Ok(made) => made,
            Err(error) => return Err(self.refused(attempt, &error).await),
        };
        if let Err(failure) = self.record(event(&made)).await {
            if let Err(error) = undo(&made).await {
                tell(&format!("vicar: what was made could not be recorded, nor taken back: {error}"));
            }
            return Err(failure);
        }
        Ok(made)
    }

    /// Makes an account.
    ///
    /// # Errors
    /// When it cannot be made, or cannot be recorded (it is not there then).
    pub(super) async fn create_account(&self, new: NewAccount) -> Result<Account, Failure> {
        let event = self.event_about("account.create", &format!("account:{}", new.id), &format!("named {}", new.name.trim()));
        let event = event.account(new.id.as_str());
        self.create(
            event.clone(),
            self.directory.create_account(new, now()),
            |_| event,
            async |made: &Account| self.directory.delete_account(&made.id, None).await.map(drop),
        )
        .await
    }

    /// Sends what was recorded on its way.
    pub(super) async fn finish(self) {
        self.audit.close().await;
    }

    async fn record(&self, event: Event) -> Result<(), Failure> {
        let told = |cause| Failure::failed(format!("nothing was changed, for it could not be recorded: {cause}"));
        self.audit.record(event).await.map_err(told)
    }

    async fn refused(&self, event: Event, error: &DirectoryError) -> Failure {
        // Nothing was changed; a log that takes no record of that has already been told of, or will be with the next change.
        let _ = self.record(self.with_detail(event.refused(), Some(&error.to_string()))).await;
        Failure::failed(error)
    }
}

/// The name of whoever runs this command, as the log has it.
pub(super) fn operator_name() -> String {
    Who::runs_this().name
}

impl Who {
    /// `VICAR_OPERATOR`, else whoever called `sudo`, else the system's user.
    fn runs_this() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let user = fs::read_to_string("/etc/passwd").ok().and_then(|users| user_name(&users, uid)).unwrap_or_else(|| format!("uid {uid}"));
        Self::from(env::var("VICAR_OPERATOR").ok(), env::var("SUDO_USER").ok(), user)
    }

    fn from(said: Option<String>, sudo: Option<String>, user: String) -> Self {
        let named = [said, sudo].into_iter().flatten().map(|name| clean(&name)).find(|name| !name.is_empty());
        match named {
            Some(name) if name != user => Self { name, user: Some(user) },
            Some(_) | None => Self { name: clean(&user), user: None },
        }
    }
}

fn clean(name: &str) -> String {
    name.trim().chars().filter(|c| !c.is_control()).take(NAME_MAX).collect()
}

/// The name of the user with this number, from the text of `/etc/passwd`.
fn user_name(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_calls_an_operator_by_what_they_say_then_by_who_called_sudo_then_by_the_user() {
        let who = |said: Option<&str>, sudo: Option<&str>| Who::from(said.map(str::to_owned), sudo.map(str::to_owned), "root".into());
        let root = Some("root".to_owned());
        assert_eq!(who(Some("zoe"), Some("ivan")), Who { name: "zoe".into(), user: root.clone() });
        assert_eq!(who(None, Some("ivan")), Who { name: "ivan".into(), user: root });
        assert_eq!(who(Some(" "), None), Who { name: "root".into(), user: None });
        assert_eq!(who(Some("z\x1b[2Joe"), None).name, "z[2Joe");
    }

    #[test]
    fn a_user_is_known_by_number() {
        let users = "root:x:0:0:root:/root:/bin/bash\nzoe:x:1000:1000::/home/zoe:/bin/sh\n";
        assert_eq!(user_name(users, 1000), Some("zoe".to_owned()));
        assert_eq!(user_name(users, 7), None);
    }
}
