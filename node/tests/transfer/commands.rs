//! What is refused, withdrawn, or asked for twice.

use murder_api::admin::TransferPhase;
use murder_model::{MoveId, PartitionName, RootName, ServerName, UserName};
use murder_node::clock;
use murder_node::transfer::TransferRefusal;

use crate::content::fill;
use crate::harness::until;
use crate::murder::Murder;

fn id() -> MoveId {
    MoveId::from_bytes(clock::random_id())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_is_the_same_transfer() {
    let murder = Murder::start().await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    let place = a.backend().unit(&root).unwrap();
    let pass = place.gate.enter().await.unwrap();
    let (one, other) = (id(), id());
    let start = |id, to: &ServerName| a.transfers().start(id, root.clone(), to.clone(), None);
    start(one, &b.server()).unwrap();
    assert_eq!(start(one, &b.server()).unwrap().move_id, one);
    let refused = TransferRefusal::OtherMove(one);
    assert_eq!(start(other, &b.server()), Err(refused.clone()));
    assert_eq!(
        start(one, &ServerName::parse("be-c").unwrap()),
        Err(refused)
    );
    drop(pass);
    let status = a.transfers().wait(&one).await.unwrap();
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
    assert_eq!(start(one, &b.server()).unwrap(), status);
    assert_eq!(start(other, &b.server()), Err(TransferRefusal::NotOwner));
    assert_eq!(a.transfers().cancel(&one), Err(TransferRefusal::TooLate));
    assert_eq!(a.transfers().cancel(&other), Err(TransferRefusal::NotFound));
    assert_eq!(a.transfers().wait(&other).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let murder = Murder::start().await;
    let a = murder.backend("be-a", "").await;
    let b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    let nobody = RootName::user(&UserName::parse("nobody").unwrap());
    let start = |root: &RootName, to: ServerName, partition: Option<&str>| {
        let partition = partition.map(|name| PartitionName::parse(name).unwrap());
        a.transfers().start(id(), root.clone(), to, partition)
    };
    assert_eq!(
        start(&nobody, b.server(), None),
        Err(TransferRefusal::NotFound)
    );
    assert_eq!(
        start(&root, a.server(), None),
        Err(TransferRefusal::ToItself)
    );
    let failed = async |to: ServerName, partition| {
        let id = start(&root, to, partition).unwrap().move_id;
        let status = a.transfers().wait(&id).await.unwrap();
        assert_eq!((status.phase, status.attempts), (TransferPhase::Failed, 1));
        status.error.unwrap()
    };
    let unknown = ServerName::parse("be-x").unwrap();
    assert_eq!(failed(unknown, None).await, "no server is named be-x");
    let error = failed(b.server(), Some("attic")).await;
    assert_eq!(error, "the destination refused: no such partition");
    b.backend().state.set_cordoned(true).unwrap();
    let error = failed(b.server(), None).await;
    assert_eq!(error, "the destination refused: no units are taken here");
    b.backend().state.set_cordoned(false).unwrap();
    let record = murder.record(&root).await;
    assert_eq!(record.server, a.server());
    assert_eq!(b.ownership(&record).await, None);
    a.add("more", 10).await.unwrap();
    let status = a.transfer(&root, &b).await;
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawn_transfer_leaves_the_unit_and_no_copy() {
    let murder = Murder::start().await;
    let a = murder
        .backend("be-a", "transfer: {freezeMsMax: 60000}\n")
        .await;
    let b = murder.backend("be-b", "").await;
    let root = fill(&a).await;
    let record = murder.record(&root).await;
    let place = a.backend().unit(&root).unwrap();
    let pass = place.gate.enter().await.unwrap();
    let id = a.start_move(&root, &b);
    until("the freeze waits", || async {
        place.gate.phase_now().is_none()
    })
    .await;
    assert!(b.rows(&record).await > 0);
    a.transfers().cancel(&id).unwrap();
    let status = a.transfers().wait(&id).await.unwrap();
    assert_eq!(status.phase, TransferPhase::Cancelled);
    drop(pass);
    a.add("more", 10).await.unwrap();
    until("the copy goes", || async { b.rows(&record).await == 0 }).await;
    let status = a.transfer(&root, &b).await;
    assert_eq!(status.phase, TransferPhase::Done, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_without_room_refuses_before_the_first_byte() {
    let murder = Murder::start().await;
    let a = murder.backend("be-a", "").await;
    let full = "store: {reserveBytes: 1125899906842624}\n";
    let b = murder.backend("be-b", full).await;
    let root = fill(&a).await;
    let status = a.transfer(&root, &b).await;
    assert_eq!(status.phase, TransferPhase::Failed, "{status:?}");
    assert_eq!((status.attempts, status.bytes_sent), (1, 0));
    let error = status.error.unwrap();
    let expected = "bytes are not free in partition default";
    assert!(error.ends_with(expected), "{error}");
    assert_eq!(b.ownership(&murder.record(&root).await).await, None);
}
