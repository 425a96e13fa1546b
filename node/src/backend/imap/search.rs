//! SEARCH and UID SEARCH (RFC 3501 section 6.4.4, MODSEQ of RFC 7162 section 3.1.5).
//!
//! Keys are compiled once: strings are decoded, sets resolved against what the client knows. Then
//! each message is tested with what is in memory first, its rows next and its bytes last.

use murder_model::{Day, Keyword, MailboxId, ModSeq, SystemFlags, UidSet};
use murder_proto::imap::command::{Search, SearchKey};
use murder_store::engine::{Snapshot, Snapshots};
use murder_store::mail::{Entry, MailError, MessageRow, message, structure};
use murder_store::rows::{BlobPlace, StoreError};
use murder_store::structure::search::{
    EnvelopeKey, Needle, body_contains, envelope_contains, header_contains, text_contains,
};
use murder_store::structure::{self as mime, Structure};

use super::selected::Selected;
use super::{Answer, BackendError, Reply, Session, granted};
use crate::imap::write;

/// Messages tested at once on a thread that may block.
const GROUP_MESSAGES: usize = 512;

/// A key, ready to be tested.
#[derive(Clone, Debug)]
enum Test {
    All,
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Box<Self>, Box<Self>),
    Uids(UidSet),
    Flag(SystemFlags),
    Keyword(Option<u32>),
    Recent,
    ModSeq(ModSeq),
    Larger(u64),
    Smaller(u64),
    Internal(Order, i64),
    Sent(Order, i64),
    Envelope(EnvelopeKey, Needle),
    Header(Vec<u8>, Needle),
    Body(Needle),
    Text(Needle),
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Before,
    On,
    Since,
}

impl Order {
    fn holds(self, day: i64, asked: i64) -> bool {
        match self {
            Self::Before => day < asked,
            Self::On => day == asked,
            Self::Since => day >= asked,
        }
    }
}

/// A message as far as the view knows it.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    entry: Entry,
    flags: SystemFlags,
    mod_seq: ModSeq,
    recent: bool,
}

impl Session {
    pub(super) async fn search(&mut self, search: &Search) -> Answer {
        let Some(selected) = &self.selected else {
            return Ok(Reply::Bad("none selected"));
        };
        let charset = search.charset.as_deref().unwrap_or(b"US-ASCII");
        let charset = if charset.eq_ignore_ascii_case(b"US-ASCII") {
            b"UTF-8"
        } else {
            charset
        };
        let mut uses_mod_seq = false;
        let mut tests = Vec::with_capacity(search.keys.len());
        for key in &search.keys {
            tests.push(granted!(compile(key, charset, selected, &mut uses_mod_seq)));
        }
        let test = Test::And(tests);
        let candidates = candidates(selected);
        let (id, snapshots) = (
            selected.mailbox,
            selected.place.partition.snapshots().clone(),
        );
        let mut found = Vec::new();
        for group in candidates.chunks(GROUP_MESSAGES) {
            let (group, test, snapshots) = (group.to_vec(), test.clone(), snapshots.clone());
            let tested = tokio::task::spawn_blocking(move || {
                let rows = snapshots.read()?;
                let mut found = Vec::new();
                for candidate in group {
                    let mut tested = Tested {
                        snapshots: &snapshots,
                        rows: &rows,
                        mailbox: id,
                        candidate,
                        row: None,
                        content: None,
                    };
                    if tested.matches(&test)? {
                        found.push((candidate.entry.uid, candidate.mod_seq));
                    }
                }
                Ok::<_, MailError>(found)
            });
            let tested = tested.await.expect("testing does not panic");
            found.extend(granted!(
                tested.map_err(|error| Reply::from(BackendError::Read(error)))
            ));
        }
        self.condstore |= uses_mod_seq;
        self.tell_found(search.uid, &found, uses_mod_seq);
        Ok(Reply::ok("done"))
    }

    fn tell_found(&mut self, uid: bool, found: &[(u32, ModSeq)], uses_mod_seq: bool) {
        let Some(selected) = &self.selected else {
            return;
        };
        let out = &mut self.wire.out;
        out.extend_from_slice(b"* SEARCH");
        for (message, _) in found {
            let shown = if uid {
                Some(*message as usize)
            } else {
                selected.number(*message)
            };
            if let Some(shown) = shown {
                out.push(b' ');
                write::number(out, shown as u64);
            }
        }
        let highest = found.iter().map(|(_, mod_seq)| *mod_seq).max();
        if let (true, Some(highest)) = (uses_mod_seq, highest) {
            out.extend_from_slice(b" (MODSEQ ");
            write::number(out, highest.get());
            out.push(b')');
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn candidates(selected: &Selected) -> Vec<Candidate> {
    let state = selected.view.state();
    let known = |entry: &&Entry| selected.number(entry.uid).is_some();
    state
        .entries
        .iter()
        .filter(known)
        .map(|entry| {
            let (flags, mod_seq) = selected.effective(entry);
            Candidate {
                entry: *entry,
                flags,
                mod_seq,
                recent: selected.is_recent(entry.uid),
            }
        })
        .collect()
}

fn compile(
    key: &SearchKey,
    charset: &[u8],
    selected: &Selected,
    uses_mod_seq: &mut bool,
) -> Result<Test, Reply> {
    let needle = |text: &[u8]| {
        Needle::with_charset(charset, text)
            .ok_or_else(|| Reply::no("[BADCHARSET (US-ASCII UTF-8)] unknown charset"))
    };
    let mut nested = |key: &SearchKey| compile(key, charset, selected, uses_mod_seq);
    let flag = |flag| Test::Flag(flag);
    let not = |test| Test::Not(Box::new(test));
    let day = Day::days;
    Ok(match key {
        SearchKey::All => Test::All,
        SearchKey::And(keys) => Test::And(keys.iter().map(nested).collect::<Result<_, _>>()?),
        SearchKey::Or(one, other) => Test::Or(Box::new(nested(one)?), Box::new(nested(other)?)),
        SearchKey::Not(key) => not(nested(key)?),
        SearchKey::Sequence(set) => {
            if selected.exceeds(set) {
                return Err(Reply::Bad("no such message number"));
            }
            Test::Uids(selected.resolve(set, false).into_iter().collect())
        }
        SearchKey::Uid(set) => Test::Uids(selected.resolve(set, true).into_iter().collect()),
        SearchKey::Answered => flag(SystemFlags::ANSWERED),
        SearchKey::Deleted => flag(SystemFlags::DELETED),
        SearchKey::Draft => flag(SystemFlags::DRAFT),
        SearchKey::Flagged => flag(SystemFlags::FLAGGED),
        SearchKey::Seen => flag(SystemFlags::SEEN),
        SearchKey::Unanswered => not(flag(SystemFlags::ANSWERED)),
        SearchKey::Undeleted => not(flag(SystemFlags::DELETED)),
        SearchKey::Undraft => not(flag(SystemFlags::DRAFT)),
        SearchKey::Unflagged => not(flag(SystemFlags::FLAGGED)),
        SearchKey::Unseen => not(flag(SystemFlags::SEEN)),
        SearchKey::Recent => Test::Recent,
        SearchKey::Old => not(Test::Recent),
        SearchKey::New => Test::And(vec![Test::Recent, not(flag(SystemFlags::SEEN))]),
        SearchKey::Keyword(name) => Test::Keyword(keyword_bit(name, selected)),
        SearchKey::Unkeyword(name) => not(Test::Keyword(keyword_bit(name, selected))),
        SearchKey::ModSeq(least) => {
            *uses_mod_seq = true;
            Test::ModSeq(ModSeq::new(*least))
        }
        SearchKey::Larger(size) => Test::Larger(*size),
        SearchKey::Smaller(size) => Test::Smaller(*size),
        SearchKey::Before(asked) => Test::Internal(Order::Before, day(*asked)),
        SearchKey::On(asked) => Test::Internal(Order::On, day(*asked)),
        SearchKey::Since(asked) => Test::Internal(Order::Since, day(*asked)),
        SearchKey::SentBefore(asked) => Test::Sent(Order::Before, day(*asked)),
        SearchKey::SentOn(asked) => Test::Sent(Order::On, day(*asked)),
        SearchKey::SentSince(asked) => Test::Sent(Order::Since, day(*asked)),
        SearchKey::Bcc(text) => Test::Envelope(EnvelopeKey::Bcc, needle(text)?),
        SearchKey::Cc(text) => Test::Envelope(EnvelopeKey::Cc, needle(text)?),
        SearchKey::From(text) => Test::Envelope(EnvelopeKey::From, needle(text)?),
        SearchKey::Subject(text) => Test::Envelope(EnvelopeKey::Subject, needle(text)?),
        SearchKey::To(text) => Test::Envelope(EnvelopeKey::To, needle(text)?),
        SearchKey::Header(name, text) => Test::Header(name.to_vec(), needle(text)?),
        SearchKey::Body(text) => Test::Body(needle(text)?),
        SearchKey::Text(text) => Test::Text(needle(text)?),
    })
}

fn keyword_bit(name: &[u8], selected: &Selected) -> Option<u32> {
    let keyword = Keyword::parse(std::str::from_utf8(name).ok()?).ok()?;
    let position = selected
        .keywords
        .iter()
        .position(|known| *known == keyword)?;
    u32::try_from(position).ok()
}

/// A message under test, and what was read of it so far.
struct Tested<'a> {
    snapshots: &'a Snapshots,
    rows: &'a Snapshot,
    mailbox: MailboxId,
    candidate: Candidate,
    row: Option<Option<MessageRow>>,
    content: Option<Option<(BlobPlace, Structure)>>,
}

impl Tested<'_> {
    fn matches(&mut self, test: &Test) -> Result<bool, MailError> {
        let Candidate {
            entry,
            flags,
            mod_seq,
            recent,
        } = self.candidate;
        Ok(match test {
            Test::All => true,
            Test::Not(test) => !self.matches(test)?,
            Test::And(tests) => {
                for test in tests {
                    if !self.matches(test)? {
                        return Ok(false);
                    }
                }
                true
            }
            Test::Or(one, other) => self.matches(one)? || self.matches(other)?,
            Test::Uids(uids) => uids.contains(entry.uid),
            Test::Flag(flag) => flags.contains(*flag),
            Test::Keyword(bit) => bit.is_some_and(|bit| entry.keywords >> bit & 1 == 1),
            Test::Recent => recent,
            Test::ModSeq(least) => mod_seq >= *least,
            Test::Larger(size) => u64::from(entry.size) > *size,
            Test::Smaller(size) => u64::from(entry.size) < *size,
            Test::Internal(order, asked) => self
                .row()?
                .is_some_and(|row| order.holds(row.internal_date.day().days(), *asked)),
            Test::Sent(order, asked) => self.content()?.is_some_and(|(_, structure)| {
                let sent = structure.sent.as_ref();
                sent.is_some_and(|sent| order.holds(sent.day_number(), *asked))
            }),
            Test::Envelope(key, needle) => self
                .content()?
                .is_some_and(|(_, content)| envelope_contains(&content.envelope, *key, needle)),
            Test::Header(name, needle) => {
                let Some((place, content)) = self.content()?.cloned() else {
                    return Ok(false);
                };
                let header = self
                    .snapshots
                    .read_blob(place, content.root().header.clone())?;
                header_contains(&header, name, needle)
            }
            Test::Body(needle) => self.search_bytes(needle, false)?,
            Test::Text(needle) => self.search_bytes(needle, true)?,
        })
    }

    fn search_bytes(&mut self, needle: &Needle, with_header: bool) -> Result<bool, MailError> {
        let Some((place, content)) = self.content()?.cloned() else {
            return Ok(false);
        };
        let read = |range| self.snapshots.read_blob(place, range);
        let found: Result<bool, StoreError> = if with_header {
            text_contains(&content, needle, read)
        } else {
            body_contains(&content, needle, read)
        };
        Ok(found?)
    }

    fn row(&mut self) -> Result<Option<&MessageRow>, MailError> {
        if self.row.is_none() {
            self.row = Some(message(self.rows, &self.mailbox, self.candidate.entry.uid)?);
        }
        Ok(self.row.as_ref().and_then(Option::as_ref))
    }

    fn content(&mut self) -> Result<Option<&(BlobPlace, Structure)>, MailError> {
        if self.content.is_none() {
            let content = match self.row()?.copied() {
                Some(row) => structure(self.rows, &row)?,
                None => None,
            };
            let decode = |(place, encoded): (BlobPlace, Vec<u8>)| {
                Some((place, mime::decode(&encoded).ok()?))
            };
            self.content = Some(content.and_then(decode));
        }
        Ok(self.content.as_ref().and_then(Option::as_ref))
    }
}
