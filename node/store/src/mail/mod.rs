//! Rows and operations of mail.
