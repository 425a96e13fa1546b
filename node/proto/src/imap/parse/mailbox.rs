//! `SELECT`, `EXAMINE`, `CREATE`, `RENAME` and `STATUS` (RFC 3501 6.3, RFC 4466, RFC 6154,
//! RFC 7162), and the verbs whose only argument is a mailbox.

use bytes::Bytes;

use super::input::{Input, Parsed, WORD_BYTES_MAX};
use crate::imap::command::{Command, Create, Qresync, Rename, Select, StatusItem};

/// `SP mailbox`.
pub(super) fn name(input: &mut Input<'_>) -> Parsed<Bytes> {
    input.space()?;
    input.astring()
}

/// `SP mailbox [SP "(" select-param *(SP select-param) ")"]`.
pub(super) fn select(input: &mut Input<'_>) -> Parsed<Select> {
    let mailbox = name(input)?;
    let mut select = Select {
        mailbox,
        condstore: false,
        qresync: None,
    };
    if input.eat(b' ') && input.peek() == Some(b'(') {
        input.list(false, |input| {
            let mut buffer = [0; WORD_BYTES_MAX];
            match input.word(&mut buffer) {
                b"CONDSTORE" => select.condstore = true,
                b"QRESYNC" => select.qresync = Some(qresync(input)?),
                _ => return Err("unknown parameter"),
            }
            Ok(())
        })?;
    }
    Ok(select)
}

/// `SP "(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"`.
fn qresync(input: &mut Input<'_>) -> Parsed<Qresync> {
    input.space()?;
    input.expect(b'(', "( expected after QRESYNC")?;
    let uid_validity = input.nz_number()?;
    input.space()?;
    let mod_seq = input.number64()?;
    let mut qresync = Qresync {
        uid_validity,
        mod_seq,
        known_uids: None,
        sequence_match: None,
    };
    let mut more = input.eat(b' ');
    if more && input.peek() != Some(b'(') {
        qresync.known_uids = Some(input.sequence_set()?);
        more = input.eat(b' ');
    }
    if more {
        input.expect(b'(', "( expected in QRESYNC")?;
        let numbers = input.sequence_set()?;
        input.space()?;
        qresync.sequence_match = Some((numbers, input.sequence_set()?));
        input.expect(b')', ") expected in QRESYNC")?;
    }
    input.expect(b')', ") expected after QRESYNC")?;
    Ok(qresync)
}

/// `SP mailbox [SP "(" "USE" SP "(" attributes ")" ")"]`, or Cyrus' `SP mailbox SP partition`.
pub(super) fn create(input: &mut Input<'_>) -> Parsed<Command> {
    let mailbox = name(input)?;
    let mut create = Create {
        mailbox,
        special_use: Vec::new(),
        partition: None,
    };
    if input.eat(b' ') {
        match input.peek() {
            Some(b'(') => {
                input.list(false, |input| {
                    let mut buffer = [0; WORD_BYTES_MAX];
                    if input.word(&mut buffer) != b"USE" {
                        return Err("unknown parameter");
                    }
                    input.space()?;
                    create.special_use = input.list(true, special_use)?;
                    Ok(())
                })?;
            }
            Some(b'\r' | b'\n') => {}
            _ => create.partition = Some(input.astring()?),
        }
    }
    Ok(Command::Create(create))
}

fn special_use(input: &mut Input<'_>) -> Parsed<Bytes> {
    match input.peek() {
        Some(b'\\') => input.flag(),
        _ => Err("special use expected"),
    }
}

/// `SP mailbox SP mailbox [SP location]`.
pub(super) fn rename(input: &mut Input<'_>) -> Parsed<Command> {
    let from = name(input)?;
    let to = name(input)?;
    let more = input.eat(b' ') && !matches!(input.peek(), Some(b'\r' | b'\n'));
    let location = if more { Some(input.astring()?) } else { None };
    Ok(Command::Rename(Rename { from, to, location }))
}

/// `SP mailbox SP "(" status-att *(SP status-att) ")"`.
pub(super) fn status(input: &mut Input<'_>) -> Parsed<Command> {
    let mailbox = name(input)?;
    input.space()?;
    let items = input.list(false, status_item)?;
    Ok(Command::Status { mailbox, items })
}

/// `status-att`.
pub(super) fn status_item(input: &mut Input<'_>) -> Parsed<StatusItem> {
    let mut buffer = [0; WORD_BYTES_MAX];
    Ok(match input.word(&mut buffer) {
        b"MESSAGES" => StatusItem::Messages,
        b"RECENT" => StatusItem::Recent,
        b"UIDNEXT" => StatusItem::UidNext,
        b"UIDVALIDITY" => StatusItem::UidValidity,
        b"UNSEEN" => StatusItem::Unseen,
        b"HIGHESTMODSEQ" => StatusItem::HighestModSeq,
        b"SIZE" => StatusItem::Size,
        _ => return Err("unknown status item"),
    })
}
