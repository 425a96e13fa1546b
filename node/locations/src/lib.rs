//! Locations and ownership.
