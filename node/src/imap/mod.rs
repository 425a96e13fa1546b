//! What every IMAP session has, whatever the role: the wire, the login, and words on it.

pub mod listing;
pub mod login;
pub mod wire;
pub mod write;

pub use login::{Identity, login};
pub use wire::{End, Wire};

/// What is advertised after login; each of these is whole.
pub const CAPABILITIES: &str = "IMAP4rev1 LITERAL+ ID ENABLE NAMESPACE CHILDREN SPECIAL-USE \
    CREATE-SPECIAL-USE UIDPLUS MOVE UNSELECT IDLE CONDSTORE ACL RIGHTS=kxte";
