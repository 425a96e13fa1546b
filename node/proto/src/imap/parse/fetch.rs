//! `FETCH` (RFC 3501 6.4.5, RFC 7162 3.1.4).

use super::input::{Input, Parsed, WORD_BYTES_MAX};
use crate::imap::command::{
    Command, Fetch, FetchItem, Partial, SECTION_DEPTH_MAX, Section, SectionText,
};

/// `SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")")
/// [SP fetch-modifiers]`.
pub(super) fn fetch(input: &mut Input<'_>, uid: bool) -> Parsed<Command> {
    input.space()?;
    let set = input.sequence_set()?;
    input.space()?;
    let items = match input.peek() {
        Some(b'(') => input.list(false, item)?,
        _ => macro_or_item(input)?,
    };
    let mut fetch = Fetch {
        uid,
        set,
        items,
        changed_since: None,
        vanished: false,
    };
    if input.eat(b' ') && input.peek() == Some(b'(') {
        modifiers(input, &mut fetch)?;
    }
    Ok(Command::Fetch(fetch))
}

/// Macros stand alone, never in a list.
fn macro_or_item(input: &mut Input<'_>) -> Parsed<Vec<FetchItem>> {
    use FetchItem::{Body, Envelope, Flags, InternalDate, Rfc822Size};
    let mut buffer = [0; WORD_BYTES_MAX];
    Ok(match input.word(&mut buffer) {
        b"ALL" => vec![Flags, InternalDate, Rfc822Size, Envelope],
        b"FAST" => vec![Flags, InternalDate, Rfc822Size],
        b"FULL" => vec![Flags, InternalDate, Rfc822Size, Envelope, Body],
        word => vec![item_named(input, word)?],
    })
}

fn item(input: &mut Input<'_>) -> Parsed<FetchItem> {
    let mut buffer = [0; WORD_BYTES_MAX];
    let word = input.word(&mut buffer);
    item_named(input, word)
}

/// `fetch-att`, its name already read.
fn item_named(input: &mut Input<'_>, word: &[u8]) -> Parsed<FetchItem> {
    Ok(match word {
        b"BODY" if input.peek() == Some(b'[') => body_section(input, false)?,
        b"BODY.PEEK" => body_section(input, true)?,
        b"BODY" => FetchItem::Body,
        b"BODYSTRUCTURE" => FetchItem::BodyStructure,
        b"ENVELOPE" => FetchItem::Envelope,
        b"FLAGS" => FetchItem::Flags,
        b"INTERNALDATE" => FetchItem::InternalDate,
        b"MODSEQ" => FetchItem::ModSeq,
        b"RFC822" => FetchItem::Rfc822,
        b"RFC822.HEADER" => FetchItem::Rfc822Header,
        b"RFC822.SIZE" => FetchItem::Rfc822Size,
        b"RFC822.TEXT" => FetchItem::Rfc822Text,
        b"UID" => FetchItem::Uid,
        _ => return Err("unknown fetch item"),
    })
}

/// `section ["<" number "." nz-number ">"]`.
fn body_section(input: &mut Input<'_>, peek: bool) -> Parsed<FetchItem> {
    input.expect(b'[', "[ expected")?;
    let section = section(input)?;
    input.expect(b']', "invalid section")?;
    let partial = if input.eat(b'<') {
        let offset = input.number()?;
        input.expect(b'.', "invalid partial")?;
        let length = input.nz_number()?;
        input.expect(b'>', "invalid partial")?;
        Some(Partial { offset, length })
    } else {
        None
    };
    Ok(FetchItem::BodySection {
        peek,
        section,
        partial,
    })
}

/// `section-spec`.
fn section(input: &mut Input<'_>) -> Parsed<Section> {
    let mut section = Section::default();
    while let Some(b'0'..=b'9') = input.peek() {
        if section.path.len() == SECTION_DEPTH_MAX {
            return Err("section too deep");
        }
        section.path.push(input.nz_number()?);
        if !input.eat(b'.') {
            return Ok(section);
        }
    }
    if section.path.is_empty() && input.peek() == Some(b']') {
        return Ok(section);
    }
    let mut buffer = [0; WORD_BYTES_MAX];
    section.text = Some(match input.word(&mut buffer) {
        b"HEADER" => SectionText::Header,
        b"HEADER.FIELDS" => SectionText::HeaderFields(field_names(input)?),
        b"HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(field_names(input)?),
        b"TEXT" => SectionText::Text,
        b"MIME" if !section.path.is_empty() => SectionText::Mime,
        _ => return Err("invalid section"),
    });
    Ok(section)
}

fn field_names(input: &mut Input<'_>) -> Parsed<Vec<bytes::Bytes>> {
    input.space()?;
    input.list(false, Input::astring)
}

/// `"(" fetch-modifier *(SP fetch-modifier) ")"`; `VANISHED` is for `UID FETCH` with
/// `CHANGEDSINCE` only (RFC 7162 3.2.6).
fn modifiers(input: &mut Input<'_>, fetch: &mut Fetch) -> Parsed<()> {
    input.list(false, |input| {
        let mut buffer = [0; WORD_BYTES_MAX];
        match input.word(&mut buffer) {
            b"CHANGEDSINCE" => {
                input.space()?;
                fetch.changed_since = Some(input.number64()?);
            }
            b"VANISHED" => fetch.vanished = true,
            _ => return Err("unknown fetch modifier"),
        }
        Ok(())
    })?;
    if fetch.vanished && (fetch.changed_since.is_none() || !fetch.uid) {
        return Err("VANISHED needs UID FETCH with CHANGEDSINCE");
    }
    Ok(())
}
