//! COPY and MOVE to another server or partition, at the source.

use std::sync::Arc;

use murder_model::{DeliveryId, MailboxId, MailboxName, SystemFlags, UidSet, UnitId, UserName};
use murder_store::engine::{Snapshot, Snapshots};
use murder_store::mail::{
    CopiedUids, Effects, Intent, MailError, complete_intent, effective_seen, intents, mailbox,
    message, messages, put_intent, structure,
};
use murder_store::rows::{Rows, StoreError};

use super::courier::{Asked, Content, Courier};
use super::{AtWork, ForwardError, TRY_LIMIT};
use crate::backend::partition::PartitionHandle;
use crate::backend::{Backend, BackendError, UnitPlace};
use crate::clock;
use crate::peer::append::{Append, Author, BYTES_MAX, FromOwner, Item, MESSAGES_MAX, ToOwner};

/// Intents that may be left in one unit: beyond, nothing that would need one is begun.
const INTENTS_MAX: usize = 64;
/// How often messages are read again that others take out meanwhile.
const READS_MAX: u32 = 5;
/// Messages read in one short transaction.
const READ_MESSAGES: u64 = 256;

/// A COPY or MOVE, but for the messages.
#[derive(Clone, Debug)]
pub struct Copying {
    /// Whose command it is.
    pub user: UserName,
    /// May do everything.
    pub is_admin: bool,
    /// Where the messages' unit is.
    pub place: UnitPlace,
    /// Where the messages are.
    pub from: MailboxId,
    /// Whether the user owns that mailbox.
    pub owns_source: bool,
    /// Where they are to go.
    pub to: MailboxName,
    /// Whether they are to leave their mailbox.
    pub moving: bool,
}

/// Messages to send in one request.
struct Gathered {
    request: Append,
    contents: Vec<Content>,
    /// Those that did not fit into it.
    rest: UidSet,
}

impl Copying {
    /// Copies messages, or moves as many as can be in one go; returns those that are left. Messages
    /// that are gone are left out.
    pub async fn run(
        &self,
        backend: &Arc<Backend>,
        uids: &UidSet,
    ) -> Result<(CopiedUids, UidSet), ForwardError> {
        if let Some(earlier) = self.settle_earlier(backend, uids).await? {
            return Ok((earlier, UidSet::new()));
        }
        for _ in 0..READS_MAX {
            let gathered = self.gather(uids).await?;
            if !gathered.rest.is_empty() && !self.moving {
                return Err(ForwardError::Limit(format!(
                    "at most {MESSAGES_MAX} messages and {} MiB are copied to another server at once",
                    BYTES_MAX >> 20
                )));
            }
            let rest = gathered.rest.clone();
            if let Some(copied) = self.send(backend, gathered).await? {
                return Ok((copied, rest));
            }
        }
        Err(ForwardError::Unavailable)
    }

    /// `None`: some of the messages went before the intent was written.
    async fn send(
        &self,
        backend: &Arc<Backend>,
        gathered: Gathered,
    ) -> Result<Option<CopiedUids>, ForwardError> {
        let Gathered {
            request, contents, ..
        } = gathered;
        let id = request.id;
        let taken = request.messages.iter().map(|item| item.uid).collect();
        let mut courier = Courier::new(backend, ToOwner::Append(request), contents, TRY_LIMIT);
        let link = match courier.ask().await? {
            Asked::Ready(link) => link,
            Asked::Answered(FromOwner::Done(uids)) => return Ok(Some(uids)),
            Asked::Answered(FromOwner::Refused(refusal)) => return Err(refusal.into()),
            Asked::Answered(_) => return Err(ForwardError::Unavailable),
        };
        let _at_work = AtWork::on(&backend.forwarding, id);
        if !self.write_intent(backend, id, taken).await? {
            return Ok(None);
        }
        let answer = courier.hand_over(link).await;
        let certain = !courier.is_unsure();
        let refused = match answer {
            Ok(FromOwner::Done(uids)) => return self.complete(backend, id, uids).await.map(Some),
            Ok(FromOwner::Refused(refusal)) => ForwardError::from(refusal),
            Ok(_) => ForwardError::Unavailable,
            Err(error) => error,
        };
        let outcome = if certain {
            self.clear(backend, id).await.map(|()| None)
        } else {
            settle(backend, &self.place, id, &self.to).await
        };
        match outcome {
            Ok(Some(uids)) => Ok(Some(uids)),
            Ok(None) => Err(refused),
            Err(error) => {
                tracing::warn!(event = "copy_left_unsettled", %error);
                Err(ForwardError::Unavailable)
            }
        }
    }

    /// What an earlier command on the same messages left is settled first. If it turns out that this
    /// very command was carried out, that is the answer.
    async fn settle_earlier(
        &self,
        backend: &Arc<Backend>,
        uids: &UidSet,
    ) -> Result<Option<CopiedUids>, ForwardError> {
        let unit = self.place.unit;
        let read = self.place.partition.read(move |rows| intents(rows, &unit));
        for (id, intent) in read.await.map_err(BackendError::Read)? {
            if !self.overlaps(&intent, uids) {
                continue;
            }
            let Some(_at_work) = AtWork::on(&backend.forwarding, id) else {
                if intent.moving {
                    return Err(ForwardError::InUse);
                }
                continue;
            };
            let settled = settle(backend, &self.place, id, &intent.destination).await?;
            if settled.is_some() && self.is_repetition(&intent, uids) {
                return Ok(settled);
            }
        }
        Ok(None)
    }

    /// A message is moved once; copying it disturbs nobody.
    fn overlaps(&self, intent: &Intent, uids: &UidSet) -> bool {
        let moves = intent.moving && self.moving && intent.source == self.from;
        self.is_repetition(intent, uids) || moves && intersects(&intent.uids, uids)
    }

    fn is_repetition(&self, intent: &Intent, uids: &UidSet) -> bool {
        intent.user == self.user
            && intent.source == self.from
            && intent.destination == self.to
            && intent.moving == self.moving
            && intent.uids == *uids
    }

    async fn gather(&self, uids: &UidSet) -> Result<Gathered, ForwardError> {
        let mut gathered = Gathered {
            request: Append {
                id: DeliveryId::from_bytes(clock::random_id()),
                mailbox: self.to.clone(),
                author: Author::User {
                    name: self.user.clone(),
                    is_admin: self.is_admin,
                },
                keywords: Vec::new(),
                messages: Vec::new(),
            },
            contents: Vec::new(),
            rest: uids.clone(),
        };
        let viewer = (!self.owns_source).then(|| self.user.clone());
        let from = self.from;
        let seen = match viewer {
            Some(user) => {
                let read = self
                    .place
                    .partition
                    .read(move |rows| effective_seen(rows, &from, &user));
                Some(read.await.map_err(BackendError::Read)?.0)
            }
            None => None,
        };
        let mut bytes = 0;
        loop {
            let (step, later) = split(&gathered.rest, READ_MESSAGES);
            if step.is_empty() {
                return Ok(gathered);
            }
            let read = read_messages(&self.place.partition, self.from, step).await?;
            gathered.request.keywords = read.keywords;
            for (mut item, content) in read.messages {
                let total = bytes + item.length;
                let first = gathered.contents.is_empty();
                if !first && (total > BYTES_MAX || gathered.contents.len() == MESSAGES_MAX) {
                    gathered.rest = from_uid(&gathered.rest, item.uid);
                    return Ok(gathered);
                }
                bytes = total;
                if let Some(seen) = &seen {
                    item.flags = item.flags.without(SystemFlags::SEEN);
                    if seen.contains(item.uid) {
                        item.flags = item.flags.with(SystemFlags::SEEN);
                    }
                }
                gathered.request.messages.push(item);
                gathered.contents.push(content);
            }
            gathered.rest = later;
        }
    }

    /// False: some of the messages that are to be moved are gone, perhaps moved by somebody else.
    async fn write_intent(
        &self,
        backend: &Backend,
        id: DeliveryId,
        uids: UidSet,
    ) -> Result<bool, ForwardError> {
        let intent = Intent {
            user: self.user.clone(),
            source: self.from,
            uids,
            destination: self.to.clone(),
            moving: self.moving,
            since: clock::now(),
        };
        let unit = self.place.unit;
        let written = backend.write(&self.place, move |tx| {
            let refused = |error| Ok((Err(error), Effects::default()));
            if intents(tx, &unit)?.len() >= INTENTS_MAX {
                return refused(ForwardError::Unavailable);
            }
            if intent.moving {
                if is_being_moved(tx, &unit, &intent.source, &intent.uids)? {
                    return refused(ForwardError::InUse);
                }
                for uid in intent.uids.iter() {
                    if message(tx, &intent.source, uid)?.is_none() {
                        return Ok((Ok(false), Effects::default()));
                    }
                }
            }
            let effects = put_intent(tx, &id, &intent)?;
            Ok((Ok(true), effects))
        });
        let written = written.await??;
        // Should this session come to a sudden end, somebody else settles it.
        backend.forwarding.look_at_unit(backend, &self.place);
        Ok(written)
    }

    /// The destination has them: takes what was moved out and clears the intent.
    async fn complete(
        &self,
        backend: &Backend,
        id: DeliveryId,
        uids: CopiedUids,
    ) -> Result<CopiedUids, ForwardError> {
        match finish(backend, &self.place, id, &uids.source).await {
            Ok(()) => Ok(uids),
            Err(error) if self.moving => Err(error.into()),
            Err(error) => {
                // They are copied; that the intent is still there concerns nobody.
                tracing::info!(event = "copy_intent_not_cleared", %error);
                Ok(uids)
            }
        }
    }

    async fn clear(&self, backend: &Backend, id: DeliveryId) -> Result<(), ForwardError> {
        Ok(finish(backend, &self.place, id, &[]).await?)
    }
}

/// Whether some of these messages are on their way to another server already: until it is known what
/// became of them nobody else may move them, or they would be in two places.
pub(in crate::backend) fn is_being_moved(
    rows: &dyn Rows,
    unit: &UnitId,
    from: &MailboxId,
    uids: &UidSet,
) -> Result<bool, MailError> {
    let moves =
        |intent: &Intent| intent.moving && intent.source == *from && intersects(&intent.uids, uids);
    Ok(intents(rows, unit)?.iter().any(|(_, intent)| moves(intent)))
}

/// Finds out what became of an intent that nobody else is at work on, and makes it so: nothing is
/// appended any more. `Some`: it was carried out.
pub(super) async fn settle(
    backend: &Arc<Backend>,
    place: &UnitPlace,
    id: DeliveryId,
    destination: &MailboxName,
) -> Result<Option<CopiedUids>, ForwardError> {
    let done = backend.withdraw(id, destination.root()).await?;
    let taken = done.as_ref().map_or(&[][..], |uids| &uids.source);
    finish(backend, place, id, taken).await?;
    Ok(done)
}

async fn finish(
    backend: &Backend,
    place: &UnitPlace,
    id: DeliveryId,
    taken: &[u32],
) -> Result<(), BackendError> {
    let taken: UidSet = taken.iter().copied().collect();
    let unit = place.unit;
    backend
        .write(place, move |tx| {
            let (_, effects) = complete_intent(tx, &unit, &id, &taken, clock::now())?;
            Ok(((), effects))
        })
        .await
}

struct Read {
    keywords: Vec<murder_model::Keyword>,
    messages: Vec<(Item, Content)>,
}

async fn read_messages(
    partition: &PartitionHandle,
    from: MailboxId,
    uids: UidSet,
) -> Result<Read, BackendError> {
    let snapshots = partition.snapshots().clone();
    let read = partition.read(move |rows| read_step(rows, &snapshots, &from, &uids));
    Ok(read.await?)
}

fn read_step(
    rows: &Snapshot,
    snapshots: &Snapshots,
    from: &MailboxId,
    uids: &UidSet,
) -> Result<Read, MailError> {
    let row = mailbox(rows, from)?.ok_or(MailError::NoSuchMailbox)?;
    let mut found = Vec::new();
    for (first, last) in uids.ranges() {
        for (uid, message) in messages(rows, from, *first, *last)? {
            let (place, _) = structure(rows, &message)?.ok_or_else(|| {
                MailError::Store(StoreError::Index(format!("message {uid} has no blob")))
            })?;
            let item = Item {
                uid,
                length: place.length,
                guid: message.guid,
                email_id: message.email_id,
                flags: message.flags,
                keywords: message.keywords,
                internal_date: message.internal_date,
            };
            found.push((item, Content::Stored(snapshots.blob(place)?)));
        }
    }
    Ok(Read {
        keywords: row.keywords,
        messages: found,
    })
}

/// The first `count` numbers of a set, and the others.
fn split(set: &UidSet, count: u64) -> (UidSet, UidSet) {
    let (mut head, mut tail, mut left) = (UidSet::new(), UidSet::new(), count);
    for (first, last) in set.ranges() {
        let length = u64::from(last - first) + 1;
        let here = length.min(left);
        left -= here;
        if here > 0 {
            let end = u64::from(*first) + here - 1;
            head.insert_range(*first, u32::try_from(end).unwrap_or(*last));
        }
        if here < length {
            let next = u64::from(*first) + here;
            tail.insert_range(u32::try_from(next).unwrap_or(*last), *last);
        }
    }
    (head, tail)
}

/// The numbers of a set from `first`.
fn from_uid(set: &UidSet, first: u32) -> UidSet {
    let mut kept = UidSet::new();
    for (low, high) in set.ranges() {
        kept.insert_range((*low).max(first), *high);
    }
    kept
}

fn intersects(one: &UidSet, other: &UidSet) -> bool {
    let mut others = other.ranges().iter().peekable();
    for (first, last) in one.ranges() {
        while others.next_if(|(_, end)| end < first).is_some() {}
        if others.peek().is_some_and(|(start, _)| start <= last) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use murder_model::UidSet;

    use super::{from_uid, intersects, split};

    fn set(text: &str) -> UidSet {
        if text.is_empty() {
            return UidSet::new();
        }
        text.parse().unwrap()
    }

    #[test]
    fn sets_are_split_by_count_and_by_number() {
        for (whole, count, head, tail) in [
            ("1:3,7,9:12", 5, "1:3,7,9", "10:12"),
            ("1:3,7,9:12", 3, "1:3", "7,9:12"),
            ("4", 1, "4", ""),
            ("", 4, "", ""),
        ] {
            assert_eq!(split(&set(whole), count), (set(head), set(tail)), "{whole}");
        }
        assert_eq!(from_uid(&set("1:3,7,9:12"), 10), set("10:12"));
        assert_eq!(from_uid(&set("1:3"), 4), set(""));
    }

    #[test]
    fn sets_intersect_if_they_share_a_number() {
        for (one, other, expected) in [
            ("1:3,7", "4:6,8", false),
            ("1:3,7", "4:7", true),
            ("5", "1:10", true),
            ("1,3,5", "2,4,6", false),
            ("", "1", false),
        ] {
            assert_eq!(
                intersects(&set(one), &set(other)),
                expected,
                "{one} {other}"
            );
            assert_eq!(
                intersects(&set(other), &set(one)),
                expected,
                "{other} {one}"
            );
        }
    }
}
