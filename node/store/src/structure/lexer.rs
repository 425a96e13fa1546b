//! The lexical tokens that structured fields share: RFC 5322 section 3.2, RFC 2045 section 5.1.
//!
//! Values are unfolded before they come here. Nothing is refused: what is not closed ends with
//! the value.

/// A place in an unfolded value.
pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.position += 1;
        Some(byte)
    }

    /// Steps over `byte` if it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    /// Steps over white space and comments.
    pub(super) fn skip_space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'(' => drop(self.comment()),
                b' ' | b'\t' | b'\r' | b'\n' => self.position += 1,
                _ => return,
            }
        }
    }

    /// Steps over bytes that are not `stop`.
    pub(super) fn skip_until(&mut self, stop: u8) {
        let rest = &self.bytes[self.position..];
        self.position += memchr::memchr(stop, rest).unwrap_or(rest.len());
    }

    /// A MIME token: anything but space, control characters and tspecials.
    pub(super) fn token(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.position..];
        let end = rest
            .iter()
            .position(|byte| !is_token(*byte))
            .unwrap_or(rest.len());
        self.position += end;
        &rest[..end]
    }

    /// The content of a quoted string whose opening quote is next, without quotes and escapes.
    pub(super) fn quoted(&mut self) -> Vec<u8> {
        self.position += 1;
        let mut text = Vec::new();
        while let Some(byte) = self.next() {
            match byte {
                b'"' => break,
                b'\\' => text.extend(self.next()),
                _ => text.push(byte),
            }
        }
        text
    }

    /// The content of a comment whose opening parenthesis is next; inner ones keep theirs.
    pub(super) fn comment(&mut self) -> Vec<u8> {
        self.position += 1;
        let mut text = Vec::new();
        let mut depth = 1_usize;
        while let Some(byte) = self.next() {
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'\\' => {
                    text.extend(self.next());
                    continue;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
            text.push(byte);
        }
        text
    }

    /// A domain literal with its brackets, whose opening bracket is next.
    pub(super) fn domain_literal(&mut self) -> &'a [u8] {
        let start = self.position;
        self.skip_until(b']');
        self.take(b']');
        &self.bytes[start..self.position]
    }
}

fn is_token(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && !br#"()<>@,;:\"/[]?="#.contains(&byte)
}
