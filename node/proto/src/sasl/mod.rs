//! SASL (RFC 4422) for IMAP, LMTP and MUPDATE: PLAIN (RFC 4616), EXTERNAL (RFC 4422 appendix A)
//! and the old LOGIN, as server and as client.
//!
//! The machines take and give base64 text without any framing (`+ `, `334 `, bare lines): each
//! protocol adds its own. They parse credentials; whether these are right is for the caller to
//! decide. Messages are bounded, base64 is decoded strictly, secrets never show in `Debug`.

mod client;
mod server;

pub use client::ClientExchange;
pub use server::{SaslError, ServerExchange, Step};

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

/// Longest base64 text of one message that is decoded: three fields of [`FIELD_BYTES_MAX`].
pub const MESSAGE_BASE64_BYTES_MAX: usize = 1368;

/// Longest authorization identity, authentication identity or password, in octets.
pub const FIELD_BYTES_MAX: usize = 255;

/// A mechanism that both machines know.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mechanism {
    /// Identities and password in one message, RFC 4616.
    Plain,
    /// The identity that a lower layer (a TLS certificate) has proved, RFC 4422 appendix A.
    External,
    /// User name and password in two prompts; obsolete, asked for by old mail clients.
    Login,
}

impl Mechanism {
    /// Finds a mechanism by its name; SASL names are compared without regard to case here.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        [Self::Plain, Self::External, Self::Login]
            .into_iter()
            .find(|mechanism| name.eq_ignore_ascii_case(mechanism.name().as_bytes()))
    }

    /// The registered name, upper case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::External => "EXTERNAL",
            Self::Login => "LOGIN",
        }
    }
}

/// A password as it was sent. `Debug` hides it.
#[derive(Clone)]
pub struct Password(Vec<u8>);

impl Password {
    /// Takes the octets of a password.
    #[must_use]
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Self(octets.into())
    }

    /// The octets, for a verifier.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Compares with a known password in a time that depends on the lengths only.
    #[must_use]
    pub fn matches(&self, known: &[u8]) -> bool {
        self.0.ct_eq(known).into()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a client claims to be, complete and well formed, not yet verified.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// From PLAIN or LOGIN.
    Password {
        /// Whom the client wants to act as; `None` is itself.
        authorization: Option<String>,
        /// Whose password it is.
        authentication: String,
        /// The secret.
        password: Password,
    },
    /// From EXTERNAL: the connection's certificate is the proof.
    External {
        /// Whom the client wants to act as; `None` is the certificate's own name.
        authorization: Option<String>,
    },
}

/// Encodes one message in base64 with padding.
#[must_use]
pub fn encode(message: &[u8]) -> String {
    STANDARD.encode(message)
}

/// Decodes base64 strictly: canonical padding, no spaces, no line ends, no trailing bits.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, SaslError> {
    if text.len() > MESSAGE_BASE64_BYTES_MAX {
        return Err(SaslError::TooLong);
    }
    STANDARD.decode(text).map_err(|_| SaslError::NotBase64)
}
