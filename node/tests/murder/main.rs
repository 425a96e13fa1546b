//! Murders of real nodes on loopback: what one node alone does in them, and what they do together.

mod single;

/// The node program.
const NODE: &str = env!("CARGO_BIN_EXE_murder-node");
