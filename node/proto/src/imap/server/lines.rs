//! What is not a command: the message of an `APPEND`, SASL responses and `DONE` (RFC 3501 6.3.11 and
//! 6.2.2, RFC 2177).

use bytes::Bytes;
use memchr::memchr;

use super::{Event, Reader, State};
use crate::imap::parse;

/// Longest line while `DONE` is expected.
const DONE_LINE_BYTES_MAX: usize = 64;

impl Reader {
    pub(super) fn message_chunk(&mut self, left: u64) -> Option<Event> {
        let length = self.buffer.len().min(self.limits.chunk_bytes_max.max(1));
        let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
        if length == 0 {
            return None;
        }
        self.state = State::AppendMessage {
            left: left - length as u64,
        };
        Some(Event::Literal(self.buffer.split_to(length).freeze()))
    }

    /// Nothing but a line end may follow the message.
    pub(super) fn append_end(&mut self) -> Option<Event> {
        let length = match self.buffer.as_ref() {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            [] | [b'\r'] => return None,
            _ => {
                self.begin_command();
                self.state = State::SkipLine;
                let tag = self.tag.clone();
                return Some(self.bad(tag, "unexpected bytes after the message"));
            }
        };
        let end = self.buffer.split_to(length).freeze();
        self.begin_command();
        Some(Event::AppendEnd(end))
    }
    /// The content of a line that is not a command, or the event that it is too long.
    pub(super) fn plain_line(&mut self, bytes_max: usize) -> Option<Result<Bytes, Event>> {
        let found = memchr(b'\n', &self.buffer[self.scanned..]).map(|at| self.scanned + at + 1);
        let length = found.unwrap_or(self.buffer.len());
        if length > bytes_max {
            self.begin_command();
            self.state = State::SkipLine;
            let tag = self.tag.clone();
            return Some(Err(self.bad(tag, "line too long")));
        }
        if found.is_none() {
            self.scanned = length;
            return None;
        }
        let line = self.buffer.split_to(length).freeze();
        self.begin_command();
        let content = line.strip_suffix(b"\n").unwrap_or(&line);
        let content = content.strip_suffix(b"\r").unwrap_or(content).len();
        Some(Ok(line.slice(..content)))
    }

    pub(super) fn auth_line(&mut self) -> Option<Event> {
        let line = match self.plain_line(self.limits.line_bytes_max)? {
            Ok(line) => line,
            Err(event) => return Some(event),
        };
        if line.as_ref() == b"*" {
            return Some(Event::AuthCancelled);
        }
        Some(match parse::decode_base64(&line) {
            Ok(response) => Event::AuthResponse(response),
            Err(text) => {
                let tag = self.tag.clone();
                self.bad(tag, text)
            }
        })
    }

    pub(super) fn done_line(&mut self) -> Option<Event> {
        let line = match self.plain_line(DONE_LINE_BYTES_MAX)? {
            Ok(line) => line,
            Err(event) => return Some(event),
        };
        if line.eq_ignore_ascii_case(b"DONE") {
            return Some(Event::Done);
        }
        let tag = self.tag.clone();
        Some(self.bad(tag, "DONE expected"))
    }
}
