//! Locations and ownership: who owns which unit, under which name mail is found, and the rules
//! that keep a unit with one owner.
//!
//! - [`request`]: what is asked of the master, what it answers, what it streams;
//! - the rows, their keys and octets: [`record`], [`name`].
//!
//! Nothing here opens a socket, starts a thread or reads a clock.

pub mod name;
pub mod record;
pub mod request;
