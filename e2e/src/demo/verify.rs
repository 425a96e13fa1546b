//! Reads everything back and compares it with the ledger.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use blake3::Hash;
use murder_proto::imap::client::FetchItems;

use super::World;
use super::ledger::{Delivery, Ledger, Seen, State};
use crate::imap::Session;

/// Faults that are named; all are counted.
const FAULTS_NAMED_MAX: usize = 20;

/// Copies of each content, by user and folder.
pub type Copies = HashMap<(usize, String, Hash), u32>;

/// What reading back showed.
#[derive(Debug, Default)]
pub struct Findings {
    /// Messages read back.
    pub read: usize,
    /// Their bytes, without what the server added.
    pub bytes: u64,
    /// Acknowledged and absent.
    pub lost: usize,
    /// More copies than one per recipient and content.
    pub doubled: usize,
    /// Extra copies of messages without Message-ID whose answer was lost.
    pub unknown_outcome: usize,
    /// Messages that nobody sent, or that changed.
    pub foreign: usize,
    /// UIDs, UIDVALIDITY, contents or acknowledged flags that are not as they were.
    pub changed: usize,
    /// Some of the faults, for people.
    pub faults: Vec<String>,
}

impl Findings {
    fn fault(&mut self, text: String) {
        if self.faults.len() < FAULTS_NAMED_MAX {
            self.faults.push(text);
        }
    }

    /// Compares the copies that were found with what was sent.
    pub fn account(&mut self, ledger: &Ledger, states: &[State], copies: &Copies) {
        let mut sent = HashSet::new();
        for (delivery, state) in ledger.deliveries.iter().zip(states) {
            let message = &ledger.messages[delivery.message];
            let key = (delivery.user, delivery.folder.to_owned(), message.hash);
            let found = copies.get(&key).copied().unwrap_or_default();
            if state.acknowledged && found == 0 {
                self.lost += 1;
                self.fault(format!("lost: {}", describe(ledger, delivery)));
            }
            let extra = found.saturating_sub(1);
            let allowed = if message.has_id { 0 } else { state.unanswered };
            self.unknown_outcome += extra.min(allowed) as usize;
            if extra > allowed {
                self.doubled += (extra - allowed) as usize;
                self.fault(format!("doubled: {}", describe(ledger, delivery)));
            }
            sent.insert(key);
        }
        for (key, count) in copies.iter().filter(|(key, _)| !sent.contains(*key)) {
            self.foreign += *count as usize;
            self.fault(format!("not sent so: user {} in {}", key.0 + 1, key.1));
        }
    }
}

fn describe(ledger: &Ledger, delivery: &Delivery) -> String {
    let message = &ledger.messages[delivery.message];
    format!(
        "{:?} message of {} bytes to user {} in {}",
        message.kind,
        message.size,
        delivery.user + 1,
        delivery.folder
    )
}

/// One message as it is in a mailbox.
struct Found {
    uid: u32,
    hash: Hash,
    size: usize,
    flags: Vec<Vec<u8>>,
}

/// Reads all mailboxes of all users.
pub(super) async fn read_back(world: &World) -> Result<Findings> {
    world
        .console
        .begin("read", world.ledger.deliveries.len() as u64);
    let mut findings = Findings::default();
    let mut copies = Copies::new();
    for (user, name) in world.users.iter().enumerate() {
        let mut session = Session::login(world.addresses.imap, name, &world.password).await?;
        for mailbox in session.mailboxes().await? {
            let (uid_validity, uid_next, found) = read_mailbox(&mut session, &mailbox)
                .await
                .with_context(|| format!("cannot read {mailbox} of {name}"))?;
            findings.read += found.len();
            check_uids(&mut findings, &found, uid_next, name, &mailbox);
            for message in &found {
                findings.bytes += message.size as u64;
                let key = (user, mailbox.clone(), message.hash);
                *copies.entry(key).or_default() += 1;
            }
            let seen = world.ledger.seen();
            let mut of_mailbox = seen.iter().filter(|(key, _)| **key == (user, &*mailbox));
            if let Some((_, seen)) = of_mailbox.next() {
                compare_seen(&mut findings, seen, uid_validity, &found, name);
            }
            world.console.progress(findings.read as u64, name);
        }
        session.logout().await?;
    }
    world.console.end();
    let states = world.ledger.states();
    findings.account(&world.ledger, &states, &copies);
    Ok(findings)
}

async fn read_mailbox(session: &mut Session, mailbox: &str) -> Result<(u32, u32, Vec<Found>)> {
    let selected = session.select(mailbox).await?;
    let mut found = Vec::new();
    if selected.exists > 0 {
        session
            .fetch("1:*", "(UID FLAGS BODY.PEEK[])", |items| {
                let (hash, size) = content_of(&items)?;
                let flags = items.flags().context("FETCH without FLAGS")?;
                found.push(Found {
                    uid: items.uid().context("FETCH without UID")?,
                    hash,
                    size,
                    flags: flags.into_iter().map(|flag| flag.to_vec()).collect(),
                });
                Ok(())
            })
            .await?;
    }
    ensure!(
        found.len() == selected.exists as usize,
        "EXISTS says {}, FETCH told {}",
        selected.exists,
        found.len()
    );
    Ok((selected.uid_validity, selected.uid_next, found))
}

/// Hash and size of what was sent: the body without the lines that the server put before it.
pub(super) fn content_of(items: &FetchItems) -> Result<(Hash, usize)> {
    let body = items.value("BODY[]").and_then(|value| value.bytes());
    let sent = without_trace(body.context("FETCH without BODY[]")?);
    Ok((blake3::hash(sent), sent.len()))
}

/// Takes away one Return-Path line and one Received line, which the final server puts on top.
fn without_trace(stored: &[u8]) -> &[u8] {
    let mut rest = stored;
    for name in [&b"Return-Path: "[..], b"Received: "] {
        if rest.starts_with(name)
            && let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n")
        {
            rest = &rest[end + 2..];
        }
    }
    rest
}

fn check_uids(findings: &mut Findings, found: &[Found], uid_next: u32, user: &str, mailbox: &str) {
    let ends = found.iter().map(|message| message.uid);
    let ascending = ends.clone().zip(ends.clone().skip(1)).all(|(a, b)| a < b);
    if !ascending
        || ends
            .clone()
            .next_back()
            .is_some_and(|last| last >= uid_next)
    {
        findings.changed += 1;
        findings.fault(format!(
            "UIDs of {mailbox} of {user} are not ascending below UIDNEXT"
        ));
    }
}

/// What a client saw or was promised must still be so.
fn compare_seen(
    findings: &mut Findings,
    seen: &Seen,
    uid_validity: u32,
    found: &[Found],
    user: &str,
) {
    if seen.uid_validity.is_some_and(|known| known != uid_validity) {
        findings.changed += 1;
        findings.fault(format!("UIDVALIDITY of {user} changed"));
    }
    let by_uid: HashMap<_, _> = found.iter().map(|message| (message.uid, message)).collect();
    for (uid, hash) in &seen.contents {
        if by_uid.get(uid).is_none_or(|message| message.hash != *hash) {
            findings.changed += 1;
            findings.fault(format!(
                "UID {uid} of {user} has another content than before"
            ));
        }
    }
    for (uid, flags) in &seen.flags {
        for flag in flags {
            let has = |message: &&Found| {
                let mut flags = message.flags.iter();
                flags.any(|stored| stored.eq_ignore_ascii_case(flag.as_bytes()))
            };
            if !by_uid.get(uid).is_some_and(has) {
                findings.changed += 1;
                findings.fault(format!("UID {uid} of {user} has lost {flag}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Kind, Message};

    #[test]
    fn only_the_lines_that_the_server_added_are_taken_away() {
        let sent = b"Return-Path: <old@x>\r\nReceived: from y\r\nSubject: z\r\n\r\nText\r\n";
        let added = b"Return-Path: <a@b>\r\nReceived: from [::1] by c with LMTP; now\r\n";
        assert_eq!(without_trace(&[&added[..], sent].concat()), sent);
        assert_eq!(without_trace(b"Subject: z\r\n"), b"Subject: z\r\n");
    }

    fn account(content: &[u8], state: State, copies: u32) -> Findings {
        let message = Message::held(Kind::Real, content.to_vec());
        let hash = message.hash;
        let ledger = Ledger::plan(vec![message], &["a".to_owned()], 1);
        let folder = ledger.deliveries[0].folder.to_owned();
        let copies = Copies::from([((0, folder, hash), copies)]);
        let mut findings = Findings::default();
        findings.account(&ledger, &[state], &copies);
        findings
    }

    const WITH_ID: &[u8] = b"Message-ID: <a@b>\r\n\r\n";
    const WITHOUT_ID: &[u8] = b"Subject: a\r\n\r\n";

    #[test]
    fn an_acknowledged_message_that_is_absent_is_lost() {
        let acknowledged = State {
            acknowledged: true,
            ..State::default()
        };
        assert_eq!(account(WITH_ID, acknowledged, 0).lost, 1);
        assert_eq!(account(WITH_ID, acknowledged, 1).lost, 0);
        assert_eq!(account(WITH_ID, State::default(), 0).lost, 0);
    }

    #[test]
    fn a_copy_too_many_is_doubled_unless_nobody_could_know() {
        let retried = State {
            acknowledged: true,
            refused: false,
            unanswered: 1,
        };
        assert_eq!(account(WITH_ID, retried, 2).doubled, 1);
        let findings = account(WITHOUT_ID, retried, 2);
        assert_eq!((findings.doubled, findings.unknown_outcome), (0, 1));
        let findings = account(WITHOUT_ID, retried, 3);
        assert_eq!((findings.doubled, findings.unknown_outcome), (1, 1));
    }

    #[test]
    fn a_message_that_nobody_sent_is_foreign() {
        let ledger = Ledger::plan(Vec::new(), &["a".to_owned()], 1);
        let copies = Copies::from([((0, "INBOX".to_owned(), blake3::hash(b"x")), 2)]);
        let mut findings = Findings::default();
        findings.account(&ledger, &[], &copies);
        assert_eq!(findings.foreign, 2);
    }
}
