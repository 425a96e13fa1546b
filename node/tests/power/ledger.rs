//! What clients were told, and whether it still holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use murder_e2e::lmtp::{Outcome, Session, Transfer};
use murder_proto::lmtp::address::Address;

use crate::wire::{Imap, message};

/// What two clients know of alice's INBOX: she, and bob who may read it.
#[derive(Default)]
pub(crate) struct Ledger {
    delivered: BTreeSet<String>,
    flagged: BTreeSet<u32>,
    seen_by_bob: BTreeSet<u32>,
    /// Ids by UID, as last read.
    uids: BTreeMap<u32, String>,
    uid_validity: Option<u64>,
    uid_next: u64,
    highest_mod_seq: u64,
    rounds: u32,
}

/// Delivers to alice until told to stop, the server fails, or so many are acknowledged.
pub(crate) async fn deliver(
    lmtp: SocketAddr,
    prefix: String,
    most: usize,
    pause: Duration,
    stop: Arc<AtomicBool>,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let Ok(mut session) = Session::connect(lmtp).await else {
        return acknowledged;
    };
    for number in 0..most {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{prefix}-{number}");
        let to = [Address::new("alice", None)];
        let (outcomes, error) = session
            .deliver(&to, message(&id).as_bytes(), Transfer::Data)
            .await;
        if outcomes == [Outcome::Delivered] {
            acknowledged.push(id);
        }
        if error.is_some() {
            break;
        }
        // A client's rate: what is delivered must be read back after each loss.
        tokio::time::sleep(pause).await;
    }
    acknowledged
}

impl Ledger {
    /// Notes what was acknowledged.
    pub(crate) fn delivered(&mut self, ids: Vec<String>) {
        self.delivered.extend(ids);
    }

    /// How many messages were there when it was last looked.
    pub(crate) fn messages(&self) -> usize {
        self.uids.len()
    }

    /// Compares what is there with what was told, then changes some flags. An error: the server is not
    /// well yet.
    pub(crate) fn verify(&mut self, imap: SocketAddr) -> io::Result<()> {
        self.rounds += 1;
        let mut alice = Imap::login(imap, "alice")?;
        self.check_numbers(&mut alice)?;
        alice.ok("SELECT INBOX")?;
        let lines = alice.ok("UID FETCH 1:* (UID FLAGS BODY.PEEK[])")?;
        let (present, flagged) = Self::read(&lines);
        let there: BTreeSet<&String> = present.values().collect();
        assert_eq!(there.len(), present.len(), "a message is there twice");
        for id in &self.delivered {
            assert!(there.contains(id), "{id} is lost");
        }
        for (uid, id) in &self.uids {
            assert_eq!(present.get(uid), Some(id), "UID {uid}");
        }
        assert!(self.flagged.is_subset(&flagged), "a flag is lost");
        self.uids = present;
        let Some(some) = self
            .uids
            .keys()
            .nth(self.rounds as usize % self.uids.len().max(1))
        else {
            return Ok(());
        };
        alice.ok(&format!("UID STORE {some} +FLAGS (\\Flagged \\Seen)"))?;
        self.flagged.insert(*some);
        let some = *some;
        self.verify_bob(imap, some)?;
        self.check_numbers(&mut alice)
    }

    fn check_numbers(&mut self, alice: &mut Imap) -> io::Result<()> {
        let lines = alice.ok("STATUS INBOX (UIDVALIDITY UIDNEXT HIGHESTMODSEQ)")?;
        let number = |item: &str| -> u64 {
            let mut words = lines[0].trim_end_matches(')').split([' ', '(']);
            words.find(|word| *word == item).unwrap();
            words.next().unwrap().parse().unwrap()
        };
        let validity = number("UIDVALIDITY");
        assert_eq!(*self.uid_validity.get_or_insert(validity), validity);
        let (next, highest) = (number("UIDNEXT"), number("HIGHESTMODSEQ"));
        assert!(next >= self.uid_next, "UIDNEXT {next} < {}", self.uid_next);
        assert!(
            highest >= self.highest_mod_seq,
            "HIGHESTMODSEQ {highest} < {}",
            self.highest_mod_seq
        );
        (self.uid_next, self.highest_mod_seq) = (next, highest);
        Ok(())
    }

    /// Ids by UID, and UIDs that are flagged and seen; every message must be what was sent.
    fn read(lines: &[String]) -> (BTreeMap<u32, String>, BTreeSet<u32>) {
        let (mut present, mut flagged) = (BTreeMap::new(), BTreeSet::new());
        let is_head = |line: &String| line.starts_with("* ") && line.contains(" FETCH (UID ");
        let starts: Vec<usize> = (0..lines.len()).filter(|at| is_head(&lines[*at])).collect();
        for (index, start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(lines.len());
            let (_, rest) = lines[*start].split_once(" FETCH (UID ").unwrap();
            let uid: u32 = rest.split(' ').next().unwrap().parse().unwrap();
            // The last line ends the answer; it, or the first, has the flags.
            let (last, content) = lines[start + 1..end].split_last().unwrap();
            let has = |flag: &str| rest.contains(flag) || last.contains(flag);
            if has("\\Flagged") && has("\\Seen") {
                flagged.insert(uid);
            }
            let first = content
                .iter()
                .position(|line| line.starts_with("From: Sender"));
            let content = content[first.unwrap()..].join("\r\n") + "\r\n";
            let (_, rest) = content.split_once("\r\nSubject: about ").unwrap();
            let id = rest.split("\r\n").next().unwrap().to_owned();
            assert_eq!(content, message(&id), "UID {uid} has other content");
            present.insert(uid, id);
        }
        (present, flagged)
    }

    fn verify_bob(&mut self, imap: SocketAddr, uid: u32) -> io::Result<()> {
        let mut bob = Imap::login(imap, "bob")?;
        bob.ok("SELECT \"Other Users/alice\"")?;
        let lines = bob.ok("UID FETCH 1:* (UID FLAGS)")?;
        let seen = |line: &String| -> Option<u32> {
            let (_, rest) = line.split_once(" FETCH (UID ")?;
            let uid = rest.split(' ').next()?.parse().ok()?;
            rest.contains("\\Seen").then_some(uid)
        };
        let seen: BTreeSet<u32> = lines.iter().filter_map(seen).collect();
        assert!(self.seen_by_bob.is_subset(&seen), "what bob saw is lost");
        bob.ok(&format!("UID STORE {uid} +FLAGS (\\Seen)"))?;
        self.seen_by_bob.insert(uid);
        Ok(())
    }
}
