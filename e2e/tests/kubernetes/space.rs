//! A destination is too small.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, USERS, condition};

use crate::load::under_load;
use crate::{CLUSTER, FRONTEND, backend, kube};

const LIMIT: Duration = Duration::from_secs(120);

/// Row 28: what does not fit is not begun, the numbers are told, and another Backend solves it.
#[tokio::test]
async fn a_drain_without_room_says_so_and_goes_on_with_another_backend() {
    let kube = kube().await;
    let text = format!(
        "{CLUSTER}{}{}{FRONTEND}",
        backend("be-a", "shared", "1Gi"),
        backend("be-b", "local-small", "300Mi"),
    );
    let murder = KubeMurder::up(&kube, "e2e-space", &text, USERS)
        .await
        .unwrap();
    // Everything goes to the one with room; what the small one got goes there, too.
    murder.desire("be-b", "Cordoned").await.unwrap();
    under_load(&murder, async { Ok(()) }).await;
    murder.desire("be-b", "Active").await.unwrap();
    fill(&murder).await;
    murder.desire("be-a", "Drained").await.unwrap();
    kube.until("it says that there is no room", LIMIT, async || {
        let backend = murder.get("backend", "be-a").await?;
        let (_, reason, message) = condition(&backend, "Drained");
        Ok(reason == "InsufficientCapacity" && message.contains("bytes"))
    })
    .await
    .unwrap();
    kube.apply(&murder.namespace, &backend("be-c", "shared", "1Gi"))
        .await
        .unwrap();
    kube.wait_for(
        &murder.namespace,
        "backend/be-a",
        "condition=Drained",
        LIMIT,
    )
    .await
    .unwrap();
    murder.down().await.unwrap();
}

/// Delivers more than a small volume can take.
async fn fill(murder: &KubeMurder) {
    use murder_e2e::lmtp::{Session, Transfer};
    use murder_proto::lmtp::address::Address;
    let party = murder.party().await.unwrap();
    let body = format!(
        "Subject: large\r\n\r\n{}\r\n",
        "0123456789abcde\r\n".repeat(1 << 18)
    );
    let mut session = Session::connect(party.doors[0].lmtp).await.unwrap();
    for number in 0..28 {
        let user = &party.users[number % party.users.len()];
        let recipient = Address::new(user.clone(), Some("example.org".to_owned()));
        let (_, failure) = session
            .deliver(&[recipient], body.as_bytes(), Transfer::Data)
            .await;
        assert!(failure.is_none(), "{failure:?}");
    }
}
