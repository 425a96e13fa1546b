//! Keys of rows. Numbers are big endian, so that byte order is their order.

use murder_model::{DeliveryId, MailboxId, MailboxName, RootName, UnitId, UserName};

use crate::rows::Table;

/// A key just above every key with this prefix of fixed length.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.last_mut() {
        if *last < 0xff {
            *last += 1;
            return key;
        }
        key.pop();
    }
    // Only for a prefix of nothing but 0xff: random ids make that a 2^-128 event.
    vec![0xff; prefix.len() + 64]
}

pub(super) fn unit(unit: &UnitId) -> Vec<u8> {
    unit.as_bytes().to_vec()
}

pub(super) fn root(root: &RootName) -> Vec<u8> {
    root.as_str().as_bytes().to_vec()
}

pub(super) fn name(unit: &UnitId, name: &MailboxName) -> Vec<u8> {
    join(unit.as_bytes(), name.as_str().as_bytes())
}

pub(super) fn mailbox(mailbox: &MailboxId) -> Vec<u8> {
    mailbox.as_bytes().to_vec()
}

pub(super) fn message(mailbox: &MailboxId, uid: u32) -> Vec<u8> {
    join(mailbox.as_bytes(), &uid.to_be_bytes())
}

pub(super) fn message_uid(key: &[u8]) -> Option<u32> {
    key.get(16..20)
        .map(|uid| u32::from_be_bytes(uid.try_into().expect("four bytes")))
}

pub(super) fn seen_prefix(mailbox: &MailboxId, user: &UserName) -> Vec<u8> {
    let mut key = join(mailbox.as_bytes(), user.as_str().as_bytes());
    key.push(0);
    key
}

pub(super) fn seen(mailbox: &MailboxId, user: &UserName, uid: u32) -> Vec<u8> {
    join(&seen_prefix(mailbox, user), &uid.to_be_bytes())
}

pub(super) fn subscription(unit: &UnitId, name: &MailboxName) -> Vec<u8> {
    join(unit.as_bytes(), name.as_str().as_bytes())
}

pub(super) fn delivered(unit: &UnitId, key: &[u8; 32]) -> Vec<u8> {
    join(unit.as_bytes(), key)
}

/// The two kinds of rows in table intents.
#[derive(Clone, Copy, Debug)]
pub(super) enum IntentKind {
    Intent = 1,
    Result = 2,
}

pub(super) fn intents(unit: &UnitId, kind: IntentKind) -> Vec<u8> {
    join(unit.as_bytes(), &[kind as u8])
}

pub(super) fn intent(unit: &UnitId, kind: IntentKind, id: &DeliveryId) -> Vec<u8> {
    join(&intents(unit, kind), id.as_bytes())
}

pub(super) fn intent_id(key: &[u8]) -> Option<DeliveryId> {
    let id = key.get(17..)?.try_into().ok()?;
    Some(DeliveryId::from_bytes(id))
}

pub(super) fn number(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Where the change index says what last changed at `change`.
pub(super) fn change(unit: &UnitId, change: u64, table: Table, key: &[u8]) -> Vec<u8> {
    let mut index = Vec::with_capacity(25 + key.len());
    index.extend_from_slice(unit.as_bytes());
    index.extend_from_slice(&change.to_be_bytes());
    index.push(table as u8);
    index.extend_from_slice(key);
    index
}

/// First key of the change index above all entries of `change`.
pub(super) fn change_after(unit: &UnitId, change: u64) -> Vec<u8> {
    join(unit.as_bytes(), &change.saturating_add(1).to_be_bytes())
}

/// Takes a key of the change index apart: change number, table, key.
pub(super) fn split_change(index: &[u8]) -> Option<(u64, Table, &[u8])> {
    let (head, key) = index.split_at_checked(25)?;
    let change = u64::from_be_bytes(head[16..24].try_into().expect("eight bytes"));
    Some((change, Table::from_number(head[24])?, key))
}

fn join(one: &[u8], other: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(one.len() + other.len() + 4);
    key.extend_from_slice(one);
    key.extend_from_slice(other);
    key
}
