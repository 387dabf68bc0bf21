//! The users of the sample API: the only identities it has of its own.

use std::{collections::HashMap, fmt};

use serde_json::{Value, json};

/// Users kept at most.
const PEOPLE_MAX: usize = 500;
/// Session tokens kept at most.
const TOKENS_MAX: usize = 100;

/// A human user.
#[derive(Debug, Clone)]
pub struct Person {
    /// The API's own id: opaque, and told apart by case.
    pub id: String,
    /// What people call them.
    pub name: String,
    /// Mail address, lower case.
    pub email: String,
    /// Mail address of whoever approves what this person asks for.
    pub manager: Option<String>,
    /// Whether they may sign in, or be named by the gateway.
    pub active: bool,
}

/// Who the API believes is acting.
#[derive(Debug, Clone)]
pub(super) enum Actor {
    Person(Person),
    Account(String),
}

/// All users, and who is signed in.
#[derive(Debug, Default)]
pub(super) struct People {
    all: Vec<Person>,
    tokens: HashMap<String, String>,
}

impl People {
    pub(super) fn new(all: Vec<Person>) -> Self {
        Self { all, tokens: HashMap::new() }
    }

    /// A user by mail address or by id.
    pub(super) fn find(&self, who: &str) -> Option<&Person> {
        self.all.iter().find(|p| p.id == who || p.email.eq_ignore_ascii_case(who))
    }

    pub(super) fn by_token(&self, token: &str) -> Option<&Person> {
        self.find(self.tokens.get(token)?)
    }

    pub(super) fn sign_in(&mut self, email: &str) -> Option<String> {
        let id = self.find(email).filter(|p| p.active)?.id.clone();
        let mut bits = [0u8; 16];
        getrandom::fill(&mut bits).ok()?;
        let token = format!("session-{:032x}", u128::from_be_bytes(bits));
        if self.tokens.len() >= TOKENS_MAX {
            self.tokens.clear();
        }
        self.tokens.insert(token.clone(), id);
        Some(token)
    }

    pub(super) fn deactivate(&mut self, email: &str) -> bool {
        let found = self.all.iter_mut().find(|p| p.email == email);
        found.map(|person| person.active = false).is_some()
    }

    pub(super) fn list(&self) -> Vec<Value> {
        self.all.iter().map(Person::to_json).collect()
    }

    /// Adds the user a body describes; `None` when it does not describe one, or there are too many.
    pub(super) fn add(&mut self, id: String, body: &Value) -> Option<Value> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty() && t.len() <= 200);
        let email = text("Email")?.to_lowercase();
        if !email.is_ascii() || self.find(&email).is_some() || self.all.len() >= PEOPLE_MAX {
            return None;
        }
        let name = text("Name").filter(|n| n.is_ascii()).unwrap_or(&email).to_owned();
        let person = Person { id, name, email, manager: None, active: true };
        let shown = person.to_json();
        self.all.push(person);
        Some(shown)
    }
}

impl Person {
    pub(super) fn to_json(&self) -> Value {
        json!({"_id": self.id, "Name": self.name, "Kind": "User", "Email": self.email, "Status": if self.active { "Active" } else { "Inactive" }})
    }
}

impl Actor {
    /// How the API notes who did something: `_created_by` and its kin.
    pub(super) fn reference(&self) -> Value {
        match self {
            Self::Person(p) => json!({"_id": p.id, "Name": p.name, "Kind": "User", "Email": p.email}),
            Self::Account(name) => json!({"_id": name, "Name": name, "Kind": "ServiceAccount"}),
        }
    }

    pub(super) fn id(&self) -> &str {
        match self {
            Self::Person(p) => &p.id,
            Self::Account(name) => name,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(p) => write!(f, "{} <{}>", p.name, p.email),
            Self::Account(name) => write!(f, "service account {name}"),
        }
    }
}
