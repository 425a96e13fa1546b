//! A node that loses power at each of its own commit points.

use std::time::Duration;

use murder_e2e::murder::Plan;
use murder_e2e::powerloss::{Point, When};

use crate::rig::Rig;
use crate::{NODE, kills};

/// Sessions that deliver.
const WRITERS: usize = 3;

/// A point while the node serves, and what it is called.
fn under_load(kind: usize, round: usize) -> (Point, String) {
    let when = [When::Before, When::After][round % 2];
    let turn = u32::try_from(round).unwrap();
    match kind {
        0 => (
            Point::new(When::Before, "fdatasync", "/log-").number(1 + turn % 7),
            "before the log's sync".to_owned(),
        ),
        1 => (
            Point::new(When::After, "fdatasync", "/log-").number(1 + turn % 7),
            "after the log's sync".to_owned(),
        ),
        _ => (
            Point::new(when, "fdatasync", "/index.redb").number(1 + turn / 2 % 2),
            "checkpoint".to_owned(),
        ),
    }
}

/// A point while the node starts.
fn at_start(kind: usize, round: usize) -> Option<(Point, &'static str)> {
    let when = [When::Before, When::After][round % 2];
    match kind {
        0 => Some((
            Point::new(when, "rename", "/server.json"),
            "replacement of server.json",
        )),
        // What was replayed is replayed again.
        1 => Some((
            Point::new(when, "fdatasync", "/index.redb"),
            "end of recovery",
        )),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_at_the_commit_points_of_a_node() {
    let mut rig = Rig::start(Plan::single(NODE), "un-a", "commit points of one node").await;
    for round in 0..kills() {
        for kind in 0..3 {
            let (point, name) = under_load(kind, round);
            rig.arm("un-a", &point);
            let load = if kind < 2 {
                rig.load(WRITERS, usize::MAX)
            } else {
                // A checkpoint comes once a second.
                rig.load_at(1, usize::MAX, Duration::from_millis(50))
            };
            let _struck = rig.lose_power("un-a", Some(&load)).await;
            rig.finish(load).await;
            if let Some((point, start)) = at_start(kind, round) {
                rig.arm("un-a", &point);
                rig.murder.node_mut("un-a").unwrap().spawn().unwrap();
                let _struck = rig.lose_power("un-a", None).await;
                rig.table.count(start);
            }
            rig.murder.start("un-a").await.unwrap();
            rig.verify().await;
            rig.table.count(&name);
        }
    }
    rig.end().await;
}
