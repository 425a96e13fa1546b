//! Delivery: which mailbox a recipient means, and one message into all of them.
//!
//! The commit point of the replies is the sync of the batch that holds the message and its rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use murder_model::{
    DeliveryId, EmailId, InternalDate, MailboxId, MailboxName, NameError, Rights, RootName,
    SystemFlags, UserName,
};
use murder_proto::lmtp::address::{Address, Recipient};
use murder_store::mail::{MailError, MailboxRow, NewMessage, deliver, delivery_key};
use murder_store::rows::StoreError;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::backend::forward::{Content, ForwardError, Held, PassedOn, may_be_elsewhere};
use crate::backend::gate::{Pass, Phase};
use crate::backend::partition::{PartitionHandle, WriteError};
use crate::backend::spool::Spooled;
use crate::backend::{Backend, BackendError, UnitPlace};
use crate::clock;
use crate::peer::append::{Append, Author, Item};

/// How long a delivery waits for a unit that is frozen.
const HOLD_LIMIT: Duration = Duration::from_secs(10);

/// A recipient whose mailbox is known.
#[derive(Clone, Debug)]
pub struct Target {
    place: UnitPlace,
    mailbox: MailboxId,
    /// The mailbox' name, for duplicate suppression.
    name: MailboxName,
}

/// Why a recipient is refused.
#[derive(Debug)]
pub enum RecipientRefusal {
    /// No such user or folder, now and later.
    Unknown,
    /// The domain is not ours.
    OtherDomain,
    /// Nobody may post there.
    NotAllowed,
    /// Perhaps later.
    Later(BackendError),
}

/// What became of one recipient's copy.
#[derive(Debug)]
pub enum Delivered {
    /// Durable.
    Stored,
    /// It was delivered before.
    Repeated,
    /// No room.
    Full,
    /// Try again later, and why; the outcome of this try may be unknown.
    Later(String),
}

/// Finds the mailbox of a recipient. An account without mailboxes gets them, if settings say so.
pub async fn resolve(backend: &Backend, address: &Address) -> Result<Target, RecipientRefusal> {
    let recipient = address.recipient();
    if let Some(domain) = &recipient.domain {
        let domains = &backend.settings.domains;
        let ours = |known: &String| known.eq_ignore_ascii_case(domain);
        if !domains.is_empty() && !domains.iter().any(ours) {
            return Err(RecipientRefusal::OtherDomain);
        }
    }
    if recipient.user.is_empty() {
        return shared(backend, &recipient).await;
    }
    let user = UserName::parse(&recipient.user).map_err(|_| RecipientRefusal::Unknown)?;
    let root = RootName::user(&user);
    if backend.unit(&root).is_none() {
        let exists = backend.accounts.exists(&user).await.unwrap_or(false);
        if !exists || !backend.settings.autocreate.on_delivery {
            return Err(RecipientRefusal::Unknown);
        }
        backend
            .create_root(&root)
            .await
            .map_err(RecipientRefusal::Later)?;
    }
    if let Some(folder) = &recipient.folder
        && let Some(target) = below_inbox(backend, &user, folder).await?
    {
        return Ok(target);
    }
    find(backend, &root.mailbox())
        .await
        .map(|(target, _)| target)
}

/// `user+folder`: that folder if it exists; anything else goes to INBOX.
async fn below_inbox(
    backend: &Backend,
    user: &UserName,
    folder: &str,
) -> Result<Option<Target>, RecipientRefusal> {
    let name: Result<MailboxName, NameError> = MailboxName::from_external(user, folder.as_bytes());
    match name {
        // The owner needs no right to post to what is theirs.
        Ok(name) if name.owner().as_ref() == Some(user) => match find(backend, &name).await {
            Ok((target, _)) => Ok(Some(target)),
            Err(RecipientRefusal::Unknown) => Ok(None),
            Err(refusal) => Err(refusal),
        },
        _ => Ok(None),
    }
}

/// `+Shared Folders/x`: needs the right to post for everybody.
async fn shared(backend: &Backend, recipient: &Recipient) -> Result<Target, RecipientRefusal> {
    let folder = recipient.shared_folder().ok_or(RecipientRefusal::Unknown)?;
    let nobody = UserName::parse("nobody").expect("a valid user name");
    let external = format!("{}/{folder}", murder_model::SHARED_FOLDERS);
    let name = MailboxName::from_external(&nobody, external.as_bytes())
        .map_err(|_| RecipientRefusal::Unknown)?;
    let (target, row) = find(backend, &name).await?;
    let anyone = row.acl.entry(&murder_model::Identifier::Anyone, false);
    if anyone.contains(Rights::POST) {
        Ok(target)
    } else {
        Err(RecipientRefusal::NotAllowed)
    }
}

async fn find(
    backend: &Backend,
    name: &MailboxName,
) -> Result<(Target, MailboxRow), RecipientRefusal> {
    match backend.mailbox(name).await {
        Ok((place, row)) => Ok((
            Target {
                place,
                mailbox: row.id,
                name: name.clone(),
            },
            row,
        )),
        Err(BackendError::NoSuchMailbox) => Err(RecipientRefusal::Unknown),
        Err(error) => Err(RecipientRefusal::Later(error)),
    }
}

/// Delivers to all targets, one transaction a partition; results in the order of `targets`. Those
/// whose unit is being moved are held, and delivered wherever it is then; the others do not wait for
/// them to be written.
pub async fn deliver_all(
    backend: &Arc<Backend>,
    targets: &[Target],
    message: Spooled,
) -> Vec<Delivered> {
    let message = Arc::new(message);
    let mut groups: BTreeMap<Arc<str>, Group> = BTreeMap::new();
    let mut tasks: JoinSet<Vec<(usize, Delivered)>> = JoinSet::new();
    for (index, target) in targets.iter().enumerate() {
        match timeout(Duration::ZERO, target.place.gate.enter()).await {
            Ok(Ok(pass)) => {
                let partition = &target.place.partition;
                let group = groups.entry(Arc::clone(partition.name()));
                let group = group.or_insert_with(|| Group::new(partition));
                group.members.push((index, target.clone(), pass));
            }
            _ => {
                let (backend, message) = (Arc::clone(backend), Arc::clone(&message));
                let target = target.clone();
                tasks.spawn(async move {
                    vec![(index, deliver_held(&backend, &target, &message).await)]
                });
            }
        }
    }
    let suppress = suppresses(backend);
    for group in groups.into_values() {
        tasks.spawn(deliver_group(group, Arc::clone(&message), suppress));
    }
    let mut results: Vec<Option<Delivered>> = targets.iter().map(|_| None).collect();
    while let Some(done) = tasks.join_next().await {
        for (index, outcome) in done.unwrap_or_default() {
            results[index] = Some(outcome);
        }
    }
    let lost = || Delivered::Later("the delivery was broken off".to_owned());
    let results: Vec<_> = results
        .into_iter()
        .map(|result| result.unwrap_or_else(lost))
        .collect();
    count(backend, &results);
    results
}

/// Recipients in one partition, with leave to write.
struct Group {
    partition: Arc<PartitionHandle>,
    members: Vec<(usize, Target, Pass)>,
}

impl Group {
    fn new(partition: &Arc<PartitionHandle>) -> Self {
        Self {
            partition: Arc::clone(partition),
            members: Vec::new(),
        }
    }
}

async fn deliver_group(
    group: Group,
    message: Arc<Spooled>,
    suppress: bool,
) -> Vec<(usize, Delivered)> {
    let Group { partition, members } = group;
    let recipient = |(_, target, _): &(usize, Target, Pass)| recipient(target, &message, suppress);
    let to: Vec<_> = members.iter().map(recipient).collect();
    let outcomes = match deliver_to(&partition, to.clone(), &message).await {
        // One recipient's folder went away since RCPT: the others must not suffer.
        Err(WriteError::Refused(_)) if to.len() > 1 => {
            let mut outcomes = Vec::with_capacity(to.len());
            for one in to {
                outcomes.push(single(deliver_to(&partition, vec![one], &message).await));
            }
            outcomes
        }
        Ok(stored) => stored.into_iter().map(stored_or_repeated).collect(),
        Err(error) => to.iter().map(|_| failed(&error)).collect(),
    };
    let indexes = members.iter().map(|(index, ..)| *index);
    indexes.zip(outcomes).collect()
}

fn suppresses(backend: &Backend) -> bool {
    backend.settings.lmtp.duplicate_suppression_hours > 0
}

/// A mailbox, and the key by which a repeated delivery to it is recognised.
fn recipient(target: &Target, message: &Spooled, suppress: bool) -> (MailboxId, Option<[u8; 32]>) {
    let id = message.message_id.as_deref().filter(|_| suppress);
    let key = id.map(|id| delivery_key(target.name.as_str(), id, &message.content));
    (target.mailbox, key)
}

/// Delivers to a unit that is frozen, in doubt, or elsewhere by now.
async fn deliver_held(
    backend: &Arc<Backend>,
    target: &Target,
    message: &Arc<Spooled>,
) -> Delivered {
    let _held = Held::count(backend);
    let (mailbox, key) = recipient(target, message, suppresses(backend));
    let phase = match timeout(HOLD_LIMIT, target.place.gate.enter()).await {
        Ok(Ok(_pass)) => {
            let to = vec![(mailbox, key)];
            return single(deliver_to(&target.place.partition, to, message).await);
        }
        Ok(Err(phase)) => phase,
        Err(_) => Phase::InDoubt,
    };
    let error = BackendError::Unavailable(phase);
    if !may_be_elsewhere(&error) {
        return Delivered::Later(error.to_string());
    }
    let request = Append {
        id: DeliveryId::from_bytes(clock::random_id()),
        mailbox: target.name.clone(),
        author: Author::Delivery { key },
        keywords: Vec::new(),
        messages: vec![Item {
            uid: 1,
            length: message.length,
            guid: message.guid,
            email_id: EmailId::from_bytes(clock::random_id()),
            flags: SystemFlags::NONE,
            keywords: 0,
            internal_date: InternalDate::from_timestamp(clock::now()),
        }],
    };
    let content = Content::Spooled(Arc::clone(message));
    match backend.pass_on(request, content).await {
        Ok(PassedOn::Delivered { stored }) => stored_or_repeated(stored),
        Ok(PassedOn::Appended(_)) => Delivered::Stored,
        Err(ForwardError::Full) => Delivered::Full,
        Err(error) => Delivered::Later(error.to_string()),
    }
}

async fn deliver_to(
    partition: &PartitionHandle,
    to: Vec<(MailboxId, Option<[u8; 32]>)>,
    message: &Arc<Spooled>,
) -> Result<Vec<bool>, WriteError> {
    let message = Arc::clone(message);
    partition
        .write(move |tx| {
            let now = clock::now();
            let new = NewMessage {
                content: message.source(),
                guid: message.guid,
                email_id: EmailId::from_bytes(clock::random_id()),
                flags: SystemFlags::NONE,
                keywords: &[],
                internal_date: InternalDate::from_timestamp(now),
                structure: &message.structure,
            };
            let (appended, effects) = deliver(tx, &to, &new, now)?;
            Ok((appended.iter().map(Option::is_some).collect(), effects))
        })
        .await
}

fn stored_or_repeated(stored: bool) -> Delivered {
    if stored {
        Delivered::Stored
    } else {
        Delivered::Repeated
    }
}

fn single(outcome: Result<Vec<bool>, WriteError>) -> Delivered {
    match outcome {
        Ok(stored) => stored_or_repeated(stored == [true]),
        Err(error) => failed(&error),
    }
}

fn failed(error: &WriteError) -> Delivered {
    match error {
        WriteError::Refused(MailError::Store(StoreError::Full { .. })) => Delivered::Full,
        other => {
            tracing::warn!(event = "delivery_failed", error = %other);
            Delivered::Later("the store took no write".to_owned())
        }
    }
}

fn count(backend: &Backend, results: &[Delivered]) {
    for result in results {
        match result {
            Delivered::Stored => backend.metrics.deliveries.inc(),
            Delivered::Repeated => backend.metrics.deliveries_suppressed.inc(),
            Delivered::Full | Delivered::Later(_) => backend.metrics.deliveries_deferred.inc(),
        };
    }
}
