//! A client of one root: it delivers, appends, flags, expunges, makes and drops folders, looks, and
//! remembers what it was told.

use std::collections::BTreeMap;

use murder_model::{Guid, ModSeq, RootName, SystemFlags, UserName};

use crate::context::{Context, Timer};
use crate::message::{Address, Folder, Listing, Millis, Op, Outcome, Payload};
use crate::oracle::{Marks, Violation};
use crate::plan::MARKS_KEPT;

/// An answer that takes longer is given up.
const PATIENCE: Millis = 1500;
const FOLDERS: [Folder; 2] = ["Work", "Play"];

/// What the client knows of a mailbox since it last looked.
#[derive(Debug)]
struct Memory {
    validity: u32,
    mod_seq: ModSeq,
    /// When the client looked.
    at: Millis,
    /// The change with this number was made no earlier.
    changed_after: Millis,
    messages: BTreeMap<u32, (SystemFlags, ModSeq)>,
}

struct Pending {
    id: u64,
    op: Op,
    marks: Marks,
    until: Millis,
}

/// A client.
pub(crate) struct Client {
    index: usize,
    pub(crate) user: UserName,
    pub(crate) root: RootName,
    /// It alone makes and drops the root's folders, and appends to them.
    manages: bool,
    pending: Option<Pending>,
    /// Deliveries that are not acknowledged yet.
    again: Vec<u64>,
    memories: BTreeMap<Folder, Memory>,
}

impl Client {
    pub(crate) fn new(index: usize, user: UserName, root: RootName, manages: bool) -> Self {
        Self {
            index,
            user,
            root,
            manages,
            pending: None,
            again: Vec::new(),
            memories: BTreeMap::new(),
        }
    }

    const fn address(&self) -> Address {
        Address::Client(self.index)
    }

    /// Nothing is under way and every delivery was acknowledged.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_none() && self.again.is_empty()
    }

    pub(crate) fn timer(&mut self, context: &mut Context, timer: Timer) {
        if !matches!(timer, Timer::Tick) {
            return;
        }
        let pause = context.random.between(5, 80);
        context.timer(self.address(), 0, pause, Timer::Tick);
        if let Some(pending) = &self.pending {
            if pending.until < context.now {
                self.ended(context, &Outcome::Unknown);
            }
            return;
        }
        if let Some(op) = self.choose(context) {
            self.call(context, op);
        }
    }

    fn choose(&mut self, context: &mut Context) -> Option<Op> {
        let known = context.oracle.roots.contains_key(&self.root);
        if !self.again.is_empty() && (context.healing || context.random.chance(400)) {
            return Some(Op::Deliver {
                token: self.again[0],
            });
        }
        if context.healing {
            return None;
        }
        if !known && context.random.chance(500) {
            return Some(Op::Create);
        }
        let folder = self.folder(context);
        Some(match context.random.below(100) {
            0..30 => self.message(context, "", true),
            30..50 => self.message(context, folder, false),
            50..65 => self.choice(context, folder, false)?,
            65..73 => self.choice(context, folder, true)?,
            73..78 if self.manages => Op::MakeFolder {
                folder: FOLDERS[context.random.index(2)],
            },
            78..80 if self.manages => Op::DropFolder {
                folder: FOLDERS[context.random.index(2)],
            },
            81..87 if self.manages => self.shift(context)?,
            80 if self.manages && context.random.chance(300) => Op::DropRoot,
            _ => Op::Look {
                folder,
                since: self
                    .memories
                    .get(folder)
                    .map_or(ModSeq::new(0), |memory| memory.mod_seq),
            },
        })
    }

    fn folder(&self, context: &mut Context) -> Folder {
        if self.manages && context.random.chance(400) {
            FOLDERS[context.random.index(2)]
        } else {
            ""
        }
    }

    fn message(&mut self, context: &mut Context, folder: Folder, deliver: bool) -> Op {
        let token = context.unique();
        let guid = Guid::from_bytes(*blake3::hash(&content(token)).as_bytes());
        let named = (token, deliver);
        context.oracle.born(named, guid, &self.root, folder);
        if deliver {
            self.again.push(token);
            Op::Deliver { token }
        } else {
            Op::Append { folder, token }
        }
    }

    /// A message that this client has seen, to flag or to expunge.
    fn choice(&self, context: &mut Context, folder: Folder, expunge: bool) -> Option<Op> {
        let memory = self.memories.get(folder)?;
        if memory.messages.is_empty() {
            return None;
        }
        let nth = context.random.index(memory.messages.len());
        let (uid, _) = memory.messages.iter().nth(nth)?;
        let (validity, uid) = (memory.validity, *uid);
        Some(if expunge {
            Op::Expunge {
                folder,
                validity,
                uid,
            }
        } else {
            let flags = [
                SystemFlags::SEEN,
                SystemFlags::FLAGGED,
                SystemFlags::ANSWERED,
            ];
            Op::Flag {
                folder,
                validity,
                uid,
                flags: flags[context.random.index(3)],
            }
        })
    }

    /// A message of the root's own mailbox goes to a folder.
    fn shift(&self, context: &mut Context) -> Option<Op> {
        let to = FOLDERS[context.random.index(2)];
        match self.choice(context, "", true)? {
            Op::Expunge { validity, uid, .. } => Some(Op::Shift { validity, uid, to }),
            _ => None,
        }
    }

    fn call(&mut self, context: &mut Context, op: Op) {
        let folder = op_folder(&op);
        match &op {
            Op::Expunge { validity, uid, .. } => {
                context
                    .oracle
                    .removing(&self.root, folder, Some((*validity, *uid)));
            }
            Op::DropFolder { .. } => context.oracle.removing(&self.root, folder, None),
            Op::DropRoot => context.oracle.removing_root(&self.root),
            Op::Shift { validity, uid, to } => {
                context.oracle.moving(&self.root, (*validity, *uid), to);
            }
            _ => {}
        }
        let id = context.unique();
        let marks = context.oracle.marks(&self.root, folder, context.now);
        self.pending = Some(Pending {
            id,
            op: op.clone(),
            marks,
            until: context.now + PATIENCE,
        });
        let frontend = Address::Frontend(context.random.index(context.plan.frontends));
        let payload = Payload::Call {
            id,
            user: self.user.clone(),
            root: self.root.clone(),
            op,
        };
        context.send(self.address(), frontend, payload);
    }

    pub(crate) fn arrive(&mut self, context: &mut Context, payload: Payload) {
        let Payload::Answer { id, outcome } = payload else {
            return;
        };
        if self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.id == id)
        {
            self.ended(context, &outcome);
        }
    }

    fn ended(&mut self, context: &mut Context, outcome: &Outcome) {
        let Some(Pending { op, marks, .. }) = self.pending.take() else {
            return;
        };
        if !matches!(outcome, Outcome::Listing(_)) {
            context.trace(|| format!("client-{} {} {op:?} => {outcome:?}", self.index, self.root));
        }
        let who = (&self.root, &self.user);
        let checked = context
            .oracle
            .answered(who, &op, &marks, outcome, context.now);
        context.check(checked);
        match (&op, outcome) {
            (Op::Deliver { token }, Outcome::Stored { .. } | Outcome::Duplicate) => {
                self.again.retain(|waiting| waiting != token);
            }
            (Op::Look { folder, .. }, Outcome::Listing(listing)) => {
                let checked = context
                    .oracle
                    .listed(who, folder, &marks, listing, context.now);
                context.check(checked);
                let resynced = self.resync(context.now, folder, &marks, listing);
                context.check(resynced);
            }
            _ => {}
        }
    }

    /// QRESYNC (RFC 7162): with what changed and vanished since, the client knows exactly what is there.
    fn resync(
        &mut self,
        now: Millis,
        folder: Folder,
        sent: &Marks,
        listing: &Listing,
    ) -> Result<(), Violation> {
        let rule = "3 CONDSTORE and QRESYNC are exact";
        let there: BTreeMap<_, _> = listing
            .messages
            .iter()
            .map(|message| (message.uid, (message.flags, message.mod_seq)))
            .collect();
        let changed_after = match self.memories.get(folder) {
            Some(before) if before.validity != listing.validity => 0,
            Some(before) if before.mod_seq < listing.highest => before.at,
            Some(before) => before.changed_after,
            None => 0,
        };
        let memory = Memory {
            validity: listing.validity,
            mod_seq: listing.highest,
            at: sent.at,
            changed_after,
            messages: there,
        };
        let Some(before) = self.memories.insert(folder, memory) else {
            return Ok(());
        };
        let there = &self.memories[folder].messages;
        if before.validity != listing.validity {
            return Ok(());
        }
        if listing.highest < before.mod_seq {
            return Err(Violation::new(
                rule,
                format!("HIGHESTMODSEQ fell in {folder:?}"),
            ));
        }
        let young = before.changed_after > 0 && before.changed_after + MARKS_KEPT > now;
        if young && !listing.vanished.complete {
            let what = format!("marks since {} in {folder:?} went early", before.mod_seq);
            return Err(Violation::new(rule, what));
        }
        for (uid, (flags, mod_seq)) in &before.messages {
            match there.get(uid) {
                None if listing.vanished.complete && !listing.vanished.uids.contains(*uid) => {
                    let what = format!("UID {uid} of {folder:?} vanished without a word");
                    return Err(Violation::new(rule, what));
                }
                Some((other, changed)) if other != flags && *changed <= before.mod_seq => {
                    let what = format!("flags of UID {uid} changed at {changed}, seen {mod_seq}");
                    return Err(Violation::new(rule, what));
                }
                Some(_) if listing.vanished.uids.contains(*uid) => {
                    let what = format!("UID {uid} of {folder:?} vanished and is there");
                    return Err(Violation::new(rule, what));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The mailbox that an operation is about.
pub(crate) const fn op_folder(op: &Op) -> Folder {
    match op {
        Op::Create | Op::Deliver { .. } | Op::Shift { .. } | Op::DropRoot => "",
        Op::Append { folder, .. }
        | Op::Flag { folder, .. }
        | Op::Expunge { folder, .. }
        | Op::Look { folder, .. }
        | Op::MakeFolder { folder }
        | Op::DropFolder { folder } => folder,
    }
}

/// The bytes of a message: no two are equal.
pub(crate) fn content(token: u64) -> Vec<u8> {
    let mut bytes = format!("Message-ID: <{token}@sim.example>\r\n\r\n").into_bytes();
    let filler = (token * 37 % 400) as usize;
    bytes.extend((0..filler).map(|at| b'a' + ((at as u64 + token) % 26) as u8));
    bytes.extend_from_slice(b"\r\n");
    bytes
}
