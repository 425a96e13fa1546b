//! The rows of the location database: servers, units, names, and positions in its stream.

use murder_model::{
    Attempt, Epoch, Incarnation, MailboxId, MoveId, OutboxNumber, PartitionName, RootName,
    ServerId, ServerName, SpecialUse, Term, UnitId,
};
use serde::{Deserialize, Serialize};

use crate::name::Name;

/// A place in the master's stream of changes: which reign, and how many changes so far.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Position {
    /// The master's reign.
    pub term: Term,
    /// Number of the change; 0 before the first.
    pub seq: u64,
}

/// Where a service of a server listens.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct HostPort {
    /// DNS name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The addresses of a server's services.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Addresses {
    /// IMAP, with STARTTLS.
    pub imap: HostPort,
    /// IMAP inside TLS, where it listens.
    pub imaps: Option<HostPort>,
    /// LMTP.
    pub lmtp: HostPort,
    /// Unit transfers.
    pub transfer: HostPort,
    /// The admin interface.
    pub admin: HostPort,
}

/// A partition of a server as last reported.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct PartitionSpace {
    /// The partition.
    pub name: PartitionName,
    /// Bytes that new mail may still use: free space less the reserve.
    pub free_bytes: u64,
    /// Bytes of the volume.
    pub total_bytes: u64,
    /// Last durable log sequence number; going back means a restored volume (O8).
    pub last_lsn: u64,
}

/// What an administrator wants of a server.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct ServerFlags {
    /// No new unit is placed here and no transfer comes here.
    pub cordoned: bool,
    /// Version of the drain in force; 0 for none.
    pub drain_epoch: u64,
}

/// Why a server whose numbers went back serves nothing, and until when (O8).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Restored {
    /// Its numbers never went back, or it has been through it.
    #[default]
    No,
    /// Its incarnation or a log sequence number went back; an administrator must confirm.
    Blocked,
    /// Confirmed; every UIDVALIDITY must rise above this floor before it serves.
    Raising(u32),
}

/// One server of the murder.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct ServerRecord {
    /// Name in its certificate.
    pub server: ServerName,
    /// Identity written once into its volume.
    pub server_id: ServerId,
    /// Number of its last start.
    pub incarnation: Incarnation,
    /// Random id of its last start: two starts with one number mean a restored volume.
    pub start_id: [u8; 16],
    /// Highest term that it promised to; its promise covers this master if it equals the term.
    pub promised_term: Term,
    /// Term to which it last reported every unit; it is counted as reported if equal to the term.
    pub reported_term: Term,
    /// Where it listens.
    pub addresses: Addresses,
    /// Its partitions.
    pub partitions: Vec<PartitionSpace>,
    /// Cordon and drain.
    pub flags: ServerFlags,
    /// State of a restored volume.
    pub restored: Restored,
    /// Terminal: it owns nothing and never will again.
    pub retired: bool,
    /// It has reported, is neither retired nor blocked: units may be placed on it.
    pub ready: bool,
}

/// The move that gave a unit its present owner, or that was refused by a raise.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct LastMove {
    /// The move.
    pub move_id: MoveId,
    /// The freeze of the move that was flipped.
    pub attempt: Attempt,
    /// Flipped to the present owner; false if a settle decided against the move.
    pub flipped: bool,
}

/// What the master may say of a unit.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Standing {
    /// The owner of record holds it.
    Owned,
    /// A rebuilt master knows that its owner released it to this server, and has not heard
    /// from both sides yet (O5).
    Released {
        /// The destination.
        to: ServerName,
    },
    /// Learned from a Cyrus server; without epochs and transfers of ours.
    Cyrus,
}

/// A unit (a user or a shared root's tree) and its owner of record.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct UnitRecord {
    /// The unit.
    pub unit: UnitId,
    /// Its root, globally unique among native units.
    pub root: Name,
    /// Owner of record.
    pub server: ServerName,
    /// The owner's identity; all zeros for a Cyrus server.
    pub server_id: ServerId,
    /// The partition it lies in; `None` for a unit of Cyrus, whose rows say.
    pub partition: Option<PartitionName>,
    /// Term of the grant.
    pub term: Term,
    /// Version of the unit.
    pub epoch: Epoch,
    /// What may be said of it.
    pub standing: Standing,
    /// The last move that was decided here.
    pub last_move: Option<LastMove>,
    /// Term under which the owner last reported it, or was granted it. The master speaks for a unit
    /// only if this is its own term (O5).
    pub confirmed: Term,
}

impl UnitRecord {
    /// The root under our own rules; `None` for odd names of Cyrus.
    pub fn root_name(&self) -> Option<RootName> {
        self.root.to_root()
    }

    /// Whether it was learned from a Cyrus server.
    pub fn is_cyrus(&self) -> bool {
        self.standing == Standing::Cyrus
    }
}

/// What only a row of a Cyrus server has.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct CyrusRow {
    /// `server!partition` exactly as it was sent.
    pub location: Vec<u8>,
    /// RESERVEd, not yet ACTIVATEd.
    pub reserved: bool,
}

/// One published mailbox name.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct NameRecord {
    /// The name.
    pub name: Name,
    /// Its unit; the owner and the partition are the unit's.
    pub unit: UnitId,
    /// Epoch under which it was published (O6).
    pub epoch: Epoch,
    /// Outbox number under which it was published (O6).
    pub number: OutboxNumber,
    /// Its MAILBOXID; all zeros for a row of Cyrus.
    pub mailbox: MailboxId,
    /// Access control list in wire form: `identifier TAB rights TAB` repeated.
    pub acl: Vec<u8>,
    /// Special use, if any.
    pub special_use: Option<SpecialUse>,
    /// It can be selected.
    pub selectable: bool,
    /// Set for a row learned from Cyrus.
    pub cyrus: Option<CyrusRow>,
}
