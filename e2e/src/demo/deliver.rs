//! Clients that deliver, and try again what got no answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use murder_proto::lmtp::address::Address;
use tokio::time::sleep;

use super::World;
use crate::lmtp::{Outcome, Session, Transfer};

/// The domain of all recipients.
const DOMAIN: &str = "demo.example";

/// Between a failure and the next attempt.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Delivers messages until none is left. Even sessions use DATA, odd ones BDAT.
pub(super) async fn session(world: Arc<World>, number: usize) {
    let transfer = if number.is_multiple_of(2) {
        Transfer::Data
    } else {
        Transfer::Chunks
    };
    let mut connection = None;
    while let Some((message, deliveries)) = world.ledger.take() {
        let content = world.ledger.messages[message].content();
        let begun = Instant::now();
        let mut open: Vec<usize> = deliveries.collect();
        loop {
            attempt(&world, &mut connection, &mut open, &content, transfer).await;
            if open.is_empty() {
                break;
            }
            sleep(RETRY_DELAY).await;
        }
        world.ledger.delivering().succeed(begun.elapsed());
    }
}

/// Tries the deliveries that are open; those that are settled leave the list.
async fn attempt(
    world: &World,
    connection: &mut Option<Session>,
    open: &mut Vec<usize>,
    content: &[u8],
    transfer: Transfer,
) {
    let mut session = match connection.take() {
        Some(session) => session,
        None => match Session::connect(world.addresses.lmtp).await {
            Ok(session) => session,
            Err(error) => {
                world.ledger.delivering().fail(&error.to_string());
                return;
            }
        },
    };
    let recipients: Vec<_> = open.iter().map(|&index| address(world, index)).collect();
    let (outcomes, failure) = session.deliver(&recipients, content, transfer).await;
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
            Outcome::NotSent => left.push(delivery),
            Outcome::Unanswered => {
                world.ledger.update(delivery, |state| state.unanswered += 1);
                left.push(delivery);
            }
        }
    }
    *open = left;
    if settled > 0 {
        world.console.progress(settled as u64, "");
    }
    match failure {
        Some(error) => world.ledger.delivering().fail(&error.to_string()),
        None => *connection = Some(session),
    }
}

fn address(world: &World, delivery: usize) -> Address {
    let delivery = world.ledger.deliveries[delivery];
    let user = &world.users[delivery.user];
    let local = match delivery.folder {
        "INBOX" => user.clone(),
        folder => format!("{user}+{folder}"),
    };
    Address::new(local, Some(DOMAIN.to_owned()))
}
