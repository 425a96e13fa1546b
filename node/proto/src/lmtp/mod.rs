//! LMTP (RFC 2033): SMTP (RFC 5321) with LHLO and one reply per recipient after the content.
//!
//! | module | what it does |
//! |---|---|
//! | [`server`] | reads a client's bytes, keeps the order of commands, streams the content |
//! | [`client`] | writes commands and content to a server, tells what each of its replies answers |
//! | [`command`] | parses and writes MAIL, RCPT, BDAT and the rest of the command lines |
//! | [`address`] | paths, quoted local parts, and what a recipient's local part means here |
//! | [`data`] | the dots of DATA: both directions, in pieces of any size |
//! | [`reply`] | replies with enhanced status codes (RFC 2034), written and parsed |
//!
//! Extensions: PIPELINING (2920), 8BITMIME (6152), SMTPUTF8 (6531), SIZE (1870),
//! ENHANCEDSTATUSCODES (2034), CHUNKING (3030, without BINARYMIME), STARTTLS (3207), AUTH (4954).

pub mod address;
pub mod client;
pub mod command;
pub mod data;
pub mod reply;
pub mod server;
