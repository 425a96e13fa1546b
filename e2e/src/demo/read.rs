//! Clients that read, flag and idle while mail is delivered, and keep what they saw.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use super::World;
use super::verify::content_of;
use crate::imap::Session;
use crate::random::Random;

/// The mailbox that is read.
const MAILBOX: &str = "INBOX";

/// Longest IDLE.
const IDLE_LIMIT: Duration = Duration::from_millis(500);

/// Between a failure and the next attempt.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Flags that are set.
const FLAGS: [&str; 4] = ["\\Seen", "\\Flagged", "\\Answered", "$Important"];

/// Newest messages that are looked at in a round.
const WINDOW: u32 = 20;

/// Reads one user's mail until the load is over. A round that fails is repeated.
pub(super) async fn client(world: Arc<World>, number: usize) {
    let mut random = Random::new(number as u64);
    let mut connection = None;
    let mut begun = None;
    while world.ledger.is_loaded() {
        let started = *begun.get_or_insert_with(Instant::now);
        match round(&world, &mut connection, number, &mut random).await {
            Ok(()) => {
                world.ledger.reading().succeed(started.elapsed());
                begun = None;
                if let Some(session) = &mut connection
                    && session.idle(IDLE_LIMIT).await.is_err()
                {
                    connection = None;
                }
            }
            Err(error) => {
                world.ledger.reading().fail(&error.to_string());
                connection = None;
                sleep(RETRY_DELAY).await;
            }
        }
    }
}

/// Looks at the newest messages, reads one and flags it.
async fn round(
    world: &World,
    connection: &mut Option<Session>,
    user: usize,
    random: &mut Random,
) -> Result<()> {
    let session = match connection {
        Some(session) => session,
        None => {
            let name = &world.users[user];
            let opened = Session::login(world.addresses.imap, name, &world.password).await?;
            connection.insert(opened)
        }
    };
    let selected = session.select(MAILBOX).await?;
    {
        let mut seen = world.ledger.seen();
        let mailbox = seen.entry((user, MAILBOX)).or_default();
        let known = *mailbox.uid_validity.get_or_insert(selected.uid_validity);
        ensure!(known == selected.uid_validity, "UIDVALIDITY changed");
    }
    if selected.uid_next <= 1 {
        return Ok(());
    }
    let low = selected.uid_next.saturating_sub(WINDOW).max(1);
    let mut uids = Vec::new();
    let newest = format!("{low}:{}", selected.uid_next - 1);
    session
        .fetch(&newest, "(UID FLAGS RFC822.SIZE ENVELOPE)", |items| {
            uids.push(items.uid().context("FETCH without UID")?);
            Ok(())
        })
        .await?;
    if uids.is_empty() {
        return Ok(());
    }
    let uid = *random.choose(&uids);
    let mut content = None;
    session
        .fetch(&uid.to_string(), "(UID BODY.PEEK[])", |items| {
            content = Some(content_of(&items)?.0);
            Ok(())
        })
        .await?;
    let flag = *random.choose(&FLAGS);
    session
        .add_flags(&uid.to_string(), &format!("({flag})"))
        .await?;
    let mut seen = world.ledger.seen();
    let mailbox = seen.entry((user, MAILBOX)).or_default();
    mailbox.flags.entry(uid).or_default().insert(flag);
    if let Some(hash) = content {
        mailbox.contents.insert(uid, hash);
    }
    Ok(())
}
