//! BLAKE3 of a line whose end is still to come, for one line or for several side by side.
//!
//! A record's hash covers its number and the hash of the record before, so it is finished when its turn has come; but
//! what stands before those can be taken in ahead of it. Block by block each step waits for the one before, and the
//! processor for most of the time: eight lines side by side take little longer than two in a row.
//!
//! The compression is the blake3 crate's. What takes several inputs is public in the crate, and left out of its
//! documentation: Cargo.toml therefore asks for one release, and the tests hold every result against `blake3::hash`.

use blake3::{BLOCK_LEN, CHUNK_LEN, IncrementCounter, platform::Platform};

/// How many lines are taken in side by side.
pub(super) const LANES: usize = 8;

/// The state that hashing begins with: BLAKE3 specification, section 2.2.
const IV: [u32; 8] = [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];
/// Flags of blocks, section 2.2 as well.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;
const PARENT: u8 = 1 << 2;
const ROOT: u8 = 1 << 3;

/// Blocks of a chunk. The last one is told that it is, so nothing ahead of it can be known to be the last.
const BLOCKS: usize = CHUNK_LEN / BLOCK_LEN;
/// Fewer blocks are not worth laying side by side.
const WORTH: usize = 4;

/// The hash of a line as far as it has been taken in: some of the whole blocks it begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    state: [u32; 8],
    blocks: usize,
}

impl Begun {
    const NOTHING: Self = Self { state: IV, blocks: 0 };

    /// Takes in what a line begins with.
    pub(super) fn of(line: &[u8]) -> Self {
        Self::NOTHING.through(line, whole(line), 0)
    }

    /// The same for several lines. An empty one is none.
    pub(super) fn of_all(lines: [&[u8]; LANES]) -> [Self; LANES] {
        let mut begun = [Self::NOTHING; LANES];
        let long = lines.iter().copied().filter(|line| whole(line) >= WORTH);
        if let (Some(first), Some(common)) = (long.clone().next(), long.clone().map(whole).min()) {
            // A lane that has no line takes the first once more; what comes out of it is not looked at.
            let mut full = [first; LANES];
            let count = full.iter_mut().zip(long).map(|(lane, line)| *lane = line).count();
            let width = if count > LANES / 2 { LANES } else { LANES / 2 };
            let mut states = [0; LANES * blake3::OUT_LEN];
            if count > 1 {
                side_by_side(full.get(..width).unwrap_or(&full), common, &mut states);
                let (states, _) = states.as_chunks::<{ blake3::OUT_LEN }>();
                let begun = begun.iter_mut().zip(lines).filter(|(_, line)| whole(line) >= WORTH);
                for ((begun, _), state) in begun.zip(states) {
                    *begun = Self { state: words(state), blocks: common };
                }
            }
        }
        for (begun, line) in begun.iter_mut().zip(lines) {
            *begun = begun.through(line, whole(line), 0);
        }
        begun
    }

    /// The hash of the whole line. It begins with what has been taken in.
    pub(super) fn finish(self, line: &[u8]) -> [u8; 32] {
        if line.len() > 2 * CHUNK_LEN {
            return *blake3::hash(line).as_bytes();
        }
        match line.split_at_checked(CHUNK_LEN) {
            None | Some((_, [])) => bytes(&self.close(line, 0, ROOT)),
            Some((first, second)) => {
                let (first, second) = (self.close(first, 0, 0), Self::NOTHING.close(second, 1, 0));
                let mut both = [0; BLOCK_LEN];
                let (left, right) = both.split_at_mut(BLOCK_LEN / 2);
                left.copy_from_slice(&bytes(&first));
                right.copy_from_slice(&bytes(&second));
                let mut state = IV;
                Platform::detect().compress_in_place(&mut state, &both, BLOCK_LEN as u8, 0, PARENT | ROOT);
                bytes(&state)
            }
        }
    }

    /// Takes in the rest of a chunk, its last block included.
    fn close(self, chunk: &[u8], counter: u64, flags: u8) -> [u32; 8] {
        let last = chunk.len().saturating_sub(1) / BLOCK_LEN;
        let mut state = self.through(chunk, last, counter);
        let rest = chunk.get(last * BLOCK_LEN..).unwrap_or_default();
        let mut block = [0; BLOCK_LEN];
        for (slot, byte) in block.iter_mut().zip(rest) {
            *slot = *byte;
        }
        state.block(&block, rest.len(), counter, CHUNK_END | flags);
        state.state
    }

    /// Takes in whole blocks of a chunk up to `blocks` of them, none of which is the last.
    fn through(mut self, chunk: &[u8], blocks: usize, counter: u64) -> Self {
        let (all, _) = chunk.as_chunks::<BLOCK_LEN>();
        for block in all.get(self.blocks..blocks).unwrap_or_default() {
            self.block(block, BLOCK_LEN, counter, 0);
        }
        self
    }

    fn block(&mut self, block: &[u8; BLOCK_LEN], len: usize, counter: u64, flags: u8) {
        let flags = flags | if self.blocks == 0 { CHUNK_START } else { 0 };
        Platform::detect().compress_in_place(&mut self.state, block, u8::try_from(len).unwrap_or(0), counter, flags);
        self.blocks += 1;
    }
}

/// How many of a line's blocks are not the last of their chunk, whatever comes behind the line.
fn whole(line: &[u8]) -> usize {
    (line.len().saturating_sub(1) / BLOCK_LEN).min(BLOCKS - 1)
}

/// The states after so many blocks of each line.
fn side_by_side(lines: &[&[u8]], blocks: usize, states: &mut [u8]) {
    match blocks {
        4 => lanes::<256>(lines, states),
        5 => lanes::<320>(lines, states),
        6 => lanes::<384>(lines, states),
        7 => lanes::<448>(lines, states),
        8 => lanes::<512>(lines, states),
        9 => lanes::<576>(lines, states),
        10 => lanes::<640>(lines, states),
        11 => lanes::<704>(lines, states),
        12 => lanes::<768>(lines, states),
        13 => lanes::<832>(lines, states),
        14 => lanes::<896>(lines, states),
        _ => lanes::<960>(lines, states),
    }
}

fn lanes<const N: usize>(lines: &[&[u8]], states: &mut [u8]) {
    let mut inputs = [&[0; N]; LANES];
    let begins = lines.iter().filter_map(|line| line.first_chunk::<N>());
    let count = inputs.iter_mut().zip(begins).map(|(input, begin)| *input = begin).count();
    let inputs = inputs.get(..count).unwrap_or_default();
    Platform::detect().hash_many(inputs, &IV, 0, IncrementCounter::No, 0, CHUNK_START, 0, states);
}

fn words(bytes: &[u8; 32]) -> [u32; 8] {
    let (four, _) = bytes.as_chunks::<4>();
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(four) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

fn bytes(words: &[u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let (four, _) = bytes.as_chunks_mut::<4>();
    for (bytes, word) in four.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(len: usize, salt: u8) -> Vec<u8> {
        (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8).wrapping_add(salt)).collect()
    }

    #[test]
    fn a_line_of_any_length_that_was_begun_anywhere_has_the_hash_of_the_crate() {
        for len in 0..2300 {
            let line = text(len, 1);
            let wanted = *blake3::hash(&line).as_bytes();
            for begun in [0, 1, 63, 64, 65, 640, 700, 1023, 1024, 1025, 2048, len] {
                let begin = line.get(..begun).unwrap_or(&line);
                assert_eq!(Begun::of(begin).finish(&line), wanted, "{len} bytes, begun with {begun}");
            }
        }
    }

    proptest! {
        #[test]
        fn lines_side_by_side_have_the_hashes_of_the_crate(
            lens in proptest::collection::vec((0..1400usize, 0..1400usize), 0..=LANES),
        ) {
            let lines: Vec<(usize, Vec<u8>)> =
                lens.into_iter().enumerate().map(|(at, (begun, more))| (begun, text(begun + more, at as u8))).collect();
            let mut begins = [&[][..]; LANES];
            for (begin, (begun, line)) in begins.iter_mut().zip(&lines) {
                *begin = &line[..*begun];
            }
            for (begun, (_, line)) in Begun::of_all(begins).iter().zip(&lines) {
                prop_assert_eq!(begun.finish(line), *blake3::hash(line).as_bytes());
            }
        }
    }
}
