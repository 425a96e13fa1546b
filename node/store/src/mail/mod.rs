//! Rows and operations of mail, over [`Rows`](crate::rows::Rows) and
//! [`RowsMut`](crate::rows::RowsMut).
//!
//! Every row of a unit carries the unit's change number at its last change, and a removed row stays
//! as a *mark* until it has been told to all who may ask. One change number an operation. CONDSTORE,
//! QRESYNC and transfers all read the same numbers. A unit's digest is the sum of one hash a row, so
//! that it is kept up to date by each change and equal after a transfer.
//!
//! An operation first checks everything that can refuse it, then writes; what it changed it returns
//! as [`Effects`], for the views of those who look at the mailbox.

mod change;
mod delivered;
mod digest;
mod edit;
mod error;
mod keys;
mod mailbox;
mod message;
mod outbox;
mod row;
mod subscription;
mod transfer;
mod unit;
mod view;

#[cfg(test)]
mod tests;

pub use change::{Vanished, prune_marks, vanished_since};
pub use delivered::{delivery_key, prune_delivered, was_delivered};
pub use digest::recompute_digest;
pub use edit::{Effect, Effects};
pub use error::MailError;
pub use mailbox::{
    FolderSpec, children_exist, create_mailbox, delete_mailbox, mailbox, mailbox_by_name,
    mailboxes, placeholder_exists, rename_mailbox, set_acl, take_recent,
};
pub use message::{
    Appended, CopiedUids, FlagChange, NewMessage, Stored, StoredFlags, Viewer, append, copy,
    deliver, expunge, message, messages, move_messages, store_flags, structure,
};
pub use outbox::{OutboxOperation, OutboxRow, acknowledge_outbox, outbox_after, outbox_length};
pub use row::{BlobRow, MailboxRow, MessageRow};
pub use subscription::{is_subscribed, subscribe, subscriptions, unsubscribe};
pub use transfer::{
    Exported, TransferBlob, TransferRow, UnitHead, drop_unit, export_rows, import_head,
    import_rows, unit_head,
};
pub use unit::{Grant, UnitRow, create_root, ownership, put_ownership, unit, unit_by_root, units};
pub use view::{Entry, effective_seen, view_entries};
