//! The supervisor's socket: one request a connection, one JSON line each way.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::protocol::{Answer, LINE_BYTES_MAX, Request, Status};

/// Wait after a caller could not be taken.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Callers at once; more wait.
const CALLERS_MAX: usize = 64;
/// How long a caller may take for its request.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long a supervisor's first look may take.
const FIRST_STATUS_LIMIT: Duration = Duration::from_secs(20);

/// A request and where its answer goes.
pub(super) type Command = (Request, oneshot::Sender<Answer>);

/// Takes callers until the supervisor ends.
pub(super) async fn accept(
    listener: UnixListener,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Option<Status>>,
) {
    let room = Arc::new(Semaphore::new(CALLERS_MAX));
    loop {
        // Nobody closes it.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (commands, status) = (commands.clone(), status.clone());
                tokio::spawn(async move {
                    serve(stream, commands, status).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept_failed");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn serve(
    mut stream: UnixStream,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Option<Status>>,
) {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut input = BufReader::new(read.take(LINE_BYTES_MAX));
    let read = tokio::time::timeout(REQUEST_LIMIT, input.read_line(&mut line));
    if !matches!(read.await, Ok(Ok(_))) {
        return;
    }
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(Request::Status) => first_status(status).await,
        Ok(request) => {
            let (sender, receiver) = oneshot::channel();
            let sent = commands.send((request, sender)).await;
            match (sent, receiver.await) {
                (Ok(()), Ok(answer)) => answer,
                _ => Answer::Refused {
                    message: "the supervisor is ending".to_owned(),
                },
            }
        }
        Err(error) => Answer::Refused {
            message: format!("request not understood: {error}"),
        },
    };
    if let Ok(mut text) = serde_json::to_vec(&answer) {
        text.push(b'\n');
        // A caller that went away wants no answer.
        let _ = write.write_all(&text).await;
    }
}

/// The last status; a supervisor that has just begun is waited for.
async fn first_status(mut status: watch::Receiver<Option<Status>>) -> Answer {
    let known = status.wait_for(Option::is_some);
    match tokio::time::timeout(FIRST_STATUS_LIMIT, known).await {
        Ok(Ok(status)) => Answer::Status(Box::new(status.clone().unwrap_or_default())),
        _ => Answer::Refused {
            message: "the supervisor has not looked at the murder yet".to_owned(),
        },
    }
}
