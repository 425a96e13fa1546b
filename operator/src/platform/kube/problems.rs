//! What goes wrong in a pass, noted by object.

use std::collections::BTreeMap;

use anyhow::bail;

use super::calls::{self, NamespaceEnds};
use crate::core::Kind;

/// What went wrong, by object; it blocks nothing else.
#[derive(Debug, Default)]
pub(super) struct Problems {
    noted: BTreeMap<(Kind, String), Vec<String>>,
    /// Objects with which the pass does not go on, and why.
    blocked: BTreeMap<(Kind, String), String>,
    namespace_ends: bool,
}

impl Problems {
    /// Notes what is wrong with an object, once.
    pub(super) fn note(&mut self, kind: Kind, name: &str, what: String) {
        let of_object = self.noted.entry((kind, name.to_owned())).or_default();
        if !of_object.contains(&what) {
            of_object.push(what);
        }
    }

    /// Notes a failure. That the namespace is on its way out is nobody's failure.
    pub(super) fn failed(&mut self, kind: Kind, name: &str, error: &anyhow::Error) {
        if calls::namespace_ends(error) {
            self.namespace_ends = true;
        } else {
            self.note(kind, name, format!("{error:#}"));
        }
    }

    /// Notes what was tried with an object; if it failed, the object is left alone, and the pass counts as failed.
    pub(super) fn tried(&mut self, kind: Kind, name: &str, outcome: anyhow::Result<()>) {
        if let Err(error) = outcome {
            self.failed(kind, name, &error);
            let object = (kind, name.to_owned());
            self.blocked
                .entry(object)
                .or_insert_with(|| format!("{error:#}"));
        }
    }

    /// Whether an object is left alone.
    pub(super) fn blocks(&self, kind: Kind, name: &str) -> bool {
        self.blocked.contains_key(&(kind, name.to_owned()))
    }

    /// What a pass comes to that went on with the other objects.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        self.check()?;
        let Some(((kind, name), why)) = self.blocked.first_key_value() else {
            return Ok(());
        };
        match self.blocked.len() - 1 {
            0 => bail!("{kind:?} {name}: {why}"),
            others => bail!("{kind:?} {name}: {why}; and {others} more objects failed"),
        }
    }

    /// Ends a pass of a murder whose namespace is on its way out.
    pub(super) fn check(&self) -> Result<(), NamespaceEnds> {
        match self.namespace_ends {
            true => Err(NamespaceEnds),
            false => Ok(()),
        }
    }

    /// Whether nothing went wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }

    /// Those of one object.
    pub(super) fn of(&self, kind: Kind, name: &str) -> Vec<String> {
        let found = self.noted.get(&(kind, name.to_owned()));
        found.cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::platform::kube::context::Key;
    use crate::platform::kube::stage::Stage;

    const OURS: &str = "/apis/murder.rs/v1alpha1/namespaces/mail";
    const CLAIMS: &str = "/api/v1/namespaces/mail/persistentvolumeclaims";
    const SETS: &str = "/apis/apps/v1/namespaces/mail";

    /// A murder of two servers and a Frontend of which nothing runs yet.
    async fn stage() -> Stage {
        let mut stage = Stage::new(json!({"domains": ["example.org"]})).await;
        stage.backend_with_claim("be-a", "10Gi");
        stage.backend_with_claim("be-b", "10Gi");
        let frontend = json!({"clusterRef": {"name": "mc"}, "replicas": 2});
        stage.murder("Frontend", "fe", frontend);
        stage
    }

    fn refuse(stage: &Stage, path: &str) {
        let why = json!({"message": "the webhook says no"});
        stage.api.refuse(&format!("PATCH {path}"), 403, &why);
    }

    async fn error(stage: &mut Stage) -> String {
        stage.pass().await.unwrap_err().to_string()
    }

    fn status(stage: &Stage, object: &str) -> Value {
        stage.api.get(&format!("{OURS}/{object}")).unwrap()["status"].take()
    }

    fn is_there(stage: &Stage, set: &str) -> bool {
        stage.api.get(&format!("{SETS}/{set}")).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_is_refused_keeps_neither_the_others_back_nor_what_is_remembered() {
        let mut stage = stage().await;
        stage.change("Backend", "be-b", |be| {
            be["spec"]["desiredState"] = json!("Drained");
        });
        refuse(&stage, &format!("{OURS}/backends/be-a/status"));
        let expected =
            "Backend be-a: patch the status of Backend/be-a: 403 Forbidden: the webhook says no";
        assert_eq!(error(&mut stage).await, expected);
        assert_eq!(status(&stage, "backends/be-a"), Value::Null);
        for object in ["backends/be-b", "frontends/fe", "murderclusters/mc"] {
            assert_ne!(status(&stage, object), Value::Null, "{object}");
        }
        let key = Key {
            namespace: "mail".to_owned(),
            name: "mc".to_owned(),
        };
        let memory = stage.context.memory(&key);
        let memory = memory.lock().await;
        assert!(memory.leaving.contains("be-b"));
        assert!(memory.unsettled.contains("be-a"));
        drop(memory);
        refuse(&stage, &format!("{OURS}/frontends/fe/status"));
        stage.change("Frontend", "fe", |fe| fe["status"] = Value::Null);
        let more = format!("{expected}; and 1 more objects failed");
        assert_eq!(error(&mut stage).await, more);
    }

    #[tokio::test(start_paused = true)]
    async fn objects_that_cannot_be_held_are_left_alone_and_all_others_are_not() {
        let mut stage = stage().await;
        stage.change("Frontend", "fe", |fe| {
            fe["metadata"]["finalizers"] = json!([])
        });
        refuse(&stage, &format!("{OURS}/frontends/fe"));
        refuse(&stage, &format!("{CLAIMS}/be-a-data"));
        let claim = "patch PersistentVolumeClaim/be-a-data: 403 Forbidden: the webhook says no";
        let expected = format!("Backend be-a: {claim}; and 1 more objects failed");
        assert_eq!(error(&mut stage).await, expected);
        assert!(is_there(&stage, "statefulsets/mc-mupdate"));
        assert!(is_there(&stage, "statefulsets/be-b"));
        assert!(!is_there(&stage, "statefulsets/be-a"));
        assert!(!is_there(&stage, "deployments/fe"));
        let said = status(&stage, "backends/be-a").to_string();
        assert!(said.contains(claim), "{said}");
    }
}
