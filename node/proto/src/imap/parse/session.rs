//! `ID`, `AUTHENTICATE`, `LOGIN` and `ENABLE` (RFC 2971, RFC 4959, RFC 3501 6.2, RFC 5161).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::input::{Input, Parsed};
use crate::imap::command::{Command, Secret};

/// Fields in one `ID` (RFC 2971 section 3.3).
const ID_FIELDS_MAX: usize = 30;

/// `id = "ID" SP id_params_list`.
pub(super) fn id(input: &mut Input<'_>) -> Parsed<Command> {
    input.space()?;
    if input.peek() != Some(b'(') {
        input.nil()?;
        return Ok(Command::Id(Vec::new()));
    }
    let fields = input.list(true, |input| {
        let name = input.string()?;
        input.space()?;
        Ok((name, input.nstring()?))
    })?;
    if fields.len() > ID_FIELDS_MAX {
        return Err("more than 30 fields in ID");
    }
    Ok(Command::Id(fields))
}

/// `authenticate = "AUTHENTICATE" SP auth-type [SP (base64 / "=")]`.
pub(super) fn authenticate(input: &mut Input<'_>) -> Parsed<Command> {
    input.space()?;
    let mechanism = input.atom()?;
    let initial = if input.eat(b' ') {
        let text = input.arguments();
        Some(decode(if text.as_ref() == b"=" { b"" } else { &text })?)
    } else {
        None
    };
    Ok(Command::Authenticate { mechanism, initial })
}

/// A SASL response in base64.
pub(crate) fn decode(text: &[u8]) -> Parsed<Secret> {
    STANDARD
        .decode(text)
        .map(Secret::new)
        .map_err(|_| "invalid base64")
}

/// `login = "LOGIN" SP userid SP password`.
pub(super) fn login(input: &mut Input<'_>) -> Parsed<Command> {
    input.space()?;
    let user = input.astring()?;
    input.space()?;
    let password = Secret::new(input.astring()?);
    Ok(Command::Login { user, password })
}

/// `enable = "ENABLE" 1*(SP capability)`.
pub(super) fn enable(input: &mut Input<'_>) -> Parsed<Command> {
    input.space()?;
    let mut capabilities = vec![input.atom()?];
    while input.eat(b' ') {
        if matches!(input.peek(), Some(b'\r' | b'\n')) {
            break;
        }
        if capabilities.len() == super::input::LIST_ITEMS_MAX {
            return Err("list too long");
        }
        capabilities.push(input.atom()?);
    }
    Ok(Command::Enable(capabilities))
}
