//! Reports: terms (O5), rebuilt masters, UIDVALIDITY floors (O7) and restored volumes (O8).

use murder_locations::master::{Master, MasterOptions};
use murder_locations::request::*;
use murder_model::*;

use crate::support::*;

fn rebuilt(awaited: &[&str]) -> Master {
    let awaited = awaited.iter().map(|name| server(name)).collect();
    Master::in_memory(MasterOptions {
        awaited,
        ..MasterOptions::default()
    })
    .unwrap()
}

fn released(root: &str, to: &str, term: u64, epoch: u64) -> (String, UnitState, u64, u64) {
    let state = UnitState::Released {
        to: server(to),
        move_id: move_id(1),
        attempt: Attempt::new(1),
    };
    (root.to_owned(), state, term, epoch)
}

#[test]
fn a_server_promises_the_term_before_its_report_counts() {
    let mut master = master();
    let mut be_a = Server::new("be-a");
    assert_eq!(
        ask(&mut master, &be_a.who(), be_a.hello()),
        Response::Promise { term: Term::new(1) }
    );
    assert_eq!(
        grant(&mut master, "be-a", "user.alice"),
        Response::Refused(Refusal::UnknownServer)
    );
    be_a.promised = 1;
    assert_eq!(
        ask(&mut master, &be_a.who(), be_a.hello()),
        Response::Welcome {
            term: Term::new(1),
            raise_uidvalidity_above: None
        }
    );
    assert_eq!(
        grant(&mut master, "be-a", "user.alice"),
        Response::Refused(Refusal::NotReported)
    );
    ask(&mut master, &be_a.who(), be_a.done());
    assert!(matches!(
        grant(&mut master, "be-a", "user.alice"),
        Response::Granted(_)
    ));
}

#[test]
fn a_rebuilt_master_reigns_above_all_promises_and_grants_after_all_have_reported() {
    let mut master = rebuilt(&["be-a", "be-b"]);
    let mut be_a = Server::owning("be-a", 3, &[("user.alice", 4)]);
    be_a.report(&mut master);
    assert_eq!((master.term(), be_a.promised), (Term::new(4), 4));
    assert_eq!(record(&master, "user.alice").epoch, Epoch::new(4));
    assert_eq!(
        grant(&mut master, "be-a", "user.new"),
        Response::Refused(Refusal::AwaitingReports(vec![server("be-b")]))
    );
    Server::owning("be-b", 3, &[("user.bob", 2)]).report(&mut master);
    let Response::Granted(granted) = grant(&mut master, "be-a", "user.new") else {
        panic!("all have reported");
    };
    assert_eq!(granted.uidvalidity_floor, 1000);
    assert_eq!(
        grant(&mut master, "be-a", "user.bob"),
        Response::Refused(Refusal::Superseded(Box::new(record(&master, "user.bob"))))
    );
}

#[test]
fn a_rebuilt_master_settles_a_released_unit_once_both_sides_have_reported() {
    for (flipped, owner, epoch) in [(true, "be-b", 3), (false, "be-a", 3)] {
        let mut master = rebuilt(&["be-a", "be-b"]);
        let mut be_a = Server {
            promised: 1,
            ..Server::new("be-a")
        };
        be_a.units.push(released("user.alice", "be-b", 1, 2));
        be_a.report(&mut master);
        assert_eq!(
            settle(&mut master, "be-a", "user.alice", 2, 1),
            Response::Refused(Refusal::AwaitingReports(vec![server("be-b")]))
        );
        let held: &[_] = if flipped { &[("user.alice", 3)] } else { &[] };
        // Released at epoch 2, owned there at 3: the lost master had flipped it.
        let mut be_b = Server::owning("be-b", 1, held);
        be_b.report(&mut master);
        be_a.report(&mut master);
        be_b.report(&mut master);
        let answer = settle(&mut master, "be-a", "user.alice", 2, 1);
        let now = record(&master, "user.alice");
        assert_eq!(
            (now.server.clone(), now.epoch),
            (server(owner), Epoch::new(epoch))
        );
        if flipped {
            assert_eq!(answer, Response::Unit(Some(now)));
        } else {
            assert_eq!(answer, Response::Raised(now));
        }
    }
}

#[test]
fn a_master_that_finds_it_lost_an_acknowledged_grant_begins_a_new_term() {
    let mut master = master_of(&["be-a", "be-b"]);
    let mut be_a = Server::owning("be-a", 1, &[("user.lost", 2)]);
    be_a.report(&mut master);
    assert_eq!(master.term(), Term::new(2));
    assert_eq!(record(&master, "user.lost").epoch, Epoch::new(2));
    assert_eq!(
        grant(&mut master, "be-a", "user.new"),
        Response::Refused(Refusal::AwaitingReports(vec![server("be-b")]))
    );
}

#[test]
fn a_single_server_joins_with_the_units_it_has() {
    let mut master = master_of(&["be-a"]);
    let mut alone = Server::owning("alone", 0, &[("user.alice", 1), ("shared", 1)]);
    let answers = alone.report(&mut master);
    let agreed = Response::Verdict(Verdict::Agreed {
        applied: OutboxNumber::new(0),
    });
    assert_eq!(answers[1..3], [agreed.clone(), agreed]);
    assert_eq!(master.term(), Term::new(1));
    let mut other = Server::owning("other", 0, &[("user.alice", 1)]);
    other.units[0].0 = "user.alice".to_owned();
    // The same root under another unit id is not taken over.
    let Request::ReportUnit(mut held) = other.unit(0) else {
        panic!("a unit")
    };
    other.units.clear();
    other.report(&mut master);
    held.unit = unit_id("other unit");
    assert_eq!(
        ask(&mut master, &other.who(), Request::ReportUnit(held)),
        Response::Verdict(Verdict::RootTaken(record(&master, "user.alice")))
    );
}

#[test]
fn a_restored_volume_serves_nothing_until_confirmed_and_then_raises_its_uidvalidities() {
    let mut master = master_of(&["be-b"]);
    let mut be_a = Server {
        incarnation: 7,
        lsn: 500,
        ..Server::owning("be-a", 0, &[("user.a", 1)])
    };
    be_a.report(&mut master);
    let blocked = [Response::Refused(Refusal::Blocked)];
    let mut before = be_a.clone();
    for (incarnation, lsn) in [(6, 500), (8, 499)] {
        (be_a.incarnation, be_a.lsn) = (incarnation, lsn);
        assert_eq!(be_a.report(&mut master), blocked);
    }
    assert_eq!(
        before.report(&mut master),
        blocked,
        "only an administrator helps"
    );
    assert_eq!(
        flip(&mut master, "be-a", "be-b", "user.a", 1, 1),
        Response::Refused(Refusal::Blocked)
    );
    let confirm = |name| Request::Confirm {
        server_id: server_id(name),
        fence: Fence::new(1),
    };
    assert_eq!(
        ask(&mut master, &operator(), confirm("be-b")),
        Response::Refused(Refusal::NotBlocked)
    );
    assert_eq!(
        ask(&mut master, &operator(), confirm("be-a")),
        Response::Done
    );
    let answers = be_a.report(&mut master);
    let regranted = record(&master, "user.a");
    assert_eq!(
        answers,
        [
            Response::Welcome {
                term: Term::new(1),
                // Reported were 1000; mailboxes that were made since then had higher ones, and one of
                // the same name must not get the same again.
                raise_uidvalidity_above: Some(1000 + 65_536)
            },
            Response::Verdict(Verdict::Regranted(regranted.clone())),
            Response::Reported { units_of_record: 1 },
        ]
    );
    assert_eq!(regranted.epoch, Epoch::new(2));
    assert_eq!(
        grant(&mut master, "be-a", "user.c"),
        Response::Refused(Refusal::Blocked)
    );
    ask(
        &mut master,
        &be_a.who(),
        Request::UidValidityRaised {
            server_id: server_id("be-a"),
        },
    );
    assert!(matches!(
        grant(&mut master, "be-a", "user.c"),
        Response::Granted(_)
    ));
}

#[test]
fn two_starts_with_one_number_are_a_restored_volume() {
    let mut master = master_of(&["be-a"]);
    let mut be_a = Server {
        promised: 1,
        ..Server::new("be-a")
    };
    let Request::Report(mut hello) = be_a.hello() else {
        panic!("a report")
    };
    hello.start_id = [99; 16];
    assert_eq!(
        ask(&mut master, &be_a.who(), Request::Report(hello)),
        Response::Refused(Refusal::Blocked)
    );
    be_a.incarnation = 2;
    assert_eq!(
        be_a.report(&mut master),
        [Response::Refused(Refusal::Blocked)]
    );
}

#[test]
fn a_name_belongs_to_one_identity_until_that_is_retired() {
    let mut master = master_of(&["be-a"]);
    let Request::Report(mut hello) = Server::new("be-a").hello() else {
        panic!("a report");
    };
    hello.server_id = server_id("new volume");
    let report = Request::Report(hello);
    assert_eq!(
        ask(&mut master, &backend("be-a"), report.clone()),
        Response::Refused(Refusal::NameTaken(server_id("be-a")))
    );
    let retire = Request::Retire {
        server_id: server_id("be-a"),
        fence: Fence::new(1),
    };
    ask(&mut master, &operator(), retire);
    assert!(matches!(
        ask(&mut master, &backend("be-a"), report),
        Response::Promise { .. }
    ));
}

#[test]
fn a_recovered_copy_begins_a_term_and_learns_what_it_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("now"), folder.path().join("copy"));
    let mut master = Master::open(&path, MasterOptions::default()).unwrap();
    let (mut be_a, mut be_b) = (Server::new("be-a"), Server::new("be-b"));
    be_a.report(&mut master);
    be_b.report(&mut master);
    grant(&mut master, "be-a", "user.alice");
    drop(master);
    std::fs::copy(&path, &copy).unwrap();
    let mut master = Master::open(&path, MasterOptions::default()).unwrap();
    flip(&mut master, "be-a", "be-b", "user.alice", 1, 1);
    drop(master);
    let options = MasterOptions {
        recovered: true,
        ..MasterOptions::default()
    };
    let mut master = Master::open(&copy, options).unwrap();
    assert_eq!(master.term(), Term::new(2));
    let find = Request::FindUnit(UnitRef::Id(unit_id("user.alice")));
    let waiting = |name| Response::Refused(Refusal::AwaitingReports(vec![server(name)]));
    assert_eq!(ask(&mut master, &be_a.who(), find.clone()), waiting("be-a"));
    let moved = UnitState::Moved {
        to: server("be-b"),
        term: Term::new(1),
        epoch: Epoch::new(2),
    };
    be_a.units.push(("user.alice".to_owned(), moved, 1, 2));
    be_a.report(&mut master);
    assert_eq!(ask(&mut master, &be_a.who(), find.clone()), waiting("be-a"));
    be_b.units = vec![("user.alice".to_owned(), UnitState::Owner, 1, 2)];
    be_b.report(&mut master);
    let now = record(&master, "user.alice");
    assert_eq!((&now.server, now.epoch), (&server("be-b"), Epoch::new(2)));
    assert_eq!(
        ask(&mut master, &be_a.who(), find),
        Response::Unit(Some(now))
    );
}

/// A rebuilt master lacks what its predecessor acknowledged until every server has reported. It gave
/// barriers and said "no such unit" before that, by which a frontend refused existing users for good.
#[test]
fn a_rebuilt_master_proves_no_name_unknown_before_all_have_reported() {
    let mut master = rebuilt(&["be-a", "be-b"]);
    let find = |root: &str| Request::FindUnit(UnitRef::Root(Name::from(root)));
    Server::owning("be-a", 1, &[("user.alice", 1)]).report(&mut master);
    let waiting = Response::Refused(Refusal::AwaitingReports(vec![server("be-b")]));
    assert_eq!(ask(&mut master, &operator(), Request::Barrier), waiting);
    assert_eq!(ask(&mut master, &operator(), find("user.bob")), waiting);
    assert!(matches!(
        ask(&mut master, &operator(), find("user.alice")),
        Response::Unit(Some(_))
    ));
    Server::owning("be-b", 1, &[("user.bob", 1)]).report(&mut master);
    let position = master.position();
    assert_eq!(
        ask(&mut master, &operator(), Request::Barrier),
        Response::At(position)
    );
    assert!(matches!(
        ask(&mut master, &operator(), find("user.bob")),
        Response::Unit(Some(_))
    ));
    assert_eq!(
        ask(&mut master, &operator(), find("user.carol")),
        Response::Unit(None)
    );
}
