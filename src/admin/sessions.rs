//! Who has signed in to the console. Kept in memory alone: a restart signs everybody out.
//!
//! A session holds no token, only whose it was: each request asks the directory again whether that admin still is one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::identity::{Admin, AdminId, SecretHash};

/// A session without a sign of life from a person ends after this.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// And any session after this.
pub(super) const LIFE: Duration = Duration::from_secs(8 * 60 * 60);
/// Sessions at once; the one that was idle longest goes.
const MOST: usize = 500;
/// Forms that a session remembers having taken.
const FORMS: usize = 64;

/// What the cookie holds: 64 hexadecimal digits of 256 random bits.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Ticket(String);

/// Whether a person asks, or a page by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// The session lives on.
    Person,
    /// A page that follows the log does not keep its session alive.
    Page,
}

/// Whose session it is.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) admin: AdminId,
    /// Of the token they signed in with: a new one ends the old one's sessions.
    pub(super) hash: SecretHash,
}

/// Open sessions, by the hash of their tickets: what is in memory opens none.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<blake3::Hash, Session>>,
}

#[derive(Debug)]
struct Session {
    holder: Holder,
    began: Instant,
    seen: Instant,
    forms: VecDeque<String>,
}

// ===== impl Ticket =====

impl Ticket {
    fn random() -> Result<Self, getrandom::Error> {
        let mut bits = [0u8; 32];
        getrandom::fill(&mut bits)?;
        Ok(Self(blake3::Hash::from_bytes(bits).to_hex().to_string()))
    }

    /// Reads a cookie.
    pub(super) fn parse(raw: &str) -> Option<Self> {
        let shaped = raw.len() == 64 && raw.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        shaped.then(|| Self(raw.to_owned()))
    }

    /// For the cookie.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// What every form of this session carries, and no other site can know.
    pub(super) fn form_token(&self) -> String {
        blake3::Hash::from_bytes(blake3::derive_key("vicar 2026-11 console form token v1", self.0.as_bytes())).to_hex().to_string()
    }

    fn hash(&self) -> blake3::Hash {
        blake3::hash(self.0.as_bytes())
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket(…)")
    }
}

// ===== impl Sessions =====

impl Sessions {
    /// Opens one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn open(&self, admin: &Admin, now: Instant) -> Result<Ticket, getrandom::Error> {
        let ticket = Ticket::random()?;
        let holder = Holder { admin: admin.id.clone(), hash: admin.hash };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| session.lives(now));
        if open.len() >= MOST
            && let Some(oldest) = open.iter().min_by_key(|(_, session)| session.seen).map(|(hash, _)| *hash)
        {
            open.remove(&oldest);
        }
        open.insert(ticket.hash(), Session { holder, began: now, seen: now, forms: VecDeque::new() });
        Ok(ticket)
    }

    /// Whose session `ticket` is, if it is open.
    pub(super) fn holder(&self, ticket: &Ticket, activity: Activity, now: Instant) -> Option<Holder> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get_mut(&ticket.hash())?;
        if !session.lives(now) {
            open.remove(&ticket.hash());
            return None;
        }
        if activity == Activity::Person {
            session.seen = now;
        }
        Some(session.holder.clone())
    }

    /// Whether a form is sent for the first time: sending it again must not do it again.
    pub(super) fn first_time(&self, ticket: &Ticket, form: &str) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = open.get_mut(&ticket.hash()) else { return false };
        if session.forms.iter().any(|seen| seen == form) {
            return false;
        }
        if session.forms.len() == FORMS {
            session.forms.pop_front();
        }
        session.forms.push_back(form.to_owned());
        true
    }

    /// Ends one.
    pub(super) fn close(&self, ticket: &Ticket) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket.hash());
    }
}

impl Session {
    fn lives(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) < LIFE && now.saturating_duration_since(self.seen) < IDLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Role;

    fn admin() -> Admin {
        Admin {
            id: "zoe".parse().unwrap(),
            name: "Zoe".to_owned(),
            role: Role::Auditor,
            accounts: Vec::new(),
            hash: SecretHash::of_nothing(),
            created: jiff::Timestamp::UNIX_EPOCH,
            expires: None,
        }
    }

    #[test]
    fn a_session_ends_when_nobody_was_there_for_long_and_in_any_case() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let ticket = sessions.open(&admin(), start).unwrap();
        let at = |minutes: u64| start + Duration::from_secs(minutes * 60);
        assert!(sessions.holder(&ticket, Activity::Person, at(29)).is_some());
        assert!(sessions.holder(&ticket, Activity::Page, at(58)).is_some());
        assert!(sessions.holder(&ticket, Activity::Page, at(60)).is_none(), "a page alone keeps no session alive");
        let ticket = sessions.open(&admin(), start).unwrap();
        for minutes in (0..480).step_by(20) {
            assert!(sessions.holder(&ticket, Activity::Person, at(minutes)).is_some());
        }
        assert!(sessions.holder(&ticket, Activity::Person, at(480)).is_none());
    }

    #[test]
    fn a_closed_or_made_up_session_is_none() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let ticket = sessions.open(&admin(), now).unwrap();
        let again = Ticket::parse(ticket.as_str()).unwrap();
        assert!(sessions.holder(&again, Activity::Person, now).is_some());
        sessions.close(&ticket);
        assert!(sessions.holder(&again, Activity::Person, now).is_none());
        assert!(sessions.holder(&Ticket::random().unwrap(), Activity::Person, now).is_none());
        assert!(Ticket::parse("x").is_none());
    }

    #[test]
    fn a_form_is_taken_once() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let ticket = sessions.open(&admin(), now).unwrap();
        assert!(sessions.first_time(&ticket, "a") && !sessions.first_time(&ticket, "a") && sessions.first_time(&ticket, "b"));
    }

    #[test]
    fn there_are_only_so_many_sessions_at_once() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let first = sessions.open(&admin(), now).unwrap();
        for later in 1..=MOST as u64 {
            sessions.open(&admin(), now + Duration::from_millis(later)).unwrap();
        }
        assert!(sessions.holder(&first, Activity::Person, now).is_none());
        assert_eq!(sessions.open.lock().unwrap().len(), MOST);
    }
}
