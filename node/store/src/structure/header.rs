//! Header fields: RFC 5322 section 2.2, and header subsets of RFC 3501 section 6.4.5.
//!
//! A header ends with its first empty line. Lines end with LF; a CR before it belongs to the
//! line's end. A line without a colon is a field without a name.

use std::borrow::Cow;

use memchr::memchr;

/// One field of a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field<'a> {
    /// All of it, with folds and the last line end.
    pub raw: &'a [u8],
    /// Name without white space before the colon; empty if there is no colon.
    pub name: &'a [u8],
    /// What follows the colon, with folds and the last line end.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// Whether the field has this name.
    pub fn is(&self, name: &[u8]) -> bool {
        !self.name.is_empty() && self.name.eq_ignore_ascii_case(name)
    }
}

/// The fields of a header, up to its empty line or its end.
pub fn fields(header: &[u8]) -> Fields<'_> {
    Fields { rest: header }
}

/// See [`fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// What follows the last field: the empty line and whatever comes after it.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        if self.rest.is_empty() || is_empty_line(self.rest) {
            return None;
        }
        let mut end = line_length(self.rest);
        while matches!(self.rest.get(end), Some(b' ' | b'\t')) {
            end += line_length(&self.rest[end..]);
        }
        let (raw, rest) = self.rest.split_at(end);
        self.rest = rest;
        let (name, value) = match memchr(b':', raw) {
            Some(colon) => (raw[..colon].trim_ascii_end(), &raw[colon + 1..]),
            None => (&raw[..0], raw),
        };
        Some(Field { raw, name, value })
    }
}

/// Whether `line`, which may run on behind its end, is empty.
pub(super) fn is_empty_line(line: &[u8]) -> bool {
    line.starts_with(b"\n") || line.starts_with(b"\r\n")
}

fn line_length(bytes: &[u8]) -> usize {
    memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1)
}

/// A field's value on one line: folds become the white space that followed them (a tab there
/// becomes a space) and white space at both ends goes.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if memchr(b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut line = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(end) = memchr(b'\n', rest) {
        let piece = &rest[..end];
        line.extend_from_slice(piece.strip_suffix(b"\r").unwrap_or(piece));
        rest = &rest[end + 1..];
        if let Some(tail) = rest.strip_prefix(b"\t") {
            line.push(b' ');
            rest = tail;
        }
    }
    line.extend_from_slice(rest);
    Cow::Owned(line)
}

/// Appends the fields of `header` that are named in `names` (or, with `not`, the others), and the
/// empty line if the header has one: HEADER.FIELDS and HEADER.FIELDS.NOT.
pub fn filter_header<N: AsRef<[u8]>>(header: &[u8], names: &[N], not: bool, out: &mut Vec<u8>) {
    let mut all = fields(header);
    for field in all.by_ref() {
        if names.iter().any(|name| field.is(name.as_ref())) != not {
            out.extend_from_slice(field.raw);
        }
    }
    out.extend_from_slice(all.rest());
}
