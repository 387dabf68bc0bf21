//! Finds Vicar's secrets in any bytes, by shape and checksum: a chance hit is one in 2³⁵ for what has the shape.

use std::io::{self, Read};

use super::shape::{self, SHAPED};

/// A secret that lies where it should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its first byte, from the beginning of what was scanned.
    pub offset: u64,
    /// What it is.
    pub kind: SecretKind,
}

/// What kind of secret was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// An access key's secret, `vsk_…`.
    KeySecret,
    /// An admin's token, `vat_…`.
    AdminToken,
}

/// How much is read at a time.
const CHUNK: usize = 256 << 10;

impl SecretKind {
    /// What people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeySecret => "access-key secret",
            Self::AdminToken => "admin token",
        }
    }
}

/// The secrets in `bytes`, in their order.
pub fn scan(bytes: &[u8]) -> impl Iterator<Item = Found> + '_ {
    memchr::memchr_iter(b'_', bytes).filter_map(|underscore| {
        let start = underscore.checked_sub(3)?;
        let text = bytes.get(start..start.checked_add(SHAPED)?)?;
        let kinds = [(shape::SECRET, SecretKind::KeySecret), (shape::TOKEN, SecretKind::AdminToken)];
        let (_, kind) = kinds.into_iter().find(|(shape, _)| shape::parse(*shape, text).is_some())?;
        Some(Found { offset: start as u64, kind })
    })
}

/// The secrets in all that `reader` gives, in constant memory.
///
/// # Errors
/// What the reader says when it cannot read on; what was found before it has been told.
pub fn scan_reader(mut reader: impl Read, mut found: impl FnMut(Found)) -> io::Result<()> {
    let mut buffer = vec![0u8; CHUNK + SHAPED];
    let (mut held, mut base) = (0usize, 0u64);
    loop {
        let Some(room) = buffer.get_mut(held..) else { return Ok(()) };
        let read = match reader.read(room) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        held = held.saturating_add(read);
        for hit in scan(buffer.get(..held).unwrap_or_default()) {
            found(Found { offset: base.saturating_add(hit.offset), ..hit });
        }
        // Whatever began in the last bytes is not whole yet; anything whole that ends there begins before them.
        let keep = held.min(SHAPED - 1);
        let drop = held - keep;
        buffer.copy_within(drop..held, 0);
        base = base.saturating_add(drop as u64);
        held = keep;
    }
}
