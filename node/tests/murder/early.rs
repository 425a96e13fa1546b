//! A node that is told to stop before it serves.

use murder_e2e::murder::Plan;

use crate::NODE;

#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_that_waits_for_the_master_stops_in_order_when_it_is_told_to() {
    let mut murder = Plan::discrete(NODE, 1, 1).prepare().unwrap();
    // Its replica is empty and the master is not there: it cannot become ready.
    murder.node_mut("fe-0").unwrap().spawn().unwrap();
    let metrics = murder.addresses("fe-0").unwrap().metrics;
    while tokio::net::TcpStream::connect(metrics).await.is_err() {}
    let status = murder.stop("fe-0").await.unwrap();
    assert!(status.success(), "{status}");
}
