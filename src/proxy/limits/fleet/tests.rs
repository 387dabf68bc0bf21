#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

const fn most(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// A sidecar's part, and a quota in place of the one in Redis.
struct Ground {
    fleet: Fleet,
    now: Instant,
    key: KeyId,
}

impl Ground {
    fn new(per_minute: u32) -> Self {
        Self { fleet: Fleet::new(most(per_minute)), now: Instant::now(), key: KeyId::random().unwrap() }
    }

    fn take(&self) -> Result<Left, Exhausted> {
        self.fleet.take_from(&"app".parse().unwrap(), self.key, self.now)
    }

    /// How many of so many requests are let through.
    fn let_through(&self, requests: u32) -> usize {
        (0..requests).filter(|_| self.take().is_ok()).count()
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Draws, and is answered that so much is left and so much given.
    fn answered(&self, requests: u32, left: i64) -> Vec<Draw> {
        let draws = self.fleet.begin(self.now);
        let drawn = vec![Drawn { requests, left: left * 1000 }; draws.len()];
        self.fleet.end(&draws, &drawn, self.now);
        draws
    }
}

#[test]
fn alone_a_sidecar_lets_through_what_a_minute_gives_and_then_as_fast_as_it_comes_in() {
    let mut ground = Ground::new(60);
    assert_eq!(ground.let_through(100), 60);
    let Err(Exhausted::Requests { wait, left }) = ground.take() else { panic!() };
    assert!(wait > Duration::from_millis(999) && wait <= Duration::from_secs(1), "{wait:?}");
    assert_eq!(left, Left { per_minute: 60, requests: 0, full_in: 60 });
    ground.later(5);
    assert_eq!(ground.let_through(100), 5);
    ground.later(3600);
    assert_eq!(ground.let_through(100), 60);
}

#[test]
fn what_was_let_through_is_owed_once_and_refusals_are_not() {
    let ground = Ground::new(10);
    assert_eq!(ground.let_through(15), 10);
    let draws = ground.answered(0, 0);
    assert_eq!(draws.iter().map(|draw| draw.owed).collect::<Vec<_>>(), [10, 10], "account and key");
    assert!(ground.fleet.begin(ground.now).is_empty());
    assert_eq!(ground.let_through(1), 0);
    assert_eq!(ground.answered(0, 0)[0].owed, 0);
}

#[test]
fn what_others_took_is_missing_here() {
    let mut ground = Ground::new(10);
    assert_eq!(ground.let_through(1), 1);
    ground.answered(0, -5);
    let Err(Exhausted::Requests { wait, .. }) = ground.take() else { panic!() };
    assert!(wait > Duration::from_secs(35) && wait <= Duration::from_secs(36), "{wait:?}");
    ground.later(36);
    assert_eq!(ground.let_through(5), 1);
}

#[test]
fn what_was_drawn_is_used_first_and_goes_back_when_nobody_comes() {
    let mut ground = Ground::new(1000);
    ground.let_through(30);
    let draws = ground.answered(60, 900);
    assert_eq!(draws[0], Draw { quota: draws[0].quota.clone(), owed: 30, unused: 0, wanted: 60 });
    ground.let_through(20);
    assert_eq!(ground.answered(0, 900)[0], Draw { quota: Quota::Key(ground.key), owed: 0, unused: 0, wanted: 0 });
    ground.later(2);
    let back = ground.fleet.begin(ground.now);
    assert_eq!(back.iter().map(|draw| draw.unused).collect::<Vec<_>>(), [40, 40]);
    assert!(ground.fleet.begin(ground.now).is_empty());
}

#[test]
fn after_a_failed_draw_the_sidecar_goes_on_alone_and_owes_no_more_than_is_missing() {
    let mut ground = Ground::new(10);
    assert_eq!(ground.let_through(10), 10);
    let draws = ground.fleet.begin(ground.now);
    ground.fleet.take_back(&draws);
    assert_eq!(ground.let_through(1), 0);
    // An hour without the directory: most of what was let through has come in again.
    for _ in 0..600 {
        ground.later(6);
        assert_eq!(ground.let_through(2), 1);
        let draws = ground.fleet.begin(ground.now);
        ground.fleet.take_back(&draws);
    }
    ground.later(30);
    let owed = ground.fleet.begin(ground.now).into_iter().map(|draw| draw.owed).collect::<Vec<_>>();
    assert_eq!(owed, [5, 5]);
}

#[test]
fn one_account_does_not_use_up_anothers_and_nothing_is_kept_of_those_who_went() {
    let mut ground = Ground::new(3);
    assert_eq!(ground.let_through(5), 3);
    assert!(ground.fleet.take_from(&"other".parse().unwrap(), KeyId::random().unwrap(), ground.now).is_ok());
    // A second key of the account is no second quota.
    assert!(ground.fleet.take_from(&"app".parse().unwrap(), KeyId::random().unwrap(), ground.now).is_err());
    ground.answered(0, 0);
    ground.later(121);
    ground.fleet.sweep(ground.now);
    let pockets = ground.fleet.pockets();
    assert!(pockets.accounts.is_empty() && pockets.keys.is_empty(), "{pockets:?}");
}
