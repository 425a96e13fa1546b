//! Deliveries and APPENDs whose unit moves while they come in.

use std::sync::Arc;

use murder_model::RootName;
use murder_node::backend::delivery::{Delivered, Target, deliver_all, resolve};
use murder_node::backend::gate::Phase;
use murder_node::backend::spool::{Spool, Spooled};
use murder_proto::lmtp::address::Address;

use crate::harness::{message, until};
use crate::murder::Murder;
use crate::proxy::Mode;
use crate::server::{Server, Stored};

async fn spooled(server: &Server, text: &str) -> Spooled {
    let directory = server.backend().settings.data_dir.join("spool");
    let mut spool = Spool::new(&directory);
    spool.prefix(b"Return-Path: <s@example.org>\r\nReceived: here\r\n");
    spool.push(text.as_bytes()).await.unwrap();
    spool.finish().await.unwrap()
}

async fn target(server: &Server, local: &str) -> Target {
    let address = Address::new(local, None);
    resolve(server.backend(), &address).await.unwrap()
}

fn words(delivered: &[Delivered]) -> Vec<String> {
    delivered
        .iter()
        .map(|one| format!("{one:?}").split('(').next().unwrap().to_owned())
        .collect()
}

fn bytes(all: Vec<Stored>) -> Vec<Vec<u8>> {
    all.into_iter().map(|one| one.content).collect()
}

async fn transfer(root: &str, from: &Server, to: &Server) {
    let root = RootName::parse(root).unwrap();
    from.node.transfer(&root, &to.node).await;
    until("it is served there", || async {
        to.backend().place(&root).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_to_a_unit_that_moved_after_rcpt_is_stored_there_once() {
    let murder = Murder::start().await;
    let mut a = Server::start(&murder, "be-a").await;
    let mut b = Server::start(&murder, "be-b").await;
    for user in ["user.alice", "user.bob", "user.carol"] {
        a.create(user, &[]).await;
    }
    a.create("news", &[("anyone", "lrp")]).await;
    let names = ["alice", "bob", "+Shared Folders/news", "carol"];
    let mut targets = Vec::new();
    for name in names {
        targets.push(target(&a, name).await);
    }
    transfer("user.bob", &a, &b).await;
    transfer("news", &a, &b).await;
    for size in [100, 700_000] {
        let text = message(&size.to_string(), size);
        let delivered = deliver_all(a.backend(), &targets, spooled(&a, &text).await).await;
        assert_eq!(words(&delivered), ["Stored"; 4]);
        let again = deliver_all(a.backend(), &targets, spooled(&a, &text).await).await;
        assert_eq!(words(&again), ["Repeated"; 4]);
    }
    // It is recognised there, too, if it comes again by another way.
    let text = message("100", 100);
    let there = target(&b, "bob").await;
    let again = deliver_all(b.backend(), &[there], spooled(&b, &text).await).await;
    assert_eq!(words(&again), ["Repeated"]);
    let expected = bytes(a.stored("user.alice").await);
    assert_eq!(expected.len(), 2);
    assert_eq!(bytes(b.stored("user.bob").await), expected);
    assert_eq!(bytes(b.stored("news").await), expected);
    assert_eq!(bytes(a.stored("user.carol").await), expected);
    drop(targets);
    a.stop_and_check().await;
    b.stop_and_check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_out_of_reach_fails_alone() {
    let murder = Murder::start().await;
    let a = Server::start(&murder, "be-a").await;
    let b = Server::start(&murder, "be-b").await;
    for user in ["user.alice", "user.bob"] {
        a.create(user, &[]).await;
    }
    let targets = [target(&a, "bob").await, target(&a, "alice").await];
    transfer("user.bob", &a, &b).await;
    b.node.to_peers.set(Mode::Refuse);
    let text = message("1", 100);
    let message = spooled(&a, &text).await;
    let backend = Arc::clone(a.backend());
    let delivering = tokio::spawn(async move { deliver_all(&backend, &targets, message).await });
    // Alice's is there long before bob's is given up.
    until("it is stored", || async {
        a.stored("user.alice").await.len() == 1
    })
    .await;
    assert!(!delivering.is_finished());
    assert_eq!(words(&delivering.await.unwrap()), ["Later", "Stored"]);
    assert_eq!(b.stored("user.bob").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_to_a_unit_that_moved_meanwhile_is_answered_with_its_uid() {
    let murder = Murder::start().await;
    let mut a = Server::start(&murder, "be-a").await;
    let mut b = Server::start(&murder, "be-b").await;
    a.create("user.alice", &[]).await;
    let mut alice = a.client("alice");
    let text = message("1", 400_000);
    alice
        .send(&format!(
            "t APPEND INBOX (\\Seen $Work) \" 8-Feb-1994 21:52:25 -0800\" {{{}}}\r\n",
            text.len()
        ))
        .await;
    assert!(alice.line().await.starts_with('+'));
    transfer("user.alice", &a, &b).await;
    alice.send(&format!("{text}\r\n")).await;
    let validity = b.uid_validity("user.alice").await;
    let expected = format!("t OK [APPENDUID {validity} 1] done");
    assert_eq!(alice.line().await, expected);
    let mut there = b.client("alice");
    there.ok("EXAMINE INBOX").await;
    let fetched = there.ok("FETCH 1 (FLAGS INTERNALDATE)").await;
    assert_eq!(
        fetched,
        ["* 1 FETCH (FLAGS (\\Seen $Work) INTERNALDATE \" 8-Feb-1994 21:52:25 -0800\")"]
    );
    assert_eq!(b.stored("user.alice").await[0].content, text.as_bytes());
    drop((alice, there));
    a.stop_and_check().await;
    b.stop_and_check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_in_doubt_waits_for_the_outcome_and_others_do_not() {
    let murder = Murder::start().await;
    let a = Server::start(&murder, "be-a").await;
    for user in ["user.alice", "user.bob"] {
        a.create(user, &[]).await;
    }
    let targets = [target(&a, "bob").await, target(&a, "alice").await];
    let place = a.backend().unit(&RootName::parse("user.bob").unwrap());
    let gate = place.unwrap().gate;
    for (number, phase) in [(1, Phase::InDoubt), (2, Phase::Active)] {
        gate.set(phase.clone()).await;
        // In doubt, or frozen.
        let freeze = match phase {
            Phase::Active => Some(gate.freeze().await),
            _ => None,
        };
        let text = message(&number.to_string(), 100);
        let message = spooled(&a, &text).await;
        let (backend, targets) = (Arc::clone(a.backend()), targets.clone());
        let delivering =
            tokio::spawn(async move { deliver_all(&backend, &targets, message).await });
        until("alice's is stored", || async {
            a.stored("user.alice").await.len() == number
        })
        .await;
        assert_eq!(
            a.backend().held.load(std::sync::atomic::Ordering::Relaxed),
            1
        );
        assert_eq!(a.stored("user.bob").await.len(), number - 1);
        drop(freeze);
        gate.set(Phase::Active).await;
        assert_eq!(words(&delivering.await.unwrap()), ["Stored"; 2]);
    }
    let expected = bytes(a.stored("user.alice").await);
    assert_eq!(bytes(a.stored("user.bob").await), expected);
    assert_eq!(
        a.backend().held.load(std::sync::atomic::Ordering::Relaxed),
        0
    );
}
