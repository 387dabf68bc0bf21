//! Where a reading of the log stopped, so that another goes on right there.
//!
//! A log is in the order in which actions ended, and a record says when its action began: no time tells where a record
//! stands. So a position names a place in each journal, or in each partition of the stream, that is read side by side.

use std::{fmt, str::FromStr};

use super::LogSource;

/// More than a log is ever read from at once.
const FEEDS_MAX: usize = 2048;

/// Where a reading stopped: what stands there comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    medium: Medium,
    spots: Vec<Spot>,
}

/// What is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no position in the log")]
pub struct NoPosition;

/// What the places are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    Journal,
    Stream,
}

/// A line of a feed: a segment and where in it, or the two numbers of a stream entry's id.
pub(super) type Place = (u64, u64);

/// Where one feed goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    /// Where it begins: nothing of it was given.
    Start,
    /// With this line.
    At(Place),
    /// With the one after this line, which was the last so far.
    After(Place),
    /// Nowhere: all of it was given.
    End,
}

impl Position {
    /// `None` where the source knows no places.
    pub(super) fn new(source: &LogSource, spots: Vec<Spot>) -> Option<Self> {
        Some(Self { medium: Medium::of(source)?, spots })
    }

    /// Where the feed with this number goes on; `None` if there was no such feed.
    pub(super) fn of(&self, feed: usize) -> Option<Spot> {
        self.spots.get(feed).copied()
    }

    /// Whether this is of such a source: a log may be read from somewhere else after an edit.
    pub(super) fn is_in(&self, source: &LogSource) -> bool {
        Medium::of(source) == Some(self.medium)
    }
}

impl Medium {
    const fn of(source: &LogSource) -> Option<Self> {
        match source {
            LogSource::Journal(_) => Some(Self::Journal),
            LogSource::Stream(_) => Some(Self::Stream),
            LogSource::File(_) => None,
        }
    }
}

/// Letters, digits, dots and underscores: fit for an address.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.medium {
            Medium::Journal => "j",
            Medium::Stream => "s",
        })?;
        for spot in &self.spots {
            match spot {
                Spot::Start => write!(f, "_x"),
                Spot::At((a, b)) => write!(f, "_{a:x}.{b:x}"),
                Spot::After((a, b)) => write!(f, "_{a:x}.{b:x}.n"),
                Spot::End => write!(f, "_z"),
            }?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(raw: &str) -> Result<Self, NoPosition> {
        let number = |digits: &str| {
            let hex = (1..=16).contains(&digits.len()) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if hex { u64::from_str_radix(digits, 16).map_err(|_| NoPosition) } else { Err(NoPosition) }
        };
        let spot = |word: &str| match word {
            "x" => Ok(Spot::Start),
            "z" => Ok(Spot::End),
            _ => {
                let (place, after) = word.strip_suffix(".n").map_or((word, false), |place| (place, true));
                let (a, b) = place.split_once('.').ok_or(NoPosition)?;
                let place = (number(a)?, number(b)?);
                Ok(if after { Spot::After(place) } else { Spot::At(place) })
            }
        };
        let mut words = raw.split('_');
        let medium = match words.next() {
            Some("j") => Medium::Journal,
            Some("s") => Medium::Stream,
            _ => return Err(NoPosition),
        };
        let spots = words.take(FEEDS_MAX).map(spot).collect::<Result<Vec<_>, _>>()?;
        if spots.is_empty() { Err(NoPosition) } else { Ok(Self { medium, spots }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_position_reads_back_as_it_was_written(spots in prop::collection::vec((0..4, any::<u64>(), any::<u64>()), 1..9)) {
            let spots = spots.into_iter().map(|(which, a, b)| match which {
                0 => Spot::Start,
                1 => Spot::At((a, b)),
                2 => Spot::After((a, b)),
                _ => Spot::End,
            });
            let position = Position { medium: Medium::Stream, spots: spots.collect() };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn what_is_taken_reads_back(raw in "[jsk]?[_.xzn0-9a-g+ -]{0,20}") {
            if let Ok(position) = raw.parse::<Position>() {
                prop_assert_eq!(position.to_string().parse(), Ok(position));
            }
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for raw in [
            "",
            "j",
            "j_",
            "k_x",
            "j_y",
            "j_1",
            "j_1.",
            "j_.1",
            "j_1.2.3",
            "j_1.2.m",
            "j_G.1",
            "j_+1.1",
            "j_10000000000000000.1",
            "j_x_",
            "x",
        ] {
            assert_eq!(raw.parse::<Position>(), Err(NoPosition), "{raw}");
        }
    }
}
