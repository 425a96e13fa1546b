//! The end of a run: whether everything is at rest, and whether everything that was promised is there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use murder_locations::name::Name;
use murder_locations::record::NameRecord;
use murder_model::{ModSeq, OwnershipRecord, RootName, UnitState, UserName};
use murder_store::mail;
use murder_store::rows::Rows;

use crate::client::content;
use crate::message::Folder;
use crate::oracle::{Removal, Violation};
use crate::world::World;

/// Whether nothing is under way; else what is.
pub(crate) fn at_rest(world: &mut World) -> Result<(), String> {
    for client in &world.clients {
        if !client.is_idle() {
            return Err(format!("a client of {} waits", client.root));
        }
    }
    for backend in &world.backends {
        if !backend.is_quiet() {
            return Err(format!("{} is busy", backend.name));
        }
        for record in backend.records() {
            let settled = matches!(
                record.state,
                UnitState::Owner | UnitState::Moved { .. } | UnitState::Gone
            );
            if !settled {
                return Err(format!(
                    "{}: {} is {:?} at {}",
                    backend.name,
                    record.root,
                    record.state,
                    record.epoch.get()
                ));
            }
        }
    }
    for index in 0..world.backends.len() {
        let rows = world.backends[index]
            .snapshot(&mut world.context)
            .ok_or("a backend cannot be read")?;
        let waiting = mail::outbox_length(&rows, 100).map_err(|error| error.to_string())?;
        if waiting > 0 {
            return Err(format!("be-{index} has {waiting} rows for the master"));
        }
    }
    let roots: Vec<_> = world.context.oracle.roots.keys().cloned().collect();
    for root in &roots {
        owned(world, root)?;
    }
    names(world)
}

/// The root's one owner.
fn owner(world: &World, root: &RootName) -> Option<(usize, OwnershipRecord)> {
    world.backends.iter().find_map(|backend| {
        let record = backend
            .records()
            .find(|record| record.root == *root && record.state == UnitState::Owner)?;
        Some((backend.index, record.clone()))
    })
}

fn owned(world: &World, root: &RootName) -> Result<(), String> {
    let (backend, record) = owner(world, root).ok_or_else(|| format!("nobody owns {root}"))?;
    let master = world.master.master().ok_or("there is no master")?;
    let said = master
        .reader()
        .unit_by_root(&Name::from(root))
        .map_err(|error| error.to_string())?;
    let agreed = said.as_ref().is_some_and(|said| {
        said.unit == record.unit
            && said.epoch == record.epoch
            && said.server == world.backends[backend].name
    });
    if agreed {
        Ok(())
    } else {
        Err(format!("be-{backend} has {record:?}, the master {said:?}"))
    }
}

/// The master's names are the owners', and each replica's are the master's.
fn names(world: &mut World) -> Result<(), String> {
    let text = |error: murder_locations::replica::ReplicaError| error.to_string();
    let master = world.master.master().ok_or("there is no master")?;
    let (lines, _) = master
        .reader()
        .list(b"", None, 10_000)
        .map_err(|error| error.to_string())?;
    let told: BTreeMap<_, _> = lines
        .into_iter()
        .map(|line| (line.name, (line.location, line.acl)))
        .collect();
    let position = master.position();
    for frontend in &world.frontends {
        let replica = frontend.replica().ok_or("a frontend is down")?;
        if replica.position() != position {
            return Err(format!("a replica is at {:?}", replica.position()));
        }
        let reader = replica.reader();
        let mut shown: Vec<NameRecord> = Vec::new();
        reader
            .all(None, &mut |row| {
                shown.push(row.clone());
                ControlFlow::Continue(())
            })
            .map_err(text)?;
        let mut rows = BTreeMap::new();
        for row in shown {
            let unit = reader.unit(row.unit).map_err(text)?;
            let server = unit.map_or_else(String::new, |unit| unit.server.to_string());
            rows.insert(
                row.name,
                (format!("{server}!default").into_bytes(), row.acl),
            );
        }
        if rows != told {
            return Err(format!(
                "a replica at {position:?} has {rows:?}, the master {told:?}"
            ));
        }
    }
    let mut here = BTreeMap::new();
    for index in 0..world.backends.len() {
        let owned: Vec<_> = world.backends[index]
            .records()
            .filter(|record| record.state == UnitState::Owner)
            .map(|record| record.unit)
            .collect();
        let rows = world.backends[index]
            .snapshot(&mut world.context)
            .ok_or("a backend cannot be read")?;
        for unit in owned {
            let boxes = mail::mailboxes(&rows, &unit).map_err(|error| error.to_string())?;
            for row in boxes.into_iter().filter_map(|(_, row)| row) {
                let at = format!("be-{index}!default").into_bytes();
                here.insert(Name::from(&row.name), (at, row.acl.to_wire().into_bytes()));
            }
        }
    }
    if here == told {
        Ok(())
    } else {
        Err(format!("the master has {told:?}, the owners {here:?}"))
    }
}

/// Everything that was promised is there, once, and nothing else.
pub(crate) fn everything(world: &mut World) {
    let roots: Vec<_> = world.context.oracle.roots.keys().cloned().collect();
    for root in &roots {
        if let Err(violation) = root_is_whole(world, root) {
            world.context.check(Err(violation));
            return;
        }
    }
    for index in 0..world.backends.len() {
        if let Err(violation) = digests(world, index) {
            world.context.check(Err(violation));
        }
        world.backends[index].stop(&mut world.context, true);
        world.backends[index].check_partition(&mut world.context);
    }
}

fn root_is_whole(world: &mut World, root: &RootName) -> Result<(), Violation> {
    let Some((backend, record)) = owner(world, root) else {
        return Ok(());
    };
    let Some(rows) = world.backends[backend].snapshot(&mut world.context) else {
        return Ok(());
    };
    let unread = |error: mail::MailError| Violation::new("4 a backend answers", error.to_string());
    let mut users: Vec<UserName> = world
        .clients
        .iter()
        .filter(|client| client.root == *root)
        .map(|client| client.user.clone())
        .collect();
    users.dedup();
    let folders: [Folder; 3] = ["", "Work", "Play"];
    let mut copies: BTreeMap<u64, u32> = BTreeMap::new();
    let now = world.context.now + 1;
    for folder in folders {
        let known = world.context.oracle.mailbox(root, folder);
        let (exists, tainted) = (known.exists, known.tainted);
        let name = crate::backend::name_of(root, folder).map_err(unread)?;
        let row = mail::mailbox_by_name(&rows, &record.unit, &name).map_err(unread)?;
        let expected = if folder.is_empty() {
            Some(true)
        } else {
            exists
        };
        if !tainted && expected.is_some_and(|expected| expected != row.is_some()) {
            return Err(Violation::new(
                "1 a reply is a promise",
                format!(
                    "{name} is there: {}, acknowledged: {exists:?}",
                    row.is_some()
                ),
            ));
        }
        if row.is_none() {
            continue;
        }
        for (nth, user) in users.iter().enumerate() {
            let who = (root, user);
            let since = ModSeq::new(0);
            let listing =
                crate::backend::look(&rows, &record.unit, who, folder, since).map_err(unread)?;
            let marks = world.context.oracle.marks(root, folder, now);
            for message in listing.messages.iter().filter(|_| nth == 0) {
                let token = world.context.oracle.token_of(&message.guid);
                *copies.entry(token.unwrap_or(0)).or_default() += 1;
            }
            world
                .context
                .oracle
                .listed(who, folder, &marks, &listing, now)?;
        }
        bytes(world, backend, &rows, root, folder, &record)?;
    }
    for (token, fate) in &world.context.oracle.fates {
        let due = fate.root == *root && fate.removal == Removal::No && fate.known_at.is_some();
        let found = copies.get(token).copied().unwrap_or(0);
        if found > 1 || due && fate.wandering && found == 0 {
            return Err(Violation::new(
                "1 once",
                format!("message {token}, which was moved, is in {root} {found} times"),
            ));
        }
        if due && fate.place.is_none() {
            return Err(Violation::new(
                "1 a reply is a promise",
                format!("message {token} was acknowledged and is nowhere"),
            ));
        }
    }
    Ok(())
}

/// The bytes of each message are those that were sent.
fn bytes(
    world: &World,
    backend: usize,
    rows: &dyn Rows,
    root: &RootName,
    folder: Folder,
    record: &OwnershipRecord,
) -> Result<(), Violation> {
    let fail = |what: String| Violation::new("1 a reply is a promise", what);
    let unread = |error: mail::MailError| fail(error.to_string());
    let name = crate::backend::name_of(root, folder).map_err(unread)?;
    let Some(row) = mail::mailbox_by_name(rows, &record.unit, &name).map_err(unread)? else {
        return Ok(());
    };
    for (uid, message) in mail::messages(rows, &row.id, 1, u32::MAX).map_err(unread)? {
        let place = mail::structure(rows, &message).map_err(unread)?;
        let token = world
            .context
            .oracle
            .token_at(root, folder, (row.uid_validity.get(), uid));
        let (Some((place, _)), Some(token), Some(snapshots)) =
            (place, token, world.backends[backend].snapshots())
        else {
            return Err(fail(format!("UID {uid} of {name} has no bytes")));
        };
        let read = snapshots
            .read_blob(place, 0..place.length)
            .map_err(|error| fail(error.to_string()))?;
        if read != content(token) {
            return Err(fail(format!("UID {uid} of {name} has other bytes")));
        }
    }
    Ok(())
}

/// Digests and counters are those of the rows.
fn digests(world: &mut World, index: usize) -> Result<(), Violation> {
    let fail = |what: String| Violation::new("3 the digest is that of the rows", what);
    let unread = |error: mail::MailError| fail(error.to_string());
    let records: Vec<_> = world.backends[index].records().cloned().collect();
    let Some(rows) = world.backends[index].snapshot(&mut world.context) else {
        return Ok(());
    };
    for record in records {
        let Some(unit) = mail::unit(&rows, &record.unit).map_err(unread)? else {
            continue;
        };
        let digest = mail::recompute_digest(&rows, &record.unit).map_err(unread)?;
        if digest != unit.digest {
            return Err(fail(format!("{} at be-{index}: {digest}", record.root)));
        }
        let boxes = mail::mailboxes(&rows, &record.unit).map_err(unread)?;
        let exists: u64 = boxes
            .iter()
            .filter_map(|(_, row)| row.as_ref())
            .map(|row| u64::from(row.exists))
            .sum();
        if record.state == UnitState::Owner && exists != unit.messages {
            return Err(fail(format!("{} counts {exists} messages", record.root)));
        }
    }
    Ok(())
}
