//! What operators and administrators may do to servers, each with its fence.

use murder_model::{Fence, ServerId, ServerName};

use super::tables::Tables;
use super::{Answer, Stop};
use crate::record::{Restored, ServerFlags, ServerRecord};
use crate::request::{Identity, Refusal, Response, Role};

/// Most servers of a murder that an operator may name at once.
const AWAITED_MAX: usize = 10_000;

/// A unit makes fewer mailboxes than this between two reports of its server: UIDVALIDITYs of those
/// were never named to the master, but clients may have seen them before the volume was set back.
const UNREPORTED_MAX: u32 = 1 << 16;

impl Tables<'_> {
    pub(super) fn set_flags(
        &mut self,
        who: &Identity,
        server: &ServerName,
        flags: ServerFlags,
        fence: Fence,
    ) -> Answer {
        self.fenced(who, fence)?;
        let record = self.server_by_name(server)?.ok_or(Refusal::UnknownServer)?;
        if record.retired {
            return Err(Refusal::Retired.into());
        }
        if record.flags != flags {
            self.put_server(ServerRecord { flags, ..record })?;
        }
        Ok(Response::Done)
    }

    /// Terminal: whatever this identity says or holds later counts for nothing.
    pub(super) fn retire(&mut self, who: &Identity, server_id: ServerId, fence: Fence) -> Answer {
        self.fenced(who, fence)?;
        let record = self.server(server_id)?.ok_or(Refusal::UnknownServer)?;
        let owned = self.owned_count(server_id)?;
        if owned > 0 {
            return Err(Refusal::OwnsUnits(owned).into());
        }
        if !record.retired {
            self.put_server(ServerRecord {
                retired: true,
                ..record
            })?;
        }
        Ok(Response::Done)
    }

    pub(super) fn confirm(&mut self, who: &Identity, server_id: ServerId, fence: Fence) -> Answer {
        self.fenced(who, fence)?;
        let record = self.server(server_id)?.ok_or(Refusal::UnknownServer)?;
        if record.retired {
            return Err(Refusal::Retired.into());
        }
        if record.restored != Restored::Blocked {
            return Err(Refusal::NotBlocked.into());
        }
        let floor = self.meta.uidvalidity_max.saturating_add(UNREPORTED_MAX);
        self.meta.uidvalidity_max = floor;
        let restored = Restored::Raising(floor);
        self.put_server(ServerRecord { restored, ..record })?;
        Ok(Response::Done)
    }

    pub(super) fn raise_fence(&mut self, who: &Identity, fence: Fence) -> Answer {
        self.fenced(who, fence)?;
        Ok(Response::Done)
    }

    pub(super) fn await_servers(
        &mut self,
        who: &Identity,
        servers: Vec<ServerName>,
        fence: Fence,
    ) -> Answer {
        self.fenced(who, fence)?;
        let mut awaited = Vec::new();
        for name in servers.into_iter().take(AWAITED_MAX) {
            let reported = self
                .server_by_name(&name)?
                .is_some_and(|server| server.reported_term == self.meta.term);
            if !reported {
                awaited.push(name);
            }
        }
        self.meta.awaited = awaited;
        Ok(Response::Done)
    }

    /// Only an operator, and only the latest.
    fn fenced(&mut self, who: &Identity, fence: Fence) -> Result<(), Stop> {
        if who.role != Role::Operator {
            return Err(Refusal::NotAllowed(who.name.clone()).into());
        }
        if fence < self.meta.fence {
            return Err(Refusal::Fenced {
                theirs: fence,
                highest: self.meta.fence,
            }
            .into());
        }
        self.meta.fence = fence;
        Ok(())
    }
}
