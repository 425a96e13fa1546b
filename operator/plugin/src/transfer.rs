//! `kubectl murder move`: gives one user to another Backend.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use murder_api::admin::{TransferPhase, TransferStatus};
use murder_model::{MoveId, RootName, ServerName};
use murder_operator::core::is_running;
use murder_operator::crd::DesiredState;

use crate::access::Access;
use crate::locate::{self, Whom};
use crate::murder::{self, Murder};
use crate::nodes::{Nodes, PodEndpoint};
use crate::options::{Format, Options, parse_limit};
use crate::{output, text};

/// How often to look.
const LOOK: Duration = Duration::from_millis(500);
/// How long the source may be silent, which goes on with a transfer after a restart.
const DEAF_MAX: Duration = Duration::from_secs(120);
/// How the ids of our transfers begin: they are not the operator's, which withdraws its own when a drain is taken back.
const OURS: [u8; 4] = *b"plug";

/// Arguments of `move`.
#[derive(clap::Args, Debug)]
pub(crate) struct MoveArgs {
    #[command(flatten)]
    whom: Whom,
    /// Name of the Backend that gets the user
    #[arg(value_name = "BACKEND")]
    destination: String,
    /// Wait until the user is served there
    #[arg(long)]
    wait: bool,
    /// How long to wait, e.g. 90m; 0 is without end
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_limit)]
    timeout: Duration,
}

/// Moves a user.
pub(crate) async fn run(
    access: &Access,
    options: &Options,
    args: &MoveArgs,
) -> anyhow::Result<ExitCode> {
    let root = args.whom.root()?;
    let to = &args.destination;
    let murder = Murder::load(access, options.cluster_name.as_deref()).await?;
    let destination = murder
        .backend(to)
        .with_context(|| format!("there is no Backend {to}"))?;
    if destination.spec.desired_state != DesiredState::Active
        || destination.metadata.deletion_timestamp.is_some()
    {
        anyhow::bail!("{to} takes no users: it is cordoned, drained or deleted");
    }
    murder.fence().with_context(|| {
        format!(
            "no operator leads {} yet: it has no annotation murder.rs/fence",
            murder.name()
        )
    })?;
    let nodes = Nodes::open(access, &murder).await?;
    let found = locate::look(&murder, &nodes, &root).await;
    let Some(from) = found.server else {
        let mut why = found.problems;
        why.extend(found.unheard);
        anyhow::bail!("{root} cannot be moved: {}", why.join("; "));
    };
    if from == *to {
        return say(options, &format!("{root} is on {to} already"), None);
    }
    let source = murder
        .pod(&murder::pod_of(&from))
        .context("the source has no pod")?;
    let source = nodes.endpoint(source);
    let transfer = start(&nodes, &source, &root, to).await?;
    let started = format!(
        "transfer {} of {root} from {from} to {to} started",
        transfer.move_id
    );
    if !args.wait {
        return say(options, &started, Some(&transfer));
    }
    output::error(&started);
    let wait = wait(&nodes, &source, transfer.move_id, args.timeout);
    tokio::select! {
        outcome = wait => match outcome? {
            Ok(done) => say(options, &format!("{root} is served by {to}"), Some(&done)),
            Err(why) => {
                output::error(&format!("error: {root}: {why}"));
                Ok(ExitCode::FAILURE)
            }
        },
        _ = tokio::signal::ctrl_c() => {
            let again = options.repeated(access.namespace());
            output::error(&format!(
                "Only the waiting has ended; the transfer goes on.\n  \
                 see where the user is:   kubectl murder where {}{again}",
                args.whom
            ));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn say(
    options: &Options,
    line: &str,
    transfer: Option<&TransferStatus>,
) -> anyhow::Result<ExitCode> {
    match (options.output, transfer) {
        (Format::Json | Format::Yaml, Some(transfer)) => {
            output::answer(options.output, transfer, &[], |_| String::new())?;
        }
        _ => output::text(&format!("{line}\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn start(
    nodes: &Nodes,
    source: &PodEndpoint,
    root: &RootName,
    to: &str,
) -> anyhow::Result<TransferStatus> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    id[..OURS.len()].copy_from_slice(&OURS);
    let destination = ServerName::parse(to)?;
    let started =
        nodes
            .client
            .start_transfer(source, MoveId::from_bytes(id), root.clone(), destination);
    started
        .await
        .context("the source does not start the transfer")
}

/// Waits for the end of a transfer; says why it did not end well.
async fn wait(
    nodes: &Nodes,
    source: &PodEndpoint,
    id: MoveId,
    limit: Duration,
) -> anyhow::Result<Result<TransferStatus, String>> {
    let began = Instant::now();
    let mut answered = began;
    let mut last = String::new();
    loop {
        match nodes.client.transfers(source).await {
            Err(error) if answered.elapsed() > DEAF_MAX => return Err(error.into()),
            Err(_) => {}
            Ok(transfers) => {
                answered = Instant::now();
                let Some(transfer) = transfers
                    .into_iter()
                    .find(|transfer| transfer.move_id == id)
                else {
                    let why = "the source has forgotten the transfer: it was started again; \
                               `kubectl murder where` tells who serves the user";
                    return Ok(Err(why.to_owned()));
                };
                let line = progress(&transfer);
                if line != last {
                    output::error(&line);
                    last = line;
                }
                if transfer.phase == TransferPhase::Done {
                    return Ok(Ok(transfer));
                }
                if !is_running(transfer.phase) {
                    return Ok(Err(ended(&transfer)));
                }
            }
        }
        if began.elapsed() > limit {
            return Ok(Err(format!("not done after {limit:?}; it goes on")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn ended(transfer: &TransferStatus) -> String {
    let why = transfer.error.as_deref().unwrap_or("no reason was given");
    let tries = text::counted(u64::from(transfer.attempts), "try", "tries");
    format!(
        "{:?} after {tries}: {why}; the source serves it",
        transfer.phase
    )
}

/// One look at a transfer.
fn progress(transfer: &TransferStatus) -> String {
    let mut line = format!(
        "{} to {}: {:?}, {} of {}",
        transfer.root,
        transfer.destination,
        transfer.phase,
        text::bytes(transfer.bytes_sent),
        text::bytes(transfer.bytes_total),
    );
    if transfer.phase == TransferPhase::Done {
        line.push_str(&format!(", writes waited {} ms", transfer.freeze_ms));
    }
    if let Some(error) = transfer
        .error
        .as_ref()
        .filter(|_| is_running(transfer.phase))
    {
        line.push_str(&format!(", will be tried again: {error}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use murder_api::admin::{TransferPhase, TransferStatus};
    use murder_model::{MoveId, RootName, ServerName};

    use super::{ended, progress};

    fn transfer(phase: TransferPhase, error: Option<&str>) -> TransferStatus {
        TransferStatus {
            move_id: MoveId::from_bytes([1; 16]),
            root: RootName::parse("user.alice").unwrap(),
            destination: ServerName::parse("be-b").unwrap(),
            phase,
            attempts: 1,
            mailboxes: 4,
            bytes_sent: 2 << 20,
            bytes_total: 5 << 20,
            freeze_ms: 12,
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn a_transfer_tells_its_phase_and_bytes() {
        let copying = transfer(TransferPhase::Copying, None);
        assert_eq!(
            progress(&copying),
            "user.alice to be-b: Copying, 2.0 MiB of 5.0 MiB"
        );
        let again = transfer(TransferPhase::Queued, Some("be-b is full"));
        assert_eq!(
            progress(&again),
            "user.alice to be-b: Queued, 2.0 MiB of 5.0 MiB, will be tried again: be-b is full"
        );
        let done = transfer(TransferPhase::Done, None);
        assert_eq!(
            progress(&done),
            "user.alice to be-b: Done, 2.0 MiB of 5.0 MiB, writes waited 12 ms"
        );
    }

    #[test]
    fn a_transfer_that_was_given_up_says_who_serves() {
        let failed = transfer(TransferPhase::Failed, Some("be-b refused"));
        assert_eq!(
            ended(&failed),
            "Failed after 1 try: be-b refused; the source serves it"
        );
    }
}
