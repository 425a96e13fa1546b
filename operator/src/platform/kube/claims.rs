//! Claims are held as long as their server lives: one that somebody deletes by mistake keeps its mail when its pod goes.
//!
//! They are let go when their deletion is our decision (see `act`), when they are kept and their server is gone, and
//! when their namespace ends. Whose owner is not seen is looked for before its claim is let go.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::context::Context;
use super::objects::{FINALIZER, Objects, RETIRED, backend_of, claim_name};
use super::problems::Problems;
use super::watch::CLUSTER_LABEL;
use super::{call, finalizers};
use crate::core::Kind;
use crate::crd::{Backend, MurderCluster};
use crate::resources::names;

fn api(context: &Context, namespace: &str) -> Api<PersistentVolumeClaim> {
    Api::namespaced(context.client.clone(), namespace)
}

fn is_held(claim: &PersistentVolumeClaim) -> bool {
    claim
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == FINALIZER)
}

/// Whether an object of this name is there, by the API server's own word.
async fn exists<K>(context: &Context, namespace: &str, name: &str) -> anyhow::Result<bool>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
    let doing = format!("get {}", K::kind(&()));
    let found = call(&doing, name, api.get_metadata_opt(name)).await?;
    Ok(found.is_some())
}

/// Holds the claims of a murder's servers, and lets those go whose Backend is gone.
pub(super) async fn hold(context: &Context, objects: &Objects, problems: &mut Problems) {
    for claim in objects.claims.values() {
        let outcome = hold_one(context, objects, claim).await;
        match backend_of(claim.as_ref()) {
            Some(backend) => problems.tried(Kind::Backend, &backend, outcome),
            None => problems.tried(Kind::MurderCluster, &objects.key.name, outcome),
        }
    }
}

async fn hold_one(
    context: &Context,
    objects: &Objects,
    claim: &PersistentVolumeClaim,
) -> anyhow::Result<()> {
    let namespace = &objects.key.namespace;
    let api = api(context, namespace);
    let master = claim_name(&names::mupdate(&objects.key.name));
    let lives = match backend_of(claim) {
        Some(backend) => objects.backend(&backend).is_some(),
        None => claim.name_any() == master,
    };
    if lives && !claim.annotations().contains_key(RETIRED) {
        finalizers::unless_changed(finalizers::add(&api, claim).await)?;
    }
    if let Some(backend) = backend_of(claim).filter(|_| !lives && is_held(claim))
        && !exists::<Backend>(context, namespace, &backend).await?
    {
        finalizers::unless_changed(finalizers::remove(&api, claim).await)?;
    }
    Ok(())
}

/// What is wrong with the mupdate master's claim.
pub(super) fn of_master(objects: &Objects) -> Option<String> {
    let claim = objects.claim(&names::mupdate(&objects.key.name))?;
    let name = claim.name_any();
    claim.metadata.deletion_timestamp.as_ref().map(|_| {
        format!(
            "mupdate master: claim {name} was deleted: it is kept, but no other pod can use it; give its volume a new \
             claim before the pod goes, see \"A volume claim was deleted\" in docs/kubernetes.md"
        )
    })
}

/// Lets the claims of one server go: it is gone, and they are kept. Without a Backend's name, those of the master.
pub(super) async fn let_go(
    context: &Context,
    namespace: &str,
    cluster: &str,
    backend: Option<&str>,
) -> anyhow::Result<()> {
    let claims = context.stores.claims.state_filter(|claim| {
        claim.namespace().as_deref() == Some(namespace)
            && claim
                .labels()
                .get(CLUSTER_LABEL)
                .is_some_and(|of| of == cluster)
            && backend_of(claim).as_deref() == backend
    });
    let api = api(context, namespace);
    for claim in claims {
        finalizers::remove(&api, claim.as_ref()).await?;
    }
    Ok(())
}

/// Lets claims go that nobody looks after: neither their murder nor their Backend exists.
pub(super) async fn sweep(context: &Context) -> anyhow::Result<()> {
    context.stores.ready().await;
    for claim in context.stores.claims.state() {
        let namespace = claim.namespace().unwrap_or_default();
        let Some(cluster) = claim
            .labels()
            .get(CLUSTER_LABEL)
            .filter(|_| is_held(&claim))
        else {
            continue;
        };
        let of_murder = |mc: &MurderCluster| {
            mc.name_any() == *cluster && mc.namespace().as_deref() == Some(&namespace)
        };
        if !context.stores.clusters.state_filter(of_murder).is_empty()
            || exists::<MurderCluster>(context, &namespace, cluster).await?
        {
            continue;
        }
        if let Some(backend) = backend_of(claim.as_ref())
            && exists::<Backend>(context, &namespace, &backend).await?
        {
            continue;
        }
        anyhow::ensure!(context.leadership.is_held(), "no longer the leader");
        let removed = finalizers::remove(&api(context, &namespace), claim.as_ref()).await;
        finalizers::unless_changed(removed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{of_master, sweep};
    use crate::platform::kube::orphans;
    use crate::platform::kube::stage::Stage;

    const CLAIMS: &str = "/api/v1/namespaces/mail/persistentvolumeclaims";
    const OURS: &str = "murder.rs/murder";

    /// Who holds a claim; none if it is gone.
    fn held(stage: &Stage, claim: &str) -> Option<Vec<String>> {
        let found = stage.api.get(&format!("{CLAIMS}/{claim}"))?;
        let finalizers = found["metadata"]["finalizers"].clone();
        Some(serde_json::from_value(finalizers).unwrap_or_default())
    }

    fn ours() -> Option<Vec<String>> {
        Some(vec![OURS.to_owned()])
    }

    fn free() -> Option<Vec<String>> {
        Some(Vec::new())
    }

    fn deleted(object: &mut Value) {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }

    /// A murder with a Backend and its claims, after a pass.
    async fn stage() -> Stage {
        let mut stage = Stage::new(json!({"domains": ["example.org"]})).await;
        stage.backend_with_claim("be-a", "10Gi");
        stage.pass().await.unwrap();
        stage
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_of_a_server_is_held_also_after_somebody_deleted_it() {
        let mut stage = stage().await;
        // One that an earlier operator made is held, too.
        assert_eq!(held(&stage, "be-a-data"), ours());
        assert_eq!(held(&stage, "mc-mupdate-data"), ours());
        stage.change("PersistentVolumeClaim", "be-a-data", deleted);
        for _ in 0..3 {
            stage.pass().await.unwrap();
        }
        assert_eq!(held(&stage, "be-a-data"), ours());
        assert_eq!(of_master(&stage.objects()), None);
        stage.change("PersistentVolumeClaim", "mc-mupdate-data", deleted);
        let said = of_master(&stage.objects()).unwrap();
        assert!(
            said.starts_with("mupdate master: claim mc-mupdate-data was deleted"),
            "{said}"
        );
    }

    /// row 30
    #[tokio::test(start_paused = true)]
    async fn a_claim_that_is_kept_is_let_go_when_its_server_has_ended() {
        let mut stage = stage().await;
        stage.change("Backend", "be-a", deleted);
        stage.change("PersistentVolumeClaim", "be-a-data", |claim| {
            claim["metadata"]["annotations"] = json!({"murder.rs/retired": "1"});
            claim["metadata"]["finalizers"] = json!(["example.org/backup", OURS]);
        });
        stage.pass().await.unwrap();
        let backup = Some(vec!["example.org/backup".to_owned()]);
        assert_eq!(held(&stage, "be-a-data"), backup);
        stage.pass().await.unwrap();
        assert_eq!(held(&stage, "be-a-data"), backup);
        let claim = stage.api.get(&format!("{CLAIMS}/be-a-data")).unwrap();
        assert!(claim["metadata"]["annotations"]["murder.rs/released"].is_string());
        assert_eq!(claim["metadata"]["deletionTimestamp"], Value::Null);
    }

    /// row 30
    #[tokio::test(start_paused = true)]
    async fn a_claim_goes_when_that_is_the_policy_and_its_time_has_come() {
        for by_hand in [false, true] {
            let mut stage = stage().await;
            stage.change("Backend", "be-a", deleted);
            let due = |claim: &mut Value, at: u64| {
                claim["metadata"]["annotations"] =
                    json!({"murder.rs/retired": "1", "murder.rs/delete-after": at.to_string()});
            };
            stage.change("PersistentVolumeClaim", "be-a-data", |claim| {
                due(claim, u64::MAX);
                if by_hand {
                    deleted(claim);
                }
            });
            stage.pass().await.unwrap();
            assert_eq!(held(&stage, "be-a-data"), ours());
            stage.change("PersistentVolumeClaim", "be-a-data", |claim| due(claim, 2));
            stage.pass().await.unwrap();
            assert_eq!(held(&stage, "be-a-data"), None, "by hand: {by_hand}");
        }
    }

    /// row 38
    #[tokio::test(start_paused = true)]
    async fn claims_end_with_their_namespace() {
        let mut stage = stage().await;
        stage.change("MurderCluster", "mc", deleted);
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "mail", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        });
        stage.api.put("/api/v1/namespaces/mail", namespace);
        stage.change("PersistentVolumeClaim", "be-a-data", deleted);
        stage.change("PersistentVolumeClaim", "mc-mupdate-data", deleted);
        stage.pass().await.unwrap();
        assert_eq!(held(&stage, "be-a-data"), None);
        assert_eq!(held(&stage, "mc-mupdate-data"), None);
    }

    /// row 38
    #[tokio::test(start_paused = true)]
    async fn claims_of_a_murder_that_went_are_an_administrators() {
        let mut stage = stage().await;
        stage.murder("Backend", "be-b", json!({"clusterRef": {"name": "mc"}}));
        stage.claim("be-b-data", &json!({"murder.rs/backend": "be-b"}));
        stage.pass().await.unwrap();
        stage.change("MurderCluster", "mc", |mc| {
            mc["spec"]["deletionPolicy"] = json!("Abandon");
            mc["spec"]["confirmation"] = json!("mc");
            deleted(mc);
        });
        stage.change("Backend", "be-a", deleted);
        for set in ["be-a", "be-b", "mc-mupdate"] {
            stage.lose("StatefulSet", set);
        }
        stage.pass().await.unwrap();
        assert_eq!(held(&stage, "be-a-data"), free());
        assert_eq!(held(&stage, "mc-mupdate-data"), free());
        // A Backend that stays is nobody's, but its mail is held until it is deleted.
        assert_eq!(held(&stage, "be-b-data"), ours());
        stage.gone("mc");
        stage.catch_up();
        stage.change("Backend", "be-b", deleted);
        let backends = stage.context.stores.backends.state();
        let backend = backends
            .iter()
            .find(|b| b.metadata.name.as_deref() == Some("be-b"));
        assert!(
            orphans::backend(&stage.context, backend.unwrap())
                .await
                .unwrap()
        );
        assert_eq!(held(&stage, "be-b-data"), free());
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_whose_backend_was_forced_away_is_let_go_but_not_one_that_is_only_unseen() {
        let mut stage = stage().await;
        stage.catch_up();
        for name in ["be-b", "be-c"] {
            stage.claim(&format!("{name}-data"), &json!({"murder.rs/backend": name}));
            stage.change("PersistentVolumeClaim", &format!("{name}-data"), |claim| {
                claim["metadata"]["finalizers"] = json!([OURS]);
            });
        }
        let unseen = json!({"kind": "Unseen", "metadata": {"name": "be-c"}});
        stage.api.put(
            "/apis/murder.rs/v1alpha1/namespaces/mail/backends/be-c",
            unseen,
        );
        let objects = stage.objects();
        let mut problems = super::Problems::default();
        super::hold(&stage.context, &objects, &mut problems).await;
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(held(&stage, "be-b-data"), free());
        assert_eq!(held(&stage, "be-c-data"), ours());
    }

    /// row 38: also if somebody forced the murder away.
    #[tokio::test(start_paused = true)]
    async fn claims_that_nobody_looks_after_are_let_go() {
        let mut stage = stage().await;
        stage.catch_up();
        sweep(&stage.context).await.unwrap();
        assert_eq!(held(&stage, "mc-mupdate-data"), ours());
        stage.gone("mc");
        sweep(&stage.context).await.unwrap();
        assert_eq!(held(&stage, "mc-mupdate-data"), free());
        // Its Backend is still there.
        assert_eq!(held(&stage, "be-a-data"), ours());
    }
}
