//! The shape that every secret of Vicar's has: a prefix, 52 base32 characters (256 random bits, and four bits of
//! padding), and a checksum of seven more.

use std::sync::LazyLock;

use super::{BASE32_LOWER, base32};

/// What a secret begins with, and the domain of its checksum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) prefix: &'static [u8; 4],
    checker: &'static LazyLock<blake3::Hasher>,
}

/// An access key's secret.
pub(super) const SECRET: Shape = Shape { prefix: b"vsk_", checker: &SECRET_CHECKER };
/// An admin's token.
pub(super) const TOKEN: Shape = Shape { prefix: b"vat_", checker: &TOKEN_CHECKER };

/// Length of the whole, in bytes.
pub(super) const SHAPED: usize = 4 + BODY + CHECK;

const BODY: usize = 52;
const CHECK: usize = 7;

static SECRET_CHECKER: LazyLock<blake3::Hasher> = LazyLock::new(|| blake3::Hasher::new_derive_key("vicar 2026-11 access-key checksum v1"));
static TOKEN_CHECKER: LazyLock<blake3::Hasher> = LazyLock::new(|| blake3::Hasher::new_derive_key("vicar 2026-11 admin-token checksum v1"));

/// A new one from the system's random numbers.
pub(super) fn random(shape: Shape) -> Result<[u8; SHAPED], getrandom::Error> {
    let mut bits = [0u8; 32];
    getrandom::fill(&mut bits)?;
    let mut text = [0u8; SHAPED];
    let (prefix, rest) = text.split_at_mut(shape.prefix.len());
    prefix.copy_from_slice(shape.prefix);
    let (body, check) = rest.split_at_mut(BODY);
    base32(&bits, BASE32_LOWER, body);
    check.copy_from_slice(&checksum(shape, body));
    Ok(text)
}

/// The bytes, where they have the shape; the checksum is not looked at.
pub(super) fn shaped(shape: Shape, raw: &[u8]) -> Option<[u8; SHAPED]> {
    let text: [u8; SHAPED] = raw.try_into().ok()?;
    let (prefix, rest) = text.split_first_chunk::<4>()?;
    // Of a length that is known, and without a branch inside, so that it is vectorised.
    let rest = rest.first_chunk::<{ BODY + CHECK }>()?;
    let strange = rest.iter().fold(0, |strange, b| strange | u8::from(!matches!(b, b'a'..=b'z' | b'2'..=b'7')));
    (prefix == shape.prefix && strange == 0).then_some(text)
}

/// The bytes, where they have the shape and the checksum holds.
pub(super) fn parse(shape: Shape, raw: &[u8]) -> Option<[u8; SHAPED]> {
    let text = shaped(shape, raw)?;
    let (body, check) = text.strip_prefix(shape.prefix)?.split_at_checked(BODY)?;
    (check == checksum(shape, body)).then_some(text)
}

fn checksum(shape: Shape, body: &[u8]) -> [u8; CHECK] {
    let mut hasher = (*shape.checker).clone();
    hasher.update(body);
    let mut text = [0u8; CHECK];
    base32(hasher.finalize().as_bytes(), BASE32_LOWER, &mut text);
    text
}
