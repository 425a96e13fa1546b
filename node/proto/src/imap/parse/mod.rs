//! Parsers of commands, a file for each family of verbs (RFC 3501 section 6).
//!
//! They work on complete commands: [`super::server::Reader`] has already gathered the literals and
//! enforced all sizes.

mod acl;
mod append;
mod fetch;
pub(crate) mod input;
mod list;
mod mailbox;
mod search;
mod session;
mod store;

#[cfg(test)]
mod tests;

use bytes::Bytes;

pub(crate) use append::{AppendArguments, append_arguments, is_append};
pub(crate) use input::is_astring_char;
pub(crate) use session::decode as decode_base64;

use input::{Input, Parsed, is_atom_char, is_tag_char};

use super::command::Command;

/// Longest tag.
pub(crate) const TAG_BYTES_MAX: usize = 128;

/// Longest verb that is looked up; a longer one is [`Command::Other`].
const VERB_BYTES_MAX: usize = 16;

/// A command that cannot be obeyed.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct BadCommand {
    pub(crate) tag: Option<Bytes>,
    pub(crate) text: &'static str,
}

/// Parses a complete command, its line end included.
pub(crate) fn command(raw: &Bytes) -> Result<(Bytes, Command), BadCommand> {
    let Some(tag) = tag(raw) else {
        let text = if matches!(raw.as_ref(), b"\r\n" | b"\n") {
            "empty line"
        } else {
            "invalid tag"
        };
        return Err(BadCommand { tag: None, text });
    };
    let rest = raw.slice(tag.len()..);
    let mut input = Input::new(&rest);
    let parsed = body(&mut input);
    match parsed {
        Ok(command) => Ok((tag, command)),
        Err(text) => Err(BadCommand {
            tag: Some(tag),
            text,
        }),
    }
}

/// The tag with which a line begins, if it begins with one.
pub(crate) fn tag(line: &Bytes) -> Option<Bytes> {
    tag_length(line).map(|length| line.slice(..length))
}

/// Length of the tag with which a line begins, if it begins with one.
pub(crate) fn tag_length(line: &[u8]) -> Option<usize> {
    let head = &line[..line.len().min(TAG_BYTES_MAX + 1)];
    let length = head.iter().position(|byte| !is_tag_char(*byte))?;
    (length > 0 && matches!(head[length], b' ' | b'\r' | b'\n')).then_some(length)
}

/// Everything after the tag.
fn body(input: &mut Input<'_>) -> Parsed<Command> {
    input.expect(b' ', "command missing")?;
    let mut buffer = [0; VERB_BYTES_MAX];
    let (verb, verb_length) = verb(input, &mut buffer)?;
    let command = match verb {
        b"CAPABILITY" => Command::Capability,
        b"NOOP" => Command::Noop,
        b"LOGOUT" => Command::Logout,
        b"STARTTLS" => Command::StartTls,
        b"NAMESPACE" => Command::Namespace,
        b"CHECK" => Command::Check,
        b"CLOSE" => Command::Close,
        b"UNSELECT" => Command::Unselect,
        b"IDLE" => Command::Idle,
        b"EXPUNGE" => Command::Expunge { uids: None },
        b"ID" => session::id(input)?,
        b"AUTHENTICATE" => session::authenticate(input)?,
        b"LOGIN" => session::login(input)?,
        b"ENABLE" => session::enable(input)?,
        b"SELECT" => Command::Select(mailbox::select(input)?),
        b"EXAMINE" => Command::Examine(mailbox::select(input)?),
        b"CREATE" => mailbox::create(input)?,
        b"DELETE" => Command::Delete {
            mailbox: mailbox::name(input)?,
        },
        b"RENAME" => mailbox::rename(input)?,
        b"SUBSCRIBE" => Command::Subscribe {
            mailbox: mailbox::name(input)?,
        },
        b"UNSUBSCRIBE" => Command::Unsubscribe {
            mailbox: mailbox::name(input)?,
        },
        b"STATUS" => mailbox::status(input)?,
        b"LIST" => list::list(input)?,
        b"LSUB" => list::lsub(input)?,
        b"APPEND" => return Err(append::refusal(input)),
        b"SEARCH" => search::search(input, false)?,
        b"FETCH" => fetch::fetch(input, false)?,
        b"STORE" => store::store(input, false)?,
        b"COPY" => Command::Copy(store::copy(input, false)?),
        b"MOVE" => Command::Move(store::copy(input, false)?),
        b"UID" => uid(input)?,
        b"SETACL" => acl::set(input)?,
        b"DELETEACL" => acl::delete(input)?,
        b"GETACL" => Command::GetAcl {
            mailbox: mailbox::name(input)?,
        },
        b"LISTRIGHTS" => acl::list_rights(input)?,
        b"MYRIGHTS" => Command::MyRights {
            mailbox: mailbox::name(input)?,
        },
        b"XFER" => acl::xfer(input)?,
        _ => return other(input, b"", verb_length),
    };
    input.end()?;
    Ok(command)
}

/// Commands with `UID ` before them.
fn uid(input: &mut Input<'_>) -> Parsed<Command> {
    input.space()?;
    let mut buffer = [0; VERB_BYTES_MAX];
    let (verb, verb_length) = verb(input, &mut buffer)?;
    match verb {
        b"FETCH" => fetch::fetch(input, true),
        b"STORE" => store::store(input, true),
        b"SEARCH" => search::search(input, true),
        b"COPY" => store::copy(input, true).map(Command::Copy),
        b"MOVE" => store::copy(input, true).map(Command::Move),
        b"EXPUNGE" => store::uid_expunge(input),
        _ => other(input, b"UID ", verb_length),
    }
}

/// The next verb in upper case, and its length; the input then stands behind it.
fn verb<'b>(
    input: &mut Input<'_>,
    buffer: &'b mut [u8; VERB_BYTES_MAX],
) -> Parsed<(&'b [u8], usize)> {
    let rest = input.rest();
    let length = rest
        .iter()
        .position(|byte| !is_atom_char(*byte))
        .unwrap_or(rest.len());
    if length == 0 {
        return Err("command missing");
    }
    input.atom()?;
    let Some(verb) = buffer.get_mut(..length) else {
        return Ok((b"", length));
    };
    verb.copy_from_slice(&rest[..length]);
    verb.make_ascii_uppercase();
    Ok((verb, length))
}

/// A verb that is not known here. The input stands behind it.
fn other(input: &mut Input<'_>, prefix: &[u8], verb_length: usize) -> Parsed<Command> {
    let verb = input.behind(verb_length);
    let verb = [prefix, &verb.to_ascii_uppercase()].concat();
    if !matches!(input.peek(), Some(b' ' | b'\r' | b'\n')) {
        return Err("invalid character in the command's name");
    }
    input.eat(b' ');
    let arguments = input.arguments();
    input.end()?;
    Ok(Command::Other {
        verb: verb.into(),
        arguments,
    })
}
