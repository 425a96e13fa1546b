//! One message: its recipients spread over backends, its content passed on to all of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use murder_proto::lmtp::command::{Mail, RecipientTo};
use murder_proto::lmtp::reply::Reply;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::connection::Piece;
use super::leg::{Leg, Offered};
use super::search::Search;
use super::{Proxy, moved};
use crate::frontend::Target;
use crate::lmtp::root_of;

/// Small pieces of content are gathered up to this size.
const GATHERED_BYTES: usize = 64 << 10;
/// A piece of this size is passed on as it is.
const PIECE_BYTES_LARGE: usize = 16 << 10;

/// An open transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    mail: Mail,
    legs: Vec<Leg>,
    /// Accepted recipients in their order: the leg, and the number there.
    recipients: Vec<(usize, usize)>,
    gathered: BytesMut,
    /// Told when a backend has taken a piece.
    taken: Arc<Notify>,
}

impl Transaction {
    pub(super) fn new(mail: Mail) -> Self {
        Self {
            mail,
            legs: Vec::new(),
            recipients: Vec::new(),
            gathered: BytesMut::new(),
            taken: Arc::default(),
        }
    }

    /// Accepted recipients.
    pub(super) fn recipients(&self) -> usize {
        self.recipients.len()
    }

    /// Finds the recipient's backend and relays its answer; a success counts as accepted.
    pub(super) async fn recipient(&mut self, proxy: &Proxy, to: &RecipientTo) -> Reply {
        let root = match root_of(&proxy.frontend.settings, &to.address) {
            Ok(root) => root,
            Err(reply) => return reply,
        };
        let mut search = Search::new(&proxy.frontend, &root);
        let mut next = search.start().await;
        loop {
            let target = match next {
                Ok(target) => target,
                Err(reply) => return reply,
            };
            next = match self.offer(proxy, &target, to).await {
                Ok(reply) => match moved(&reply) {
                    Some(moved) => search.follow(&target, &moved).await,
                    None => return reply,
                },
                Err(reply) => search.go_round(&target, reply).await,
            };
        }
    }

    /// An error is the reply for a backend that cannot be asked.
    async fn offer(
        &mut self,
        proxy: &Proxy,
        target: &Target,
        to: &RecipientTo,
    ) -> Result<Reply, Reply> {
        let (pool, patience) = (&proxy.pool, &proxy.patience);
        let known = |leg: &Leg| leg.target.server == target.server;
        let (leg, answer) = match self.legs.iter().position(known) {
            Some(leg) => (leg, self.legs[leg].recipient(pool, to, patience).await),
            None => {
                let begun = Leg::begin(pool, target, &self.mail, to, patience).await;
                self.legs.push(begun.0);
                (self.legs.len() - 1, begun.1)
            }
        };
        let (number, reply) = answer?;
        if reply.is_success() {
            self.recipients.push((leg, number));
        }
        Ok(reply)
    }

    /// Content as it comes.
    pub(super) async fn content(&mut self, proxy: &Proxy, octets: Bytes) {
        if self.gathered.is_empty() && octets.len() >= PIECE_BYTES_LARGE {
            return self.pass(proxy, Piece::More(octets)).await;
        }
        self.gathered.extend_from_slice(&octets);
        if self.gathered.len() >= GATHERED_BYTES {
            let gathered = self.gathered.split().freeze();
            self.pass(proxy, Piece::More(gathered)).await;
        }
    }

    /// The client has finished: from here on backends may deliver.
    pub(super) async fn end(&mut self, proxy: &Proxy) {
        let last = self.gathered.split().freeze();
        self.pass(proxy, Piece::Last(last)).await;
    }

    async fn pass(&mut self, proxy: &Proxy, piece: Piece) {
        let mut behind = Vec::new();
        for (index, leg) in self.legs.iter_mut().enumerate() {
            leg.start(&self.taken, &proxy.patience);
            if let Offered::Full(piece) = leg.offer(piece.clone()) {
                behind.push((index, piece));
            }
        }
        if !behind.is_empty() {
            self.catch_up(proxy, behind).await;
        }
    }

    /// Waits for backends that have fallen behind. As long as any other waits, too, each may take
    /// only so much time from them in one message; what it needs alone is its own affair, which
    /// ends by itself if nothing moves.
    async fn catch_up(&mut self, proxy: &Proxy, mut behind: Vec<(usize, Piece)>) {
        let carrying = self.legs.iter().filter(|leg| leg.is_carrying()).count();
        let mut others_wait = carrying > behind.len();
        let stall = proxy.patience.stall;
        while !behind.is_empty() {
            let waited = behind.iter().map(|(index, _)| self.legs[*index].waited);
            let limit = stall.saturating_sub(waited.max().unwrap_or_default());
            let since = Instant::now();
            // In time or not: what counts is whether there is room now.
            let _in_time = timeout(limit.max(WAIT_STEP), self.taken.notified()).await;
            let mut left = Vec::new();
            for (index, piece) in std::mem::take(&mut behind) {
                let leg = &mut self.legs[index];
                if others_wait {
                    leg.waited += since.elapsed();
                    if leg.waited >= stall {
                        leg.give_up(&proxy.pool);
                        continue;
                    }
                }
                match leg.offer(piece) {
                    Offered::Full(piece) => left.push((index, piece)),
                    Offered::Taken => others_wait |= self.legs.len() > 1,
                }
            }
            behind = left;
        }
    }

    /// Whether the answer for a recipient would have to be waited for.
    pub(super) fn is_under_way(&self, recipient: usize) -> bool {
        self.legs[self.recipients[recipient].0].is_under_way()
    }

    /// The answer for an accepted recipient, and whether it came from this very process.
    pub(super) async fn answer(&mut self, proxy: &Proxy, recipient: usize) -> (Reply, bool) {
        let (leg, number) = self.recipients[recipient];
        let leg = &mut self.legs[leg];
        leg.finish(&proxy.pool).await;
        let reply = leg.answer(number);
        let reply = match moved(&reply) {
            Some(_) => Reply::try_later("the mailbox was moved meanwhile"),
            None => reply,
        };
        (reply, proxy.frontend.local(&leg.target).is_some())
    }

    /// Connections that are in order are kept.
    pub(super) async fn close(mut self, proxy: &Proxy) {
        for leg in &mut self.legs {
            leg.finish(&proxy.pool).await;
        }
    }

    /// Nothing is delivered.
    pub(super) fn abandon(self, proxy: &Proxy) {
        for leg in self.legs {
            leg.abandon(&proxy.pool);
        }
    }
}

/// Shortest wait.
const WAIT_STEP: Duration = Duration::from_millis(1);
