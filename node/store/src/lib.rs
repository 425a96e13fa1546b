//! A partition on disk: one log, one redb index, message structure, views and transfer streams.
//!
//! The crate starts no threads and no tasks; the node drives it from one thread per partition.

pub mod engine;
pub mod mail;
pub mod rows;
pub mod structure;
