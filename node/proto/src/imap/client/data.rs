//! Untagged data that nodes and tests look into (RFC 3501 7.2 to 7.4, RFC 5161, RFC 7162).

use bytes::Bytes;
use murder_model::UidSet;

use super::response::StatusResponse;
use super::value::{self, Value};
use crate::imap::parse::input::{Input, Parsed};

/// An untagged response, understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Data {
    /// `* OK`, `* BYE` and the like.
    Status(StatusResponse),
    /// `* CAPABILITY …`.
    Capability(Vec<Bytes>),
    /// `* ENABLED …`.
    Enabled(Vec<Bytes>),
    /// `* n EXISTS`.
    Exists(u32),
    /// `* n RECENT`.
    Recent(u32),
    /// `* n EXPUNGE`.
    Expunge(u32),
    /// `* n FETCH (…)`.
    Fetch(FetchItems),
    /// `* FLAGS (…)`.
    Flags(Vec<Bytes>),
    /// `* LIST …`.
    List(ListedMailbox),
    /// `* LSUB …`.
    Lsub(ListedMailbox),
    /// `* SEARCH …`.
    Search {
        /// Message numbers or UIDs.
        numbers: Vec<u32>,
        /// Highest modification sequence among them.
        mod_seq: Option<u64>,
    },
    /// `* STATUS mailbox (…)`.
    MailboxStatus(StatusNumbers),
    /// `* VANISHED …`.
    Vanished {
        /// `(EARLIER)`.
        earlier: bool,
        /// UIDs that are gone.
        uids: UidSet,
    },
    /// Any other, its values not looked into.
    Other {
        /// First word, in upper case.
        name: Bytes,
        /// The rest without the line end.
        rest: Bytes,
    },
}

/// Items of a FETCH response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchItems {
    /// Message sequence number.
    pub number: u32,
    /// Names as sent, with section and origin, and their values.
    pub items: Vec<(Bytes, Value)>,
}

impl FetchItems {
    /// The value of the item of that name.
    pub fn value(&self, name: &str) -> Option<&Value> {
        let mut items = self.items.iter();
        items
            .find(|(item, _)| item.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The UID, if it was told.
    pub fn uid(&self) -> Option<u32> {
        self.value("UID")?.number()?.try_into().ok()
    }

    /// The flags, if they were told.
    pub fn flags(&self) -> Option<Vec<&Bytes>> {
        Some(
            self.value("FLAGS")?
                .list()?
                .iter()
                .filter_map(Value::bytes)
                .collect(),
        )
    }

    /// The modification sequence, if it was told.
    pub fn mod_seq(&self) -> Option<u64> {
        self.value("MODSEQ")?.list()?.first()?.number()
    }
}

/// A mailbox in `LIST` or `LSUB`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedMailbox {
    /// Attributes as sent.
    pub attributes: Vec<Bytes>,
    /// Hierarchy delimiter.
    pub delimiter: Option<u8>,
    /// Name.
    pub mailbox: Bytes,
    /// Extended data (RFC 5258), if any.
    pub extended: Option<Value>,
}

/// Numbers of `STATUS`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusNumbers {
    /// Name.
    pub mailbox: Bytes,
    /// Items as sent, with their values.
    pub items: Vec<(Bytes, u64)>,
}

impl StatusNumbers {
    /// The number of that item.
    pub fn number(&self, name: &str) -> Option<u64> {
        let mut items = self.items.iter();
        items
            .find(|(item, _)| item.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, number)| *number)
    }
}

/// What follows `* `, up to the line end.
pub(super) fn parse(input: &mut Input<'_>) -> Parsed<Data> {
    if matches!(input.peek(), Some(b'0'..=b'9')) {
        return numbered(input);
    }
    let name = input.value_word()?.to_ascii_uppercase();
    Ok(match name.as_slice() {
        b"CAPABILITY" => Data::Capability(words(input)?),
        b"ENABLED" => Data::Enabled(words(input)?),
        b"FLAGS" => {
            input.space()?;
            Data::Flags(input.list(true, Input::value_word)?)
        }
        b"LIST" => Data::List(listed(input)?),
        b"LSUB" => Data::Lsub(listed(input)?),
        b"SEARCH" => search(input)?,
        b"STATUS" => Data::MailboxStatus(status(input)?),
        b"VANISHED" => vanished(input)?,
        _ => {
            input.eat(b' ');
            Data::Other {
                name: name.into(),
                rest: input.arguments(),
            }
        }
    })
}

fn numbered(input: &mut Input<'_>) -> Parsed<Data> {
    let number = input.number()?;
    input.space()?;
    let name = input.value_word()?.to_ascii_uppercase();
    Ok(match name.as_slice() {
        b"EXISTS" => Data::Exists(number),
        b"RECENT" => Data::Recent(number),
        b"EXPUNGE" => Data::Expunge(number),
        b"FETCH" => {
            input.space()?;
            Data::Fetch(FetchItems {
                number,
                items: fetch_items(input)?,
            })
        }
        _ => return Err("unknown data after a number"),
    })
}

fn fetch_items(input: &mut Input<'_>) -> Parsed<Vec<(Bytes, Value)>> {
    input.expect(b'(', "( expected after FETCH")?;
    let mut items = Vec::new();
    loop {
        while input.eat(b' ') {}
        if input.eat(b')') {
            return Ok(items);
        }
        let name = input.fetch_item_name()?;
        input.space()?;
        items.push((name, value::parse(input)?));
    }
}

fn words(input: &mut Input<'_>) -> Parsed<Vec<Bytes>> {
    let mut words = Vec::new();
    while input.eat(b' ') {
        if matches!(input.peek(), Some(b'\r' | b'\n')) {
            break;
        }
        words.push(input.value_word()?);
    }
    Ok(words)
}

fn listed(input: &mut Input<'_>) -> Parsed<ListedMailbox> {
    input.space()?;
    let attributes = input.list(true, Input::value_word)?;
    input.space()?;
    let delimiter = match value::parse(input)? {
        Value::Nil => None,
        Value::String(text) if text.len() == 1 => Some(text[0]),
        _ => return Err("delimiter expected"),
    };
    input.space()?;
    let mailbox = input.astring()?;
    let extended = if input.eat(b' ') {
        Some(value::parse(input)?)
    } else {
        None
    };
    Ok(ListedMailbox {
        attributes,
        delimiter,
        mailbox,
        extended,
    })
}

fn search(input: &mut Input<'_>) -> Parsed<Data> {
    let mut numbers = Vec::new();
    let mut mod_seq = None;
    while input.eat(b' ') {
        match input.peek() {
            Some(b'0'..=b'9') => numbers.push(input.number()?),
            Some(b'(') => match value::parse(input)? {
                Value::List(values) => mod_seq = values.get(1).and_then(Value::number),
                _ => return Err("MODSEQ expected"),
            },
            _ => break,
        }
    }
    Ok(Data::Search { numbers, mod_seq })
}

fn status(input: &mut Input<'_>) -> Parsed<StatusNumbers> {
    input.space()?;
    let mailbox = input.astring()?;
    input.space()?;
    let items = input.list(true, |input| {
        let name = input.value_word()?;
        input.space()?;
        Ok((name, input.number64()?))
    })?;
    Ok(StatusNumbers { mailbox, items })
}

fn vanished(input: &mut Input<'_>) -> Parsed<Data> {
    input.space()?;
    let mut earlier = false;
    if input.peek() == Some(b'(') {
        value::parse(input)?;
        earlier = true;
        input.space()?;
    }
    let set = input.value_word()?;
    let uids = std::str::from_utf8(&set)
        .ok()
        .and_then(|set| set.parse().ok());
    Ok(Data::Vanished {
        earlier,
        uids: uids.ok_or("invalid set of UIDs")?,
    })
}
