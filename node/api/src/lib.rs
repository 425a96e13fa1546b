//! Settings of a node, types of its admin interface, and the endpoints of a local murder: what
//! operator, node and tests agree on.

pub mod admin;
pub mod endpoints;
pub mod settings;
pub mod yaml;

pub use settings::Settings;
