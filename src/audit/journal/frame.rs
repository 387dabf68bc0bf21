//! The bytes of a journal: segment headers and frames.
//!
//! A segment file is a header of 512 bytes and then frames, each at a multiple of 8:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0–7 | commit word: length of the payload, kind, a mark. Written last; 0 is "nothing here yet" |
//! | 8–14 | checksum of the payload, of where it stands and of what it is |
//! | 15 | `\n`, so that the payload begins a line for `grep` |
//! | 16– | payload: a line of JSON, then `\n` and zeros up to the next multiple of 8 |
//!
//! An `Open` frame says `open {…` (what is known before a request leaves; no record yet, and no whole object); a
//! `Record` frame holds a record as readers see it. All numbers are little-endian. Most open frames stand in the file of
//! [`super::slots`], which is made of the same parts.

use twox_hash::XxHash3_64;

/// Bytes before a frame's payload.
pub(super) const FRAME_HEAD: usize = 16;
/// Bytes before a segment's first frame.
pub(in crate::audit) const SEGMENT_HEAD: usize = 512;
/// Longest payload. The longest record that can be built, all its fields at their limits and escaped, is shorter.
pub(in crate::audit) const PAYLOAD_MAX: usize = 192 << 10;
/// What an open frame's payload begins with.
pub(in crate::audit) const OPEN_WORD: &[u8] = b"open ";
/// The format that this version writes.
pub(super) const VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"VICARLOG";
const MARK: u64 = 0x5C_A7_01 << 40;
pub(in crate::audit) const NAME_MAX: usize = 200;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audit) enum FrameKind {
    /// An action under way.
    Open,
    /// A record.
    Record,
}

/// What stands at the head of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::audit) struct Header {
    /// Which segment of the journal, from 1.
    pub(in crate::audit) ordinal: u64,
    /// Number that its first record has, if it gets one.
    pub(in crate::audit) first_seq: u64,
    /// Oldest segment that holds an open frame whose record was still to come.
    pub(in crate::audit) oldest_open: u64,
    /// When it was begun, in milliseconds since 1970.
    pub(in crate::audit) created_ms: u64,
    /// Hash of the record before its first, in hexadecimal.
    pub(in crate::audit) prev: [u8; 64],
    /// Who writes.
    pub(in crate::audit) sidecar: String,
}

/// What the head of a file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::audit) enum Head {
    /// A segment of this format.
    Ours(Header),
    /// Zeros: prepared, and not begun.
    Unused,
    /// Ours, and cut off within its head.
    Cut,
    /// A later format.
    Newer(u32),
    /// Something else.
    Foreign(&'static str),
}

// ===== frames =====

impl FrameKind {
    const fn letter(self) -> u8 {
        match self {
            Self::Open => b'o',
            Self::Record => b'r',
        }
    }
}

/// Bytes that a frame of this payload takes in all.
pub(in crate::audit) const fn span(payload: usize) -> usize {
    (FRAME_HEAD + payload + 1).next_multiple_of(8)
}

pub(super) const fn commit_word(kind: FrameKind, payload: usize) -> u64 {
    payload as u64 | (kind.letter() as u64) << 32 | MARK
}

pub(super) fn read_commit_word(word: u64) -> Option<(FrameKind, usize)> {
    let kind = match word >> 32 {
        high if high == commit_word(FrameKind::Open, 0) >> 32 => FrameKind::Open,
        high if high == commit_word(FrameKind::Record, 0) >> 32 => FrameKind::Record,
        _ => return None,
    };
    let len = usize::try_from(word & 0xFFFF_FFFF).ok()?;
    (len > 0 && len <= PAYLOAD_MAX).then_some((kind, len))
}

/// Bytes 8 to 15 of a frame. The checksum finds torn and rotten frames at a small part of what the chain's hash costs;
/// against people there is the chain.
pub(super) fn check_word(ordinal: u64, at: u64, kind: FrameKind, payload: &[u8]) -> u64 {
    let place = ordinal.rotate_left(40) ^ at ^ u64::from(kind.letter()).rotate_left(32);
    // Odd, so that no two places are taken for one; its upper bits hold something of all of them.
    let place = place.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (XxHash3_64::oneshot(payload) ^ place) >> 8 | u64::from(b'\n') << 56
}

// ===== headers =====

impl Header {
    pub(super) fn to_bytes(&self) -> [u8; SEGMENT_HEAD] {
        let mut bytes = [0u8; SEGMENT_HEAD];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            if let Some(slot) = bytes.get_mut(at..at + part.len()) {
                slot.copy_from_slice(part);
            }
            at += part.len();
        };
        put(&MAGIC);
        put(&VERSION.to_le_bytes());
        put(&(SEGMENT_HEAD as u32).to_le_bytes());
        for number in [self.ordinal, self.first_seq, self.oldest_open, self.created_ms] {
            put(&number.to_le_bytes());
        }
        put(&self.prev);
        let name = self.sidecar.as_bytes();
        let name = name.get(..NAME_MAX).unwrap_or(name);
        put(&(name.len() as u32).to_le_bytes());
        put(name);
        let (body, check) = bytes.split_at_mut(SEGMENT_HEAD - 8);
        check.copy_from_slice(&XxHash3_64::oneshot(body).to_le_bytes());
        bytes
    }
}

impl Head {
    /// Reads what stands in the first bytes of a file.
    pub(in crate::audit) fn read(bytes: &[u8]) -> Self {
        if bytes.iter().all(|b| *b == 0) {
            return Self::Unused;
        }
        if bytes.len() < SEGMENT_HEAD && (bytes.starts_with(&MAGIC) || MAGIC.starts_with(bytes)) {
            return Self::Cut;
        }
        let Some((magic, rest)) = bytes.split_first_chunk::<8>() else { return Self::Foreign("it is too short") };
        if *magic != MAGIC {
            return Self::Foreign("it does not begin as one");
        }
        let Some((version, _)) = rest.split_first_chunk::<4>() else { return Self::Foreign("it is too short") };
        match u32::from_le_bytes(*version) {
            VERSION => {}
            0 => return Self::Foreign("its head is damaged"),
            1 => return Self::Foreign("an early build wrote it, in a format that is no longer read"),
            newer => return Self::Newer(newer),
        }
        let Some((body, check)) = bytes.get(..SEGMENT_HEAD).and_then(|head| head.split_last_chunk::<8>()) else {
            return Self::Foreign("it is too short");
        };
        if u64::from_le_bytes(*check) != XxHash3_64::oneshot(body) {
            return Self::Foreign("its head is damaged");
        }
        Self::fields(body).map_or(Self::Foreign("its head is damaged"), Self::Ours)
    }

    fn fields(body: &[u8]) -> Option<Header> {
        let number = |at: usize| Some(u64::from_le_bytes(*body.get(at..)?.first_chunk()?));
        let name_len = u32::from_le_bytes(*body.get(112..)?.first_chunk()?) as usize;
        let name = body.get(116..116 + name_len.min(NAME_MAX))?;
        Some(Header {
            ordinal: number(16)?,
            first_seq: number(24)?,
            oldest_open: number(32)?,
            created_ms: number(40)?,
            prev: *body.get(48..)?.first_chunk()?,
            sidecar: std::str::from_utf8(name).ok()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_was_moved_or_taken_for_another_kind_has_another_checksum() {
        let mut seen = std::collections::HashSet::new();
        for ordinal in [0, 1, 2, 255, 1 << 16, 1 << 24, 1 << 40] {
            for at in [512, 520, 1024, 64 << 20] {
                for kind in [FrameKind::Open, FrameKind::Record] {
                    assert!(seen.insert(check_word(ordinal, at, kind, b"{}")), "{ordinal} {at} {kind:?}");
                }
            }
        }
    }

    #[test]
    fn a_header_reads_as_it_was_written() {
        let header = Header { ordinal: 7, first_seq: 8, oldest_open: 3, created_ms: 9, prev: [b'a'; 64], sidecar: "näme".into() };
        let bytes = header.to_bytes();
        assert_eq!(Head::read(&bytes), Head::Ours(header));
        for at in 0..SEGMENT_HEAD {
            let mut bent = bytes;
            bent[at] ^= 1;
            assert!(!matches!(Head::read(&bent), Head::Ours(_)), "byte {at}");
        }
        let mut newer = bytes;
        newer[8] = 3;
        assert_eq!(Head::read(&newer), Head::Newer(3));
    }
}
