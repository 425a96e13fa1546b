//! How fast a unit moves. `cargo test --release -p murder-node --test transfer -- --ignored --nocapture`

use std::sync::Arc;
use std::time::Instant;

use murder_api::admin::TransferPhase;
use murder_model::SystemFlags;

use crate::harness::{alice, append_to, message};
use crate::murder::Murder;

const MESSAGES: usize = 10_000;
const WRITERS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn ten_thousand_messages_of_4_kib() {
    let murder = Murder::start().await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    let root = alice();
    a.create(&root).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let backend = Arc::clone(a.backend());
            tokio::spawn(async move {
                for number in 0..MESSAGES / WRITERS {
                    let text = message(&format!("{writer}-{number}"), 4_000);
                    let added = append_to(&backend, "user.alice", &text, SystemFlags::NONE, &[]);
                    added.await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for (from, to) in [(&a, &b), (&b, &a)] {
        let started = Instant::now();
        let status = from.transfer(&root, to).await;
        let seconds = started.elapsed().as_secs_f64();
        assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
        let megabytes = status.bytes_sent as f64 / 1e6;
        println!(
            "{MESSAGES} messages, {megabytes:.1} MB in {seconds:.2} s: {:.1} MB/s, frozen {} ms",
            megabytes / seconds,
            status.freeze_ms
        );
    }
}
