//! Platforms: they observe the world and carry steps out, and decide nothing.

pub mod kube;
pub mod local;
