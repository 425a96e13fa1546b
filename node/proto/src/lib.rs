//! Sans-IO IMAP, LMTP, MUPDATE and SASL: no sockets, no clock, no files.

pub mod imap;
pub mod lmtp;
pub mod mupdate;
pub mod sasl;
