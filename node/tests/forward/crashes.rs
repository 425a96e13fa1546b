//! What an earlier life of the source left is made whole: once, and exactly.

use murder_locations::request::HostPort;
use murder_model::{
    DeliveryId, MailboxName, RootName, ServerName, SystemFlags, Timestamp, UidSet, UserName,
};
use murder_node::backend::BackendError;
use murder_node::peer::append::{Append, Author, FromOwner, Item, ToOwner};
use murder_node::peer::{self, Link, Service};
use murder_store::mail::{CopiedUids, Intent, put_intent};

use crate::harness::{load_tls, message, until};
use crate::murder::Murder;
use crate::proxy::Mode;
use crate::server::Server;

const TEAM: &str = "\"Shared Folders/team\"";

/// Alice with two messages on be-a, the shared folder team on be-b.
async fn alice_and_team() -> (Murder, Server, Server) {
    let murder = Murder::start().await;
    let a = Server::start(&murder, "be-a").await;
    let b = Server::start(&murder, "be-b").await;
    a.create("user.alice", &[]).await;
    b.create("team", &[("alice", "lrswite")]).await;
    for id in ["1", "2"] {
        let text = message(id, 100);
        let added = a.node.append("user.alice", &text, SystemFlags::NONE, &[]);
        added.await.unwrap();
    }
    (murder, a, b)
}

/// Writes an intent of alice's down, as a MOVE or COPY of her first message does.
async fn intend(a: &Server, id: DeliveryId, moving: bool) -> Result<(), BackendError> {
    let place = a.backend().unit(&RootName::parse("user.alice").unwrap());
    let place = place.unwrap();
    let intent = Intent {
        user: UserName::parse("alice").unwrap(),
        source: a.node.row("user.alice").await.id,
        uids: UidSet::range(1, 1),
        destination: MailboxName::parse_internal("team").unwrap(),
        moving,
        since: Timestamp::from_millis(1),
    };
    let written = a.backend().write(&place, move |tx| {
        put_intent(tx, &id, &intent).map(|effects| ((), effects))
    });
    written.await
}

async fn dial(from: &Server, to: &Server) -> Link {
    let settings = &from.backend().settings;
    let address = HostPort {
        host: "127.0.0.1".to_owned(),
        port: to.node.to_peers.port,
    };
    let server = ServerName::parse(&to.node.name).unwrap();
    let tls = load_tls(settings);
    let link = peer::connect(settings, &tls, &server, &address, Service::Append);
    link.await.unwrap()
}

async fn ask(link: &mut Link, request: &ToOwner) -> FromOwner {
    link.send(request).await.unwrap();
    link.flush().await.unwrap();
    link.receive().await.unwrap()
}

/// Asks be-b to append alice's first message under an id, as a copy does.
async fn append(a: &Server, b: &Server, id: DeliveryId) -> FromOwner {
    let stored = a.stored("user.alice").await.remove(0);
    let request = ToOwner::Append(Append {
        id,
        mailbox: MailboxName::parse_internal("team").unwrap(),
        author: Author::User {
            name: UserName::parse("alice").unwrap(),
            is_admin: false,
        },
        keywords: Vec::new(),
        messages: vec![Item {
            uid: 1,
            length: stored.content.len() as u64,
            guid: stored.guid,
            email_id: stored.email_id,
            flags: SystemFlags::NONE,
            keywords: 0,
            internal_date: stored.date,
        }],
    });
    let mut link = dial(a, b).await;
    let answer = ask(&mut link, &request).await;
    if !matches!(answer, FromOwner::Ready) {
        return answer;
    }
    link.send_content(&stored.content).await.unwrap();
    link.flush().await.unwrap();
    link.receive().await.unwrap()
}

fn uids(answer: FromOwner) -> CopiedUids {
    match answer {
        FromOwner::Done(uids) => uids,
        other => panic!("{other:?}"),
    }
}

const ID: DeliveryId = DeliveryId::from_bytes([7; 16]);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_twice_is_done_once_and_answered_alike() {
    let (_murder, a, mut b) = alice_and_team().await;
    let first = uids(append(&a, &b, ID).await);
    assert_eq!((&*first.source, &*first.destination), (&[1][..], &[1][..]));
    assert_eq!(uids(append(&a, &b, ID).await), first);
    b.restart().await;
    let mut admin = b.client("admin");
    admin.ok("SETACL \"Shared Folders/team\" alice \"\"").await;
    drop(admin);
    assert_eq!(uids(append(&a, &b, ID).await), first);
    assert_eq!(b.stored("team").await.len(), 1);
    b.stop_and_check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_the_destination_has_is_completed_after_a_crash() {
    let (_murder, mut a, mut b) = alice_and_team().await;
    let before = a.stored("user.alice").await;
    intend(&a, ID, true).await.unwrap();
    uids(append(&a, &b, ID).await);
    a.restart().await;
    assert_eq!(a.intents("user.alice").await, 1);
    a.resume();
    until("the intent is settled", || async {
        a.intents("user.alice").await == 0
    })
    .await;
    assert_eq!(a.stored("user.alice").await, before[1..]);
    assert_eq!(b.stored("team").await, before[..1]);
    a.stop_and_check().await;
    b.stop_and_check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_the_destination_never_got_is_withdrawn_for_good() {
    let (_murder, mut a, mut b) = alice_and_team().await;
    let before = a.stored("user.alice").await;
    intend(&a, ID, true).await.unwrap();
    a.restart().await;
    a.resume();
    until("the intent is settled", || async {
        a.intents("user.alice").await == 0
    })
    .await;
    // What was on its way all the time comes too late.
    assert!(matches!(append(&a, &b, ID).await, FromOwner::Withdrawn));
    assert_eq!(a.stored("user.alice").await, before);
    assert_eq!(b.stored("team").await, []);
    a.stop_and_check().await;
    b.stop_and_check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_whose_answer_is_lost_waits_for_the_destination_and_is_not_done_again() {
    let (_murder, mut a, b) = alice_and_team().await;
    let before = a.stored("user.alice").await;
    intend(&a, ID, true).await.unwrap();
    uids(append(&a, &b, ID).await);
    b.node.to_peers.set(Mode::Refuse);
    let mut alice = a.client("alice");
    alice.ok("SELECT INBOX").await;
    assert_eq!(
        alice.last(&format!("MOVE 1 {TEAM}")).await,
        "t NO [UNAVAILABLE] mailbox is not available now"
    );
    b.node.to_peers.set(Mode::Pass);
    // The same command again finds that it was done.
    let validity = b.uid_validity("team").await;
    assert_eq!(
        alice.all(&format!("MOVE 1 {TEAM}")).await,
        [
            format!("* OK [COPYUID {validity} 1 1] moved"),
            "* 1 EXPUNGE".to_owned(),
            "t OK done".to_owned(),
        ]
    );
    assert_eq!(a.stored("user.alice").await, before[1..]);
    assert_eq!(b.stored("team").await, before[..1]);
    assert_eq!(a.intents("user.alice").await, 0);
    drop(alice);
    a.stop_and_check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intents_move_with_their_unit_and_the_new_owner_settles_them() {
    let (murder, a, b) = alice_and_team().await;
    let mut c = Server::start(&murder, "be-c").await;
    let before = a.stored("user.alice").await;
    intend(&a, ID, true).await.unwrap();
    uids(append(&a, &b, ID).await);
    c.resume();
    let root = RootName::parse("user.alice").unwrap();
    a.node.transfer(&root, &c.node).await;
    until("it is served there", || async {
        c.backend().place(&root).await.is_ok()
    })
    .await;
    until("the intent is settled", || async {
        c.intents("user.alice").await == 0
    })
    .await;
    assert_eq!(c.stored("user.alice").await, before[1..]);
    assert_eq!(b.stored("team").await, before[..1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contents_that_are_not_what_was_announced_are_refused() {
    let (_murder, a, b) = alice_and_team().await;
    let stored = a.stored("user.alice").await;
    let mut link = dial(&a, &b).await;
    let item = Item {
        uid: 1,
        length: 3,
        guid: stored[0].guid,
        email_id: stored[0].email_id,
        flags: SystemFlags::NONE,
        keywords: 0,
        internal_date: stored[0].date,
    };
    let request = ToOwner::Append(Append {
        id: ID,
        mailbox: MailboxName::parse_internal("team").unwrap(),
        author: Author::User {
            name: UserName::parse("alice").unwrap(),
            is_admin: false,
        },
        keywords: Vec::new(),
        messages: vec![item],
    });
    assert!(matches!(ask(&mut link, &request).await, FromOwner::Ready));
    link.send_content(b"abc").await.unwrap();
    link.flush().await.unwrap();
    let answer: FromOwner = link.receive().await.unwrap();
    assert!(matches!(answer, FromOwner::Refused(_)), "{answer:?}");
    assert_eq!(b.stored("team").await, []);
}
