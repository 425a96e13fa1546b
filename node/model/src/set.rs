//! Sets of UIDs, and the sequence sets that clients write (RFC 3501 `sequence-set`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most ranges in one sequence set of a client.
pub const SEQUENCE_RANGES_MAX: usize = 10_000;

/// A text is not a set of numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SetError {
    /// Not `n`, `n:m` or `*`, separated by commas.
    #[error("not a sequence set such as 1:3,5,7:*")]
    Syntax,
    /// Too many ranges.
    #[error("more than {SEQUENCE_RANGES_MAX} ranges in a sequence set")]
    TooMany,
}

/// A set of numbers from 1, kept as sorted ranges that neither touch nor overlap.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "StoredSet")]
pub struct UidSet {
    ranges: Vec<(u32, u32)>,
}

/// A set as it lies in a store or comes from a peer, before it is believed.
#[derive(Deserialize)]
struct StoredSet {
    ranges: Vec<(u32, u32)>,
}

impl TryFrom<StoredSet> for UidSet {
    type Error = SetError;

    fn try_from(stored: StoredSet) -> Result<Self, SetError> {
        let ranges = stored.ranges;
        let sound = ranges
            .iter()
            .all(|(first, last)| (1..=*last).contains(first))
            && ranges
                .windows(2)
                .all(|pair| u64::from(pair[0].1) + 1 < u64::from(pair[1].0));
        if sound {
            Ok(Self { ranges })
        } else {
            Err(SetError::Syntax)
        }
    }
}

impl UidSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// The numbers `first..=last`; empty if `first > last` or both are 0.
    pub fn range(first: u32, last: u32) -> Self {
        let mut set = Self::new();
        set.insert_range(first, last);
        set
    }

    /// Adds one number; appending in ascending order takes constant time.
    pub fn insert(&mut self, number: u32) {
        self.insert_range(number, number);
    }

    /// Adds `first..=last`; 0 is left out.
    pub fn insert_range(&mut self, first: u32, last: u32) {
        let first = first.max(1);
        if first > last {
            return;
        }
        match self.ranges.last_mut() {
            Some(range) if first > range.1 && first - 1 > range.1 => {
                self.ranges.push((first, last))
            }
            Some(range) if first >= range.0 => range.1 = range.1.max(last),
            None => self.ranges.push((first, last)),
            Some(_) => self.merge(first, last),
        }
    }

    fn merge(&mut self, first: u32, last: u32) {
        let from = self
            .ranges
            .partition_point(|range| range.1 < first && range.1 + 1 < first);
        let to = self
            .ranges
            .partition_point(|range| range.0 <= last.saturating_add(1));
        let low = self
            .ranges
            .get(from)
            .map_or(first, |range| range.0.min(first));
        let high = match to.checked_sub(1).and_then(|index| self.ranges.get(index)) {
            Some(range) if to > from => range.1.max(last),
            _ => last,
        };
        let low = if to > from { low } else { first };
        self.ranges.splice(from..to, [(low, high)]);
    }

    /// Whether the number is in the set.
    pub fn contains(&self, number: u32) -> bool {
        let index = self.ranges.partition_point(|range| range.1 < number);
        self.ranges
            .get(index)
            .is_some_and(|range| range.0 <= number)
    }

    /// All numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// The ranges, ascending, both ends included.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// How many numbers.
    pub fn len(&self) -> u64 {
        self.ranges
            .iter()
            .map(|(first, last)| u64::from(last - first) + 1)
            .sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Smallest number.
    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|range| range.0)
    }

    /// Largest number.
    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|range| range.1)
    }

    /// Adds all of `other`.
    pub fn union(&mut self, other: &Self) {
        for (first, last) in &other.ranges {
            self.insert_range(*first, *last);
        }
    }
}

impl FromIterator<u32> for UidSet {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut set = Self::new();
        numbers.into_iter().for_each(|number| set.insert(number));
        set
    }
}

/// As IMAP writes it: `1:3,5`; nothing for the empty set.
impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}:{last}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for UidSet {
    type Err = SetError;

    /// Parses a set without `*`, of any number of ranges: what a set of ours was written as.
    fn from_str(text: &str) -> Result<Self, SetError> {
        let parsed = SequenceSet::parse_within(text.as_bytes(), usize::MAX)?;
        if parsed.mentions_last() {
            return Err(SetError::Syntax);
        }
        Ok(parsed.resolve(u32::MAX))
    }
}

/// A sequence set as a client wrote it; `*` is resolved against a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SequenceSet {
    ranges: Vec<(Bound, Bound)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Bound {
    Number(u32),
    Last,
}

impl SequenceSet {
    /// Parses `1:3,5,7:*`.
    pub fn parse(text: &[u8]) -> Result<Self, SetError> {
        Self::parse_within(text, SEQUENCE_RANGES_MAX)
    }

    fn parse_within(text: &[u8], ranges_max: usize) -> Result<Self, SetError> {
        let mut ranges = Vec::new();
        for part in text.split(|byte| *byte == b',') {
            if ranges.len() == ranges_max {
                return Err(SetError::TooMany);
            }
            ranges.push(match part.iter().position(|byte| *byte == b':') {
                Some(colon) => (
                    parse_bound(&part[..colon])?,
                    parse_bound(&part[colon + 1..])?,
                ),
                None => {
                    let bound = parse_bound(part)?;
                    (bound, bound)
                }
            });
        }
        Ok(Self { ranges })
    }

    /// The numbers meant, where `*` is `last` (0: the mailbox is empty, and `*` means nothing).
    pub fn resolve(&self, last: u32) -> UidSet {
        let value = |bound| match bound {
            Bound::Number(number) => number,
            Bound::Last => last,
        };
        let mut set = UidSet::new();
        for (one, other) in &self.ranges {
            let (one, other) = (value(*one), value(*other));
            if one == 0 || other == 0 {
                continue;
            }
            set.insert_range(one.min(other), one.max(other));
        }
        set
    }

    /// Whether `*` occurs.
    pub fn mentions_last(&self) -> bool {
        self.ranges
            .iter()
            .any(|(one, other)| *one == Bound::Last || *other == Bound::Last)
    }
}

impl fmt::Display for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |bound: &Bound| match bound {
            Bound::Number(number) => number.to_string(),
            Bound::Last => "*".to_owned(),
        };
        for (index, (one, other)) in self.ranges.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            if one == other {
                write!(f, "{comma}{}", bound(one))?;
            } else {
                write!(f, "{comma}{}:{}", bound(one), bound(other))?;
            }
        }
        Ok(())
    }
}

fn parse_bound(text: &[u8]) -> Result<Bound, SetError> {
    if text == b"*" {
        return Ok(Bound::Last);
    }
    let digits = std::str::from_utf8(text).map_err(|_| SetError::Syntax)?;
    if !digits.starts_with(|c: char| ('1'..='9').contains(&c)) {
        return Err(SetError::Syntax);
    }
    digits
        .parse()
        .map(Bound::Number)
        .map_err(|_| SetError::Syntax)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{SequenceSet, UidSet};

    #[test]
    fn a_star_is_the_last_message() {
        let set = SequenceSet::parse(b"2,4:*,9:7").unwrap();
        assert_eq!(set.resolve(5).to_string(), "2,4:5,7:9");
        assert_eq!(set.resolve(0).to_string(), "2,7:9");
        assert_eq!(
            SequenceSet::parse(b"*:4").unwrap().resolve(10).to_string(),
            "4:10"
        );
        assert_eq!(set.to_string(), "2,4:*,9:7");
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in [
            "",
            "0",
            "1,,2",
            "1:",
            "a",
            "1:2:3",
            "4294967296",
            "-1",
            "1, 2",
        ] {
            assert!(SequenceSet::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!("1:*".parse::<UidSet>().is_err());
    }

    proptest! {
        #[test]
        fn a_set_is_what_was_inserted(
            ranges in prop::collection::vec((0_u32..60, 0_u32..12), 0..20),
        ) {
            let mut set = UidSet::new();
            let mut expected = BTreeSet::new();
            for (first, length) in ranges {
                set.insert_range(first, first + length);
                expected.extend((first..=first + length).filter(|number| *number > 0));
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), expected.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), expected.len() as u64);
            for number in 0..80 {
                prop_assert_eq!(set.contains(number), expected.contains(&number));
            }
            prop_assert!(set.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            if !set.is_empty() {
                prop_assert_eq!(set.to_string().parse::<UidSet>(), Ok(set));
            }
        }
    }
}
