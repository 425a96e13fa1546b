//! Clients that deliver, and try again what got no answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::World;
use crate::lmtp::{Outcome, Session, Transfer};

/// Between a failure and the next attempt.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// A delivery that is put off for so long is given up, which fails the demonstration.
const PATIENCE: Duration = Duration::from_secs(90);

/// Delivers messages until none is left. Even sessions use DATA, odd ones BDAT.
pub(super) async fn session(world: Arc<World>, number: usize) {
    let transfer = if number.is_multiple_of(2) {
        Transfer::Data
    } else {
        Transfer::Chunks
    };
    let mut connection = None;
    let mut turn = number;
    while let Some((message, deliveries)) = world.ledger.take().await {
        let content = world.ledger.messages[message].content();
        let begun = Instant::now();
        let mut open: Vec<usize> = deliveries.collect();
        loop {
            let attempt = Attempt {
                world: &world,
                turn,
                transfer,
                content: &content,
            };
            attempt.run(&mut connection, &mut open).await;
            if connection.is_none() {
                turn += 1;
            }
            if open.is_empty() || begun.elapsed() > PATIENCE {
                break;
            }
            sleep(RETRY_DELAY).await;
        }
        for delivery in open {
            world.ledger.update(delivery, |state| state.refused = true);
        }
        let phase = world.ledger.phase();
        let took = begun.elapsed();
        world
            .ledger
            .delivering()
            .succeed(phase, transfer.verb(), took);
    }
}

struct Attempt<'a> {
    world: &'a World,
    /// Which frontend is used: another one after a connection broke.
    turn: usize,
    transfer: Transfer,
    content: &'a [u8],
}

impl Attempt<'_> {
    /// Tries the deliveries that are open; those that are settled leave the list.
    async fn run(&self, connection: &mut Option<Session>, open: &mut Vec<usize>) {
        let world = self.world;
        let mut session = match connection.take() {
            Some(session) => session,
            None => match Session::connect(world.lmtp(self.turn)).await {
                Ok(session) => session,
                Err(error) => {
                    world.ledger.delivering().fail(&error.to_string());
                    return;
                }
            },
        };
        let mailbox = |&index: &usize| {
            world.ledger.deliveries[index]
                .mailbox
                .address(world.users())
        };
        let recipients: Vec<_> = open.iter().map(mailbox).collect();
        let delivering = session.deliver(&recipients, self.content, self.transfer);
        let (outcomes, failure) = delivering.await;
        let mut left = Vec::new();
        let mut settled = 0;
        for (&delivery, outcome) in open.iter().zip(&outcomes) {
            match outcome {
                Outcome::Delivered => {
                    settled = world
                        .ledger
                        .update(delivery, |state| state.acknowledged = true);
                }
                Outcome::Refused(text) => {
                    world.ledger.delivering().fail(text);
                    settled = world.ledger.update(delivery, |state| state.refused = true);
                }
                Outcome::Deferred(text) => {
                    world.ledger.delivering().fail(text);
                    left.push(delivery);
                }
                Outcome::Uncertain(text) => {
                    world.ledger.delivering().fail(text);
                    world.ledger.update(delivery, |state| state.uncertain += 1);
                    left.push(delivery);
                }
                Outcome::NotSent => left.push(delivery),
                Outcome::Unanswered => {
                    world.ledger.update(delivery, |state| state.uncertain += 1);
                    left.push(delivery);
                }
            }
        }
        *open = left;
        if settled > 0 {
            world.console.progress("deliver", settled as u64, "");
        }
        match failure {
            Some(error) => world.ledger.delivering().fail(&error.to_string()),
            None => *connection = Some(session),
        }
    }
}
