//! RESERVE, ACTIVATE, DEACTIVATE and DELETE (RFC 3656 4.2–4.9) for servers that are Cyrus.
//!
//! As a real Cyrus 3.6 answers, except that an absent row is refused where Cyrus' master dies. A
//! Cyrus administrator may write any row of any Cyrus server, and none of our own units or servers.
//! Rows form one unit per (root, server).

use murder_model::{Epoch, MailboxId, OutboxNumber, ServerId, ServerName, Term, UnitId};

use super::tables::{CyrusUnit, Tables};
use super::{Answer, Stop};
use crate::name::{NAME_BYTES_MAX, Name};
use crate::record::{CyrusRow, NameRecord, Standing, UnitRecord};
use crate::request::{Identity, Refusal, Response, Role};

impl Tables<'_> {
    pub(super) fn reserve(&mut self, who: &Identity, name: Name, location: Vec<u8>) -> Answer {
        cyrus(who)?;
        let server = self.cyrus_server(&location)?;
        if self.has_root(&name.root())? {
            return Err(Refusal::MailboxExists.into());
        }
        match self.name(&name)?.and_then(|row| row.cyrus) {
            Some(row) if row.location == location => return Ok(Response::Done),
            Some(_) => return Err(Refusal::MailboxExists.into()),
            None => {}
        }
        self.put_row(
            name,
            &server,
            CyrusRow {
                location,
                reserved: true,
            },
            Vec::new(),
        )
    }

    /// Never refused among Cyrus' rows: it takes over whatever was there.
    pub(super) fn activate(
        &mut self,
        who: &Identity,
        name: Name,
        location: Vec<u8>,
        acl: Vec<u8>,
    ) -> Answer {
        cyrus(who)?;
        let server = self.cyrus_server(&location)?;
        self.not_ours(who, &name)?;
        self.put_row(
            name,
            &server,
            CyrusRow {
                location,
                reserved: false,
            },
            acl,
        )
    }

    pub(super) fn deactivate(&mut self, who: &Identity, name: &Name, location: Vec<u8>) -> Answer {
        cyrus(who)?;
        let server = self.cyrus_server(&location)?;
        self.not_ours(who, name)?;
        let row = self
            .name(name)?
            .and_then(|row| row.cyrus)
            .ok_or(Refusal::NoMailbox)?;
        if row.reserved {
            return Err(Refusal::NotActive.into());
        }
        self.put_row(
            name.clone(),
            &server,
            CyrusRow {
                location,
                reserved: true,
            },
            Vec::new(),
        )
    }

    pub(super) fn delete(&mut self, who: &Identity, name: &Name) -> Answer {
        cyrus(who)?;
        self.not_ours(who, name)?;
        let row = self.name(name)?.ok_or(Refusal::NoMailbox)?;
        self.release_row(&row)?;
        self.remove_name(name)?;
        Ok(Response::Done)
    }

    fn not_ours(&self, who: &Identity, name: &Name) -> Result<(), Stop> {
        if self.has_root(&name.root())? {
            return Err(Refusal::NotAllowed(who.name.clone()).into());
        }
        Ok(())
    }

    /// The server part of a location, which must not be one of ours.
    fn cyrus_server(&self, location: &[u8]) -> Result<ServerName, Stop> {
        let text = std::str::from_utf8(location).map_err(|_| Refusal::BadLocation)?;
        let (server, partition) = text.split_once('!').ok_or(Refusal::BadLocation)?;
        if partition.contains('!') || location.len() > NAME_BYTES_MAX {
            return Err(Refusal::BadLocation.into());
        }
        let server = ServerName::parse(server).map_err(|_| Refusal::BadLocation)?;
        if self
            .server_by_name(&server)?
            .is_some_and(|record| !record.retired)
        {
            return Err(Refusal::NotAllowed(server.to_string()).into());
        }
        Ok(server)
    }

    fn put_row(&mut self, name: Name, server: &ServerName, row: CyrusRow, acl: Vec<u8>) -> Answer {
        if name.as_bytes().is_empty() || name.as_bytes().len() > NAME_BYTES_MAX {
            return Err(Refusal::BadName.into());
        }
        let root = name.root();
        let before = self.name(&name)?;
        let unit = match self.cyrus_unit(&root, server)? {
            Some(unit) => unit,
            None => self.new_cyrus_unit(&root, server)?,
        };
        if before.as_ref().map(|row| row.unit) != Some(unit.unit) {
            if let Some(before) = &before {
                self.release_row(before)?;
            }
            let rows = unit.rows + 1;
            self.put_cyrus_unit(&root, server, Some(CyrusUnit { rows, ..unit }))?;
        }
        self.put_name(NameRecord {
            name,
            unit: unit.unit,
            epoch: Epoch::new(0),
            number: OutboxNumber::new(0),
            mailbox: MailboxId::from_bytes([0; 16]),
            acl,
            special_use: None,
            selectable: true,
            cyrus: Some(row),
        })?;
        Ok(Response::Done)
    }

    fn new_cyrus_unit(&mut self, root: &Name, server: &ServerName) -> Result<CyrusUnit, Stop> {
        self.meta.cyrus_units += 1;
        let mut id = [0; 16];
        id[..4].copy_from_slice(b"cyru");
        id[4..8].copy_from_slice(&self.meta.term.get().to_be_bytes()[4..]);
        id[8..].copy_from_slice(&self.meta.cyrus_units.to_be_bytes());
        let unit = UnitId::from_bytes(id);
        self.put_unit(UnitRecord {
            unit,
            root: root.clone(),
            server: server.clone(),
            server_id: ServerId::from_bytes([0; 16]),
            partition: None,
            term: Term::new(0),
            epoch: Epoch::new(0),
            standing: Standing::Cyrus,
            last_move: None,
            confirmed: self.meta.term,
        })?;
        Ok(CyrusUnit { unit, rows: 0 })
    }

    /// The row leaves its unit, and the last one takes the unit with it.
    fn release_row(&mut self, row: &NameRecord) -> Result<(), Stop> {
        let Some(record) = self.unit(row.unit)? else {
            return Ok(());
        };
        let Some(unit) = self.cyrus_unit(&record.root, &record.server)? else {
            return Ok(());
        };
        let rows = unit.rows.saturating_sub(1);
        let left = (rows > 0).then_some(CyrusUnit { rows, ..unit });
        if left.is_none() {
            self.remove_unit(&record)?;
        }
        self.put_cyrus_unit(&record.root, &record.server, left)?;
        Ok(())
    }
}

fn cyrus(who: &Identity) -> Result<(), Stop> {
    if who.role == Role::Cyrus {
        return Ok(());
    }
    Err(Refusal::NotAllowed(who.name.clone()).into())
}
