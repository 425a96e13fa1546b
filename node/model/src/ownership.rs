//! What a server durably knows of its part in the ownership of a unit.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Attempt, Epoch, MoveId, RootName, ServerName, Term, UnitId};

/// A server's own durable record of a unit. Term and epoch are the highest it has ever recorded for
/// the unit, also after the data is gone.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OwnershipRecord {
    /// The unit.
    pub unit: UnitId,
    /// Its root.
    pub root: RootName,
    /// This server's part.
    pub state: UnitState,
    /// Highest term recorded for the unit.
    pub term: Term,
    /// Highest epoch recorded for the unit.
    pub epoch: Epoch,
}

/// A server's part in the ownership of a unit.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum UnitState {
    /// Asked for, not granted yet.
    Creating,
    /// Served here.
    Owner,
    /// Given away; only the master knows the outcome.
    Released {
        /// The destination.
        to: ServerName,
        /// The transfer.
        move_id: MoveId,
        /// Its try.
        attempt: Attempt,
    },
    /// Being copied here, invisible.
    Staging {
        /// The transfer.
        move_id: MoveId,
        /// Its try.
        attempt: Attempt,
        /// The source.
        from: ServerName,
    },
    /// Copied completely and digest-checked; waits for the grant.
    Prepared {
        /// The transfer.
        move_id: MoveId,
        /// Its try.
        attempt: Attempt,
        /// The source.
        from: ServerName,
        /// Epoch that the flip would grant.
        epoch: Epoch,
        /// Digest of all rows, equal to the source's.
        digest: UnitDigest,
    },
    /// Served elsewhere since this grant; the copy is kept for a grace period.
    Moved {
        /// The new owner.
        to: ServerName,
        /// Term of the grant.
        term: Term,
        /// Epoch of the grant.
        epoch: Epoch,
    },
    /// No data here any more; the record stays as a tombstone.
    Gone,
}

/// Sum modulo 2^256 of one hash a row: order does not matter, and a row is taken out by subtraction.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct UnitDigest([u8; 32]);

impl UnitDigest {
    /// From 32 bytes, least significant first.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, least significant first.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Puts a row's hash in.
    pub fn add(&mut self, hash: &[u8; 32]) {
        let mut carry = false;
        for (sum, term) in self.0.chunks_exact_mut(8).zip(hash.chunks_exact(8)) {
            let (value, first) = word(sum).overflowing_add(word(term));
            let (value, second) = value.overflowing_add(u64::from(carry));
            carry = first || second;
            sum.copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Takes a row's hash out.
    pub fn sub(&mut self, hash: &[u8; 32]) {
        let mut borrow = false;
        for (sum, term) in self.0.chunks_exact_mut(8).zip(hash.chunks_exact(8)) {
            let (value, first) = word(sum).overflowing_sub(word(term));
            let (value, second) = value.overflowing_sub(u64::from(borrow));
            borrow = first || second;
            sum.copy_from_slice(&value.to_le_bytes());
        }
    }
}

impl fmt::Display for UnitDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .rev()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("chunks of eight bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::UnitDigest;

    #[test]
    fn carries_run_through_all_words() {
        let mut digest = UnitDigest::from_bytes([0xff; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        digest.add(&one);
        assert_eq!(digest, UnitDigest::default());
        digest.sub(&one);
        assert_eq!(digest, UnitDigest::from_bytes([0xff; 32]));
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_subtraction_undoes(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let (mut one, mut two) = (UnitDigest::default(), UnitDigest::default());
            one.add(&a); one.add(&b); one.add(&c); one.sub(&b);
            two.add(&c); two.add(&a);
            prop_assert_eq!(one, two);
        }
    }
}
