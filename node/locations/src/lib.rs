//! Locations and ownership: who owns which unit, under which name mail is found, and the rules
//! that keep a unit with one owner.
//!
//! - [`request`]: what is asked of the master, what it answers, what it streams;
//! - [`master`]: the database of record, its stream and snapshots;
//! - [`ownership`]: a backend's own durable record of a unit, and what may change it;
//! - [`rules`]: how the master decides a flip and a settle;
//! - [`replica`]: a copy that routes, lists and places;
//! - the rows, their keys and octets: [`record`], [`name`].
//!
//! Nothing here opens a socket, starts a thread or reads a clock.

pub mod master;
#[cfg(feature = "mutants")]
pub mod mutant;
pub mod name;
pub mod ownership;
pub mod record;
mod refusal;
pub mod replica;
pub mod request;
pub mod rules;
mod wire;
