//! Address lists: RFC 5322 section 3.4 with its obsolete forms, in the shape of RFC 3501's
//! address structures.
//!
//! A comment is taken as the name of an address that has no phrase (`joe@example.org (Joe)`). An
//! address without a domain has an empty host: RFC 3501 keeps NIL for groups.

use super::Address;
use super::lexer::Lexer;

/// Appends the addresses of an unfolded field; `room` counts down to zero, where it stops.
pub(super) fn addresses(value: &[u8], room: &mut usize, out: &mut Vec<Address>) {
    let mut list = List {
        lexer: Lexer::new(value),
        pending: Pending::default(),
        in_group: false,
    };
    // An address and the end of its group may come at once, and one end at the very end.
    while *room > 2 {
        let before = out.len();
        let more = list.step(out);
        *room = room.saturating_sub(out.len() - before);
        if !more {
            break;
        }
    }
    if list.in_group {
        out.push(Address::default());
        *room = room.saturating_sub(1);
    }
}

struct List<'a> {
    lexer: Lexer<'a>,
    pending: Pending,
    in_group: bool,
}

/// What was read since the last comma.
#[derive(Default)]
struct Pending {
    /// Words with one space where there was space.
    phrase: Vec<u8>,
    /// The same without spaces: an address, if it is one.
    spec: Spec,
    /// Space came after the last word.
    gap: bool,
    comment: Option<Vec<u8>>,
    /// What stood in angle brackets.
    angle: Option<Spec>,
}

impl Pending {
    fn word(&mut self, word: &[u8]) {
        if self.gap && !self.phrase.is_empty() {
            self.phrase.push(b' ');
        }
        self.gap = false;
        self.phrase.extend_from_slice(word);
        self.spec.text.extend_from_slice(word);
    }

    fn is_empty(&self) -> bool {
        self.phrase.is_empty() && self.spec.text.is_empty() && self.angle.is_none()
    }

    fn into_address(self) -> Option<Address> {
        let empty = self.is_empty() && !self.spec.quoted;
        let name = |name: Vec<u8>| Some(name).filter(|name| !name.is_empty());
        if let Some(angle) = self.angle {
            let mut address = angle.into_address();
            address.name = name(self.phrase).or(self.comment);
            Some(address)
        } else if empty {
            None
        } else {
            let without_domain = self.spec.at.is_none();
            let mut address = self.spec.into_address();
            if without_domain {
                address.mailbox = Some(self.phrase);
            }
            address.name = self.comment;
            Some(address)
        }
    }
}

/// `@route:local@domain` without spaces.
#[derive(Default)]
struct Spec {
    text: Vec<u8>,
    /// Where the last `@` outside of quotes stands.
    at: Option<usize>,
    route: Option<Vec<u8>>,
    quoted: bool,
}

impl Spec {
    fn into_address(self) -> Address {
        let (mailbox, host) = match self.at {
            Some(at) => (self.text[..at].to_vec(), self.text[at + 1..].to_vec()),
            None => (self.text, Vec::new()),
        };
        Address {
            name: None,
            route: self.route,
            mailbox: Some(mailbox),
            host: Some(host),
        }
    }
}

impl List<'_> {
    /// Reads one token; `false` at the end of the field.
    fn step(&mut self, out: &mut Vec<Address>) -> bool {
        let Some(byte) = self.lexer.peek() else {
            self.finish(out);
            return false;
        };
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                self.lexer.next();
                self.pending.gap = true;
            }
            b'(' => {
                let comment = self.lexer.comment();
                self.pending.gap = true;
                self.pending.comment = Some(comment.trim_ascii().to_vec());
            }
            b'"' => {
                let word = self.lexer.quoted();
                self.pending.spec.quoted = true;
                self.pending.word(&word);
            }
            b'[' if self.pending.spec.at.is_some() => {
                let literal = self.lexer.domain_literal();
                self.pending.word(literal);
            }
            b'<' if self.pending.angle.is_none() => {
                self.lexer.next();
                self.pending.angle = Some(self.angle());
            }
            _ => {
                self.lexer.next();
                self.separator(byte, out);
            }
        }
        true
    }

    fn separator(&mut self, byte: u8, out: &mut Vec<Address>) {
        let pending = &self.pending;
        match byte {
            b',' => self.finish(out),
            b':' if !self.in_group && pending.angle.is_none() && pending.spec.at.is_none() => {
                let name = std::mem::take(&mut self.pending).phrase;
                out.push(Address {
                    mailbox: Some(name),
                    ..Address::default()
                });
                self.in_group = true;
            }
            b';' => {
                self.finish(out);
                if std::mem::take(&mut self.in_group) {
                    out.push(Address::default());
                }
            }
            // Whatever stands behind the brackets is no part of the name.
            _ if pending.angle.is_some() => {}
            _ => {
                if byte == b'@' {
                    self.pending.spec.at = Some(self.pending.spec.text.len());
                }
                self.pending.word(&[byte]);
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<Address>) {
        out.extend(std::mem::take(&mut self.pending).into_address());
    }

    /// What stands in angle brackets; a comma outside of a route ends it as a bracket does.
    fn angle(&mut self) -> Spec {
        let mut spec = Spec::default();
        while let Some(byte) = self.lexer.peek() {
            match byte {
                b'"' => spec.text.extend(self.lexer.quoted()),
                b'(' => drop(self.lexer.comment()),
                b'[' => spec.text.extend_from_slice(self.lexer.domain_literal()),
                b',' if !spec.text.starts_with(b"@") => break,
                _ => {
                    self.lexer.next();
                    match byte {
                        b'>' => break,
                        b' ' | b'\t' | b'\r' | b'\n' => {}
                        b':' if spec.text.starts_with(b"@") && spec.route.is_none() => {
                            spec.route = Some(std::mem::take(&mut spec.text));
                            spec.at = None;
                        }
                        _ => {
                            if byte == b'@' {
                                spec.at = Some(spec.text.len());
                            }
                            spec.text.push(byte);
                        }
                    }
                }
            }
        }
        spec
    }
}
