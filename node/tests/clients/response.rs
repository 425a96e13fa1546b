//! Answers to FETCH as a client with a strict parser reads them (RFC 3501 section 9).

use crate::harness::Client;

/// One value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Nil,
    Atom(String),
    Text(Vec<u8>),
    List(Vec<Self>),
}

impl Value {
    pub(crate) fn list(&self) -> &[Self] {
        match self {
            Self::List(values) => values,
            other => panic!("no list: {other:?}"),
        }
    }

    pub(crate) fn text(&self) -> &[u8] {
        match self {
            Self::Text(bytes) => bytes,
            Self::Nil => b"",
            other => panic!("no string: {other:?}"),
        }
    }

    pub(crate) fn number(&self) -> usize {
        match self {
            Self::Atom(digits) => digits.parse().unwrap(),
            other => panic!("no number: {other:?}"),
        }
    }
}

/// Reads one line to its end, with the literals in it.
fn read_response(client: &mut Client) -> Vec<u8> {
    let mut response = Vec::new();
    let mut line_start = 0;
    loop {
        let byte = client.bytes(1)[0];
        response.push(byte);
        if byte != b'\n' {
            continue;
        }
        let Some(length) = literal_length(&response[line_start..]) else {
            return response;
        };
        response.extend(client.bytes(length));
        line_start = response.len();
    }
}

/// The length at the end of a line that a literal follows.
fn literal_length(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}\r\n")?;
    let brace = line.iter().rposition(|&byte| byte == b'{')?;
    std::str::from_utf8(&line[brace + 1..]).ok()?.parse().ok()
}

/// `UID FETCH uid (items)`: the values of its one answer, in the order asked for.
pub(crate) fn fetch(client: &mut Client, uid: usize, items: &[&str]) -> Vec<Value> {
    let command = format!("t UID FETCH {uid} ({})\r\n", items.join(" "));
    client.send(command.as_bytes());
    let mut found = None;
    loop {
        let response = read_response(client);
        if response.starts_with(b"t ") {
            let shown = String::from_utf8_lossy(&response);
            assert!(response.starts_with(b"t OK "), "{command}: {shown}");
            break;
        }
        if let Some(values) = fetched(&response) {
            assert_eq!(found, None, "two answers to {command}");
            found = Some(values);
        }
    }
    let found = found.unwrap_or_else(|| panic!("no answer to {command}"));
    let values = items.iter().map(|item| {
        let name = item.replace(".PEEK", "");
        let mut pairs = found.chunks_exact(2);
        let pair = pairs.find(|pair| pair[0] == Value::Atom(name.clone()));
        pair.unwrap_or_else(|| panic!("{name} is not in the answer to {command}"))[1].clone()
    });
    values.collect()
}

/// The names and values of `* n FETCH (…)`.
fn fetched(response: &[u8]) -> Option<Vec<Value>> {
    let line = response.strip_prefix(b"* ")?;
    let space = line.iter().position(|&byte| byte == b' ')?;
    let rest = line[space..].strip_prefix(b" FETCH ")?;
    let mut parser = Parser { rest };
    let value = parser.value();
    assert_eq!(parser.rest, b"\r\n", "the answer ends with its list");
    Some(value.list().to_vec())
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl Parser<'_> {
    fn value(&mut self) -> Value {
        match self.rest.first().expect("a value") {
            b'(' => self.list(),
            b'"' => self.quoted(),
            b'{' => self.literal(),
            _ => self.atom(),
        }
    }

    fn list(&mut self) -> Value {
        self.rest = &self.rest[1..];
        let mut values = Vec::new();
        loop {
            match self.rest.first().expect("the end of a list") {
                b')' => {
                    self.rest = &self.rest[1..];
                    return Value::List(values);
                }
                // Bodies of a multipart stand side by side.
                b' ' if !values.is_empty() => {
                    self.rest = &self.rest[1..];
                    values.push(self.value());
                }
                b'(' if values.iter().all(|value| matches!(value, Value::List(_))) => {
                    values.push(self.value());
                }
                _ if values.is_empty() => values.push(self.value()),
                _ => panic!("no space: {}", self.rest.escape_ascii()),
            }
        }
    }

    fn quoted(&mut self) -> Value {
        let mut text = Vec::new();
        let mut at = 1;
        loop {
            match self.rest[at] {
                b'"' => break,
                b'\\' => {
                    at += 1;
                    assert!(matches!(self.rest[at], b'"' | b'\\'), "a needless escape");
                }
                b'\r' | b'\n' | 0 | 0x80.. => {
                    panic!("not for a quoted string: {}", self.rest.escape_ascii())
                }
                _ => {}
            }
            text.push(self.rest[at]);
            at += 1;
        }
        self.rest = &self.rest[at + 1..];
        Value::Text(text)
    }

    fn literal(&mut self) -> Value {
        let end = self.rest.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let length = literal_length(&self.rest[..end]).expect("a literal");
        let text = self.rest[end..end + length].to_vec();
        self.rest = &self.rest[end + length..];
        Value::Text(text)
    }

    fn atom(&mut self) -> Value {
        let mut in_section = false;
        let end = self.rest.iter().position(|&byte| match byte {
            b'[' => {
                in_section = true;
                false
            }
            b']' => {
                in_section = false;
                false
            }
            b' ' | b'(' | b')' => !in_section,
            b'\r' => true,
            _ => false,
        });
        let (atom, rest) = self.rest.split_at(end.expect("the end of an atom"));
        assert!(!atom.is_empty(), "a value: {}", rest.escape_ascii());
        self.rest = rest;
        let atom = String::from_utf8(atom.to_vec()).expect("an atom is ASCII");
        if atom == "NIL" {
            Value::Nil
        } else {
            Value::Atom(atom)
        }
    }
}
