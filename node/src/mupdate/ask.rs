//! What the payloads of the extension hold: one [`Ask`] from a node, answers from the master.
//!
//! Every payload is written by [`murder_locations::request::encode`]. A node sends an [`Ask`] in
//! `T X payload`. To [`Ask::Request`] the master answers `T XR payload` with a [`Response`]; to
//! [`Ask::Stream`] it answers `T XR payload` with [`Response::Done`], and then `T XS payload`, each
//! with one [`StreamItem`], until the connection ends. Requests may be pipelined, before and while
//! items are streamed; `NOOP` is a barrier: what was acknowledged before it is streamed before its
//! `OK`.
//!
//! [`Response`]: murder_locations::request::Response
//! [`Response::Done`]: murder_locations::request::Response::Done
//! [`StreamItem`]: murder_locations::request::StreamItem

use murder_locations::request::{Position, Request};
use serde::{Deserialize, Serialize};

/// One payload of a node.
#[expect(clippy::large_enum_variant, reason = "most payloads are requests")]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {
    /// Answer this.
    Request(Request),
    /// Stream all changes.
    Stream {
        /// Up to where the asker has them; `None`, another reign or a position that is too old
        /// gets a snapshot first.
        after: Option<Position>,
    },
}
