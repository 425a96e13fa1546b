//! End-to-end harness.

pub mod powerloss;
