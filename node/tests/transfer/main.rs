//! Transfers between backends, with everything around them that may break.

#[allow(dead_code, reason = "used by the scenarios to come")]
mod certificates;
mod harness;
mod moves;
mod proxy;
