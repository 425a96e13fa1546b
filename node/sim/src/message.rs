//! What the nodes of a simulated murder say to each other.

use murder_locations::record::Position;
use murder_locations::request::{Identity, Request, Response, StreamItem};
use murder_model::{
    Attempt, Epoch, Guid, ModSeq, MoveId, RootName, ServerName, SystemFlags, Term, UnitDigest,
    UnitId, UserName,
};
use murder_store::mail::{TransferRow, UnitHead, Vanished};

/// Virtual milliseconds since the world began.
pub(crate) type Millis = u64;

/// Who sends or receives.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Address {
    /// The mupdate master.
    Master,
    /// A backend.
    Backend(usize),
    /// A frontend.
    Frontend(usize),
    /// A client.
    Client(usize),
}

/// A folder below a root; empty for the root itself.
pub(crate) type Folder = &'static str;

/// What a client wants.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// The root, with its first folder.
    Create,
    /// LMTP: into the root, known by its token however often it is sent.
    Deliver {
        /// Names the message.
        token: u64,
    },
    /// IMAP APPEND, sent once.
    Append {
        /// Where to.
        folder: Folder,
        /// Names the message.
        token: u64,
    },
    /// STORE +FLAGS.
    Flag {
        /// The mailbox.
        folder: Folder,
        /// Its validity.
        validity: u32,
        /// The message.
        uid: u32,
        /// Flags to add.
        flags: SystemFlags,
    },
    /// STORE +FLAGS (\Deleted) and UID EXPUNGE.
    Expunge {
        /// The mailbox.
        folder: Folder,
        /// Its validity.
        validity: u32,
        /// The message.
        uid: u32,
    },
    /// MOVE from the root's own mailbox.
    Shift {
        /// The mailbox' validity.
        validity: u32,
        /// The message.
        uid: u32,
        /// Where to.
        to: Folder,
    },
    /// SELECT with QRESYNC, and everything that is there beside.
    Look {
        /// The mailbox.
        folder: Folder,
        /// Up to where the client knows.
        since: ModSeq,
    },
    /// CREATE.
    MakeFolder {
        /// Which.
        folder: Folder,
    },
    /// DELETE.
    DropFolder {
        /// Which.
        folder: Folder,
    },
    /// DELETE of the root with all that is under it.
    DropRoot,
}

/// One message of a [`Listing`].
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// UID.
    pub(crate) uid: u32,
    /// Hash of its bytes.
    pub(crate) guid: Guid,
    /// Flags as the viewer sees them.
    pub(crate) flags: SystemFlags,
    /// Modification sequence, the viewer's seen state included.
    pub(crate) mod_seq: ModSeq,
}

/// A mailbox as one read found it.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    /// UIDVALIDITY.
    pub(crate) validity: u32,
    /// UIDNEXT.
    pub(crate) uid_next: u32,
    /// HIGHESTMODSEQ.
    pub(crate) highest: ModSeq,
    /// All messages.
    pub(crate) messages: Vec<Seen>,
    /// What went since the client last looked.
    pub(crate) vanished: Vanished,
}

/// What becomes of an [`Op`].
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The root is there.
    Created,
    /// A message is there.
    Stored {
        /// UIDVALIDITY.
        validity: u32,
        /// UID.
        uid: u32,
        /// Modification sequence.
        mod_seq: ModSeq,
    },
    /// The delivery was there before.
    Duplicate,
    /// Done.
    Done,
    /// What a look found.
    Listing(Box<Listing>),
    /// A folder is there.
    FolderMade {
        /// UIDVALIDITY.
        validity: u32,
    },
    /// Refused: nothing changed.
    Refused(String),
    /// Refused for good: there is no such root.
    NoSuchRoot,
    /// Not done; later, perhaps.
    Unavailable,
    /// Nobody knows whether it was done.
    Unknown,
    /// Served elsewhere since this grant; nothing was done.
    MovedTo {
        /// The owner.
        server: ServerName,
        /// Term of its grant.
        term: Term,
        /// Epoch of its grant.
        epoch: Epoch,
    },
    /// Not here, and this server does not know where; nothing was done.
    NotHere,
}

/// What backends say to each other during a move.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// The source wants to copy a unit here.
    Stage {
        /// Its root.
        root: RootName,
        /// Freezes so far.
        attempt: Attempt,
        /// The source's epoch.
        epoch: Epoch,
    },
    /// The destination takes rows, steps counted from 0.
    Staged {
        /// Everything up to this change is there already.
        reached: u64,
    },
    /// A step of a round.
    Rows {
        /// Number of the step in this move.
        step: u64,
        /// Rows.
        rows: Vec<TransferRow>,
        /// Bytes of those that need them.
        contents: Vec<Option<Vec<u8>>>,
        /// With this step everything up to this change is there.
        covered: Option<u64>,
    },
    /// A step is durable.
    Imported {
        /// Which.
        step: u64,
        /// Rows that were left out for want of their bytes.
        missing: Vec<usize>,
    },
    /// Everything up to a freeze was sent.
    Prepare {
        /// The freeze.
        attempt: Attempt,
        /// The source's epoch.
        epoch: Epoch,
        /// What the unit has beside its rows.
        head: UnitHead,
    },
    /// The destination has all, durably.
    Prepared {
        /// The freeze.
        attempt: Attempt,
        /// Digest of the rows there.
        digest: UnitDigest,
    },
    /// The source unfroze.
    Abort {
        /// The freeze that it gave up.
        attempt: Attempt,
    },
    /// The destination waits for more rows.
    Aborted {
        /// The freeze that was given up.
        attempt: Attempt,
    },
    /// The destination has started anew: the conversation must be, too.
    Lost,
    /// The destination cannot go on with this move.
    Refused,
    /// The destination asks whether the move still is.
    Question,
    /// The source says that it is over.
    Over,
    /// The flip was answered: ask the master. Repeated until the destination serves.
    Flipped,
    /// The destination serves, or has served, what was flipped: the source's copy is of no use.
    Serving {
        /// Its epoch.
        epoch: Epoch,
    },
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// A client's wish, to a frontend or on to a backend.
    Call {
        /// Chosen by the sender.
        id: u64,
        /// The client's user.
        user: UserName,
        /// Whose mail.
        root: RootName,
        /// What.
        op: Op,
    },
    /// The answer to a call.
    Answer {
        /// The call's.
        id: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// A request to the master.
    Ask {
        /// Chosen by the sender.
        id: u64,
        /// Who asks.
        who: Identity,
        /// What.
        request: Request,
    },
    /// The master's answer.
    Told {
        /// The request's.
        id: u64,
        /// The answer.
        response: Response,
    },
    /// A frontend wants the stream.
    Subscribe {
        /// Chosen by the frontend; rising.
        connection: u64,
        /// What it has.
        after: Position,
    },
    /// A piece of the stream.
    Stream {
        /// Of this subscription.
        connection: u64,
        /// Rising by one.
        number: u64,
        /// The items.
        items: Vec<StreamItem>,
    },
    /// Between backends.
    Peer {
        /// The unit.
        unit: UnitId,
        /// The move.
        move_id: MoveId,
        /// What.
        message: Peer,
    },
}

impl Payload {
    /// Whether the network may deliver it twice. Calls are not repeatable; their connection breaks
    /// instead.
    pub(crate) fn may_double(&self) -> bool {
        !matches!(self, Self::Call { .. } | Self::Answer { .. })
    }
}
