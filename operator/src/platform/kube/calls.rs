//! Calls to the API server: each with a limit of time, and with a failure that is one short line.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;

use super::accounts::AccountsError;
use super::fence::FenceError;
use super::issuer::IssuerError;

/// Time limit of a call to the API server.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(15);
/// Longest text of another's that an error repeats; a refused object may be quoted whole.
const TEXT_MAX: usize = 400;

/// Why a call to the API server failed, in one line: what was tried, on which object, and what came of it.
#[derive(Debug, thiserror::Error)]
#[error("{doing}/{name}: {cause}")]
pub struct ApiError {
    /// Verb and kind, e.g. `patch Backend`.
    doing: String,
    name: String,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Kube(Box<kube::Error>),
    TimedOut(Duration),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kube(error) => f.write_str(&short(error)),
            Self::TimedOut(limit) => write!(f, "no answer within {} ms", limit.as_millis()),
        }
    }
}

impl ApiError {
    /// What the API server said, if it said anything.
    pub(super) fn status(&self) -> Option<&Status> {
        match &self.cause {
            Cause::Kube(error) => match &**error {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Cause::TimedOut(_) => None,
        }
    }

    /// Whether there is no such object, or no such kind.
    pub(super) fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    /// Whether the object is another, or of another version, than the call was for.
    pub(super) fn is_forbidden(&self) -> bool {
        self.status().is_some_and(Status::is_forbidden)
    }

    pub(super) fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }

    /// Whether nothing can be made because the namespace is on its way out, or gone.
    pub(super) fn namespace_ends(&self) -> bool {
        self.status().is_some_and(namespace_ends_by)
    }

    /// Whether an object of the name was there already.
    pub(super) fn is_already_exists(&self) -> bool {
        self.status().is_some_and(Status::is_already_exists)
    }
}

/// The namespace is on its way out: nothing can be made in it, and nothing of ours holds it up.
#[derive(Debug, thiserror::Error)]
#[error("the namespace is on its way out")]
pub(super) struct NamespaceEnds;

/// Whether a failure is that the namespace is on its way out.
pub(super) fn namespace_ends(error: &anyhow::Error) -> bool {
    let of_call = |cause: &(dyn StdError + 'static)| {
        let of_fence = || match cause.downcast_ref()? {
            FenceError::Api(error) => Some(error),
            FenceError::Contended(_) => None,
        };
        let of_accounts = || match cause.downcast_ref()? {
            AccountsError::Api(error) => Some(error),
            _ => None,
        };
        let of_issuer = || match cause.downcast_ref()? {
            IssuerError::Api(error) => Some(error),
            _ => None,
        };
        let own = cause.downcast_ref::<ApiError>();
        let found = own
            .or_else(of_fence)
            .or_else(of_accounts)
            .or_else(of_issuer);
        found.is_some_and(ApiError::namespace_ends)
    };
    error.is::<NamespaceEnds>() || error.chain().any(of_call)
}

/// Whether the API server refuses because of that.
pub(super) fn namespace_ends_by(status: &Status) -> bool {
    let details = status.details.as_ref();
    let mut causes = details.iter().flat_map(|details| &details.causes);
    let is_ending =
        status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating");
    // What would be made in a namespace that is gone is answered with the namespace's own absence.
    is_ending || (status.is_not_found() && details.is_some_and(|d| d.kind == "namespaces"))
}

/// A failure in few words: code, reason and message of the API server, or what happened on the way to it.
pub(super) fn short(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else {
        // Its own text repeats that of its cause, and the cause's leaves out the causes below.
        return match error.source() {
            None => cut(&error.to_string()),
            Some(cause) => cut(&chain(cause)),
        };
    };
    short_status(status)
}

fn short_status(status: &Status) -> String {
    let Status {
        code,
        reason,
        message,
        ..
    } = status;
    match reason.is_empty() {
        true => cut(&format!("{code}: {message}")),
        false => cut(&format!("{code} {reason}: {message}")),
    }
}

/// A failure of a watch in few words.
pub(super) fn short_watch(kind: &str, error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => format!("list {kind}: {}", short(error)),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
            format!("watch {kind}: {}", short(error))
        }
        watcher::Error::WatchError(status) => format!("watch {kind}: {}", short_status(status)),
        watcher::Error::NoResourceVersion => format!("watch {kind}: {error}"),
    }
}

/// An error and its causes, none twice.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= TEXT_MAX {
        return line;
    }
    format!("{}…", &line[..line.floor_char_boundary(TEXT_MAX)])
}

/// A call to the API server, with a limit of time. `doing` is its verb and kind, e.g. `patch Backend`.
pub(super) async fn call<T>(
    doing: &str,
    name: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    call_within(CALL_LIMIT, doing, name, call).await
}

/// A call with a limit of its own.
pub(super) async fn call_within<T>(
    limit: Duration,
    doing: &str,
    name: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    let cause = match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => Cause::Kube(Box::new(error)),
        Err(_) => Cause::TimedOut(limit),
    };
    Err(ApiError {
        doing: doing.to_owned(),
        name: name.to_owned(),
        cause,
    })
}

/// Success also if the object is gone already.
pub(super) fn is_absent<T>(outcome: Result<T, ApiError>) -> anyhow::Result<()> {
    match outcome {
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::runtime::watcher;
    use serde_json::json;

    use super::{TEXT_MAX, call, call_within, short_watch};
    use crate::platform::kube::fake_api::{FakeApi, Mood};

    const PATH: &str = "/api/v1/namespaces/mail/configmaps/be-a";

    async fn said(api: &FakeApi) -> String {
        let objects: Api<ConfigMap> = Api::namespaced(api.client(), "mail");
        let outcome = call("get ConfigMap", "be-a", objects.get("be-a")).await;
        let error = anyhow::Error::from(outcome.unwrap_err());
        let whole = format!("{error:#}");
        assert_eq!(whole, error.to_string(), "said twice");
        whole
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_verb_object_code_reason_and_message() {
        let api = FakeApi::default();
        assert_eq!(
            said(&api).await,
            "get ConfigMap/be-a: 404 NotFound: NotFound"
        );
        let why = json!({"message": "no right", "details": {"name": "be-a", "kind": "configmaps"}});
        api.refuse(&format!("GET {PATH}"), 403, &why);
        assert_eq!(
            said(&api).await,
            "get ConfigMap/be-a: 403 Forbidden: no right"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_message_is_one_line_and_cut() {
        let api = FakeApi::default();
        let why = json!({"message": format!("no\n  {}", "ä".repeat(TEXT_MAX))});
        api.refuse(&format!("GET {PATH}"), 422, &why);
        let said = said(&api).await;
        assert!(
            said.starts_with("get ConfigMap/be-a: 422 Forbidden: no ää"),
            "{said}"
        );
        assert!(said.ends_with("ä…"), "{said}");
        assert!(said.len() < TEXT_MAX + 50, "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_a_broken_connection_are_told() {
        let api = FakeApi::default();
        api.set_mood(Mood::Silent);
        let silent = "get ConfigMap/be-a: no answer within 15000 ms";
        assert_eq!(said(&api).await, silent);
        let source = std::io::Error::other("connection refused");
        let broken = kube::Error::Service(Box::new(source));
        let limit = Duration::from_secs(1);
        let failing = std::future::ready(Err::<(), _>(broken));
        let error = call_within(limit, "patch Pod", "be-a-0", failing)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "patch Pod/be-a-0: connection refused");
    }

    #[test]
    fn a_watch_that_fails_names_its_kind() {
        let status = kube::core::Status::failure("no right", "Forbidden").with_code(403);
        let error = watcher::Error::InitialListFailed(kube::Error::Api(status.clone().boxed()));
        assert_eq!(
            short_watch("Pod", &error),
            "list Pod: 403 Forbidden: no right"
        );
        let error = watcher::Error::WatchError(status.boxed());
        assert_eq!(
            short_watch("Pod", &error),
            "watch Pod: 403 Forbidden: no right"
        );
    }
}
