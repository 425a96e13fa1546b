//! `STORE`, `COPY`, `MOVE` and `UID EXPUNGE` (RFC 3501 6.4.6 and 6.4.7, RFC 6851, RFC 4315,
//! RFC 7162 3.1.3).

use super::input::{Input, LIST_ITEMS_MAX, Parsed, WORD_BYTES_MAX};
use super::mailbox::name;
use crate::imap::command::{Command, Copy, Store, StoreMode};

/// `SP sequence-set [SP store-modifiers] SP store-att-flags`.
pub(super) fn store(input: &mut Input<'_>, uid: bool) -> Parsed<Command> {
    input.space()?;
    let set = input.sequence_set()?;
    input.space()?;
    let mut unchanged_since = None;
    if input.peek() == Some(b'(') {
        input.list(false, |input| {
            let mut buffer = [0; WORD_BYTES_MAX];
            if input.word(&mut buffer) != b"UNCHANGEDSINCE" {
                return Err("unknown store modifier");
            }
            input.space()?;
            unchanged_since = Some(input.number64()?);
            Ok(())
        })?;
        input.space()?;
    }
    let (mode, silent) = item(input)?;
    input.space()?;
    let flags = flags(input)?;
    Ok(Command::Store(Store {
        uid,
        set,
        mode,
        silent,
        flags,
        unchanged_since,
    }))
}

/// `["+" / "-"] "FLAGS" [".SILENT"]`.
fn item(input: &mut Input<'_>) -> Parsed<(StoreMode, bool)> {
    let mut buffer = [0; WORD_BYTES_MAX];
    Ok(match input.word(&mut buffer) {
        b"FLAGS" => (StoreMode::Replace, false),
        b"FLAGS.SILENT" => (StoreMode::Replace, true),
        b"+FLAGS" => (StoreMode::Add, false),
        b"+FLAGS.SILENT" => (StoreMode::Add, true),
        b"-FLAGS" => (StoreMode::Remove, false),
        b"-FLAGS.SILENT" => (StoreMode::Remove, true),
        _ => return Err("unknown store item"),
    })
}

/// `flag-list / (flag *(SP flag))`.
fn flags(input: &mut Input<'_>) -> Parsed<Vec<bytes::Bytes>> {
    if input.peek() == Some(b'(') {
        return input.flag_list();
    }
    let mut flags = vec![input.flag()?];
    while input.eat(b' ') {
        if matches!(input.peek(), Some(b'\r' | b'\n')) {
            break;
        }
        if flags.len() == LIST_ITEMS_MAX {
            return Err("list too long");
        }
        flags.push(input.flag()?);
    }
    Ok(flags)
}

/// `SP sequence-set SP mailbox`.
pub(super) fn copy(input: &mut Input<'_>, uid: bool) -> Parsed<Copy> {
    input.space()?;
    let set = input.sequence_set()?;
    let mailbox = name(input)?;
    Ok(Copy { uid, set, mailbox })
}

/// `SP sequence-set`.
pub(super) fn uid_expunge(input: &mut Input<'_>) -> Parsed<Command> {
    input.space()?;
    Ok(Command::Expunge {
        uids: Some(input.sequence_set()?),
    })
}
