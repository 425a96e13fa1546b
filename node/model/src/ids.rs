//! Identifiers and counters: what is numbered, and numbers that must never be mixed.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text is not an identifier.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct IdError {
    /// What was read.
    pub text: String,
    /// What should have been there.
    pub expected: &'static str,
}

fn parse_hex16(text: &str, expected: &'static str) -> Result<[u8; 16], IdError> {
    let error = || IdError {
        text: text.chars().take(64).collect(),
        expected,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    if digits.len() != 32 {
        return Err(error());
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = (pair[0] as char).to_digit(16).ok_or_else(error)?;
        let low = (pair[1] as char).to_digit(16).ok_or_else(error)?;
        *byte = (high * 16 + low) as u8;
    }
    Ok(bytes)
}

macro_rules! id16 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From 16 bytes; randomness is the caller's.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex16(text, $what).map(Self)
            }
        }

        /// Text in formats for people, 16 bytes in others.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

macro_rules! hex_display {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    )*};
}

id16!(
    /// A unit: a user with all that is theirs, or a shared root's tree. 128 random bits.
    UnitId, "a unit id (32 hexadecimal digits)"
);
id16!(
    /// A mailbox, for life: it survives renames and transfers (RFC 8474 MAILBOXID). 128 random bits.
    MailboxId, "a mailbox id (32 hexadecimal digits)"
);
id16!(
    /// A message's content, shared by its copies (RFC 8474 EMAILID). 128 random bits.
    EmailId, "an email id (32 hexadecimal digits)"
);
id16!(
    /// A server for life: written once into its volume, shown as a UUID.
    ServerId, "a server id (a UUID)"
);
id16!(
    /// A transfer of a unit.
    MoveId, "a move id (32 hexadecimal digits)"
);
id16!(
    /// A delivery or cross-server copy, by which a repetition is recognised.
    DeliveryId, "a delivery id (32 hexadecimal digits)"
);
hex_display!(UnitId, MailboxId, EmailId, MoveId, DeliveryId, Guid);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// BLAKE3 of a message's stored bytes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Guid([u8; 32]);

impl Guid {
    /// From the 32 bytes of the hash.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

macro_rules! nonzero {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub struct $name(NonZeroU32);

        impl $name {
            /// `None` for 0, which the protocol forbids.
            pub const fn new(value: u32) -> Option<Self> {
                match NonZeroU32::new(value) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// The number.
            pub const fn get(self) -> u32 {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

nonzero!(
    /// Unique identifier of a message in a mailbox (RFC 3501 section 2.3.1.1). Strictly rising.
    Uid
);
nonzero!(
    /// Validity of a mailbox's UIDs (RFC 3501 section 2.3.1.1).
    UidValidity
);

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
        )]
        pub struct $name($inner);

        impl $name {
            /// The counter at `value`.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The number.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// One higher; saturates, which at one a nanosecond takes centuries.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// Modification sequence (RFC 7162): the unit's change number at a message's last change.
    ModSeq(u64)
);
counter!(
    /// Reign of a mupdate master.
    Term(u64)
);
counter!(
    /// Version of a unit's ownership; each grant has a higher one.
    Epoch(u64)
);
counter!(
    /// Starts of a server on its volume.
    Incarnation(u64)
);
counter!(
    /// The operator's leadership; nodes refuse commands of a lower one than they have seen.
    Fence(u64)
);
counter!(
    /// Try of one move; every freeze is a new one.
    Attempt(u32)
);
counter!(
    /// Position in a unit's outbox of name changes.
    OutboxNumber(u64)
);

/// Milliseconds since 1970-01-01 UTC.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::{MailboxId, ServerId, Uid};

    #[test]
    fn ids_are_shown_as_hexadecimal_and_read_back() {
        let id = MailboxId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string(), "30313233343536373839616263646566");
        assert_eq!(id.to_string().parse(), Ok(id));
        let server = ServerId::from_bytes(*b"0123456789abcdef");
        assert_eq!(server.to_string(), "30313233-3435-3637-3839-616263646566");
        assert_eq!(server.to_string().parse(), Ok(server));
        assert!("3031".parse::<MailboxId>().is_err());
        assert!(
            "zz313233343536373839616263646566"
                .parse::<MailboxId>()
                .is_err()
        );
    }

    #[test]
    fn uid_zero_does_not_exist() {
        assert_eq!(Uid::new(0), None);
        assert_eq!(Uid::new(7).map(Uid::get), Some(7));
    }
}
