//! Grants, moves and outbox rows of our own servers.

use murder_locations::master::{Master, MasterOptions};
use murder_locations::request::*;
use murder_model::*;
use tempfile::tempdir;

use crate::support::*;

#[test]
fn a_root_is_granted_once_and_the_same_ask_gets_the_same_answer() {
    let mut master = master_of(&["be-a", "be-b"]);
    let first = grant(&mut master, "be-a", "user.alice");
    assert!(matches!(first, Response::Granted(_)));
    assert_eq!(grant(&mut master, "be-a", "user.alice"), first);
    let term = master.term();
    let other = Request::Grant {
        unit: unit_id("other"),
        root: root("user.alice"),
        partition: partition(),
        term,
    };
    assert_eq!(
        ask(&mut master, &backend("be-b"), other),
        Response::Refused(Refusal::RootTaken)
    );
}

#[test]
fn a_flip_moves_the_unit_and_a_doubled_or_late_one_changes_nothing() {
    let mut master = master_of(&["be-a", "be-b"]);
    grant(&mut master, "be-a", "user.alice");
    let flipped = flip(&mut master, "be-a", "be-b", "user.alice", 1, 1);
    let record_after = record(&master, "user.alice");
    assert_eq!(flipped, Response::Flipped(record_after.clone()));
    assert_eq!(
        (record_after.server, record_after.epoch),
        (server("be-b"), Epoch::new(2))
    );
    assert_eq!(
        flip(&mut master, "be-a", "be-b", "user.alice", 1, 1),
        flipped
    );
    assert_eq!(settle(&mut master, "be-a", "user.alice", 1, 1), flipped);
    // Back again: the old flip is of a lower epoch now.
    flip(&mut master, "be-b", "be-a", "user.alice", 2, 2);
    let late = flip(&mut master, "be-a", "be-b", "user.alice", 1, 1);
    assert!(matches!(late, Response::Refused(Refusal::Superseded(_))));
    assert_eq!(record(&master, "user.alice").epoch, Epoch::new(3));
}

#[test]
fn a_settle_before_the_flip_raises_the_epoch_so_that_the_flip_fails() {
    let mut master = master_of(&["be-a", "be-b"]);
    grant(&mut master, "be-a", "user.alice");
    let Response::Raised(raised) = settle(&mut master, "be-a", "user.alice", 1, 1) else {
        panic!("the owner's settle raises");
    };
    assert_eq!(
        (&raised.server, raised.epoch),
        (&server("be-a"), Epoch::new(2))
    );
    let late = flip(&mut master, "be-a", "be-b", "user.alice", 1, 1);
    assert_eq!(
        late,
        Response::Refused(Refusal::Superseded(Box::new(raised.clone())))
    );
    // Asked again, or by somebody else, it is a plain read.
    for asker in ["be-a", "be-b"] {
        assert_eq!(
            settle(&mut master, asker, "user.alice", 1, 1),
            Response::Unit(Some(raised.clone()))
        );
    }
}

#[test]
fn a_flip_or_settle_of_another_term_is_refused() {
    let mut master = master_of(&["be-a", "be-b"]);
    grant(&mut master, "be-a", "user.alice");
    let refused = Response::Refused(Refusal::WrongTerm {
        theirs: Term::new(9),
        ours: Term::new(1),
    });
    let settle = Request::Settle {
        unit: unit_id("user.alice"),
        epoch: Epoch::new(1),
        move_id: move_id(1),
        term: Term::new(9),
    };
    assert_eq!(ask(&mut master, &backend("be-a"), settle), refused);
}

#[test]
fn rows_carry_unit_epoch_and_number_and_old_or_foreign_ones_are_refused() {
    let mut master = master_of(&["be-a", "be-b"]);
    grant(&mut master, "be-a", "user.alice");
    let mut send = |(who, request)| ask(&mut master, &who, request);
    let applied = |upto| Response::RowsApplied {
        upto: OutboxNumber::new(upto),
    };
    assert_eq!(
        send(row(
            "be-a",
            "user.alice",
            1,
            5,
            put("user.alice", "alice\tlr\t")
        )),
        applied(5)
    );
    assert_eq!(
        send(row("be-a", "user.alice", 1, 9, put("user.alice.W", ""))),
        applied(9)
    );
    let delete = RowOp::Delete {
        name: Name::from("user.alice.W"),
    };
    assert_eq!(send(row("be-a", "user.alice", 1, 7, delete)), applied(9));
    for (server, epoch, name) in [
        ("be-b", 1, "user.alice.W"),
        ("be-a", 2, "user.alice.W"),
        ("be-a", 0, "user.alice.W"),
    ] {
        let answer = send(row(server, "user.alice", epoch, 10, put(name, "")));
        assert!(matches!(answer, Response::Refused(Refusal::Superseded(_))));
    }
    assert_eq!(
        send(row("be-a", "user.alice", 1, 10, put("user.alicia", ""))),
        Response::Refused(Refusal::ForeignName)
    );
    assert_eq!(
        lines(&master, "be-a!"),
        [
            "MAILBOX user.alice be-a!default alice,lr,",
            "MAILBOX user.alice.W be-a!default "
        ]
    );
}

#[test]
fn a_new_owner_restates_the_names_and_only_a_whole_statement_deletes() {
    let mut master = master_of(&["be-a", "be-b"]);
    grant(&mut master, "be-a", "user.alice");
    for (number, name) in [
        (1, "user.alice"),
        (2, "user.alice.Gone"),
        (3, "user.alice.Kept"),
    ] {
        let (who, request) = row("be-a", "user.alice", 1, number, put(name, ""));
        ask(&mut master, &who, request);
    }
    flip(&mut master, "be-a", "be-b", "user.alice", 1, 1);
    let mut send = |number, op| {
        let (who, request) = row("be-b", "user.alice", 2, number, op);
        ask(&mut master, &who, request)
    };
    send(1, put("user.alice", ""));
    let since = OutboxNumber::new(1);
    assert_eq!(
        send(3, RowOp::RestateEnd { since, rows: 2 }),
        Response::Refused(Refusal::IncompleteRestatement {
            expected: 2,
            found: 1
        })
    );
    send(2, put("user.alice.Kept", ""));
    send(3, RowOp::RestateEnd { since, rows: 2 });
    assert_eq!(
        lines(&master, ""),
        [
            "MAILBOX user.alice be-b!default ",
            "MAILBOX user.alice.Kept be-b!default "
        ]
    );
}

#[test]
fn a_dropped_unit_frees_its_root_and_a_delayed_row_never_meets_the_next_one() {
    let mut master = master_of(&["be-a"]);
    grant(&mut master, "be-a", "user.alice");
    let (who, request) = row("be-a", "user.alice", 1, 1, put("user.alice", ""));
    ask(&mut master, &who, request);
    let drop = Request::DropUnit {
        unit: unit_id("user.alice"),
        epoch: Epoch::new(1),
        number: OutboxNumber::new(2),
        uidvalidity_max: 4242,
    };
    assert_eq!(ask(&mut master, &who, drop.clone()), Response::Done);
    assert_eq!(ask(&mut master, &who, drop), Response::Done);
    let again = Request::Grant {
        unit: unit_id("again"),
        root: root("user.alice"),
        partition: partition(),
        term: master.term(),
    };
    let Response::Granted(granted) = ask(&mut master, &who, again) else {
        panic!("the root is free");
    };
    assert_eq!(granted.uidvalidity_floor, 4242);
    let (_, late) = row("be-a", "user.alice", 1, 3, put("user.alice", ""));
    assert_eq!(
        ask(&mut master, &who, late),
        Response::Refused(Refusal::UnitDropped)
    );
    assert_eq!(
        grant(&mut master, "be-a", "user.alice"),
        Response::Refused(Refusal::UnitDropped)
    );
}

#[test]
fn an_operator_needs_the_highest_fence_and_nobody_else_may_retire() {
    let mut master = master_of(&["be-a", "be-b"]);
    grant(&mut master, "be-a", "user.alice");
    let retire = |name: &str, fence| Request::Retire {
        server_id: server_id(name),
        fence: Fence::new(fence),
    };
    assert!(matches!(
        ask(&mut master, &backend("be-a"), retire("be-b", 9)),
        Response::Refused(Refusal::NotAllowed(_))
    ));
    assert_eq!(
        ask(&mut master, &operator(), retire("be-a", 5)),
        Response::Refused(Refusal::OwnsUnits(1))
    );
    assert_eq!(
        ask(
            &mut master,
            &operator(),
            Request::Raise {
                fence: Fence::new(6)
            }
        ),
        Response::Done
    );
    assert_eq!(
        ask(&mut master, &operator(), retire("be-b", 5)),
        Response::Refused(Refusal::Fenced {
            theirs: Fence::new(5),
            highest: Fence::new(6)
        })
    );
    assert_eq!(
        ask(&mut master, &operator(), retire("be-b", 6)),
        Response::Done
    );
    assert_eq!(
        grant(&mut master, "be-b", "user.bob"),
        Response::Refused(Refusal::Retired)
    );
    assert_eq!(
        Server::new("be-b").report(&mut master),
        [Response::Refused(Refusal::Retired)]
    );
    assert_eq!(
        flip(&mut master, "be-a", "be-b", "user.alice", 1, 1),
        Response::Refused(Refusal::Retired)
    );
}

#[test]
fn what_a_batch_acknowledged_is_there_after_the_file_is_opened_again() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("locations.redb");
    let open = || Master::open(&path, MasterOptions::default()).unwrap();
    let mut master = open();
    Server::new("be-a").report(&mut master);
    grant(&mut master, "be-a", "user.alice");
    let batch = (1..=50)
        .map(|number| {
            row(
                "be-a",
                "user.alice",
                1,
                number,
                put(&format!("user.alice.f{number}"), ""),
            )
        })
        .collect();
    let answers = master.batch(batch).unwrap();
    assert_eq!(
        answers[49],
        Response::RowsApplied {
            upto: OutboxNumber::new(50)
        }
    );
    let (term, position) = (master.term(), master.position());
    drop(master);
    let mut master = open();
    assert_eq!((master.term(), master.position()), (term, position));
    assert_eq!(lines(&master, "be-a!").len(), 50);
    assert_eq!(
        ask(&mut master, &backend("be-a"), Request::Barrier),
        Response::At(position)
    );
}

/// A server that holds a copy of a move whose source died, and whose unit was deleted meanwhile, asked
/// for ever: a dropped unit was answered like one that the master does not know yet.
#[test]
fn a_dropped_unit_is_said_to_be_dropped() {
    let mut master = master_of(&["be-a", "be-b"]);
    grant(&mut master, "be-a", "user.alice");
    let find = Request::FindUnit(UnitRef::Id(unit_id("user.alice")));
    let drop = Request::DropUnit {
        unit: unit_id("user.alice"),
        epoch: Epoch::new(1),
        number: OutboxNumber::new(1),
        uidvalidity_max: 7,
    };
    assert_eq!(ask(&mut master, &backend("be-a"), drop), Response::Done);
    assert_eq!(
        ask(&mut master, &backend("be-b"), find),
        Response::Refused(Refusal::UnitDropped)
    );
    let unknown = Request::FindUnit(UnitRef::Id(unit_id("user.bob")));
    assert_eq!(
        ask(&mut master, &backend("be-b"), unknown),
        Response::Unit(None)
    );
}

/// A server whose root is refused gives up and forgets it. The same request, late and doubled, was
/// granted once the root had become free: then the unit had an owner of record that never served it.
#[test]
fn a_root_that_was_refused_is_never_granted_to_a_late_repetition() {
    let mut master = master_of(&["be-a", "be-b"]);
    grant(&mut master, "be-a", "user.alice");
    let wanted = Request::Grant {
        unit: unit_id("late"),
        root: root("user.alice"),
        partition: partition(),
        term: master.term(),
    };
    assert_eq!(
        ask(&mut master, &backend("be-b"), wanted.clone()),
        Response::Refused(Refusal::RootTaken)
    );
    let drop = Request::DropUnit {
        unit: unit_id("user.alice"),
        epoch: Epoch::new(1),
        number: OutboxNumber::new(1),
        uidvalidity_max: 7,
    };
    assert_eq!(ask(&mut master, &backend("be-a"), drop), Response::Done);
    assert_eq!(
        ask(&mut master, &backend("be-b"), wanted),
        Response::Refused(Refusal::UnitDropped)
    );
}
