//! Servers that hold mail and face clients, too.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, USERS};

use crate::load::under_load;
use crate::{backend, kube, manifests};

const LIMIT: Duration = Duration::from_secs(120);

/// A unified server that is emptied under load still finds all mail for the clients that stay with it.
#[tokio::test]
async fn an_emptied_unified_server_serves_on_as_a_frontend() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]).replacen("spec:\n", "spec:\n  topology: Unified\n", 1);
    let murder = KubeMurder::up(&kube, "e2e-unified", &text, USERS)
        .await
        .unwrap();
    under_load(&murder, async {
        murder.desire("be-a", "Drained").await?;
        kube.wait_for(
            &murder.namespace,
            "backend/be-a",
            "condition=Drained",
            LIMIT,
        )
        .await
    })
    .await;
    for server in ["be-a", "be-b"] {
        let service = format!("{server}-mail");
        let party = murder.party_at(&service, server).await.unwrap();
        for user in &party.users {
            let session = party.doors[0].login(user, &party.password).await;
            let mut session = session.unwrap();
            let inbox = session.select("INBOX").await.unwrap();
            assert!(inbox.exists > 0, "{user} through {server}: {inbox:?}");
            session.logout().await.unwrap();
        }
    }
    murder.down().await.unwrap();
}

/// One unified server needs no mupdate master.
#[tokio::test]
async fn a_single_server_serves_alone() {
    let kube = kube().await;
    let text = "apiVersion: murder.rs/v1alpha1
kind: MurderCluster
metadata: {name: mc}
spec: {topology: Unified, mupdate: {replicas: 0}}
"
    .to_owned()
        + &backend("be-a", "shared", "1Gi");
    let murder = KubeMurder::up(&kube, "e2e-single", &text, 1).await.unwrap();
    let found = kube.list(&murder.namespace, "statefulsets").await.unwrap();
    let names: Vec<_> = found.iter().map(|set| &set["metadata"]["name"]).collect();
    assert_eq!(names, ["be-a"]);
    let party = murder.party_at("be-a-mail", "be-a").await.unwrap();
    let session = party.doors[0].login(&party.users[0], &party.password).await;
    let mut session = session.unwrap();
    session.create("Projects").await.unwrap();
    let mailboxes = session.mailboxes().await.unwrap();
    assert!(mailboxes.contains(&"Projects".to_owned()), "{mailboxes:?}");
    session.logout().await.unwrap();
    murder.down().await.unwrap();
}
