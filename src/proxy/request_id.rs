//! The id of a request: a ULID of Vicar's own, the same upstream, downstream and in the record.

use std::{cell::Cell, fmt};

use http::HeaderValue;
use ulid::Ulid;

/// One request's id, in the two forms that are needed of it.
#[derive(Clone)]
pub struct RequestId {
    id: Ulid,
    text: [u8; ulid::ULID_LEN],
}

/// Makes ids, one maker a thread. The random part starts from the system's random numbers and steps by
/// a large odd constant, so ids of one thread never repeat and those of two do not meet.
#[derive(Debug)]
pub struct RequestIds {
    state: Cell<u128>,
}

/// Odd, with its bits spread; any such step visits all 2^80 values before one returns.
const STEP: u128 = 0x9E37_79B9_7F4A_7C15_F39D;
const MASK: u128 = (1 << 80) - 1;

impl RequestIds {
    /// A maker with a state of its own.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut seed = [0u8; 16];
        getrandom::fill(&mut seed)?;
        Ok(Self { state: Cell::new(u128::from_ne_bytes(seed) & MASK) })
    }

    /// A new id for a request that came at `unix_ms`.
    pub fn next(&self, unix_ms: u64) -> RequestId {
        let state = self.state.get().wrapping_add(STEP) & MASK;
        self.state.set(state);
        let id = Ulid::from_parts(unix_ms, state);
        let mut text = [0u8; ulid::ULID_LEN];
        id.array_to_str(&mut text);
        RequestId { id, text }
    }

    /// 64 bits for a trace or span id.
    pub fn bits(&self) -> u64 {
        let state = self.state.get().wrapping_add(STEP) & MASK;
        self.state.set(state);
        // The low bits of a step sequence are regular: mix them (splitmix64's finaliser).
        let mut x = (state >> 16) as u64 ^ state as u64;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
}

impl RequestId {
    /// An id made away from any thread's maker, for what is rare; all zeros but its time when the system has no random
    /// numbers, for it only marks an answer that has no record.
    #[must_use]
    pub fn lone(unix_ms: u64) -> Self {
        RequestIds::new().unwrap_or_else(|_| RequestIds { state: Cell::new(0) }).next(unix_ms)
    }

    /// The id as the record holds it.
    #[must_use]
    pub const fn ulid(&self) -> Ulid {
        self.id
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// The id as a header's value.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.text).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
