//! Values in responses, as a tree (RFC 3501 section 4).

use bytes::Bytes;

use crate::imap::parse::input::{Input, Parsed};

/// How deep lists may nest. A body structure of 64 levels needs two for each.
pub const VALUE_DEPTH_MAX: usize = 160;

/// Anything that may stand in a response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// A word: `\Seen`, `MODSEQ`.
    Atom(Bytes),
    /// A string, quoted or literal.
    String(Bytes),
    /// A list in parentheses.
    List(Vec<Self>),
    /// `NIL`.
    Nil,
    /// A number.
    Number(u64),
}

impl Value {
    /// The bytes of an atom or string.
    pub const fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Atom(bytes) | Self::String(bytes) => Some(bytes),
            Self::List(_) | Self::Nil | Self::Number(_) => None,
        }
    }

    /// The values of a list.
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// The number.
    pub const fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// The next value.
pub(super) fn parse(input: &mut Input<'_>) -> Parsed<Value> {
    nested(input, 0)
}

fn nested(input: &mut Input<'_>, depth: usize) -> Parsed<Value> {
    match input.peek() {
        Some(b'(') => list(input, depth + 1).map(Value::List),
        Some(b'"' | b'{') => input.binary_string().map(Value::String),
        Some(b'~') if input.rest().starts_with(b"~{") => {
            input.eat(b'~');
            input.binary_string().map(Value::String)
        }
        _ => {
            let word = input.value_word()?;
            if word.eq_ignore_ascii_case(b"NIL") {
                return Ok(Value::Nil);
            }
            let number = std::str::from_utf8(&word)
                .ok()
                .filter(|word| !word.starts_with('+'));
            Ok(match number.and_then(|word| word.parse().ok()) {
                Some(number) => Value::Number(number),
                None => Value::Atom(word),
            })
        }
    }
}

/// Values in parentheses. Between lists there may be no space (`body-type-mpart`).
fn list(input: &mut Input<'_>, depth: usize) -> Parsed<Vec<Value>> {
    if depth > VALUE_DEPTH_MAX {
        return Err("lists nested too deep");
    }
    input.expect(b'(', "( expected")?;
    let mut values = Vec::new();
    loop {
        while input.eat(b' ') {}
        if input.eat(b')') {
            return Ok(values);
        }
        values.push(nested(input, depth)?);
    }
}
