//! Which of two answers is the newer one.

/// When a backend gave an answer or made a change, in its own order: first by generation, then by version.
///
/// A version counts the changes of a directory. It can fall back (a failover that lost writes, a restored dump), so a
/// backend begins a new generation whenever it cannot be sure to have heard of every change, and nothing of an
/// earlier generation is vouched for until it has been asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(u64);

/// Bits of the version: 10¹² changes in a generation, and 16 million generations.
const VERSION_BITS: u32 = 40;
const VERSION_MASK: u64 = (1 << VERSION_BITS) - 1;

impl Stamp {
    /// The stamp of `version` in `generation`.
    #[must_use]
    pub const fn new(generation: u32, version: u64) -> Self {
        Self(((generation as u64) << VERSION_BITS) | (version & VERSION_MASK))
    }

    /// The generation.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> VERSION_BITS) as u32
    }

    /// The version within the generation.
    #[must_use]
    pub const fn version(self) -> u64 {
        self.0 & VERSION_MASK
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}
