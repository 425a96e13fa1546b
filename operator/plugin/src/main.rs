//! `kubectl murder`.

fn main() {}
