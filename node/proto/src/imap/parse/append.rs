//! `APPEND` up to its message (RFC 3501 6.3.11).
//!
//! The reader asks at each literal of an `APPEND` whether it is the message, which is streamed, or
//! the mailbox's name, which is gathered like any other argument.

use bytes::Bytes;
use murder_model::InternalDate;

use super::input::{Input, Parsed, Refusal};
use super::mailbox::name;
use super::tag_length;

/// What stands before a literal of an `APPEND`.
pub(crate) enum AppendArguments {
    /// Not yet the mailbox: the literal is its name.
    MailboxIsLiteral,
    /// All of it: the literal is the message.
    Complete {
        /// Mailbox to append to.
        mailbox: Bytes,
        /// Flags as sent.
        flags: Vec<Bytes>,
        /// Internal date.
        date: Option<InternalDate>,
    },
}

/// Whether the command that begins in `head` is `APPEND`.
pub(crate) fn is_append(head: &[u8]) -> bool {
    let Some(tag) = tag_length(head) else {
        return false;
    };
    matches!(head.get(tag..tag + VERB.len()), Some(verb) if verb.eq_ignore_ascii_case(VERB))
}

const VERB: &[u8] = b" APPEND ";

/// `mailbox [SP flag-list] [SP date-time] SP`, the literal's `{` being next. `head` begins with the
/// tag and ends before that `{`.
pub(crate) fn append_arguments(head: &Bytes) -> Parsed<AppendArguments> {
    let tag = tag_length(head).ok_or("invalid tag")?;
    let arguments = head.slice(tag + VERB.len() - 1..);
    let mut input = Input::new(&arguments);
    if arguments.as_ref() == b" " {
        return Ok(AppendArguments::MailboxIsLiteral);
    }
    let mailbox = name(&mut input)?;
    input.space()?;
    let (flags, date) = options(&mut input)?;
    if !input.rest().is_empty() {
        return Err("message must be a literal");
    }
    Ok(AppendArguments::Complete {
        mailbox,
        flags,
        date,
    })
}

fn options(input: &mut Input<'_>) -> Parsed<(Vec<Bytes>, Option<InternalDate>)> {
    let mut flags = Vec::new();
    let mut date = None;
    if input.peek() == Some(b'(') {
        flags = input.flag_list()?;
        input.space()?;
    }
    if input.peek() == Some(b'"') {
        date = Some(input.date_time()?);
        input.space()?;
    }
    Ok((flags, date))
}

/// Why an `APPEND` that ends without a message is bad.
pub(super) fn refusal(input: &mut Input<'_>) -> Refusal {
    let parsed = name(input)
        .and_then(|_| input.space())
        .and_then(|()| options(input));
    match parsed {
        Ok(_) => "message must be a literal",
        Err(refusal) => refusal,
    }
}
