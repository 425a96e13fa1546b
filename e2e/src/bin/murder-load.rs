//! Measures a running server: deliveries a second, idle connections, a large mailbox.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use murder_e2e::console::Console;
use murder_e2e::imap;
use murder_e2e::lmtp::{self, Outcome, Transfer};
use murder_proto::lmtp::address::Address;
use tokio::task::JoinSet;

/// Measures a running server.
///
/// Examples:
///   murder-load lmtp --lmtp 127.0.0.1:2003 --sessions 8 --messages 4000 --users 20
///   murder-load idle --imap 127.0.0.1:1143 --connections 1000 --password-file FILE --pid 4711
///   murder-load mailbox --imap 127.0.0.1:1143 --lmtp 127.0.0.1:2003 --messages 50000 --password-file FILE
#[derive(Debug, Parser)]
#[command(name = "murder-load", version, verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Delivers messages of one size and tells the rate.
    Lmtp {
        /// Where LMTP listens.
        #[arg(long)]
        lmtp: SocketAddr,
        /// Sessions at the same time.
        #[arg(long, default_value_t = 8)]
        sessions: usize,
        /// Messages in all.
        #[arg(long, default_value_t = 4000)]
        messages: usize,
        /// Bytes of one.
        #[arg(long, default_value_t = 4096)]
        size: usize,
        /// Users that they go to in turn, user0001 and on.
        #[arg(long, default_value_t = 20)]
        users: usize,
    },
    /// Opens connections, logs in, selects INBOX, and tells the memory of processes before and after.
    Idle {
        /// Where IMAP listens.
        #[arg(long)]
        imap: SocketAddr,
        /// Connections.
        #[arg(long, default_value_t = 1000)]
        connections: usize,
        /// Users that they log in as in turn, user0001 and on.
        #[arg(long, default_value_t = 20)]
        users: usize,
        /// File with their password.
        #[arg(long)]
        password_file: std::path::PathBuf,
        /// Processes whose memory is told.
        #[arg(long)]
        pid: Vec<u32>,
    },
    /// Fills user0001's INBOX and tells how long SELECT and FETCH of all flags take.
    Mailbox {
        /// Where IMAP listens.
        #[arg(long)]
        imap: SocketAddr,
        /// Where LMTP listens.
        #[arg(long)]
        lmtp: SocketAddr,
        /// Messages that the mailbox shall have.
        #[arg(long, default_value_t = 50_000)]
        messages: u32,
        /// File with the password.
        #[arg(long)]
        password_file: std::path::PathBuf,
    },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let console = Console::default();
    match Arguments::parse().what {
        What::Lmtp {
            lmtp,
            sessions,
            messages,
            size,
            users,
        } => {
            let took = deliver(lmtp, sessions, messages, size, users).await?;
            let rate = messages as f64 / took.as_secs_f64();
            console.say(&format!(
                "{messages} messages of {size} bytes, {sessions} sessions: {rate:.0} messages/s"
            ));
        }
        What::Idle {
            imap,
            connections,
            users,
            password_file,
            pid,
        } => idle(&console, imap, connections, users, &password_file, &pid).await?,
        What::Mailbox {
            imap,
            lmtp,
            messages,
            password_file,
        } => mailbox(&console, imap, lmtp, messages, &password_file).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn user(number: usize, users: usize) -> String {
    format!("user{:04}", number % users.max(1) + 1)
}

fn message(number: usize, size: usize) -> Vec<u8> {
    let mut text = format!(
        "From: load <load@example.org>\r\nSubject: message {number}\r\n\
         Message-ID: <{number}.{}@load.example>\r\n\r\n",
        std::process::id()
    )
    .into_bytes();
    while text.len() + 2 < size {
        let left = size - 2 - text.len();
        text.extend(std::iter::repeat_n(b'x', left.min(70)));
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// Delivers from `sessions` connections; every message must be taken.
async fn deliver(
    address: SocketAddr,
    sessions: usize,
    messages: usize,
    size: usize,
    users: usize,
) -> Result<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..sessions {
        let next = Arc::clone(&next);
        senders.spawn(async move {
            let mut session = lmtp::Session::connect(address).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= messages {
                    return anyhow::Ok(());
                }
                let recipient = [Address::new(user(number, users), None)];
                let content = message(number, size);
                let (outcomes, failure) =
                    session.deliver(&recipient, &content, Transfer::Data).await;
                if let Some(failure) = failure {
                    return Err(failure);
                }
                ensure!(
                    matches!(outcomes[..], [Outcome::Delivered]),
                    "message {number}: {outcomes:?}"
                );
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended??;
    }
    Ok(begun.elapsed())
}

/// Resident memory of a process in KiB.
fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}

async fn idle(
    console: &Console,
    address: SocketAddr,
    connections: usize,
    users: usize,
    password_file: &std::path::Path,
    pids: &[u32],
) -> Result<()> {
    let password = std::fs::read_to_string(password_file)?;
    let before: Vec<u64> = pids
        .iter()
        .map(|pid| resident(*pid))
        .collect::<Result<_>>()?;
    let begun = Instant::now();
    let mut sessions = Vec::with_capacity(connections);
    for number in 0..connections {
        let user = user(number, users);
        let mut session = imap::Session::login(address, &user, password.trim()).await?;
        session.select("INBOX").await?;
        sessions.push(session);
    }
    console.say(&format!(
        "{connections} connections with INBOX selected in {:.1} s",
        begun.elapsed().as_secs_f64()
    ));
    for (pid, before) in pids.iter().zip(before) {
        let after = resident(*pid)?;
        let each = after.saturating_sub(before) as f64 / connections as f64;
        console.say(&format!(
            "process {pid}: {:.1} MiB, {:.1} MiB more than before, {each:.1} KiB a connection",
            after as f64 / 1024.0,
            after.saturating_sub(before) as f64 / 1024.0
        ));
    }
    Ok(())
}

async fn mailbox(
    console: &Console,
    address: SocketAddr,
    lmtp: SocketAddr,
    messages: u32,
    password_file: &std::path::Path,
) -> Result<()> {
    let password = std::fs::read_to_string(password_file)?;
    let mut session = imap::Session::login(address, "user0001", password.trim()).await?;
    let present = session.select("INBOX").await?.exists;
    let missing = messages.saturating_sub(present) as usize;
    deliver(lmtp, 16, missing, 1024, 1).await?;
    drop(session);
    for round in ["first", "second"] {
        let mut session = imap::Session::login(address, "user0001", password.trim()).await?;
        let begun = Instant::now();
        let exists = session.select("INBOX").await?.exists;
        let selected = begun.elapsed();
        let begun = Instant::now();
        let mut fetched = 0;
        session
            .fetch("1:*", "(UID FLAGS)", |_| {
                fetched += 1;
                Ok(())
            })
            .await?;
        ensure!(fetched == exists, "{fetched} of {exists} messages");
        console.say(&format!(
            "{round} time, {exists} messages: SELECT {:.1} ms, FETCH 1:* (UID FLAGS) {:.1} ms",
            selected.as_secs_f64() * 1000.0,
            begun.elapsed().as_secs_f64() * 1000.0
        ));
    }
    Ok(())
}
