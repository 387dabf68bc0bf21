//! Access keys.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::{AccountId, BASE32_UPPER, Fingerprint, SecretHash, Status, base32};

/// An access key as the directory keeps it: everything but the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The public half of the pair.
    pub id: KeyId,
    /// The account it signs in as.
    pub account: AccountId,
    /// What people call it; under 80 characters.
    pub name: String,
    /// Hash of the secret half.
    pub hash: SecretHash,
    /// The secrets before the last rotations, while they are good too.
    #[serde(default, skip_serializing_if = "PreviousSecrets::is_empty")]
    pub previous: PreviousSecrets,
    /// Whether it signs in.
    pub status: Status,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it no longer signs in; `None` is never, which somebody had to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Client addresses it may come from; empty is anywhere.
    #[serde(default, rename = "from", skip_serializing_if = "Vec::is_empty", deserialize_with = "super::networks")]
    pub sources: Vec<IpNet>,
    /// Client certificates it is bound to; empty is none, and it then needs none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_certs: Vec<Fingerprint>,
    /// When it last signed in, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    /// How often it was changed, so that two admins notice each other; last use is no change.
    #[serde(default)]
    pub revision: u64,
}

/// The secret that a rotation replaced, and until when it is still taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviousSecret {
    /// Hash of the old secret.
    pub hash: SecretHash,
    /// From when on it is refused.
    pub until: Timestamp,
}

/// Secrets that rotations replaced and that are still taken, the oldest first: who rotates again before all who use a
/// key have the new secret must not end the one they use. There are few, and none outlives one that came after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreviousSecrets(Vec<PreviousSecret>);

impl PreviousSecrets {
    /// More are not kept: the oldest goes.
    pub const MOST: usize = 3;

    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// These, and `hash`, which is replaced at `now` and taken until `until`. Where that is no time at all, all end.
    #[must_use]
    pub fn and(&self, hash: SecretHash, until: Timestamp, now: Timestamp) -> Self {
        let before = self.0.iter().map(|old| PreviousSecret { hash: old.hash, until: old.until.min(until) });
        let mut all: Vec<_> = before.chain([PreviousSecret { hash, until }]).filter(|old| old.until > now).collect();
        all.drain(..all.len().saturating_sub(Self::MOST));
        Self(all)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From when on none of them is taken any more.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        self.iter().map(|old| old.until).max()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &PreviousSecret> {
        self.0.iter()
    }
}

impl From<Vec<PreviousSecret>> for PreviousSecrets {
    fn from(all: Vec<PreviousSecret>) -> Self {
        Self(all)
    }
}

/// One is written as itself, several as a list.
impl Serialize for PreviousSecrets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            all => all.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PreviousSecrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = PreviousSecrets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret's hash and its end, or a list of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                PreviousSecret::deserialize(MapAccessDeserializer::new(map)).map(|one| PreviousSecrets(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, all: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(all)).map(PreviousSecrets)
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}

impl Key {
    /// Whether the key's time is over at `now`.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }

    /// Whether the key may be used from `client`.
    #[must_use]
    pub fn allows_source(&self, client: IpAddr) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|net| net.contains(&client.to_canonical()))
    }

    /// Whether the key may be used by who shows `certificate`, or none.
    #[must_use]
    pub fn allows_certificate(&self, certificate: Option<&Fingerprint>) -> bool {
        self.client_certs.is_empty() || certificate.is_some_and(|shown| self.client_certs.contains(shown))
    }

    /// Whether `presented` is the hash of the secret, or of one before within its overlap.
    /// All are compared, in constant time, whatever the first comparison says.
    #[must_use]
    pub fn accepts(&self, presented: &SecretHash, now: Timestamp) -> bool {
        let current = self.hash == *presented;
        self.previous.iter().fold(current, |accepted, old| accepted | (old.hash == *presented) & (now < old.until))
    }
}

/// The id of an access key: `VK` and 20 upper-case base32 characters (100 random bits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; KeyId::LEN]);

impl KeyId {
    /// Length in bytes.
    pub const LEN: usize = 22;

    /// A new id from the system's random numbers.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bits = [0u8; 13];
        getrandom::fill(&mut bits)?;
        let mut id = *b"VKAAAAAAAAAAAAAAAAAAAA";
        if let Some(body) = id.get_mut(2..) {
            base32(&bits, BASE32_UPPER, body);
        }
        Ok(Self(id))
    }

    /// Reads an id off the wire.
    ///
    /// # Errors
    /// [`KeyIdError`] when it has not the shape of one.
    pub fn parse(raw: &[u8]) -> Result<Self, KeyIdError> {
        let id: [u8; Self::LEN] = raw.try_into().map_err(|_| KeyIdError)?;
        // Of a length that is known, and without a branch inside, so that it is vectorised.
        let body = id.last_chunk::<{ Self::LEN - 2 }>().ok_or(KeyIdError)?;
        let shaped = body.iter().fold(true, |shaped, b| shaped & matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
        if shaped && id.starts_with(b"VK") { Ok(Self(id)) } else { Err(KeyIdError) }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII gets past `parse` and `random`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

// ===== parsing and printing =====

/// A text that is no key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an access-key id: it is VK and 20 characters of A-Z and 2-7, as `vicar key list` shows it")]
pub struct KeyIdError;

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(raw: &str) -> Result<Self, Self::Err> {
        Self::parse(raw.as_bytes())
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyIdError;

    fn try_from(raw: String) -> Result<Self, Self::Error> {
        raw.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
