//! Why an operation on mail is refused.

use murder_model::{MailboxName, NameError, OwnershipRecord, RootName};

use crate::rows::StoreError;

/// Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// There is no such mailbox here.
    #[error("mailbox does not exist")]
    NoSuchMailbox,
    /// The name is taken.
    #[error("mailbox {0} exists already")]
    MailboxExists(MailboxName),
    /// The root is taken.
    #[error("{0} exists already")]
    RootExists(RootName),
    /// The operation would cross from one unit into another.
    #[error("a mailbox cannot leave its unit")]
    OtherUnit,
    /// A root cannot be renamed within its unit.
    #[error("the root of a unit cannot be renamed")]
    Root,
    /// The new name is not possible.
    #[error(transparent)]
    Name(#[from] NameError),
    /// This server does not serve the unit.
    #[error("the mailbox is not served here")]
    NotOwner(Option<Box<OwnershipRecord>>),
    /// The mailbox has as many keywords as it can hold.
    #[error("more than {} keywords in one mailbox", super::row::KEYWORDS_MAX)]
    TooManyKeywords,
    /// The mailbox has used all its UIDs.
    #[error("mailbox has no UIDs left")]
    NoUidsLeft,
    /// A message that was named is gone.
    #[error("some of the messages no longer exist")]
    NoSuchMessage,
    /// Rows could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
