//! What every LMTP session has, whatever the role (RFC 2033): the wire, STARTTLS (RFC 3207), AUTH
//! (RFC 4954), who may submit mail, and the root that a recipient's mailbox lies under.

pub mod recipient;
pub mod wire;

pub use recipient::root_of;
pub use wire::Wire;
