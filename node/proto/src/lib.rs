//! Sans-IO IMAP, LMTP, MUPDATE, SASL and the PROXY protocol: no sockets, no clock, no files.

pub mod imap;
pub mod lmtp;
pub mod mupdate;
pub mod proxy;
pub mod sasl;
