//! What moves, and that it moves whole.

use murder_api::admin::TransferPhase;
use murder_model::{Epoch, SystemFlags};

use crate::harness::{Murder, alice, message};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_unit_moves_bit_for_bit() {
    let murder = Murder::start().await;
    let mut a = murder.backend("be-a", "").await;
    let mut b = murder.backend("be-b", "").await;
    let root = alice();
    a.create(&root).await;
    for number in 0..20 {
        let text = message(&number.to_string(), 2000);
        let added = a
            .append("user.alice", &text, SystemFlags::SEEN, &["work"])
            .await;
        added.unwrap();
    }
    let before = murder.record(&root).await;
    let there = a.content(&before).await;
    let status = a.transfer(&root, &b).await;
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    let after = murder.record(&root).await;
    assert_eq!(after.server, b.server());
    assert_eq!(after.epoch, Epoch::new(2));
    assert_eq!(b.content(&after).await, there);
    b.append("user.alice", &message("later", 100), SystemFlags::NONE, &[])
        .await
        .unwrap();
    a.stop_and_check().await;
    b.stop_and_check().await;
}
