//! Where a unit lies: a server and one of its partitions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text is not a server, partition or location.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a {1}")]
pub struct LocationError(String, &'static str);

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $extra:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the characters and the length.
            pub fn parse(text: &str) -> Result<Self, LocationError> {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || $extra.contains(&byte);
                if text.is_empty() || text.len() > $max || !text.bytes().all(allowed) {
                    return Err(LocationError(text.chars().take(64).collect(), $what));
                }
                Ok(Self(text.to_owned()))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = LocationError;

            fn from_str(text: &str) -> Result<Self, LocationError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = LocationError;

            fn try_from(text: String) -> Result<Self, LocationError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

label!(
    /// A server's name in locations, e.g. `be-a`; a Cyrus server's may carry a port (`host:143`).
    ServerName, "server name (letters, digits, '-', '.', '_', ':', at most 253)", 253, b"-._:"
);
label!(
    /// A partition of a server, e.g. `default`.
    PartitionName, "partition name (letters, digits, '-', '_', at most 63)", 63, b"-_"
);

/// `server!partition`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Location {
    /// The server.
    pub server: ServerName,
    /// Its partition.
    pub partition: PartitionName,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}!{}", self.server, self.partition)
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let (server, partition) = text.split_once('!').ok_or_else(|| {
            LocationError(
                text.chars().take(64).collect(),
                "location (server!partition)",
            )
        })?;
        Ok(Self {
            server: server.parse()?,
            partition: partition.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Location;

    #[test]
    fn a_location_has_one_exclamation_mark() {
        let location: Location = "be-a!default".parse().unwrap();
        assert_eq!(location.to_string(), "be-a!default");
        assert_eq!(location.server.as_str(), "be-a");
        for text in ["be-a", "be-a!", "!default", "a!b!c", "be a!default"] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }
}
