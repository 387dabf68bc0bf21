//! The chain: each record ends with its number, the hash of the one before, and its own hash.
//!
//! A record's line ends with `,"seq":N,"prev":"…","hash":"…"}`. The hash is blake3 over the bytes of the line before
//! `,"hash"`, so it covers every field, the number and the hash before.

use super::digest::Begun;

/// What `prev` of the first record is.
pub(super) const GENESIS: [u8; 64] = [b'0'; 64];

const HASH_FIELD: &[u8] = b",\"hash\":\"";
const PREV_FIELD: &[u8] = b",\"prev\":\"";
const SEQ_FIELD: &[u8] = b",\"seq\":";
const ID_FIELD: &[u8] = b"{\"id\":\"";

/// The end of a record's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal<'l> {
    /// The record's number.
    pub(super) seq: u64,
    /// Hash of the one before.
    pub(super) prev: &'l [u8; 64],
    /// Its own hash, as it is written there.
    pub(super) hash: &'l [u8; 64],
    /// What the hash is of.
    pub(super) hashed: &'l [u8],
}

/// Puts number and hashes at the end of `line`, all of whose fields are there from `from` on but no closing brace; of
/// them `begun` was begun. Gives the new hash.
pub(super) fn seal(line: &mut Vec<u8>, from: usize, begun: Begun, seq: u64, prev: &[u8; 64]) -> [u8; 64] {
    line.extend_from_slice(SEQ_FIELD);
    line.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
    line.extend_from_slice(PREV_FIELD);
    line.extend_from_slice(prev);
    line.push(b'"');
    let hash = hex(&begun.finish(line.get(from..).unwrap_or_default()));
    line.extend_from_slice(HASH_FIELD);
    line.extend_from_slice(&hash);
    line.extend_from_slice(b"\"}");
    hash
}

impl<'l> Seal<'l> {
    /// Reads the end of a line; `None` if it does not end as a record does.
    pub(super) fn read(line: &'l [u8]) -> Option<Self> {
        let rest = line.strip_suffix(b"\"}")?;
        let (rest, hash) = rest.split_last_chunk::<64>()?;
        let hashed = rest.strip_suffix(HASH_FIELD)?;
        let rest = hashed.strip_suffix(b"\"")?;
        let (rest, prev) = rest.split_last_chunk::<64>()?;
        let rest = rest.strip_suffix(PREV_FIELD)?;
        let digits = rest.iter().rev().take_while(|b| b.is_ascii_digit()).count();
        let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(digits)?)?;
        rest.strip_suffix(SEQ_FIELD)?;
        if digits.len() > 1 && digits.starts_with(b"0") || !is_hex(hash) || !is_hex(prev) {
            return None;
        }
        Some(Self { seq: std::str::from_utf8(digits).ok()?.parse().ok()?, prev, hash, hashed })
    }

    /// Whether the hash is that of the line.
    pub(super) fn holds(&self) -> bool {
        hex(blake3::hash(self.hashed).as_bytes()) == *self.hash
    }
}

/// The id that a record's line, or an open one's, begins with.
pub(super) fn id_of(line: &[u8]) -> Option<&str> {
    let id = line.strip_prefix(ID_FIELD)?.get(..26)?;
    std::str::from_utf8(id).ok()
}

/// A hash from text.
pub(super) fn hash_from(text: &str) -> Option<[u8; 64]> {
    <[u8; 64]>::try_from(text.as_bytes()).ok().filter(is_hex)
}

/// A hash as text.
pub(super) fn text(hash: &[u8; 64]) -> &str {
    std::str::from_utf8(hash).unwrap_or_default()
}

fn is_hex(text: &[u8; 64]) -> bool {
    // Without a branch inside, so that it is vectorised: all readers look at each record.
    text.iter().fold(0, |strange, b| strange | u8::from(!matches!(b, b'0'..=b'9' | b'a'..=b'f'))) == 0
}

fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    let mut out = [0u8; 64];
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
        *pair = [digit(byte >> 4), digit(*byte & 15)];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(fields: &str, seq: u64, prev: &[u8; 64]) -> Vec<u8> {
        let mut line = fields.as_bytes().to_vec();
        let begun = Begun::of(&line);
        seal(&mut line, 0, begun, seq, prev);
        line
    }

    #[test]
    fn a_sealed_line_is_json_and_reads_back() {
        let line = sealed(r#"{"id":"01JD0000000000000000000000","path":"/x""#, 17, &GENESIS);
        let seal = Seal::read(&line).unwrap();
        assert_eq!((seal.seq, seal.prev), (17, &GENESIS));
        assert!(seal.holds());
        assert_eq!(id_of(&line), Some("01JD0000000000000000000000"));
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(json["seq"], 17);
        assert_eq!(json["hash"].as_str().unwrap().as_bytes(), seal.hash);
    }

    #[test]
    fn no_byte_of_a_line_can_change_unseen() {
        let line = sealed(r#"{"id":"01JD0000000000000000000000","path":"/x""#, 17, &GENESIS);
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut bent = line.clone();
                bent[at] ^= 1 << bit;
                assert!(Seal::read(&bent).is_none_or(|seal| !seal.holds()), "byte {at}, bit {bit}");
            }
        }
    }
}
