//! Keys that end soon are told of in the log, once a day each: an integration should not be the one to find out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::views::{Holding, KeyState, holdings, written};
use crate::{
    identity::{Key, KeyId, Status},
    proxy::server::Shared,
};

/// How often keys are looked at.
const EVERY: Duration = Duration::from_secs(600);
/// How often a key is told of.
const AGAIN: SignedDuration = SignedDuration::from_hours(24);

/// When each key was last told of.
#[derive(Debug, Default)]
struct Told(HashMap<KeyId, Timestamp>);

/// Looks at the keys now and then, until `stop`.
pub async fn watch_expiring(shared: Arc<Shared>, stop: CancellationToken) {
    let mut told = Told::default();
    let mut every = tokio::time::interval(EVERY);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        // A directory that is away says so elsewhere.
        let Ok(holdings) = holdings(&*shared.backend, |_| true).await else { continue };
        for (key, days_left) in told.due(&holdings, Timestamp::now()) {
            tracing::warn!(
                account = %key.account,
                key = %key.id,
                name = ?key.name,
                expires = key.expires.map(written),
                days_left,
                "an access key ends soon: make another before whoever uses it is refused"
            );
        }
    }
}

impl Told {
    /// The keys to tell of now, and how many whole days each has yet.
    fn due<'h>(&mut self, holdings: &'h [Holding], now: Timestamp) -> Vec<(&'h Key, i64)> {
        let live = holdings.iter().filter(|holding| holding.account.status == Status::Active).flat_map(|holding| &holding.keys);
        let ending = live.filter_map(|key| match KeyState::of(key, now) {
            KeyState::Expiring { days } => Some((key, days)),
            KeyState::Active | KeyState::Disabled | KeyState::Expired => None,
        });
        let ending: Vec<_> = ending.collect();
        self.0.retain(|id, _| ending.iter().any(|(key, _)| key.id == *id));
        let due = ending.into_iter().filter(|(key, _)| self.0.get(&key.id).is_none_or(|last| now.duration_since(*last) >= AGAIN));
        let due: Vec<_> = due.collect();
        self.0.extend(due.iter().map(|(key, _)| (key.id, now)));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Account, PreviousSecrets, SecretHash};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn later(hours: i64) -> Timestamp {
        NOW + SignedDuration::from_hours(hours)
    }

    fn holding(status: Status, ends: &[Option<i64>]) -> Holding {
        let account = Account { id: "app".parse().unwrap(), name: "App".to_owned(), description: None, status, created: NOW, revision: 0 };
        let key = |days: &Option<i64>| Key {
            id: KeyId::random().unwrap(),
            account: account.id.clone(),
            name: "x".to_owned(),
            hash: SecretHash::of_nothing(),
            previous: PreviousSecrets::none(),
            status: Status::Active,
            created: NOW,
            expires: days.map(|days| later(days * 24)),
            sources: Vec::new(),
            client_certs: Vec::new(),
            last_used: None,
            revision: 0,
        };
        Holding { keys: ends.iter().map(key).collect(), account }
    }

    #[test]
    fn a_key_that_ends_soon_is_told_of_once_a_day_until_it_is_over() {
        let holdings = [holding(Status::Active, &[Some(2), Some(29), Some(31), None])];
        let mut told = Told::default();
        let days = |due: Vec<(&Key, i64)>| due.into_iter().map(|(_, days)| days).collect::<Vec<_>>();
        assert_eq!(days(told.due(&holdings, NOW)), [2, 29]);
        for hour in 1..24 {
            assert_eq!(days(told.due(&holdings, later(hour))), [0i64; 0], "{hour}");
        }
        assert_eq!(days(told.due(&holdings, later(24))), [1, 28]);
        // The first is over; the third has come near meanwhile.
        assert_eq!(days(told.due(&holdings, later(49))), [26, 28]);
    }

    #[test]
    fn what_does_not_sign_in_anyhow_is_not_told_of() {
        let mut off = holding(Status::Active, &[Some(2)]);
        off.keys[0].status = Status::Disabled;
        assert!(Told::default().due(&[holding(Status::Disabled, &[Some(2)]), off], NOW).is_empty());
    }
}
