//! The scanner: one pass over the lines of a message with a stack of open entities.
//!
//! A line that equals the delimiter of an open multipart (RFC 2046 section 5.1.1; white space may
//! follow, nothing else) ends whatever is open inside of it, innermost boundaries first. All else
//! happens at the empty line that ends a header: there the header is interpreted and says whether
//! parts, or another message, follow.

use std::ops::Range;

use memchr::memchr;

use super::address::addresses;
use super::header::{Field, fields, is_empty_line, unfold};
use super::media::{disposition, languages, mechanism, media, parameter};
use super::{
    ADDRESSES_MAX, Address, BOUNDARY_BYTES_MAX, Content, DEPTH_MAX, Envelope, HEADER_BYTES_MAX,
    HEADERS_BYTES_MAX, Media, PARTS_MAX, Part, SentDate, Structure,
};

/// Finds the parts of a message and interprets their headers.
pub fn scan(message: &[u8]) -> Structure {
    let mut scanner = Scanner::new(message);
    scanner.run();
    let sent = scanner.envelope.date.as_deref().and_then(SentDate::parse);
    Structure {
        bytes: message.len() as u64,
        envelope: scanner.envelope,
        sent,
        parts: scanner.parts,
    }
}

/// An entity whose end has not been seen.
struct Open {
    /// Its index.
    part: usize,
    /// What its header belongs to.
    role: Role,
    in_header: bool,
    /// Line feeds before its body.
    lines_before: u64,
    /// What delimits its parts; gone after the last one.
    boundary: Option<Vec<u8>>,
    /// A delimiter of its own was seen.
    delimited: bool,
}

#[derive(Clone, Copy)]
enum Role {
    /// The message's own entity.
    Top,
    /// The entity of the message inside of this part.
    Nested(usize),
    /// A body part.
    BodyPart,
}

struct Scanner<'a> {
    message: &'a [u8],
    parts: Vec<Part>,
    envelope: Envelope,
    open: Vec<Open>,
    header_bytes_left: usize,
    addresses_left: usize,
}

/// A line, and how many line feeds come before it.
struct Line {
    range: Range<usize>,
    lines_before: u64,
}

impl<'a> Scanner<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self {
            message,
            parts: Vec::new(),
            envelope: Envelope::default(),
            open: Vec::new(),
            header_bytes_left: HEADERS_BYTES_MAX,
            addresses_left: ADDRESSES_MAX,
        }
    }

    fn run(&mut self) {
        self.enter(Role::Top, 0, Media::default());
        let length = self.message.len();
        let mut lines_before = 0;
        let mut start = 0;
        while start < length {
            let feed = memchr(b'\n', &self.message[start..]);
            let end = feed.map_or(length, |feed| start + feed + 1);
            self.line(&Line {
                range: start..end,
                lines_before,
            });
            lines_before += u64::from(feed.is_some());
            start = end;
        }
        let end = Line {
            range: length..length,
            lines_before,
        };
        self.close(0, &end, length, lines_before);
    }

    fn line(&mut self, line: &Line) {
        let text = &self.message[line.range.clone()];
        if let Some((level, last)) = self.delimiter(text) {
            // The line break before a delimiter belongs to it.
            let mut end = line.range.start;
            let before = &self.message[..end];
            if before.ends_with(b"\n") {
                end -= if before.ends_with(b"\r\n") { 2 } else { 1 };
            }
            self.close(level + 1, line, end, line.lines_before.saturating_sub(1));
            let open = &mut self.open[level];
            open.delimited = true;
            if last {
                open.boundary = None;
            } else {
                let parent = open.part;
                let media = self.default_media(parent);
                self.enter_child(parent, Role::BodyPart, line.range.end, media);
            }
        } else if is_empty_line(text) && self.open.last().is_some_and(|open| open.in_header) {
            self.end_header(line.range.end, line.lines_before + 1);
        }
    }

    /// The level of the open multipart that `line` delimits, and whether it ends it.
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        let line = line.strip_prefix(b"--")?.trim_ascii_end();
        let ended = line.strip_suffix(b"--");
        let full = self.parts.len() >= PARTS_MAX;
        self.open
            .iter()
            .enumerate()
            .rev()
            .find_map(|(level, open)| {
                let boundary = open.boundary.as_deref()?;
                if line == boundary {
                    // Without room for another part the line is content of this one.
                    (!full).then_some((level, false))
                } else {
                    (ended == Some(boundary)).then_some((level, true))
                }
            })
    }

    fn default_media(&self, parent: usize) -> Media {
        if self.parts[parent].media.is_exactly("multipart", "digest") {
            Media::new("MESSAGE", "RFC822")
        } else {
            Media::default()
        }
    }

    fn enter(&mut self, role: Role, start: usize, media: Media) {
        let at = start as u64;
        let part = Part {
            header: at..at,
            body: at..at,
            media,
            ..Part::default()
        };
        self.open.push(Open {
            part: self.parts.len(),
            role,
            in_header: true,
            lines_before: 0,
            boundary: None,
            delimited: false,
        });
        self.parts.push(part);
    }

    fn enter_child(&mut self, parent: usize, role: Role, start: usize, media: Media) {
        self.adopt(parent);
        self.enter(role, start, media);
    }

    /// Makes the next part a child of `parent`.
    fn adopt(&mut self, parent: usize) {
        let next = u32::try_from(self.parts.len()).expect("parts are few");
        match &mut self.parts[parent].content {
            Content::Multipart(children) => children.push(next),
            Content::Message { root, .. } => *root = next,
            Content::Leaf => {}
        }
    }

    /// Interprets the header of the innermost entity; its body begins at `end`.
    fn end_header(&mut self, end: usize, lines_before: u64) {
        let full = self.open.len() >= DEPTH_MAX || self.parts.len() >= PARTS_MAX;
        let Some(open) = self.open.last_mut() else {
            return;
        };
        open.in_header = false;
        open.lines_before = lines_before;
        let (index, role) = (open.part, open.role);
        let part = &mut self.parts[index];
        let start = part.header.start as usize;
        part.header.end = end as u64;
        part.body = end as u64..end as u64;

        let bytes = (end - start)
            .min(HEADER_BYTES_MAX)
            .min(self.header_bytes_left);
        self.header_bytes_left -= bytes;
        let header = &self.message[start..start + bytes];
        fill(part, header);
        let container = part.media.is("multipart") || part.media.is_exactly("message", "rfc822");
        if container && full {
            part.media = Media::new("APPLICATION", "OCTET-STREAM");
        } else if part.media.is("multipart") {
            part.content = Content::Multipart(Vec::new());
            let boundary = parameter(&part.media.parameters, "boundary").unwrap_or_default();
            let boundary = boundary.trim_ascii_end();
            if (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len()) {
                open.boundary = Some(boundary.to_vec());
            }
        } else if container {
            part.content = Content::Message {
                envelope: Box::default(),
                root: 0,
            };
            self.enter_child(index, Role::Nested(index), end, Media::default());
        }
        match role {
            Role::Top => self.envelope = envelope(header, &mut self.addresses_left),
            Role::Nested(parent) => {
                let read = envelope(header, &mut self.addresses_left);
                if let Content::Message { envelope, .. } = &mut self.parts[parent].content {
                    **envelope = read;
                }
            }
            Role::BodyPart => {}
        }
    }

    /// Ends all entities from `level` inwards: bodies at `end`, headers without an empty line
    /// where `line` begins. `lines` line feeds come before `end`.
    fn close(&mut self, level: usize, line: &Line, end: usize, lines: u64) {
        while self.open.len() > level {
            if self.open.last().is_some_and(|open| open.in_header) {
                self.end_header(line.range.start, line.lines_before);
                continue;
            }
            let Some(open) = self.open.pop() else { return };
            let full = self.parts.len() >= PARTS_MAX;
            let part = &mut self.parts[open.part];
            part.body.end = part.body.start.max(end as u64);
            part.lines = lines.saturating_sub(open.lines_before);
            let empty = matches!(&part.content, Content::Multipart(parts) if parts.is_empty());
            if empty && full {
                part.content = Content::Leaf;
                part.media = Media::new("APPLICATION", "OCTET-STREAM");
            } else if empty {
                self.invent_child(&open);
            }
        }
    }

    /// Gives a multipart without parts the one that IMAP demands.
    fn invent_child(&mut self, open: &Open) {
        let Part { body, lines, .. } = &self.parts[open.part];
        let start = body.start;
        let mut child = Part {
            header: start..start,
            body: start..start,
            ..Part::default()
        };
        if !open.delimited {
            child.body = body.clone();
            child.lines = *lines;
        }
        self.adopt(open.part);
        self.parts.push(child);
    }
}

/// Sets what the fields of a header say about a part; the first of each name counts.
fn fill(part: &mut Part, header: &[u8]) {
    let text = |field: &Field<'_>| Some(unfold(field.value).into_owned());
    let mut typed = false;
    for field in fields(header) {
        let Some(rest) = strip_prefix_ignore_case(field.name, b"content-") else {
            continue;
        };
        match &rest.to_ascii_lowercase()[..] {
            b"type" if !typed => {
                typed = true;
                part.media = media(&unfold(field.value)).unwrap_or_default();
            }
            b"id" if part.id.is_none() => part.id = text(&field),
            b"description" if part.description.is_none() => part.description = text(&field),
            b"transfer-encoding" if part.encoding.is_none() => {
                part.encoding = mechanism(&unfold(field.value));
            }
            b"md5" if part.md5.is_none() => part.md5 = text(&field),
            b"disposition" if part.disposition.is_none() => {
                part.disposition = disposition(&unfold(field.value));
            }
            b"language" if part.languages.is_empty() => {
                part.languages = languages(&unfold(field.value));
            }
            b"location" if part.location.is_none() => part.location = text(&field),
            _ => {}
        }
    }
}

fn strip_prefix_ignore_case<'a>(name: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Reads an envelope. Of texts the first field counts; address fields add up.
fn envelope(header: &[u8], room: &mut usize) -> Envelope {
    let mut envelope = Envelope::default();
    let first = |slot: &mut Option<Vec<u8>>, field: &Field<'_>| {
        if slot.is_none() {
            *slot = Some(unfold(field.value).into_owned());
        }
    };
    let mut add = |list: &mut Vec<Address>, field: &Field<'_>| {
        addresses(&unfold(field.value), room, list);
    };
    for field in fields(header) {
        match &field.name.to_ascii_lowercase()[..] {
            b"date" => first(&mut envelope.date, &field),
            b"subject" => first(&mut envelope.subject, &field),
            b"from" => add(&mut envelope.from, &field),
            b"sender" => add(&mut envelope.sender, &field),
            b"reply-to" => add(&mut envelope.reply_to, &field),
            b"to" => add(&mut envelope.to, &field),
            b"cc" => add(&mut envelope.cc, &field),
            b"bcc" => add(&mut envelope.bcc, &field),
            b"in-reply-to" => first(&mut envelope.in_reply_to, &field),
            b"message-id" => first(&mut envelope.message_id, &field),
            _ => {}
        }
    }
    envelope
}
