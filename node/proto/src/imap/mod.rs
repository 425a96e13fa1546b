//! IMAP, sans-IO.
