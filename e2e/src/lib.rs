//! End-to-end harness: starts real nodes, makes mail, talks LMTP and IMAP to them, and accounts for
//! every message.

pub mod admin;
pub mod console;
pub mod demo;
pub mod documents;
pub mod imap;
pub mod kube;
pub mod lmtp;
pub mod mail;
pub mod murder;
pub mod node;
pub mod powerloss;
pub mod random;
pub mod scale;
