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

mod blob;
mod change;
mod copy;
mod delivered;
mod digest;
mod edit;
mod error;
mod flags;
mod intent;
mod keys;
mod mailbox;
mod message;
mod outbox;
mod row;
mod seen;
mod subscription;
mod transfer;
mod unit;
mod view;

#[cfg(test)]
mod tests;

pub use change::{Vanished, first_mark, prune_marks, vanished_since};
pub use copy::{CopiedUids, copy, move_messages};
pub use delivered::{delivery_key, has_old_deliveries, prune_delivered, was_delivered};
pub use digest::recompute_digest;
pub use edit::{Effect, Effects};
pub use error::MailError;
pub use flags::{FlagChange, Stored, StoredFlags, Viewer, store_flags};
pub use intent::{
    Intent, append_once, appended_under, complete_intent, has_old_results, intents, prune_results,
    put_intent,
};
pub use mailbox::{
    FolderSpec, children_exist, create_mailbox, delete_mailbox, mailbox, mailbox_by_name,
    mailboxes, placeholder_exists, publish_names, rename_mailbox, set_acl, take_recent,
};
pub use message::{
    Appended, NewMessage, append, append_as, deliver, expunge, message, messages, structure,
};
pub use outbox::{OutboxOperation, OutboxRow, acknowledge_outbox, outbox_after, outbox_length};
pub use row::{BlobRow, MailboxRow, MessageRow};
pub use seen::effective_seen;
pub use subscription::{is_subscribed, subscribe, subscriptions, unsubscribe};
pub use transfer::{
    Exported, TransferBlob, TransferContent, TransferRow, UnitHead, drop_unit, export_rows,
    import_head, import_rows, unit_head,
};
pub use unit::{
    Grant, UnitRow, create_root, ownership, put_ownership, raise_uid_validities, unit,
    unit_by_root, units, units_after,
};
pub use view::{Entry, view_entries};
