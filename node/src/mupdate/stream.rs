//! What a session streams: changes for our own replicas, or lines for Cyrus' (RFC 3656 UPDATE).
//!
//! A stream has no queue: it remembers how far it came and reads what follows when the position of
//! the database moves and its peer has taken what it was sent. A slow peer costs a place in the
//! ring of changes, no memory.

use bytes::{Bytes, BytesMut};
use murder_locations::master::{MasterError, MasterReader, Since, Snapshot};
use murder_locations::name::Name;
use murder_locations::request::{Change, Line, Position, StreamItem, UnitRecord, encode};
use murder_proto::mupdate::reply::{
    STREAMING_STARTS, Status, write_delete, write_mailbox, write_reserve, write_status,
    write_stream_item,
};

/// Changes read at once.
const CHANGES_STEP: usize = 512;
/// Rows of one item of a snapshot; with the longest names and usual lists far below 1 MiB.
const ROWS_STEP: usize = 128;
/// Rows read at once for lines.
const LINES_STEP: usize = 500;

/// What is streamed, and how far it came.
#[derive(Debug)]
pub(super) enum Stream {
    /// Our own items.
    Changes {
        tag: Bytes,
        after: Option<Position>,
        snapshot: Option<Box<Snapshot>>,
    },
    /// Lines, all of them first.
    Lines {
        tag: Bytes,
        servers: Vec<Bytes>,
        after: Position,
        dump: Dump,
    },
}

/// How much of the first listing was sent.
#[derive(Debug)]
pub(super) enum Dump {
    From(Option<Name>),
    Done,
}

/// What a step came to.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// There may be more at once.
    More,
    /// Everything up to here was written.
    At(Position),
    /// The peer lacks too much to go on from: hang up, so that it begins anew.
    Lost,
}

impl Stream {
    /// A stream for one of our own replicas.
    pub(super) fn changes(tag: Bytes, after: Option<Position>) -> Self {
        Self::Changes {
            tag,
            after,
            snapshot: None,
        }
    }

    /// A stream for Cyrus; `servers` empty: of all.
    pub(super) fn lines(tag: Bytes, servers: Vec<Bytes>, now: Position) -> Self {
        Self::Lines {
            tag,
            servers,
            after: now,
            dump: Dump::From(None),
        }
    }

    /// Appends the next bounded piece.
    pub(super) fn step(
        &mut self,
        reader: &MasterReader,
        out: &mut BytesMut,
    ) -> Result<Step, MasterError> {
        match self {
            Self::Changes {
                tag,
                after,
                snapshot,
            } => step_changes(reader, tag, after, snapshot, out),
            Self::Lines {
                tag,
                servers,
                after,
                dump,
            } => {
                let lines = Lines {
                    reader,
                    tag,
                    servers,
                };
                match dump {
                    Dump::From(from) => {
                        *dump = lines.dump(from.as_ref(), out)?;
                        Ok(Step::More)
                    }
                    Dump::Done => lines.changes(after, out),
                }
            }
        }
    }
}

fn step_changes(
    reader: &MasterReader,
    tag: &Bytes,
    after: &mut Option<Position>,
    snapshot: &mut Option<Box<Snapshot>>,
    out: &mut BytesMut,
) -> Result<Step, MasterError> {
    if let Some(running) = snapshot {
        for item in running.step(ROWS_STEP)?.unwrap_or_default() {
            if let StreamItem::SnapshotEnd { position } = item {
                *after = Some(position);
                *snapshot = None;
                write_stream_item(out, tag, &encode(&item));
                return Ok(Step::More);
            }
            write_stream_item(out, tag, &encode(&item));
        }
        return Ok(Step::More);
    }
    let items = match after {
        Some(after) => match reader.changes_since(*after, CHANGES_STEP)? {
            Since::Changes(items) => items,
            Since::SnapshotNeeded => {
                *snapshot = Some(Box::new(reader.snapshot()?));
                return Ok(Step::More);
            }
        },
        None => {
            *snapshot = Some(Box::new(reader.snapshot()?));
            return Ok(Step::More);
        }
    };
    let full = items.len() == CHANGES_STEP;
    for item in items {
        if let StreamItem::Change { position, .. } = item {
            *after = Some(position);
        }
        write_stream_item(out, tag, &encode(&item));
    }
    Ok(match after {
        Some(after) if !full => Step::At(*after),
        _ => Step::More,
    })
}

/// Lines of one stream for Cyrus.
struct Lines<'a> {
    reader: &'a MasterReader,
    tag: &'a [u8],
    servers: &'a [Bytes],
}

impl Lines<'_> {
    fn dump(&self, after: Option<&Name>, out: &mut BytesMut) -> Result<Dump, MasterError> {
        let (lines, next) = self.reader.list(b"", after, LINES_STEP)?;
        for line in &lines {
            if self.wants(line) {
                write_line(out, self.tag, line);
            }
        }
        Ok(match next {
            Some(next) => Dump::From(Some(next)),
            None => {
                write_status(out, self.tag, Status::Ok, STREAMING_STARTS);
                Dump::Done
            }
        })
    }

    fn changes(&self, after: &mut Position, out: &mut BytesMut) -> Result<Step, MasterError> {
        let items = match self.reader.changes_since(*after, CHANGES_STEP)? {
            Since::Changes(items) => items,
            Since::SnapshotNeeded => return Ok(Step::Lost),
        };
        let full = items.len() == CHANGES_STEP;
        for item in items {
            let StreamItem::Change { position, change } = item else {
                continue;
            };
            match change {
                Change::Name(row) => self.name(&row.name, out)?,
                Change::NameGone(name) => write_delete(out, self.tag, name.as_bytes()),
                Change::Unit(record) => self.unit(&record, out)?,
                Change::Server(_) | Change::UnitGone(_) => {}
            }
            *after = position;
        }
        Ok(if full { Step::More } else { Step::At(*after) })
    }

    /// The state of a name as it is now, which may be later than the change; then the later change
    /// says the same again.
    fn name(&self, name: &Name, out: &mut BytesMut) -> Result<(), MasterError> {
        match self.reader.find(name)? {
            Some(line) if self.wants(&line) => write_line(out, self.tag, &line),
            Some(_) => {}
            None => write_delete(out, self.tag, name.as_bytes()),
        }
        Ok(())
    }

    /// A unit that changed its owner takes all its names along.
    fn unit(&self, record: &UnitRecord, out: &mut BytesMut) -> Result<(), MasterError> {
        if record.is_cyrus() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let (lines, next) = self.reader.unit_lines(record, after.as_ref(), LINES_STEP)?;
            for line in &lines {
                if self.wants(line) {
                    write_line(out, self.tag, line);
                } else {
                    write_delete(out, self.tag, line.name.as_bytes());
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn wants(&self, line: &Line) -> bool {
        let server = line.location.split(|byte| *byte == b'!').next();
        self.servers.is_empty()
            || server.is_some_and(|server| self.servers.iter().any(|wanted| wanted == server))
    }
}

/// `MAILBOX` or `RESERVE`.
pub(super) fn write_line(out: &mut BytesMut, tag: &[u8], line: &Line) {
    let name = line.name.as_bytes();
    if line.reserved {
        write_reserve(out, tag, name, &line.location);
    } else {
        write_mailbox(out, tag, name, &line.location, &line.acl);
    }
}
