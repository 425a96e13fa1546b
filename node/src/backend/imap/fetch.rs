//! FETCH and UID FETCH (RFC 3501 section 6.4.5, RFC 7162 section 3.1.4).
//!
//! Flags, UIDs, sizes and modification sequences come from the view and touch no file. Other items
//! are read in groups of messages on a thread that may block; a large body leaves in slices. A message
//! whose bytes are damaged is left out, all others are sent, and the answer is NO.

mod pieces;

use std::ops::Range;
use std::sync::Arc;

use murder_model::{InternalDate, ModSeq, Rights, SystemFlags, UidSet};
use murder_proto::imap::command::{Fetch, FetchItem, Partial, Section as Part, SectionText};
use murder_store::engine::{Blob, Snapshot, Snapshots};
use murder_store::mail::{Entry, FlagChange, MailError, message, store_flags, structure};
use murder_store::rows::StoreError;
use murder_store::structure::{
    self as mime, Section, SectionPath, SectionPlan, Structure, filter_header, locate,
};

use self::pieces::{Piece, Pieces};
use super::selected::{sets_seen, viewer};
use super::{Answer, BackendError, Reply, Session, granted};
use crate::imap::{End, write};

/// Messages read at once.
const GROUP_MESSAGES: usize = 64;
/// Bytes of bodies that one group may hold in memory; longer parts are streamed.
const INLINE_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a streamed body in memory at once.
const SLICE_BYTES: u64 = 256 << 10;

/// One message's answer, as far as the view knows it.
struct Target {
    number: usize,
    entry: Entry,
    flags: SystemFlags,
    mod_seq: ModSeq,
    recent: bool,
}

impl Session {
    pub(super) async fn fetch(&mut self, mut fetch: Fetch) -> Answer {
        let Some(selected) = &self.selected else {
            return Ok(Reply::Bad("none selected"));
        };
        if !fetch.uid && selected.exceeds(&fetch.set) {
            return Ok(Reply::Bad("no such message number"));
        }
        if fetch.vanished {
            return Ok(Reply::Bad("QRESYNC is not enabled"));
        }
        let wants_mod_seq = fetch.items.contains(&FetchItem::ModSeq);
        self.condstore |= wants_mod_seq || fetch.changed_since.is_some();
        if fetch.uid && !fetch.items.contains(&FetchItem::Uid) {
            fetch.items.insert(0, FetchItem::Uid);
        }
        let mut uids = selected.resolve(&fetch.set, fetch.uid);
        if sets_seen(&fetch) && !selected.read_only && selected.rights.contains(Rights::SEEN) {
            let changed = granted!(self.mark_seen(&uids).await);
            if changed && !fetch.items.contains(&FetchItem::Flags) {
                fetch.items.push(FetchItem::Flags);
            }
        }
        if self.condstore
            && !fetch.items.contains(&FetchItem::ModSeq)
            && (fetch.changed_since.is_some() || fetch.items.contains(&FetchItem::Flags))
        {
            fetch.items.push(FetchItem::ModSeq);
        }
        let since = fetch.changed_since.map(ModSeq::new);
        let fetch = Arc::new(fetch);
        let (mut gone, mut damaged) = (false, None);
        while !uids.is_empty() {
            let rest = uids.split_off(uids.len().min(GROUP_MESSAGES * 16));
            let (targets, missing) = self.targets(&uids, since);
            gone |= missing;
            granted!(self.fetch_group(&fetch, targets, &mut damaged).await?);
            uids = rest;
        }
        if let Some(damaged) = damaged {
            Ok(damaged)
        } else if gone {
            Ok(Reply::no("[EXPUNGEISSUED] some messages are gone"))
        } else {
            Ok(Reply::ok("done"))
        }
    }

    /// Sets `\Seen` where it is not; true if anything changed.
    async fn mark_seen(&mut self, uids: &[u32]) -> Result<bool, Reply> {
        let Some(selected) = &mut self.selected else {
            return Ok(false);
        };
        let unseen: UidSet = {
            let state = selected.view.state();
            let is_unseen = |uid: &&u32| {
                let place = state.entries.partition_point(|entry| entry.uid < **uid);
                let entry = state.entries.get(place).filter(|entry| entry.uid == **uid);
                entry.is_some_and(|entry| !selected.effective(entry).0.contains(SystemFlags::SEEN))
            };
            uids.iter().filter(is_unseen).copied().collect()
        };
        if unseen.is_empty() {
            return Ok(false);
        }
        let (id, user, is_owner) = (
            selected.mailbox,
            self.identity.user.clone(),
            selected.seen.is_none(),
        );
        let place = selected.place.clone();
        let stored = self
            .backend
            .write(&place, move |tx| {
                let seen = SystemFlags::SEEN;
                let viewer = viewer(is_owner, &user);
                let add = FlagChange::Add;
                store_flags(tx, &id, viewer, &unseen, add, seen, &[], seen, false, None)
            })
            .await?;
        self.remember_own(&stored);
        Ok(true)
    }

    /// Notes changes that the client knows of, so that they are not told again.
    pub(super) fn remember_own(&mut self, stored: &murder_store::mail::Stored) {
        let Some(selected) = &mut self.selected else {
            return;
        };
        for flags in &stored.messages {
            selected.own.insert(flags.uid, flags.mod_seq);
            if let Some(state) = &mut selected.seen {
                let mut seen = std::mem::take(&mut state.seen);
                if flags.flags.contains(SystemFlags::SEEN) {
                    seen.insert(flags.uid);
                } else if seen.contains(flags.uid) {
                    seen = seen.iter().filter(|uid| *uid != flags.uid).collect();
                }
                state.seen = seen;
                state.changes.insert(flags.uid, flags.mod_seq);
            }
        }
        if stored.keywords.len() > selected.keywords.len() {
            selected.keywords.clone_from(&stored.keywords);
            self.write_flags_line();
        }
    }

    fn targets(&self, uids: &[u32], since: Option<ModSeq>) -> (Vec<Target>, bool) {
        let Some(selected) = &self.selected else {
            return (Vec::new(), false);
        };
        let state = selected.view.state();
        let mut targets = Vec::with_capacity(uids.len());
        let mut missing = false;
        for uid in uids {
            let place = state.entries.partition_point(|entry| entry.uid < *uid);
            let entry = state.entries.get(place).filter(|entry| entry.uid == *uid);
            let (Some(entry), Some(number)) = (entry, selected.number(*uid)) else {
                missing = true;
                continue;
            };
            let (flags, mod_seq) = selected.effective(entry);
            if since.is_none_or(|since| mod_seq > since) {
                let recent = selected.is_recent(*uid);
                targets.push(Target {
                    number,
                    entry: *entry,
                    flags,
                    mod_seq,
                    recent,
                });
            }
        }
        (targets, missing)
    }

    /// `damaged` is the answer if a message could not be read.
    async fn fetch_group(
        &mut self,
        fetch: &Arc<Fetch>,
        targets: Vec<Target>,
        damaged: &mut Option<Reply>,
    ) -> Result<Result<(), Reply>, End> {
        let Some(selected) = &self.selected else {
            return Ok(Ok(()));
        };
        let keywords = selected.keywords.clone();
        if fetch.items.iter().all(from_view) {
            for target in &targets {
                begin(&mut self.wire.out, target);
                for (index, item) in fetch.items.iter().enumerate() {
                    separate(&mut self.wire.out, index);
                    view_item(&mut self.wire.out, item, target, &keywords);
                }
                self.wire.out.extend_from_slice(b")\r\n");
            }
            self.wire.flush_if_full().await?;
            return Ok(Ok(()));
        }
        let (id, snapshots) = (
            selected.mailbox,
            selected.place.partition.snapshots().clone(),
        );
        let mut targets = targets;
        while !targets.is_empty() {
            let rest = targets.split_off(targets.len().min(GROUP_MESSAGES));
            let group = std::mem::replace(&mut targets, rest);
            let (fetch, keywords) = (Arc::clone(fetch), keywords.clone());
            let snapshots = snapshots.clone();
            let rendered = tokio::task::spawn_blocking(move || {
                let rows = snapshots.read()?;
                let (mut pieces, mut damage) = (Pieces::default(), None);
                for target in &group {
                    let before = pieces.mark();
                    let rendered = render(
                        &snapshots,
                        &rows,
                        &id,
                        &fetch,
                        target,
                        &keywords,
                        &mut pieces,
                    );
                    match rendered {
                        Ok(()) => {}
                        Err(error @ MailError::Store(StoreError::Damaged { .. })) => {
                            pieces.undo(&before);
                            damage = Some(error);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok((pieces.finish(), damage))
            });
            match rendered.await.expect("rendering does not panic") {
                Ok((pieces, damage)) => {
                    if let Some(error) = damage {
                        *damaged = Some(BackendError::Read(error).into());
                    }
                    self.send(pieces).await?;
                }
                Err(error) => return Ok(Err(BackendError::Read(error).into())),
            }
        }
        Ok(Ok(()))
    }

    async fn send(&mut self, pieces: Vec<Piece>) -> Result<(), End> {
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => self.wire.out.extend_from_slice(&bytes),
                Piece::Blob(blob, range) => {
                    let mut from = range.start;
                    while from < range.end {
                        let to = range.end.min(from + SLICE_BYTES);
                        let part = blob.clone();
                        let read = tokio::task::spawn_blocking(move || part.read(from..to));
                        // The literal's length is out: a failed read can only end the session.
                        let bytes = read.await.expect("reading does not panic");
                        let bytes =
                            bytes.map_err(|error| std::io::Error::other(error.to_string()))?;
                        self.wire.out.extend_from_slice(&bytes);
                        self.wire.flush_if_full().await?;
                        from = to;
                    }
                }
            }
            self.wire.flush_if_full().await?;
        }
        Ok(())
    }
}

fn from_view(item: &FetchItem) -> bool {
    matches!(
        item,
        FetchItem::Flags | FetchItem::Uid | FetchItem::ModSeq | FetchItem::Rfc822Size
    )
}

fn begin(out: &mut Vec<u8>, target: &Target) {
    out.extend_from_slice(b"* ");
    write::number(out, target.number as u64);
    out.extend_from_slice(b" FETCH (");
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b' ');
    }
}

fn view_item(
    out: &mut Vec<u8>,
    item: &FetchItem,
    target: &Target,
    keywords: &[murder_model::Keyword],
) {
    match item {
        FetchItem::Flags => {
            out.extend_from_slice(b"FLAGS ");
            write::flags(
                out,
                target.flags,
                target.entry.keywords,
                keywords,
                target.recent,
            );
        }
        FetchItem::Uid => {
            out.extend_from_slice(b"UID ");
            write::number(out, u64::from(target.entry.uid));
        }
        FetchItem::ModSeq => {
            out.extend_from_slice(b"MODSEQ (");
            write::number(out, target.mod_seq.get());
            out.push(b')');
        }
        FetchItem::Rfc822Size => {
            out.extend_from_slice(b"RFC822.SIZE ");
            write::number(out, u64::from(target.entry.size));
        }
        _ => {}
    }
}

fn render(
    snapshots: &Snapshots,
    rows: &Snapshot,
    mailbox: &murder_model::MailboxId,
    fetch: &Fetch,
    target: &Target,
    keywords: &[murder_model::Keyword],
    pieces: &mut Pieces,
) -> Result<(), MailError> {
    // Expunged since the view was asked: the client hears of it at the next sync.
    let Some(row) = message(rows, mailbox, target.entry.uid)? else {
        return Ok(());
    };
    let Some((place, encoded)) = structure(rows, &row)? else {
        return Ok(());
    };
    let structure = mime::decode(&encoded)
        .map_err(|error| StoreError::Index(format!("structure of a message: {error}")))?;
    let blob = snapshots.blob(place)?;
    begin(&mut pieces.open, target);
    for (index, item) in fetch.items.iter().enumerate() {
        separate(&mut pieces.open, index);
        match item {
            FetchItem::InternalDate => internal_date(&mut pieces.open, row.internal_date),
            FetchItem::Envelope => {
                pieces.open.extend_from_slice(b"ENVELOPE ");
                mime::write_envelope(&structure.envelope, &mut pieces.open);
            }
            FetchItem::Body => {
                pieces.open.extend_from_slice(b"BODY ");
                mime::write_body(&structure, false, &mut pieces.open);
            }
            FetchItem::BodyStructure => {
                pieces.open.extend_from_slice(b"BODYSTRUCTURE ");
                mime::write_body(&structure, true, &mut pieces.open);
            }
            FetchItem::BodySection {
                section, partial, ..
            } => {
                section_name(&mut pieces.open, section, *partial);
                section_body(&structure, &blob, section, *partial, pieces)?;
            }
            FetchItem::Rfc822 => {
                pieces.open.extend_from_slice(b"RFC822 ");
                section_body(&structure, &blob, &Part::default(), None, pieces)?;
            }
            FetchItem::Rfc822Header => {
                pieces.open.extend_from_slice(b"RFC822.HEADER ");
                let header = Part {
                    path: Vec::new(),
                    text: Some(SectionText::Header),
                };
                section_body(&structure, &blob, &header, None, pieces)?;
            }
            FetchItem::Rfc822Text => {
                pieces.open.extend_from_slice(b"RFC822.TEXT ");
                let text = Part {
                    path: Vec::new(),
                    text: Some(SectionText::Text),
                };
                section_body(&structure, &blob, &text, None, pieces)?;
            }
            other => view_item(&mut pieces.open, other, target, keywords),
        }
    }
    pieces.open.extend_from_slice(b")\r\n");
    Ok(())
}

fn internal_date(out: &mut Vec<u8>, date: InternalDate) {
    out.extend_from_slice(b"INTERNALDATE \"");
    out.extend_from_slice(date.to_string().as_bytes());
    out.push(b'"');
}

/// The item's name in the answer: the section as asked, with the offset only.
fn section_name(out: &mut Vec<u8>, section: &Part, partial: Option<Partial>) {
    out.extend_from_slice(b"BODY[");
    for (index, number) in section.path.iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        write::number(out, u64::from(*number));
    }
    if let Some(text) = &section.text {
        if !section.path.is_empty() {
            out.push(b'.');
        }
        match text {
            SectionText::Header => out.extend_from_slice(b"HEADER"),
            SectionText::Text => out.extend_from_slice(b"TEXT"),
            SectionText::Mime => out.extend_from_slice(b"MIME"),
            SectionText::HeaderFields(names) => field_names(out, "HEADER.FIELDS (", names),
            SectionText::HeaderFieldsNot(names) => field_names(out, "HEADER.FIELDS.NOT (", names),
        }
    }
    out.push(b']');
    if let Some(partial) = partial {
        out.push(b'<');
        write::number(out, u64::from(partial.offset));
        out.push(b'>');
    }
    out.push(b' ');
}

fn field_names(out: &mut Vec<u8>, begin: &str, names: &[bytes::Bytes]) {
    out.extend_from_slice(begin.as_bytes());
    for (index, name) in names.iter().enumerate() {
        separate(out, index);
        let atom = name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
        if atom && !name.is_empty() {
            out.extend_from_slice(name);
        } else {
            write::string(out, name);
        }
    }
    out.push(b')');
}

fn section_body(
    structure: &Structure,
    blob: &Blob,
    section: &Part,
    partial: Option<Partial>,
    pieces: &mut Pieces,
) -> Result<(), MailError> {
    match locate(structure, &section_path(section)) {
        None => pieces.open.extend_from_slice(b"NIL"),
        Some(SectionPlan::Range(range)) => {
            let range = cut(range, partial);
            // Once the literal's length is out it is too late to refuse. Small parts of large messages
            // are taken as they are: to read all of a message for each would cost too much.
            let (part, whole) = (range.end - range.start, blob.length());
            if part > INLINE_BYTES_MAX || whole <= INLINE_BYTES_MAX {
                blob.verify()?;
            }
            write::literal_header(&mut pieces.open, range.end - range.start);
            if range.end - range.start <= INLINE_BYTES_MAX {
                pieces.open.extend_from_slice(&blob.read(range)?);
            } else {
                pieces.blob(blob.clone(), range);
            }
        }
        Some(SectionPlan::Filter { header, names, not }) => {
            let header = blob.read(header)?;
            let mut filtered = Vec::new();
            filter_header(&header, &names, not, &mut filtered);
            let range = cut(0..filtered.len() as u64, partial);
            write::literal_header(&mut pieces.open, range.end - range.start);
            let (from, to) = (range.start as usize, range.end as usize);
            pieces.open.extend_from_slice(&filtered[from..to]);
        }
    }
    Ok(())
}

fn section_path(section: &Part) -> SectionPath {
    let names = |names: &[bytes::Bytes]| names.iter().map(|name| name.to_vec()).collect();
    SectionPath {
        part: section.path.clone(),
        section: match &section.text {
            None => Section::Full,
            Some(SectionText::Header) => Section::Header,
            Some(SectionText::Text) => Section::Text,
            Some(SectionText::Mime) => Section::Mime,
            Some(SectionText::HeaderFields(fields)) => Section::HeaderFields {
                names: names(fields),
                not: false,
            },
            Some(SectionText::HeaderFieldsNot(fields)) => Section::HeaderFields {
                names: names(fields),
                not: true,
            },
        },
    }
}

fn cut(range: Range<u64>, partial: Option<Partial>) -> Range<u64> {
    match partial {
        Some(partial) => {
            let start = range.end.min(range.start + u64::from(partial.offset));
            start..range.end.min(start + u64::from(partial.length))
        }
        None => range,
    }
}
