//! Every state of a record under every event.
