//! Every state of a record under every event: one row an event, one column a state.

use murder_locations::ownership::{
    Here, OwnershipEvent, OwnershipRefusal, SettleAnswer, move_id as ordered_id, next,
};
use murder_model::*;

use crate::support::{move_id, root, server, unit_id};

const HERE: &str = "be-a";

fn record(state: UnitState) -> OwnershipRecord {
    OwnershipRecord {
        unit: unit_id("u"),
        root: root("user.alice"),
        state,
        term: Term::new(3),
        epoch: Epoch::new(5),
    }
}

fn digest(byte: u8) -> UnitDigest {
    UnitDigest::from_bytes([byte; 32])
}

/// The states, in the order of the columns: move 4 and freeze 2 where there are any.
fn states() -> [OwnershipRecord; 7] {
    let (move_id, attempt, other) = (move_id(4), Attempt::new(2), server("be-b"));
    [
        record(UnitState::Creating),
        record(UnitState::Owner),
        record(UnitState::Released {
            to: other.clone(),
            move_id,
            attempt,
        }),
        record(UnitState::Staging {
            move_id,
            attempt,
            from: other.clone(),
        }),
        record(UnitState::Prepared {
            move_id,
            attempt,
            from: other.clone(),
            epoch: Epoch::new(6),
            digest: digest(1),
        }),
        record(UnitState::Moved {
            to: other,
            term: Term::new(3),
            epoch: Epoch::new(5),
        }),
        record(UnitState::Gone),
    ]
}

fn grant(term: u64, epoch: u64) -> OwnershipEvent {
    OwnershipEvent::Granted {
        term: Term::new(term),
        epoch: Epoch::new(epoch),
    }
}

fn arrived(term: u64, epoch: u64, number: u8, attempt: u32) -> OwnershipEvent {
    OwnershipEvent::GrantArrived {
        term: Term::new(term),
        epoch: Epoch::new(epoch),
        move_id: move_id(number),
        attempt: Attempt::new(attempt),
    }
}

fn stage(number: u8, attempt: u32, epoch: u64) -> OwnershipEvent {
    OwnershipEvent::Stage {
        unit: unit_id("u"),
        root: root("user.alice"),
        move_id: move_id(number),
        attempt: Attempt::new(attempt),
        from: server("be-b"),
        epoch: Epoch::new(epoch),
    }
}

fn prepare(number: u8, attempt: u32, epoch: u64, byte: u8) -> OwnershipEvent {
    OwnershipEvent::Prepare {
        move_id: move_id(number),
        attempt: Attempt::new(attempt),
        epoch: Epoch::new(epoch),
        digest: digest(byte),
    }
}

fn abort(number: u8, attempt: u32) -> OwnershipEvent {
    OwnershipEvent::AbortAttempt {
        move_id: move_id(number),
        attempt: Attempt::new(attempt),
    }
}

fn drop_staging(number: u8, attempt: u32) -> OwnershipEvent {
    OwnershipEvent::DropStaging {
        move_id: move_id(number),
        attempt: Attempt::new(attempt),
    }
}

fn release(to: &str) -> OwnershipEvent {
    OwnershipEvent::Release {
        to: server(to),
        move_id: move_id(4),
        attempt: Attempt::new(2),
    }
}

fn settled(owner: &str, term: u64, epoch: u64) -> OwnershipEvent {
    settled_by(3, owner, term, epoch)
}

fn settled_by(spoken: u64, owner: &str, term: u64, epoch: u64) -> OwnershipEvent {
    let answer = SettleAnswer::Record {
        owner: server(owner),
        term: Term::new(term),
        epoch: Epoch::new(epoch),
    };
    OwnershipEvent::Settled {
        spoken: Term::new(spoken),
        answer,
    }
}

fn elsewhere(owner: &str, term: u64, epoch: u64) -> OwnershipEvent {
    OwnershipEvent::SeenElsewhere {
        owner: server(owner),
        term: Term::new(term),
        epoch: Epoch::new(epoch),
    }
}

/// The table: event, then what it comes to in creating, owner, released, staging, prepared, moved, gone.
/// `.` does not apply, `=` stays, a letter is the new state, `t` `e` `m` `d` `?` `s` are refusals for term,
/// epoch, move or freeze, digest, no outcome yet, itself.
fn table() -> Vec<(&'static str, OwnershipEvent, &'static str)> {
    let regranted = |epoch| OwnershipEvent::Regranted {
        term: Term::new(3),
        epoch: Epoch::new(epoch),
    };
    let flipped = OwnershipEvent::Settled {
        spoken: Term::new(3),
        answer: SettleAnswer::Flipped {
            to: server("be-b"),
            term: Term::new(3),
            epoch: Epoch::new(6),
        },
    };
    let create = OwnershipEvent::Create {
        unit: unit_id("u"),
        root: root("user.alice"),
    };
    vec![
        ("create again", create, "......."),
        ("grant of the root", grant(3, 6), "Oe....."),
        ("grant of a term below the promise", grant(2, 6), "te....."),
        ("grant of an epoch that is known", grant(3, 5), "e=....."),
        (
            "refusal of the root",
            OwnershipEvent::GrantRefused,
            "G......",
        ),
        ("release", release("be-b"), ".R....."),
        ("release to itself", release(HERE), ".s....."),
        ("flipped", flipped, "..M...."),
        (
            "raised, or the record says so",
            settled(HERE, 3, 6),
            "..O....",
        ),
        (
            "raised by a master of a lower term",
            settled(HERE, 2, 6),
            "..t....",
        ),
        (
            "said by a master of a lower term",
            settled_by(2, "be-c", 2, 7),
            "..t....",
        ),
        ("record of another owner", settled("be-c", 3, 7), "..M...."),
        ("record as it was released", settled(HERE, 3, 5), "..?...."),
        ("copy of this freeze again", stage(4, 2, 5), "...==SS"),
        ("copy of a later move", stage(5, 0, 5), "...SSSS"),
        ("copy of an earlier move", stage(3, 9, 5), "...mmSS"),
        (
            "copy of an earlier move, later epoch",
            stage(3, 0, 6),
            "...SSSS",
        ),
        ("copy of an earlier freeze", stage(4, 1, 5), "...mmSS"),
        ("copy of an epoch that is past", stage(5, 0, 4), "...eeee"),
        ("prepare the next freeze", prepare(4, 3, 5, 2), "...PP.."),
        ("prepare this freeze again", prepare(4, 2, 5, 1), "...m=.."),
        (
            "prepare it with another digest",
            prepare(4, 2, 5, 2),
            "...md..",
        ),
        ("prepare an earlier freeze", prepare(4, 1, 5, 1), "...mm.."),
        ("prepare another move", prepare(5, 3, 5, 1), "...mm.."),
        (
            "prepare an epoch that is past",
            prepare(4, 3, 4, 1),
            "...ee..",
        ),
        ("abort this freeze", abort(4, 2), "...=S.."),
        ("abort an earlier freeze", abort(4, 1), "...mm.."),
        ("abort another move's", abort(3, 2), "...mm.."),
        ("end of this move", drop_staging(4, 2), "...GG.."),
        (
            "end of this move, said before this freeze",
            drop_staging(4, 1),
            "...mm..",
        ),
        ("end of another move", drop_staging(5, 9), "...mm.."),
        ("grant of the move", arrived(3, 6, 4, 2), ".e..O.."),
        ("grant again", arrived(3, 5, 4, 2), ".=..e.."),
        ("grant of another freeze", arrived(3, 6, 4, 1), ".e..m.."),
        ("grant of another move", arrived(3, 6, 5, 2), ".e..m.."),
        ("grant of a lower term", arrived(2, 6, 4, 2), ".e..t.."),
        ("grant after a restore", regranted(6), ".OO...."),
        ("grant after a restore, not above", regranted(5), ".ee...."),
        ("later owner elsewhere", elsewhere("be-c", 3, 7), "GM?GGMG"),
        (
            "owner elsewhere, not later",
            elsewhere("be-c", 3, 5),
            "eeeeeee",
        ),
        (
            "owner elsewhere by a lower term",
            elsewhere("be-c", 2, 7),
            "eeeeeee",
        ),
        ("news of itself", elsewhere(HERE, 3, 7), "???????"),
        ("end of grace", OwnershipEvent::GraceOver, ".....G."),
        ("deletion", OwnershipEvent::Deleted, ".G....."),
    ]
}

fn letter(before: &OwnershipRecord, after: Result<OwnershipRecord, OwnershipRefusal>) -> char {
    match after {
        Ok(after) if after == *before => '=',
        Ok(after) => match after.state {
            UnitState::Creating => 'C',
            UnitState::Owner => 'O',
            UnitState::Released { .. } => 'R',
            UnitState::Staging { .. } => 'S',
            UnitState::Prepared { .. } => 'P',
            UnitState::Moved { .. } => 'M',
            UnitState::Gone => 'G',
        },
        Err(OwnershipRefusal::NoRecord) => 'n',
        Err(OwnershipRefusal::WrongState { .. }) => '.',
        Err(OwnershipRefusal::LowerTerm { .. }) => 't',
        Err(OwnershipRefusal::StaleEpoch { .. }) => 'e',
        Err(OwnershipRefusal::StaleMove) => 'm',
        Err(OwnershipRefusal::OtherDigest) => 'd',
        Err(OwnershipRefusal::Unsettled) => '?',
        Err(OwnershipRefusal::ToItself) => 's',
    }
}

#[test]
fn every_state_answers_every_event_as_the_table_says() {
    let name = server(HERE);
    let here = Here {
        server: &name,
        promised: Term::new(3),
    };
    let mut differences = Vec::new();
    for (what, event, expected) in table() {
        let found: String = states()
            .iter()
            .map(|before| letter(before, next(here, Some(before), event.clone())))
            .collect();
        if found != expected {
            differences.push(format!("{what}: {found}, not {expected}"));
        }
    }
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn term_and_epoch_never_go_back() {
    let name = server(HERE);
    for promised in [3, 4] {
        let here = Here {
            server: &name,
            promised: Term::new(promised),
        };
        for before in states() {
            for (what, event, _) in table() {
                if let Ok(after) = next(here, Some(&before), event) {
                    assert!(
                        after.term >= before.term && after.epoch >= before.epoch,
                        "{what}"
                    );
                    let owns = after.state == UnitState::Owner && after != before;
                    assert!(!owns || after.term.get() >= promised, "{what}");
                }
            }
        }
    }
}

#[test]
fn without_a_record_only_a_create_or_a_copy_begins_one() {
    let name = server(HERE);
    let here = Here {
        server: &name,
        promised: Term::new(3),
    };
    for (what, event, _) in table() {
        let begins = matches!(
            event,
            OwnershipEvent::Create { .. } | OwnershipEvent::Stage { .. }
        );
        assert_eq!(next(here, None, event).is_ok(), begins, "{what}");
    }
}

#[test]
fn move_ids_of_a_source_rise_with_its_starts_and_moves() {
    let id = |start, serial, random| ordered_id(Incarnation::new(start), serial, [random; 6]);
    assert!(id(1, 1, 255) < id(1, 2, 0));
    assert!(id(1, u32::MAX, 255) < id(2, 0, 0));
}
