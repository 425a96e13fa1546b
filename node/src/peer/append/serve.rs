//! The owner's side: rights, room, one commit.

use std::sync::Arc;

use murder_model::{
    DeliveryId, Identifier, Keyword, MailboxId, Rights, RootName, UidValidity, UnitId, UserName,
};
use murder_store::engine::Tx;
use murder_store::mail::{
    CopiedUids, Effects, MailError, MailboxRow, Viewer, append_once, appended_under, deliver,
    mailbox_by_name, mailboxes,
};
use murder_store::rows::{Rows, StoreError};

use super::contents::{self, Contents, Unusable};
use super::{Append, Author, FromOwner, Refusal, ToOwner};
use crate::backend::gate::Phase;
use crate::backend::partition::WriteError;
use crate::backend::{Backend, BackendError, UnitPlace, rights};
use crate::clock;
use crate::net::PeerIdentity;
use crate::peer::{Link, LinkError};

/// Serves a conversation that another backend began, to its end.
pub async fn serve(backend: Arc<Backend>, link: Link, peer: PeerIdentity) {
    let _counted = backend.metrics.session("append");
    if let Err(error) = converse(&backend, link).await {
        tracing::debug!(event = "append_conversation_ended", peer = %peer, %error);
    }
}

/// As [`serve`], with whoever holds the other end.
pub(crate) async fn converse(backend: &Arc<Backend>, mut link: Link) -> Result<(), LinkError> {
    loop {
        let answer = match link.receive().await {
            Ok(ToOwner::Append(request)) => append(backend, &mut link, request).await?,
            Ok(ToOwner::Withdraw { id, root }) => withdraw(backend, id, &root).await,
            Err(LinkError::Closed) => return Ok(()),
            Err(error) => return Err(error),
        };
        link.send(&answer).await?;
        link.flush().await?;
    }
}

/// A mailbox that the messages may be appended to.
struct Admitted {
    place: UnitPlace,
    row: MailboxRow,
}

async fn append(
    backend: &Arc<Backend>,
    link: &mut Link,
    request: Append,
) -> Result<FromOwner, LinkError> {
    if !request.is_within_limits() {
        return Ok(FromOwner::Refused(Refusal::Malformed));
    }
    let Admitted { place, row } = match admit(backend, &request).await {
        Ok(admitted) => admitted,
        Err(answer) => return Ok(answer),
    };
    if request.messages.is_empty() {
        return Ok(FromOwner::Done(nothing(row.uid_validity)));
    }
    link.send(&FromOwner::Ready).await?;
    link.flush().await?;
    let directory = backend.settings.data_dir.join("spool");
    let contents = match contents::receive(link, &directory, &request).await? {
        Ok(contents) => contents,
        Err(Unusable::Spool(error)) => {
            tracing::error!(event = "spool_failed", %error);
            return Ok(FromOwner::Refused(Refusal::Full));
        }
        Err(Unusable::Malformed) => return Ok(FromOwner::Refused(Refusal::Malformed)),
    };
    let is_owned_by = |name: &UserName| row.name.owner().as_ref() == Some(name);
    let is_owner = match &request.author {
        Author::User { name, .. } => is_owned_by(name),
        Author::Delivery { .. } => true,
    };
    let written = backend.write(&place, move |tx| {
        commit(tx, &row.unit, &row.id, is_owner, &request, &contents)
    });
    Ok(written.await.unwrap_or_else(|error| failed(&error)))
}

/// Whether the request may be carried out, or its answer.
async fn admit(backend: &Backend, request: &Append) -> Result<Admitted, FromOwner> {
    let place = backend.place(&request.mailbox.root()).await;
    let place = place.map_err(|error| failed(&error))?;
    let (unit, id, name) = (place.unit, request.id, request.mailbox.clone());
    // What was done is known even if its mailbox has gone since.
    let read = place.partition.read(move |rows| {
        Ok((
            appended_under(rows, &unit, &id)?,
            mailbox_by_name(rows, &unit, &name)?,
        ))
    });
    let (remembered, row) = read.await.map_err(|error| failed(&error.into()))?;
    if let Some(uids) = remembered {
        return Err(again(&request.author, uids));
    }
    let row = row.ok_or(FromOwner::Refused(Refusal::NoSuchMailbox))?;
    may_post(&row, &request.author).map_err(FromOwner::Refused)?;
    if request.bytes() > place.partition.free_bytes() {
        return Err(FromOwner::Refused(Refusal::Full));
    }
    Ok(Admitted { place, row })
}

/// As APPEND and RCPT decide it.
fn may_post(row: &MailboxRow, author: &Author) -> Result<(), Refusal> {
    match author {
        Author::User { name, is_admin } => {
            let rights = rights(row, name, *is_admin);
            if rights.contains(Rights::INSERT) {
                Ok(())
            } else if rights.contains(Rights::LOOKUP) {
                Err(Refusal::NotAllowed)
            } else {
                Err(Refusal::NoSuchMailbox)
            }
        }
        Author::Delivery { .. } if row.name.owner().is_some() => Ok(()),
        Author::Delivery { .. } => {
            let anyone = row.acl.entry(&Identifier::Anyone, false);
            if anyone.contains(Rights::POST) {
                Ok(())
            } else {
                Err(Refusal::NotAllowed)
            }
        }
    }
}

fn commit(
    tx: &mut Tx<'_>,
    unit: &UnitId,
    to: &MailboxId,
    is_owner: bool,
    request: &Append,
    contents: &Contents,
) -> Result<(FromOwner, Effects), MailError> {
    let now = clock::now();
    let (id, items) = (&request.id, &request.messages);
    if let Some(uids) = appended_under(tx, unit, id)? {
        return Ok((again(&request.author, uids), Effects::default()));
    }
    let named = |bits: u128| {
        let set = request.keywords.iter().enumerate();
        let set = set.filter(|(bit, _)| bits.checked_shr(to_u32(*bit)).unwrap_or(0) & 1 == 1);
        set.map(|(_, keyword)| keyword.clone()).collect()
    };
    let keywords: Vec<Vec<Keyword>> = items.iter().map(|item| named(item.keywords)).collect();
    let messages = contents.messages(items, &keywords);
    let (key, user) = match &request.author {
        Author::User { name, .. } => (None, Some(name)),
        Author::Delivery { key } => (*key, None),
    };
    let Some(user) = user else {
        let message = messages.first().ok_or(MailError::NoSuchMessage)?;
        let (stored, mut effects) = deliver(tx, &[(*to, key)], message, now)?;
        let (_, remembered) = append_once(tx, to, id, Viewer::Owner, &[], &[], now)?;
        effects.extend(remembered);
        let stored = stored.iter().any(Option::is_some);
        return Ok((FromOwner::Delivered { stored }, effects));
    };
    let viewer = if is_owner {
        Viewer::Owner
    } else {
        Viewer::Other(user)
    };
    let sources: Vec<u32> = items.iter().map(|item| item.uid).collect();
    let (uids, effects) = append_once(tx, to, id, viewer, &messages, &sources, now)?;
    Ok((FromOwner::Done(uids), effects))
}

/// What is answered to a request that is remembered.
fn again(author: &Author, uids: CopiedUids) -> FromOwner {
    match author {
        Author::Delivery { .. } => FromOwner::Delivered { stored: true },
        Author::User { .. } if uids.source.is_empty() => FromOwner::Withdrawn,
        Author::User { .. } => FromOwner::Done(uids),
    }
}

async fn withdraw(backend: &Arc<Backend>, id: DeliveryId, root: &RootName) -> FromOwner {
    let place = match backend.place(root).await {
        Ok(place) => place,
        // A server without a master knows all there is.
        Err(BackendError::NoSuchMailbox) => return FromOwner::Withdrawn,
        Err(error) => return failed(&error),
    };
    let unit = place.unit;
    let written = backend.write(&place, move |tx| {
        if let Some(uids) = appended_under(tx, &unit, &id)? {
            let done = if uids.source.is_empty() {
                FromOwner::Withdrawn
            } else {
                FromOwner::Done(uids)
            };
            return Ok((done, Effects::default()));
        }
        let effects = match any_mailbox(tx, &unit)? {
            Some(any) => append_once(tx, &any, &id, Viewer::Owner, &[], &[], clock::now())?.1,
            // Nothing can be appended to a unit without mailboxes.
            None => Effects::default(),
        };
        Ok((FromOwner::Withdrawn, effects))
    });
    written.await.unwrap_or_else(|error| failed(&error))
}

/// Ids are remembered for the whole unit, by way of any of its mailboxes.
fn any_mailbox(rows: &dyn Rows, unit: &UnitId) -> Result<Option<MailboxId>, MailError> {
    let all = mailboxes(rows, unit)?;
    Ok(all.into_iter().find_map(|(_, row)| row.map(|row| row.id)))
}

fn nothing(uid_validity: UidValidity) -> CopiedUids {
    CopiedUids {
        uid_validity,
        source: Vec::new(),
        destination: Vec::new(),
    }
}

fn failed(error: &BackendError) -> FromOwner {
    let mail = match error {
        BackendError::Unavailable(Phase::Moved { to, term, epoch }) => {
            return FromOwner::Moved {
                to: to.clone(),
                term: *term,
                epoch: *epoch,
            };
        }
        BackendError::Elsewhere => return FromOwner::Elsewhere,
        BackendError::NoSuchMailbox => return FromOwner::Refused(Refusal::NoSuchMailbox),
        BackendError::Write(WriteError::Refused(error)) | BackendError::Read(error) => error,
        other => {
            tracing::warn!(event = "append_failed", error = %other);
            return FromOwner::Unavailable;
        }
    };
    match mail {
        MailError::NoSuchMailbox => FromOwner::Refused(Refusal::NoSuchMailbox),
        MailError::Store(StoreError::Full { .. }) => FromOwner::Refused(Refusal::Full),
        MailError::TooManyKeywords | MailError::NoUidsLeft => {
            FromOwner::Refused(Refusal::Limit(mail.to_string()))
        }
        other => {
            tracing::warn!(event = "append_failed", error = %other);
            FromOwner::Unavailable
        }
    }
}

fn to_u32(bit: usize) -> u32 {
    u32::try_from(bit).unwrap_or(u32::MAX)
}
