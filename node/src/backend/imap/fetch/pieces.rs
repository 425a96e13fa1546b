//! What FETCH sends, in order: bytes, and bodies that are read while they leave.

use std::ops::Range;

use murder_store::engine::Blob;

/// Something to send.
pub(super) enum Piece {
    Bytes(Vec<u8>),
    Blob(Blob, Range<u64>),
}

/// Answers that are being written.
#[derive(Default)]
pub(super) struct Pieces {
    done: Vec<Piece>,
    pub(super) open: Vec<u8>,
}

/// A place between two answers.
pub(super) struct Mark {
    done: usize,
    open: usize,
}

impl Pieces {
    pub(super) fn blob(&mut self, blob: Blob, range: Range<u64>) {
        self.done.push(Piece::Bytes(std::mem::take(&mut self.open)));
        self.done.push(Piece::Blob(blob, range));
    }

    pub(super) const fn mark(&self) -> Mark {
        Mark {
            done: self.done.len(),
            open: self.open.len(),
        }
    }

    /// Takes back all that was written since.
    pub(super) fn undo(&mut self, mark: &Mark) {
        // What was open then is the first that was done since.
        if let Some(Piece::Bytes(bytes)) = self.done.drain(mark.done..).next() {
            self.open = bytes;
        }
        self.open.truncate(mark.open);
    }

    pub(super) fn finish(mut self) -> Vec<Piece> {
        self.done.push(Piece::Bytes(self.open));
        self.done
    }
}
