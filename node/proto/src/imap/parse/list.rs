//! `LIST` and `LSUB` (RFC 3501 6.3.8, RFC 5258, RFC 5819, RFC 6154).

use super::input::{Input, Parsed, WORD_BYTES_MAX};
use super::mailbox::{name, status_item};
use crate::imap::command::{Command, List, ListReturn, ListSelection};

/// `[SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]`.
pub(super) fn list(input: &mut Input<'_>) -> Parsed<Command> {
    input.space()?;
    let mut list = List::default();
    if input.peek() == Some(b'(') {
        list.selection = selection(input)?;
        list.extended = true;
        input.space()?;
    }
    list.reference = input.astring()?;
    input.space()?;
    if input.peek() == Some(b'(') {
        list.patterns = input.list(false, Input::pattern)?;
        list.extended = true;
    } else {
        list.patterns.push(input.pattern()?);
    }
    if input.eat(b' ') && !matches!(input.peek(), Some(b'\r' | b'\n')) {
        list.returns = Some(returns(input)?);
        list.extended = true;
    }
    Ok(Command::List(list))
}

/// `list-select-opts`. `RECURSIVEMATCH` needs another option to refine (RFC 5258 3.1).
fn selection(input: &mut Input<'_>) -> Parsed<ListSelection> {
    let mut selection = ListSelection::default();
    input.list(true, |input| {
        let mut buffer = [0; WORD_BYTES_MAX];
        match input.word(&mut buffer) {
            b"SUBSCRIBED" => selection.subscribed = true,
            b"REMOTE" => selection.remote = true,
            b"RECURSIVEMATCH" => selection.recursive_match = true,
            b"SPECIAL-USE" => selection.special_use = true,
            _ => return Err("unknown selection option"),
        }
        Ok(())
    })?;
    if selection.recursive_match && !selection.subscribed && !selection.special_use {
        return Err("RECURSIVEMATCH needs another selection option");
    }
    Ok(selection)
}

/// `"RETURN" SP "(" [return-option *(SP return-option)] ")"`.
fn returns(input: &mut Input<'_>) -> Parsed<ListReturn> {
    let mut buffer = [0; WORD_BYTES_MAX];
    if input.word(&mut buffer) != b"RETURN" {
        return Err("RETURN expected");
    }
    input.space()?;
    let mut returns = ListReturn::default();
    input.list(true, |input| {
        let mut buffer = [0; WORD_BYTES_MAX];
        match input.word(&mut buffer) {
            b"SUBSCRIBED" => returns.subscribed = true,
            b"CHILDREN" => returns.children = true,
            b"SPECIAL-USE" => returns.special_use = true,
            b"STATUS" => {
                input.space()?;
                returns.status = Some(input.list(false, status_item)?);
            }
            _ => return Err("unknown return option"),
        }
        Ok(())
    })?;
    Ok(returns)
}

/// `SP mailbox SP list-mailbox`.
pub(super) fn lsub(input: &mut Input<'_>) -> Parsed<Command> {
    let reference = name(input)?;
    input.space()?;
    let pattern = input.pattern()?;
    Ok(Command::Lsub { reference, pattern })
}
