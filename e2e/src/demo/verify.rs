//! Reads everything back and compares it with the ledger.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result, ensure};
use blake3::Hash;
use murder_proto::imap::client::FetchItems;

use super::World;
use super::ledger::{Copied, Ledger, State};
use super::mailbox::Mailbox;
use super::seen::{Found, View};
use crate::imap::Session;

/// Faults that are named; all are counted.
const FAULTS_NAMED_MAX: usize = 20;

/// Copies of each content, by mailbox.
pub type Copies = HashMap<(Mailbox, Hash), u32>;

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
    /// Extra copies of which nobody could know that they were made.
    pub unknown_outcome: usize,
    /// Messages that nobody sent, or that changed.
    pub foreign: usize,
    /// UIDs, UIDVALIDITY, contents, dates or flags that are not as they were.
    pub changed: usize,
    /// Some of the faults, for people.
    pub faults: Vec<String>,
}

/// How many copies of a content a mailbox may have.
#[derive(Clone, Copy, Debug)]
struct Expected {
    /// Fewer are a loss.
    at_least: u32,
    /// More need an excuse.
    usual: u32,
    /// Excuses: outcomes that nobody was told.
    excused: u32,
}

impl Findings {
    fn fault(&mut self, text: String) {
        if self.faults.len() < FAULTS_NAMED_MAX {
            self.faults.push(text);
        }
    }

    /// Compares the copies that were found with what was sent and copied.
    pub fn account(&mut self, ledger: &Ledger, states: &[State], users: &[String], found: &Copies) {
        let mut expected: HashMap<(Mailbox, Hash), Expected> = HashMap::new();
        for (delivery, state) in ledger.deliveries.iter().zip(states) {
            let message = &ledger.messages[delivery.message];
            let excused = if message.has_id { 0 } else { state.uncertain };
            let copies = Expected {
                at_least: u32::from(state.acknowledged),
                usual: 1,
                excused,
            };
            expected.insert((delivery.mailbox.clone(), message.hash), copies);
        }
        for (key, copied) in ledger.copies().iter() {
            let Copied {
                acknowledged,
                unknown,
            } = *copied;
            let copies = Expected {
                at_least: acknowledged,
                usual: acknowledged,
                excused: unknown,
            };
            expected.insert(key.clone(), copies);
        }
        for (key, copies) in &expected {
            let count = found.get(key).copied().unwrap_or_default();
            let describe = || format!("{} in {}", key.1.to_hex(), key.0.describe(users));
            if count < copies.at_least {
                self.lost += (copies.at_least - count) as usize;
                self.fault(format!("lost: {}", describe()));
            }
            let extra = count.saturating_sub(copies.usual);
            self.unknown_outcome += extra.min(copies.excused) as usize;
            if extra > copies.excused {
                self.doubled += (extra - copies.excused) as usize;
                self.fault(format!("doubled: {}", describe()));
            }
        }
        for (key, count) in found.iter().filter(|(key, _)| !expected.contains_key(*key)) {
            self.foreign += *count as usize;
            self.fault(format!("not sent so: {}", key.0.describe(users)));
        }
    }

    fn compare(&mut self, world: &World, mailbox: &Mailbox, user: usize, view: &View) {
        let name = || mailbox.describe(world.users());
        let uids: Vec<_> = view.messages.iter().map(|message| message.uid).collect();
        let is_ascending = uids.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_ascending || uids.last().is_some_and(|last| *last >= view.uid_next) {
            self.changed += 1;
            self.fault(format!("UIDs of {} do not ascend below UIDNEXT", name()));
        }
        let seen = world.ledger.seen();
        if let Some(seen) = seen.get(mailbox) {
            for difference in seen.differences(mailbox, user, view) {
                self.changed += 1;
                self.fault(format!("{}: {difference}", name()));
            }
        }
    }
}

/// Learns all that there is, so that it can be compared with later.
pub(super) async fn learn(world: &World) -> Result<usize> {
    let mut count = 0;
    visit(world, |mailbox, user, view| {
        count += view.messages.len();
        world
            .ledger
            .note(mailbox, |seen| seen.learn(mailbox, user, view));
    })
    .await?;
    Ok(count)
}

/// Reads all mailboxes of all users and compares them with the ledger.
pub(super) async fn read_back(world: &World) -> Result<Findings> {
    let total = world.ledger.deliveries.len() + world.ledger.copies().len();
    let total = total as u64;
    world.console.begin("read", total);
    let mut findings = Findings::default();
    let mut copies = Copies::new();
    visit(world, |mailbox, user, view| {
        for message in &view.messages {
            if let Some(hash) = message.hash {
                findings.read += 1;
                findings.bytes += message.size as u64;
                *copies.entry((mailbox.clone(), hash)).or_default() += 1;
            }
        }
        findings.compare(world, mailbox, user, view);
        let read = findings.read as u64;
        world.console.progress("read", read, &world.users()[user]);
    })
    .await?;
    world.console.end();
    let states = world.ledger.states().clone();
    findings.account(&world.ledger, &states, world.users(), &copies);
    Ok(findings)
}

/// Reads all mailboxes of all users; the content of a shared folder once.
async fn visit(world: &World, mut each: impl FnMut(&Mailbox, usize, &View) + Send) -> Result<()> {
    let mut shared = BTreeSet::new();
    for user in 0..world.users().len() {
        let mut session = world.login_somewhere(user).await?;
        for name in session.mailboxes().await? {
            let mailbox = Mailbox::of(user, &name);
            let whole = mailbox.owner().is_some() || shared.insert(name.clone());
            let view = look(&mut session, &name, whole)
                .await
                .with_context(|| format!("cannot read {}", mailbox.describe(world.users())))?;
            each(&mailbox, user, &view);
        }
        session.logout().await?;
    }
    Ok(())
}

async fn look(session: &mut Session, mailbox: &str, whole: bool) -> Result<View> {
    let selected = session.select(mailbox).await?;
    let mut view = View {
        uid_validity: selected.uid_validity,
        uid_next: selected.uid_next,
        messages: Vec::new(),
    };
    if selected.exists == 0 {
        return Ok(view);
    }
    let items = if whole {
        "(UID FLAGS INTERNALDATE BODY.PEEK[])"
    } else {
        "(UID FLAGS INTERNALDATE)"
    };
    session
        .fetch("1:*", items, |items| {
            // A FETCH response without the date tells of somebody's new flags only.
            let Some(date) = items.value("INTERNALDATE").and_then(|date| date.bytes()) else {
                return Ok(());
            };
            let content = whole.then(|| content_of(&items)).transpose()?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let flags = items.flags().context("FETCH without FLAGS")?;
            view.messages.push(Found {
                uid: items.uid().context("FETCH without UID")?,
                hash: content.map(|(hash, _)| hash),
                size: content.map_or(0, |(_, size)| size),
                date: text(date),
                flags: flags.into_iter().map(|flag| text(flag)).collect(),
            });
            Ok(())
        })
        .await?;
    ensure!(
        view.messages.len() >= selected.exists as usize,
        "EXISTS says {}, FETCH told {}",
        selected.exists,
        view.messages.len()
    );
    if let Some(last) = view.messages.last() {
        // Mail may have come since SELECT.
        view.uid_next = view.uid_next.max(last.uid + 1);
    }
    Ok(view)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::mailbox::{INBOX, KEPT};
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
        let ledger = Ledger::plan(vec![message], 1, false, 1);
        let mailbox = ledger.deliveries[0].mailbox.clone();
        let copies = Copies::from([((mailbox, hash), copies)]);
        let mut findings = Findings::default();
        findings.account(&ledger, &[state], &[], &copies);
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
            uncertain: 1,
        };
        assert_eq!(account(WITH_ID, retried, 2).doubled, 1);
        let findings = account(WITHOUT_ID, retried, 2);
        assert_eq!((findings.doubled, findings.unknown_outcome), (0, 1));
        let findings = account(WITHOUT_ID, retried, 3);
        assert_eq!((findings.doubled, findings.unknown_outcome), (1, 1));
    }

    #[test]
    fn each_acknowledged_copy_counts_once() {
        let hash = blake3::hash(b"x");
        let key = (Mailbox::of(0, KEPT), hash);
        let found = |count| {
            let ledger = Ledger::plan(Vec::new(), 1, false, 1);
            let copied = Copied {
                acknowledged: 2,
                unknown: 1,
            };
            ledger.copies().insert(key.clone(), copied);
            let mut findings = Findings::default();
            findings.account(&ledger, &[], &[], &Copies::from([(key.clone(), count)]));
            (findings.lost, findings.unknown_outcome, findings.doubled)
        };
        assert_eq!(
            [1, 2, 3, 4].map(found),
            [(1, 0, 0), (0, 0, 0), (0, 1, 0), (0, 1, 1)]
        );
    }

    #[test]
    fn a_message_that_nobody_sent_is_foreign() {
        let ledger = Ledger::plan(Vec::new(), 1, false, 1);
        let copies = Copies::from([((Mailbox::of(0, INBOX), blake3::hash(b"x")), 2)]);
        let mut findings = Findings::default();
        findings.account(&ledger, &[], &["ana".to_owned()], &copies);
        assert_eq!(findings.foreign, 2);
        assert_eq!(findings.faults, ["not sent so: INBOX of ana"]);
    }
}
