//! Bytes on disk, as `FORMAT.md` gives them. Who changes one of these changes the format.

use murder_model::{InternalDate, Keyword, SystemFlags};

use super::{Fixture, NOW, all_rows, new_message};
use crate::mail::{FlagChange, NewMessage, Viewer, append, expunge, store_flags};
use crate::rows::Table;

/// The rows of a table in hexadecimal, key and value.
fn shown(fixture: &Fixture, table: Table) -> Vec<(String, String)> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let rows = all_rows(&fixture.rows, table).into_iter();
    rows.map(|(key, value)| (hex(&key), hex(&value))).collect()
}

fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    let keywords = [Keyword::parse("$Later").unwrap()];
    let message = NewMessage {
        flags: SystemFlags::FLAGGED,
        keywords: &keywords,
        internal_date: InternalDate::new(1_000, -60),
        ..new_message("one")
    };
    append(&mut fixture.rows, &fixture.inbox, &message, NOW).unwrap();
    fixture
}

#[test]
fn a_message_has_the_documented_bytes() {
    let message = [
        "00",                                                               // live
        "0000000000000002",                                                 // change
        "d33fb48ab5adff269ae172b29a6913ff04f6f266207a7a8e976f2ecd571d4492", // guid
        "09090909090909090909090909090909",                                 // email id
        "03",                                                               // size
        "02",                                                               // \Flagged
        "01",                                                               // keyword bits
        "d00f77",                                                           // internal date
        "80897a",                                                           // saved
        "02",                                                               // created
        "0000000000000001",                                                 // blob
    ];
    let key = "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b00000001";
    let messages = shown(&fixture(), Table::Messages);
    assert_eq!(messages, [(key.to_owned(), message.concat())]);
}

#[test]
fn an_expunged_message_leaves_a_mark_of_the_documented_bytes() {
    let mut fixture = fixture();
    let inbox = fixture.inbox;
    store_flags(
        &mut fixture.rows,
        &inbox,
        Viewer::Owner,
        &"1".parse().unwrap(),
        FlagChange::Add,
        SystemFlags::DELETED,
        &[],
        SystemFlags::DELETED,
        false,
        None,
    )
    .unwrap();
    expunge(&mut fixture.rows, &inbox, None, NOW).unwrap();
    let key = "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b00000001".to_owned();
    // Mark, change 4, 1,000,000 ms.
    let mark = "01000000000000000400000000000f4240".to_owned();
    assert_eq!(shown(&fixture, Table::Messages), [(key, mark)]);
    let changes = shown(&fixture, Table::Changes);
    let unit = "01010101010101010101010101010101";
    let entry = format!("{unit}0000000000000004050b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b00000001");
    assert_eq!(changes.last(), Some(&(entry, "01".to_owned())));
}

#[test]
fn a_mailbox_has_the_documented_bytes() {
    let mailbox = [
        "000000000000000002",               // live, change
        "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", // id
        "01010101010101010101010101010101", // unit
        "0a757365722e616c696365",           // user.alice
        "65020201010003", // validity, next, highest, exists, unseen, deleted, bytes
        "01",             // recent from
        "0106244c61746572", // keywords
        "010305616c69636500ff0f", // acl: user, alice, given, rights
        "00",             // no special use
    ];
    let mailboxes = shown(&fixture(), Table::Mailboxes);
    assert_eq!(mailboxes[0].1, mailbox.concat());
}

#[test]
fn blobs_and_units_have_the_documented_bytes() {
    let fixture = fixture();
    let place = "0000000000000000000000000000000000000003";
    let blobs = shown(&fixture, Table::Blobs);
    assert_eq!(
        blobs,
        [("0000000000000001".to_owned(), format!("{place}00000001"))]
    );
    let unit = [
        "01010101010101010101010101010101", // unit
        "0a757365722e616c696365",           // user.alice
        "010101",                           // owner, term, epoch
        "02",                               // change
        "43382e28a4a9d8b1cde64a65a4c812d511c0f64b03a306e8323e8beb397f94fd", // digest
        "026600020103",                     // outbox, floor, forgotten, mailboxes, messages, bytes
    ];
    assert_eq!(shown(&fixture, Table::Units)[0].1, unit.concat());
}
