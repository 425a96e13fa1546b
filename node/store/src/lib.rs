//! A partition on disk: one log, one redb index, message structure, views and transfer streams.
//!
//! The crate starts no threads and no tasks; the node drives it from one thread per partition.

pub mod engine;
pub mod mail;
#[cfg(feature = "mutants")]
pub mod mutant;
pub mod rows;
pub mod structure;
