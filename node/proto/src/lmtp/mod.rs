//! LMTP, sans-IO.
