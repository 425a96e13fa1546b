//! SASL, sans-IO.
