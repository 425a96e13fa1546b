//! The mail node's library.
