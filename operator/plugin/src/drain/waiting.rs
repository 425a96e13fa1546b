//! Waiting for a Backend to be empty.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use murder_operator::crd::Backend;

use super::progress::Progress;
use super::verdict::{Verdict, verdict};
use crate::access::Access;
use crate::output;

/// How often to look.
const LOOK: Duration = Duration::from_secs(1);
/// How long the API server may fail before we give up.
const DEAF_MAX: Duration = Duration::from_secs(60);
/// After this time without a sign of the operator, that is said.
const UNSEEN_MAX: Duration = Duration::from_secs(20);
/// How long something may be in the way: what is solved by a person, and what is solved by a pod that starts again.
const BLOCKED_MAX: Duration = Duration::from_secs(15);
const BLOCKED_RESTART_MAX: Duration = Duration::from_secs(120);

/// One wait.
pub(super) struct Wait {
    pub(super) name: String,
    pub(super) uid: String,
    /// Generation of the wish.
    pub(super) generation: i64,
    pub(super) limit: Duration,
    /// Options with which other commands reach the same Backend.
    pub(super) again: String,
    pub(super) can_be_taken_back: bool,
}

/// How it ended.
enum Outcome {
    Empty,
    Failed(String),
    Interrupted,
}

impl Wait {
    /// Waits, and shows how far it is. An interrupt ends the waiting, not the drain.
    pub(super) async fn run(&self, access: &Access) -> anyhow::Result<ExitCode> {
        let mut progress = Progress::new(&self.name);
        let outcome = tokio::select! {
            outcome = self.watch(access, &mut progress) => outcome,
            _ = tokio::signal::ctrl_c() => Ok(Outcome::Interrupted),
        };
        progress.finish();
        match outcome? {
            Outcome::Empty => {
                output::error(&format!("{} is empty", self.name));
                Ok(ExitCode::SUCCESS)
            }
            Outcome::Failed(why) => {
                output::error(&format!("error: {}: {why}", self.name));
                output::error(&self.what_now());
                Ok(ExitCode::FAILURE)
            }
            Outcome::Interrupted => {
                output::error(&self.what_now());
                Ok(ExitCode::FAILURE)
            }
        }
    }

    /// What goes on without us, and how to deal with it.
    fn what_now(&self) -> String {
        let Self { name, again, .. } = self;
        let back = if self.can_be_taken_back {
            format!("\n  take it back:   kubectl murder uncordon {name}{again}")
        } else {
            String::new()
        };
        format!(
            "Only the waiting has ended; the operator goes on draining {name}.\n  \
             wait for it:    kubectl murder drain {name} --wait{again}{back}"
        )
    }

    async fn watch(&self, access: &Access, progress: &mut Progress) -> anyhow::Result<Outcome> {
        let started = Instant::now();
        let mut answered = started;
        let mut blocked: Option<(String, Instant)> = None;
        let mut warned = false;
        loop {
            let found = self.look(access).await;
            let now = Instant::now();
            match found {
                Err(error) if now - answered > DEAF_MAX => return Err(error),
                Err(error) => progress.note(&format!("{error:#}")),
                Ok(None) => return Ok(self.gone(progress)),
                Ok(Some(backend)) => {
                    answered = now;
                    let verdict = verdict(&backend, &self.uid, self.generation);
                    progress.show(&backend, &verdict);
                    if let Some(outcome) = self.ended(&verdict, &mut blocked, now) {
                        return Ok(outcome);
                    }
                    if verdict == Verdict::Unseen && !warned && now - started > UNSEEN_MAX {
                        warned = true;
                        progress.note("the operator has not taken notice yet; is it running?");
                    }
                }
            }
            if now - started > self.limit {
                return Ok(Outcome::Failed(format!("not empty after {:?}", self.limit)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The Backend; none if it is gone.
    async fn look(&self, access: &Access) -> anyhow::Result<Option<Backend>> {
        let backends = access.api::<Backend>();
        let what = format!("read Backend {}", self.name);
        access.request(&what, backends.get_opt(&self.name)).await
    }

    /// A deleted Backend is held until its server is retired, so that it went empty.
    fn gone(&self, progress: &Progress) -> Outcome {
        if progress.was_going() {
            Outcome::Empty
        } else {
            Outcome::Failed("it is gone; nobody waited for it to be empty".to_owned())
        }
    }

    fn ended(
        &self,
        verdict: &Verdict,
        blocked: &mut Option<(String, Instant)>,
        now: Instant,
    ) -> Option<Outcome> {
        let (reason, message) = match verdict {
            Verdict::Blocked(reason, message) => (reason, message),
            Verdict::Empty => return Some(Outcome::Empty),
            Verdict::TakenBack => {
                let why = "it was told to be something else meanwhile";
                return Some(Outcome::Failed(why.to_owned()));
            }
            Verdict::Replaced => {
                let why = "it was deleted, and made anew meanwhile";
                return Some(Outcome::Failed(why.to_owned()));
            }
            Verdict::Unseen | Verdict::OnItsWay(..) => {
                *blocked = None;
                return None;
            }
        };
        let same = blocked.take().filter(|(since, _)| since == reason);
        let (_, since) = blocked.insert(same.unwrap_or_else(|| (reason.clone(), now)));
        (now - *since > patience(reason)).then(|| Outcome::Failed(format!("{reason}: {message}")))
    }
}

fn patience(reason: &str) -> Duration {
    match reason {
        "MupdateUnavailable" | "SourceDown" => BLOCKED_RESTART_MAX,
        _ => BLOCKED_MAX,
    }
}
