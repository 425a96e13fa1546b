//! The fence of a reign: a number higher than that of every operator before, checked by the nodes.

use std::time::Duration;

use kube::api::Patch;
use kube::{Api, ResourceExt as _};
use murder_model::Fence;
use serde_json::json;

use super::apply::merge;
use super::calls::{ApiError, call_within};
use crate::crd::MurderCluster;

/// Annotation of a MurderCluster with the highest fence given out for it.
pub const FENCE_ANNOTATION: &str = "murder.rs/fence";
/// Writes that may meet another's before the claim is given up.
const TRIES_MAX: u32 = 8;

/// Why no fence could be claimed; then no node may be commanded.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// The API server refused or could not be reached.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Others wrote the object again and again.
    #[error("the fence of {0}: every write met another's")]
    Contended(String),
}

/// The fence of a new reign: one above all that were seen.
pub fn next_fence(lease_transitions: u64, annotation: Option<u64>, nodes_highest: Fence) -> Fence {
    let highest = lease_transitions
        .max(annotation.unwrap_or(0))
        .max(nodes_highest.get());
    Fence::new(highest).next()
}

/// Chooses the fence of a reign and writes it down, before the first command of the reign. Only one of two that
/// claim at once gets a number.
pub async fn claim_fence(
    api: &Api<MurderCluster>,
    name: &str,
    lease_transitions: u64,
    nodes_highest: Fence,
    limit: Duration,
) -> Result<Fence, FenceError> {
    for _ in 0..TRIES_MAX {
        let cluster = call_within(limit, "get MurderCluster", name, api.get(name)).await?;
        let noted = noted_fence(&cluster);
        let fence = next_fence(lease_transitions, noted, nodes_highest);
        let patch = json!({"metadata": {
            "resourceVersion": cluster.metadata.resource_version,
            "annotations": {FENCE_ANNOTATION: fence.to_string()},
        }});
        let (parameters, patch) = (merge(), Patch::Merge(&patch));
        let patching = api.patch_metadata(name, &parameters, &patch);
        match call_within(limit, "write the fence of MurderCluster", name, patching).await {
            Ok(_) => return Ok(fence),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(FenceError::Contended(name.to_owned()))
}

/// The fence noted on a MurderCluster; a text that is no number counts as none.
pub fn noted_fence(cluster: &MurderCluster) -> Option<u64> {
    let text = cluster.annotations().get(FENCE_ANNOTATION)?;
    let number = text.parse().ok();
    if number.is_none() {
        tracing::warn!(
            cluster = cluster.name_any(),
            text,
            "the noted fence is no number"
        );
    }
    number
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::Api;
    use murder_model::Fence;
    use serde_json::{Value, json};

    use super::{FenceError, claim_fence, next_fence};
    use crate::crd::MurderCluster;
    use crate::platform::kube::fake_api::{FakeApi, Mood};

    const PATH: &str = "/apis/murder.rs/v1alpha1/namespaces/mail/murderclusters/mc";
    const LIMIT: Duration = Duration::from_secs(10);

    fn cluster(annotations: &Value) -> Value {
        json!({
            "apiVersion": "murder.rs/v1alpha1", "kind": "MurderCluster",
            "metadata": {"name": "mc", "namespace": "mail", "annotations": annotations},
            "spec": {"domains": ["example.org"]},
        })
    }

    async fn claim(api: &FakeApi, transitions: u64, nodes: u64) -> Result<Fence, FenceError> {
        let clusters: Api<MurderCluster> = Api::namespaced(api.client(), "mail");
        claim_fence(&clusters, "mc", transitions, Fence::new(nodes), LIMIT).await
    }

    #[test]
    fn a_fence_is_one_above_the_lease_the_annotation_and_the_nodes() {
        let cases = [
            ((0, None, 0), 1),
            ((7, None, 0), 8),
            ((7, Some(9), 0), 10),
            ((7, Some(9), 41), 42),
            ((0, Some(u64::MAX), 0), u64::MAX),
        ];
        for ((transitions, annotation, nodes), expected) in cases {
            let fence = next_fence(transitions, annotation, Fence::new(nodes));
            assert_eq!(fence.get(), expected);
        }
    }

    /// row 24
    #[tokio::test(start_paused = true)]
    async fn each_claim_is_written_down_and_higher_than_the_last() {
        let api = FakeApi::default();
        api.put(
            PATH,
            cluster(&json!({"other": "stays", "murder.rs/fence": "x"})),
        );
        assert_eq!(claim(&api, 3, 0).await.unwrap().get(), 4);
        assert_eq!(claim(&api, 3, 0).await.unwrap().get(), 5);
        let found = api.get(PATH).unwrap();
        let annotations = json!({"other": "stays", "murder.rs/fence": "5"});
        assert_eq!(found["metadata"]["annotations"], annotations);
        assert_eq!(found["spec"], json!({"domains": ["example.org"]}));
    }

    /// row 24
    #[tokio::test(start_paused = true)]
    async fn of_two_that_claim_at_once_each_gets_another_number() {
        let api = FakeApi::default();
        api.put(PATH, cluster(&json!({})));
        let claims = tokio::join!(claim(&api, 1, 0), claim(&api, 1, 0), claim(&api, 1, 0));
        let mut fences = [claims.0, claims.1, claims.2].map(|claim| claim.unwrap().get());
        fences.sort_unstable();
        assert_eq!(fences, [2, 3, 4]);
        let patches = api
            .calls()
            .iter()
            .filter(|c| c.starts_with("PATCH"))
            .count();
        assert!(patches > 3, "no claim met another: {patches}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_there_is_no_fence() {
        let api = FakeApi::default();
        api.put(PATH, cluster(&json!({})));
        api.set_mood(Mood::Silent);
        let error = claim(&api, 1, 0).await.unwrap_err().to_string();
        assert_eq!(error, "get MurderCluster/mc: no answer within 10000 ms");
    }
}
