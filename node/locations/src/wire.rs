//! The encoding of requests, answers and stream items: one version octet, then postcard.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of the encoding; a peer with another is refused, not guessed at.
pub const WIRE_VERSION: u8 = 1;
/// Largest encoded value that is taken, in bytes.
pub const ENCODED_BYTES_MAX: usize = 1024 * 1024;

/// Why a value could not be decoded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`ENCODED_BYTES_MAX`].
    #[error("encoded value of {0} bytes is too long")]
    TooLong(usize),
    /// Written by another version.
    #[error("encoded value has version {0:?}, not {WIRE_VERSION}")]
    Version(Option<u8>),
    /// Damaged.
    #[error("cannot decode value: {0}")]
    Damaged(postcard::Error),
    /// Octets are left over.
    #[error("{0} bytes are left over after the value")]
    Trailing(usize),
}

/// Encodes a value for the wire or the disk: a version octet, then postcard.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![WIRE_VERSION])
        .expect("these types always encode into growing memory")
}

/// Decodes what [`encode`] wrote; anything else is an error, never a guess.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > ENCODED_BYTES_MAX {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let Some((&WIRE_VERSION, rest)) = bytes.split_first() else {
        return Err(DecodeError::Version(bytes.first().copied()));
    };
    let (value, left) = postcard::take_from_bytes(rest).map_err(DecodeError::Damaged)?;
    if left.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::Trailing(left.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Name, Request};

    #[test]
    fn a_request_encodes_to_known_bytes_and_back() {
        let request = Request::Delete(Name::from("user.a"));
        let bytes = encode(&request);
        assert_eq!(bytes, [1, 16, 6, b'u', b's', b'e', b'r', b'.', b'a']);
        assert_eq!(decode::<Request>(&bytes), Ok(request));
    }

    #[test]
    fn another_version_damage_and_left_over_bytes_are_refused() {
        assert_eq!(decode::<Request>(&[]), Err(DecodeError::Version(None)));
        assert_eq!(
            decode::<Request>(&[2, 16, 0]),
            Err(DecodeError::Version(Some(2)))
        );
        assert!(matches!(
            decode::<Request>(&[1, 16, 9]),
            Err(DecodeError::Damaged(_))
        ));
        assert_eq!(
            decode::<Request>(&[1, 16, 0, 7]),
            Err(DecodeError::Trailing(1))
        );
    }
}
