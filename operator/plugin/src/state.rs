//! What a Backend should be: one merge patch, that the operator acts upon.

use std::process::ExitCode;

use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use murder_operator::crd::{Backend, DesiredState};

use crate::access::Access;
use crate::options::{Format, Options};
use crate::output;

/// Who we are in managed fields.
const MANAGER: &str = "kubectl-murder";

/// Tells a Backend what to be. `dry_run` lets the API server check it and change nothing.
pub(crate) async fn set(
    access: &Access,
    name: &str,
    wish: DesiredState,
    dry_run: bool,
) -> anyhow::Result<Backend> {
    let params = PatchParams {
        dry_run,
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = serde_json::json!({ "spec": { "desiredState": wish } });
    let backends = access.api::<Backend>();
    let patch = Patch::Merge(patch);
    let request = backends.patch(name, &params, &patch);
    access
        .request(&format!("patch Backend {name}"), request)
        .await
}

/// Keeps new users away.
pub(crate) async fn cordon(
    access: &Access,
    options: &Options,
    name: &str,
) -> anyhow::Result<ExitCode> {
    let backend = find(access, name).await?;
    if backend.spec.desired_state == DesiredState::Drained {
        anyhow::bail!(
            "{name} is drained, which keeps new users away, too; \
             `kubectl murder uncordon {name}` takes that back"
        );
    }
    let changed = backend.spec.desired_state != DesiredState::Cordoned;
    let backend = set(access, name, DesiredState::Cordoned, false).await?;
    say(
        options,
        &backend,
        if changed {
            "cordoned"
        } else {
            "already cordoned"
        },
    )
}

/// Lets it take users again.
pub(crate) async fn uncordon(
    access: &Access,
    options: &Options,
    name: &str,
) -> anyhow::Result<ExitCode> {
    let backend = find(access, name).await?;
    if backend.metadata.deletion_timestamp.is_some() {
        anyhow::bail!("{name} was deleted, which cannot be taken back");
    }
    let word = match backend.spec.desired_state {
        DesiredState::Active => "already active",
        DesiredState::Cordoned => "uncordoned",
        DesiredState::Drained => "uncordoned; users that have moved stay where they are",
    };
    let backend = set(access, name, DesiredState::Active, false).await?;
    say(options, &backend, word)
}

/// The Backend as it is.
pub(crate) async fn find(access: &Access, name: &str) -> anyhow::Result<Backend> {
    let backends = access.api::<Backend>();
    access
        .request(&format!("read Backend {name}"), backends.get(name))
        .await
}

/// Name of a Backend as kubectl writes it.
pub(crate) fn full_name(name: &str) -> String {
    format!("backend.murder.rs/{name}")
}

/// Answers with the object or, for people, a word.
pub(crate) fn say(options: &Options, backend: &Backend, word: &str) -> anyhow::Result<ExitCode> {
    let name = full_name(&backend.name_any());
    let line = format!("{name} {word}\n");
    let format = match options.output {
        Format::Wide => Format::Text,
        format => format,
    };
    output::answer(format, backend, &[name], |_| line.clone())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use murder_operator::crd::DesiredState;

    use super::set;
    use crate::access::Access;

    const BACKEND: &str = r#"{"apiVersion":"murder.rs/v1alpha1","kind":"Backend","metadata":{"name":"be-b"},
        "spec":{"clusterRef":{"name":"mc"},"desiredState":"Drained"}}"#;

    /// What one request was, and what comes of an answer to it.
    async fn asked(dry_run: bool, status: u16, answer: &'static str) -> (String, String) {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let client = Client::new(service, "default");
        let access = Access::new(client, "mail".to_owned(), Duration::from_secs(5));
        let api_server = tokio::spawn(async move {
            let (request, reply) = handle.next_request().await.unwrap();
            let (head, body) = request.into_parts();
            let answered = Response::builder().status(status);
            reply.send_response(
                answered
                    .body(Body::from(answer.as_bytes().to_vec()))
                    .unwrap(),
            );
            let body = body.collect_bytes().await.unwrap();
            let kind = head.headers["content-type"].to_str().unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            format!("{} {} {kind} {body}", head.method, head.uri)
        });
        let outcome = set(&access, "be-b", DesiredState::Drained, dry_run).await;
        let outcome = match outcome {
            Ok(backend) => format!("{:?}", backend.spec.desired_state),
            Err(error) => format!("{error:#}"),
        };
        (api_server.await.unwrap(), outcome)
    }

    #[tokio::test]
    async fn a_wish_is_one_merge_patch_under_our_name() {
        let (request, outcome) = asked(false, 200, BACKEND).await;
        assert_eq!(
            request,
            "PATCH /apis/murder.rs/v1alpha1/namespaces/mail/backends/be-b?&fieldManager=kubectl-murder \
             application/merge-patch+json {\"spec\":{\"desiredState\":\"Drained\"}}"
        );
        assert_eq!(outcome, "Drained");
    }

    #[tokio::test]
    async fn a_dry_run_asks_the_api_server_to_change_nothing() {
        let (request, _) = asked(true, 200, BACKEND).await;
        assert!(
            request.contains("?&dryRun=All&fieldManager=kubectl-murder "),
            "{request}"
        );
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_api_servers_words() {
        let refusal = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","code":403,
            "reason":"Forbidden","message":"backends.murder.rs \"be-b\" is forbidden"}"#;
        let (_, outcome) = asked(false, 403, refusal).await;
        assert_eq!(
            outcome,
            "cannot patch Backend be-b: backends.murder.rs \"be-b\" is forbidden"
        );
    }
}
