//! `SETACL`, `DELETEACL`, `LISTRIGHTS` (RFC 4314) and Cyrus' `XFER`.

use super::input::{Input, Parsed};
use super::mailbox::name;
use crate::imap::command::{AclMode, Command, SetAcl};

/// `SP mailbox SP identifier SP mod-rights`.
pub(super) fn set(input: &mut Input<'_>) -> Parsed<Command> {
    let mailbox = name(input)?;
    let identifier = name(input)?;
    let mut rights = name(input)?;
    let mode = match rights.first() {
        Some(b'+') => AclMode::Add,
        Some(b'-') => AclMode::Remove,
        _ => AclMode::Replace,
    };
    if mode != AclMode::Replace {
        rights = rights.slice(1..);
    }
    Ok(Command::SetAcl(SetAcl {
        mailbox,
        identifier,
        mode,
        rights,
    }))
}

/// `SP mailbox SP identifier`.
pub(super) fn delete(input: &mut Input<'_>) -> Parsed<Command> {
    Ok(Command::DeleteAcl {
        mailbox: name(input)?,
        identifier: name(input)?,
    })
}

/// `SP mailbox SP identifier`.
pub(super) fn list_rights(input: &mut Input<'_>) -> Parsed<Command> {
    Ok(Command::ListRights {
        mailbox: name(input)?,
        identifier: name(input)?,
    })
}

/// `SP mailbox SP server [SP partition]`.
pub(super) fn xfer(input: &mut Input<'_>) -> Parsed<Command> {
    let mailbox = name(input)?;
    let server = name(input)?;
    let more = input.eat(b' ') && !matches!(input.peek(), Some(b'\r' | b'\n'));
    let partition = if more { Some(input.astring()?) } else { None };
    Ok(Command::Xfer {
        mailbox,
        server,
        partition,
    })
}
