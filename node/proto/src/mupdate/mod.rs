//! MUPDATE (RFC 3656) as Cyrus speaks it, and one command of our own.
//!
//! | module | what it does |
//! |---|---|
//! | [`line`] | lines of atoms, quoted strings and literals, with limits |
//! | [`request`] | what clients ask, read and written |
//! | [`server`] | a server's session: greeting, login, order of commands |
//! | [`reply`] | what servers write |
//! | [`client`] | what clients read |
//!
//! Strings are always written as literals `{n+}`, as Cyrus does; each form is read. Names,
//! locations and ACLs are octets that nothing here looks into.
//!
//! **The extension.** A server of ours greets with a line `* XMURDER "1"` before `* OK MUPDATE`,
//! which Cyrus' clients take for a capability that they do not know. A client that has seen it may
//! send `T X payload`; the answer is `T XR payload` or `T NO text`, and streamed items come as
//! `T XS payload`. Payloads are opaque here, one literal each, at most [`line::PAYLOAD_OCTETS_MAX`].

pub mod client;
pub mod line;
pub mod reply;
pub mod request;
pub mod server;

/// Version of the extension, in the greeting.
pub const EXTENSION_VERSION: u32 = 1;
