//! The seam between mail operations and the engine.
