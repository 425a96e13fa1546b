//! Throws away what is left of a refused command, in bounded memory (RFC 7888 section 4).

use bytes::Buf;
use memchr::memchr;

use super::{Event, Reader, State};
use crate::imap::literal::{self, HEADER_BYTES_MAX};

impl Reader {
    /// Begins to throw away a literal, or gives up if that would be too much.
    pub(super) fn skip(&mut self, size: u64) {
        if size > self.limits.skip_bytes_max.saturating_sub(self.skipped) {
            self.end("too much to skip");
        } else {
            self.skipped += size;
            self.state = State::SkipLiteral { left: size };
        }
    }

    pub(super) fn skip_literal(&mut self, left: u64) -> Option<()> {
        let dropped = self
            .buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        self.buffer.advance(dropped);
        let left = left - dropped as u64;
        self.state = if left == 0 {
            State::SkipLine
        } else {
            State::SkipLiteral { left }
        };
        (left == 0).then_some(())
    }

    /// Throws away a line of a refused command, all but a tail that may be the header of a literal,
    /// until its end shows whether a literal follows.
    pub(super) fn skip_line(&mut self) -> Option<Option<Event>> {
        let found = memchr(b'\n', &self.buffer).map(|at| at + 1);
        let length = found.unwrap_or(self.buffer.len());
        if length as u64 > self.limits.skip_bytes_max.saturating_sub(self.skipped) {
            self.end("too much to skip");
            return Some(self.pending.take());
        }
        if found.is_none() {
            let dropped = length.saturating_sub(HEADER_BYTES_MAX);
            self.skipped += dropped as u64;
            self.buffer.advance(dropped);
            return None;
        }
        let header = literal::header(&self.buffer[..length]);
        self.skipped += length as u64;
        self.buffer.advance(length);
        match header {
            Some(header) if !header.synchronizing => {
                self.skip(header.size);
                Some(self.pending.take())
            }
            _ => {
                self.begin_command();
                Some(None)
            }
        }
    }
}
