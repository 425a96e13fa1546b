//! Transfers: rounds, refusals, and what is left where.

use murder_model::{Attempt, MailboxId, MoveId, ServerName, SystemFlags, UnitState};

use super::{Fixture, NOW, TRAVELLING, UNIT, all_rows, bob, new_message, put_state, staged};
use crate::mail::{
    FlagChange, MailError, TransferRow, Viewer, append, drop_unit, export_rows, import_head,
    import_rows, recompute_digest, unit, unit_head,
};
use crate::rows::{BlobSource, MemoryRows, StoreError, Table};

/// One round of a transfer in steps of few rows; after each the source goes on. Returns up to which
/// change it went, and how many messages' bytes were sent.
pub(super) fn round(
    source: &mut Fixture,
    destination: &mut MemoryRows,
    after: u64,
    go_on: &mut dyn FnMut(&mut Fixture),
) -> (u64, usize) {
    let upto = unit_head(&source.rows, &UNIT).unwrap().change;
    let mut sent = 0;
    let mut position: Option<Vec<u8>> = None;
    loop {
        let from = position.as_deref();
        let step = export_rows(&source.rows, &UNIT, after, upto, from, 3, 1 << 20).unwrap();
        let body = |index: usize| {
            let place = step.rows[index].1.unwrap().place;
            source.rows.read_blob(place, 0..place.length).unwrap()
        };
        let rows: Vec<_> = step.rows.iter().map(|(row, _)| row.clone()).collect();
        let new = |index: &usize| step.rows[*index].1.is_some_and(|blob| blob.created > after);
        let bodies: Vec<_> = (0..rows.len())
            .map(|index| new(&index).then(|| body(index)))
            .collect();
        sent += bodies.iter().flatten().count();
        let missing = put(destination, &rows, &bodies);
        // A repetition after a lost acknowledgement changes nothing.
        assert_eq!(put(destination, &rows, &bodies), missing);
        let again: Vec<_> = missing.iter().map(|index| rows[*index].clone()).collect();
        let bodies: Vec<_> = missing.iter().map(|index| Some(body(*index))).collect();
        sent += bodies.len();
        assert_eq!(put(destination, &again, &bodies), Vec::<usize>::new());
        go_on(source);
        match step.position {
            Some(next) => position = Some(next),
            None => return (upto, sent),
        }
    }
}

fn put(
    destination: &mut MemoryRows,
    rows: &[TransferRow],
    bodies: &[Option<Vec<u8>>],
) -> Vec<usize> {
    let contents: Vec<_> = bodies
        .iter()
        .map(|body| {
            let content = body.as_deref().map(BlobSource::Bytes);
            content.map(|content| (content, b"structure".as_slice()))
        })
        .collect();
    import_rows(destination, &UNIT, rows, &contents).unwrap()
}

/// All rows of units without what is local to a partition.
pub(super) fn portable(rows: &MemoryRows) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    for table in TRAVELLING {
        for (key, mut value) in all_rows(rows, table) {
            if table == Table::Messages && value[0] == 0 {
                value.truncate(value.len() - 8);
            }
            all.push((table, key, value));
        }
    }
    all
}

/// The source's last rows and head make the destination equal to it.
pub(super) fn assert_equal(source: &Fixture, destination: &mut MemoryRows) {
    let head = unit_head(&source.rows, &UNIT).unwrap();
    assert!(import_head(destination, &UNIT, &head).unwrap());
    assert_eq!(recompute_digest(destination, &UNIT).unwrap(), head.digest);
    assert_eq!(portable(destination), portable(&source.rows));
    assert_eq!(unit_head(destination, &UNIT).unwrap(), head);
}

#[test]
fn a_flag_change_is_transferred_without_the_bytes() {
    let mut source = Fixture::new();
    let mut destination = staged();
    for text in ["one", "two", "three"] {
        source.append(source.inbox, text);
    }
    let (reached, sent) = round(&mut source, &mut destination, 0, &mut |_| {});
    assert_eq!(sent, 3);
    source.flag(Viewer::Owner, "1:2", FlagChange::Add, SystemFlags::FLAGGED);
    source.append(source.inbox, "four");
    let (_, sent) = round(&mut source, &mut destination, reached, &mut |_| {});
    assert_eq!(sent, 1);
    assert_eq!(destination.blob_count(), 4);
    assert_equal(&source, &mut destination);
}

#[test]
fn a_message_that_changed_while_its_round_ran_is_asked_for() {
    let mut source = Fixture::new();
    let mut destination = staged();
    source.append(source.inbox, "one");
    let mut first = true;
    let (reached, sent) = round(&mut source, &mut destination, 0, &mut |source| {
        if std::mem::take(&mut first) {
            source.flag(Viewer::Owner, "1", FlagChange::Add, SystemFlags::FLAGGED);
        }
    });
    assert_eq!(sent, 0);
    let (_, sent) = round(&mut source, &mut destination, reached, &mut |_| {});
    assert_eq!(sent, 1);
    assert_equal(&source, &mut destination);
}

#[test]
fn rows_of_other_units_are_refused() {
    let mut source = Fixture::new();
    source.append(source.inbox, "one");
    let step = export_rows(&source.rows, &UNIT, 0, u64::MAX, None, 100, 1 << 20).unwrap();
    let mut destination = staged();
    for (row, _) in step.rows {
        let table = Table::from_number(row.table).unwrap();
        let mut foreign = row.clone();
        foreign.key[0] ^= 0xff;
        if matches!(
            table,
            Table::Mailboxes | Table::Names | Table::Subscriptions
        ) {
            let refused = import_rows(&mut destination, &UNIT, &[foreign], &[None]);
            assert!(matches!(
                refused,
                Err(MailError::Store(StoreError::Malformed { .. }))
            ));
        }
        let local = TransferRow {
            table: Table::Outbox as u8,
            ..row
        };
        assert!(import_rows(&mut destination, &UNIT, &[local], &[None]).is_err());
    }
    assert_eq!(portable(&destination), []);
}

#[test]
fn a_damaged_row_is_refused() {
    let mut destination = staged();
    let mailbox = MailboxId::from_bytes([5; 16]);
    for value in [vec![], vec![0, 1, 2], vec![7; 40], vec![1; 12]] {
        let mut key = mailbox.as_bytes().to_vec();
        key.extend_from_slice(&[0, 0, 0, 1]);
        let row = TransferRow {
            table: Table::Messages as u8,
            key,
            value,
            has_content: false,
        };
        assert!(import_rows(&mut destination, &UNIT, &[row], &[None]).is_err());
    }
    assert_eq!(portable(&destination), []);
}

#[test]
fn staged_rows_are_dropped_in_steps_and_the_record_stays() {
    let mut source = Fixture::new();
    let mut destination = staged();
    source.append(source.inbox, "one");
    round(&mut source, &mut destination, 0, &mut |_| {});
    while drop_unit(&mut destination, &UNIT, 2).unwrap() {}
    assert_eq!(portable(&destination), []);
    assert_eq!(all_rows(&destination, Table::Changes), []);
    assert_eq!(destination.blob_count(), 0);
    let row = unit(&destination, &UNIT).unwrap().unwrap();
    assert_eq!(row.digest, murder_model::UnitDigest::default());
    // And a transfer can begin again.
    round(&mut source, &mut destination, 0, &mut |_| {});
    assert_equal(&source, &mut destination);
}

#[test]
fn data_that_may_be_the_only_copy_is_not_dropped() {
    let (move_id, attempt) = (MoveId::from_bytes([3; 16]), Attempt::new(1));
    let mut source = Fixture::new();
    let released = UnitState::Released {
        to: ServerName::parse("be-b").unwrap(),
        move_id,
        attempt,
    };
    for state in [UnitState::Owner, released] {
        put_state(&mut source.rows, state);
        let refused = drop_unit(&mut source.rows, &UNIT, 100);
        assert!(matches!(refused, Err(MailError::NotOwner(Some(_)))));
    }
    let refused = append(&mut source.rows, &source.inbox, &new_message("one"), NOW);
    assert!(matches!(refused, Err(MailError::NotOwner(Some(_)))));
}

#[test]
fn seen_state_of_others_goes_along() {
    let mut source = Fixture::new();
    let mut destination = staged();
    source.append(source.inbox, "one");
    let other = bob();
    source.flag(
        Viewer::Other(&other),
        "1",
        FlagChange::Add,
        SystemFlags::SEEN,
    );
    let (reached, _) = round(&mut source, &mut destination, 0, &mut |_| {});
    assert_eq!(all_rows(&destination, Table::Seen).len(), 1);
    source.flag(Viewer::Owner, "1", FlagChange::Add, SystemFlags::DELETED);
    crate::mail::expunge(&mut source.rows, &source.inbox, None, NOW).unwrap();
    round(&mut source, &mut destination, reached, &mut |_| {});
    assert_eq!(all_rows(&destination, Table::Seen), []);
    assert_equal(&source, &mut destination);
}
