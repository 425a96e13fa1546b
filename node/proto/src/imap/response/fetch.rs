//! `* n FETCH (…)` (RFC 3501 7.4.2, RFC 7162).

use bytes::BufMut;
use murder_model::{InternalDate, Keyword, SystemFlags};

use super::text::{astring, date_time, flag_list, literal_header, number};
use crate::imap::command::{Section, SectionText};

/// Writes the items of one FETCH response, with spaces between them. It does not hold the buffer,
/// so that content may leave it in pieces in between.
#[derive(Debug)]
#[must_use = "a response that is begun must be ended"]
pub struct FetchWriter {
    first: bool,
}

impl FetchWriter {
    /// `* n FETCH (`.
    pub fn begin(out: &mut impl BufMut, sequence_number: u32) -> Self {
        out.put_slice(b"* ");
        number(out, sequence_number);
        out.put_slice(b" FETCH (");
        Self { first: true }
    }

    /// Whether nothing was written yet.
    pub const fn is_empty(&self) -> bool {
        self.first
    }

    /// The name of an item and a space; its value must follow.
    pub fn item(&mut self, out: &mut impl BufMut, name: &str) {
        self.separate(out);
        out.put_slice(name.as_bytes());
        out.put_u8(b' ');
    }

    /// `UID n`.
    pub fn uid(&mut self, out: &mut impl BufMut, uid: u32) {
        self.item(out, "UID");
        number(out, uid);
    }

    /// `FLAGS (…)`.
    pub fn flags<'a>(
        &mut self,
        out: &mut impl BufMut,
        recent: bool,
        system: SystemFlags,
        keywords: impl IntoIterator<Item = &'a Keyword>,
    ) {
        self.item(out, "FLAGS");
        flag_list(out, recent, system, keywords);
    }

    /// `INTERNALDATE "…"`.
    pub fn internal_date(&mut self, out: &mut impl BufMut, date: InternalDate) {
        self.item(out, "INTERNALDATE");
        date_time(out, date);
    }

    /// `RFC822.SIZE n`.
    pub fn size(&mut self, out: &mut impl BufMut, size: u64) {
        self.item(out, "RFC822.SIZE");
        number(out, size);
    }

    /// `MODSEQ (n)`.
    pub fn mod_seq(&mut self, out: &mut impl BufMut, mod_seq: u64) {
        self.item(out, "MODSEQ");
        out.put_u8(b'(');
        number(out, mod_seq);
        out.put_u8(b')');
    }

    /// `BODY[section]<origin> {size}`; the content, `size` bytes, must follow. `origin` is the
    /// offset of a partial fetch.
    pub fn body(&mut self, out: &mut impl BufMut, asked: &Section, origin: Option<u32>, size: u64) {
        self.body_name(out, asked, origin);
        literal_header(out, size);
    }

    /// `BODY[section]<origin> NIL`: there is no such part.
    pub fn body_nil(&mut self, out: &mut impl BufMut, asked: &Section, origin: Option<u32>) {
        self.body_name(out, asked, origin);
        out.put_slice(b"NIL");
    }

    fn body_name(&mut self, out: &mut impl BufMut, asked: &Section, origin: Option<u32>) {
        self.separate(out);
        out.put_slice(b"BODY[");
        section(out, asked);
        out.put_u8(b']');
        if let Some(origin) = origin {
            out.put_u8(b'<');
            number(out, origin);
            out.put_u8(b'>');
        }
        out.put_u8(b' ');
    }

    /// `)` and the line end.
    pub fn end(self, out: &mut impl BufMut) {
        out.put_slice(b")\r\n");
    }

    fn separate(&mut self, out: &mut impl BufMut) {
        if !self.first {
            out.put_u8(b' ');
        }
        self.first = false;
    }
}

/// What stands between the brackets of `BODY[…]`.
pub fn section(out: &mut impl BufMut, section: &Section) {
    for (index, part) in section.path.iter().enumerate() {
        if index > 0 {
            out.put_u8(b'.');
        }
        number(out, *part);
    }
    let Some(text) = &section.text else { return };
    if !section.path.is_empty() {
        out.put_u8(b'.');
    }
    match text {
        SectionText::Header => out.put_slice(b"HEADER"),
        SectionText::Text => out.put_slice(b"TEXT"),
        SectionText::Mime => out.put_slice(b"MIME"),
        SectionText::HeaderFields(fields) => field_names(out, b"HEADER.FIELDS (", fields),
        SectionText::HeaderFieldsNot(fields) => field_names(out, b"HEADER.FIELDS.NOT (", fields),
    }
}

fn field_names(out: &mut impl BufMut, head: &[u8], fields: &[bytes::Bytes]) {
    out.put_slice(head);
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.put_u8(b' ');
        }
        astring(out, field);
    }
    out.put_u8(b')');
}
