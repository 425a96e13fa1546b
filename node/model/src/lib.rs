//! Domain types and rules of a mail murder: names, UIDs, flags, access control lists, locations and
//! the numbers of ownership. No I/O, no clock, no randomness.

mod acl;
mod date;
mod flag;
mod ids;
mod location;
pub mod mutf7;
mod name;
mod ownership;
mod pattern;
mod set;

pub use acl::{ACL_ENTRIES_MAX, Acl, AclEntry, AclError, Identifier, Rights};
pub use date::{DateError, Day, InternalDate};
pub use flag::{Flag, FlagError, KEYWORD_BYTES_MAX, Keyword, SpecialUse, SystemFlags};
pub use ids::{
    Attempt, DeliveryId, EmailId, Epoch, Fence, Guid, IdError, Incarnation, MailboxId, ModSeq,
    MoveId, OutboxNumber, ServerId, Term, Timestamp, Uid, UidValidity, UnitId,
};
pub use location::{Location, LocationError, PartitionName, ServerName};
pub use name::{
    MAILBOX_DEPTH_MAX, MAILBOX_NAME_BYTES_MAX, MailboxName, NameError, OTHER_USERS, RootKind,
    RootName, SHARED_FOLDERS, USER_NAME_BYTES_MAX, UserName,
};
pub use ownership::{OwnershipRecord, UnitDigest, UnitState};
pub use pattern::ListPattern;
pub use set::{SEQUENCE_RANGES_MAX, SequenceSet, SetError, UidSet};
