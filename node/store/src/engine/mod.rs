//! The log, the index and their recovery.
