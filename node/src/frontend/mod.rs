//! The role `frontend`: clients of the whole murder come here and are routed to who has their mail.

pub mod router;

pub use router::{Moved, Router, RouterError, Target};
