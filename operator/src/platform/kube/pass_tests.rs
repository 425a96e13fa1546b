//! Passes as a whole.

use serde_json::json;

use crate::platform::kube::stage::Stage;

#[tokio::test(start_paused = true)]
async fn nothing_is_decided_before_everything_is_listed() {
    let mut stage = Stage::new(json!({"domains": ["example.org"]})).await;
    stage.backend_with_claim("be-a", "10Gi");
    stage.pass().await.unwrap();
    stage.change("Backend", "be-a", |backend| {
        backend["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    stage.unlist_claims();
    let before = stage.api.calls().len();
    let cluster = stage.context.stores.clusters.state().remove(0);
    let error = super::pass(&stage.context, cluster).await.unwrap_err();
    let expected = "the API server has not listed all PersistentVolumeClaim objects yet";
    assert_eq!(error.to_string(), expected);
    let calls = stage.api.calls();
    let written = calls[before..]
        .iter()
        .filter(|call| !call.starts_with("GET"));
    assert_eq!(written.collect::<Vec<_>>(), Vec::<&String>::new());
}
