//! SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314).

use murder_model::{Acl, Identifier, Rights};
use murder_proto::imap::command::{AclMode, SetAcl};
use murder_store::mail::set_acl;

use super::{Answer, Reply, Session, granted};
use crate::backend::UnitPlace;
use crate::imap::write;

impl Session {
    pub(super) async fn set_acl(&self, command: &SetAcl) -> Answer {
        let (place, row, _) = granted!(self.mailbox(&command.mailbox, Rights::ADMINISTER).await);
        let (identifier, negative) = granted!(parse_identifier(&command.identifier));
        let text = String::from_utf8_lossy(&command.rights);
        let Ok(asked) = Rights::parse(&text) else {
            return Ok(Reply::Bad("unknown right"));
        };
        let present = row.acl.entry(&identifier, negative);
        let rights = match command.mode {
            AclMode::Replace => asked,
            AclMode::Add => present.with(asked),
            AclMode::Remove => present.without(asked),
        };
        let mut acl = row.acl;
        if let Err(error) = acl.set(identifier, negative, rights) {
            return Ok(Reply::No(format!("[LIMIT] {error}")));
        }
        self.write_acl(&place, row.id, acl).await
    }

    pub(super) async fn delete_acl(&self, mailbox: &[u8], identifier: &[u8]) -> Answer {
        let (place, row, _) = granted!(self.mailbox(mailbox, Rights::ADMINISTER).await);
        let (identifier, negative) = granted!(parse_identifier(identifier));
        let mut acl = row.acl;
        if let Err(error) = acl.set(identifier, negative, Rights::NONE) {
            return Ok(Reply::No(format!("[LIMIT] {error}")));
        }
        self.write_acl(&place, row.id, acl).await
    }

    async fn write_acl(&self, place: &UnitPlace, id: murder_model::MailboxId, acl: Acl) -> Answer {
        let written = self.backend.write(place, move |tx| {
            set_acl(tx, &id, &acl).map(|effects| ((), effects))
        });
        granted!(written.await.map_err(Reply::from));
        Ok(Reply::ok("done"))
    }

    pub(super) async fn get_acl(&mut self, mailbox: &[u8]) -> Answer {
        let (_, row, _) = granted!(self.mailbox(mailbox, Rights::ADMINISTER).await);
        let out = &mut self.wire.out;
        out.extend_from_slice(b"* ACL ");
        write::string(out, mailbox);
        for entry in row.acl.entries() {
            let minus = if entry.negative { "-" } else { "" };
            out.push(b' ');
            write::string(out, format!("{minus}{}", entry.identifier).as_bytes());
            out.push(b' ');
            out.extend_from_slice(entry.rights.to_client().as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        Ok(Reply::ok("done"))
    }

    pub(super) async fn list_rights(&mut self, mailbox: &[u8], identifier: &[u8]) -> Answer {
        let (_, row, _) = granted!(self.mailbox(mailbox, Rights::ADMINISTER).await);
        let shown = identifier;
        let (identifier, _) = granted!(parse_identifier(identifier));
        let owner = row.name.owner().map(Identifier::User);
        let always = if owner == Some(identifier) { "la" } else { "" };
        let out = &mut self.wire.out;
        out.extend_from_slice(b"* LISTRIGHTS ");
        write::string(out, mailbox);
        out.push(b' ');
        write::string(out, shown);
        out.push(b' ');
        write::string(out, always.as_bytes());
        for letter in Rights::LETTERS
            .chars()
            .filter(|letter| !always.contains(*letter))
        {
            out.push(b' ');
            out.extend_from_slice(letter.to_string().as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        Ok(Reply::ok("done"))
    }

    pub(super) async fn my_rights(&mut self, mailbox: &[u8]) -> Answer {
        let (_, _, rights) = granted!(self.mailbox(mailbox, Rights::NONE).await);
        let out = &mut self.wire.out;
        out.extend_from_slice(b"* MYRIGHTS ");
        write::string(out, mailbox);
        out.push(b' ');
        out.extend_from_slice(rights.to_client().as_bytes());
        out.extend_from_slice(b"\r\n");
        Ok(Reply::ok("done"))
    }
}

/// An identifier, and whether it is negative (`-identifier`).
fn parse_identifier(text: &[u8]) -> Result<(Identifier, bool), Reply> {
    let text = String::from_utf8_lossy(text);
    let (negative, name) = match text.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, &*text),
    };
    let parsed = Identifier::parse(name).map_err(|error| Reply::No(format!("[CANNOT] {error}")))?;
    Ok((parsed, negative))
}
