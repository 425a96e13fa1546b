//! Domain types of a mail murder.
