//! Replicas: the stream, snapshots, routing, listing and placement.

mod properties;

use std::ops::ControlFlow;

use murder_locations::master::{Master, MasterOptions, Since};
use murder_locations::replica::{
    Need, PlacementLimits, Replica, ReplicaOptions, ReplicaReader, Viewer,
};
use murder_locations::request::*;
use murder_model::*;

use crate::support::*;

fn replica() -> Replica {
    Replica::in_memory(&ReplicaOptions::default()).unwrap()
}

/// Follows the master as a node does: changes if they are to be had, else a snapshot.
fn follow(replica: &mut Replica, master: &Master) {
    let reader = master.reader();
    loop {
        match reader.changes_since(replica.position(), 7).unwrap() {
            Since::Changes(items) if items.is_empty() => return,
            Since::Changes(items) => assert_eq!(replica.apply(items).unwrap(), Need::Nothing),
            Since::SnapshotNeeded => {
                let mut snapshot = reader.snapshot().unwrap();
                while let Some(items) = snapshot.step(3).unwrap() {
                    replica.apply(items).unwrap();
                }
            }
        }
    }
}

/// What master and replica hold, name by name.
fn all(reader: &ReplicaReader) -> Vec<NameRecord> {
    let mut names = Vec::new();
    reader
        .all(None, &mut |row| {
            names.push(row.clone());
            ControlFlow::Continue(())
        })
        .unwrap();
    names
}

fn seen(reader: &ReplicaReader, user: &str, groups: &[&str]) -> Vec<String> {
    let groups: Vec<_> = groups.iter().map(|group| (*group).to_owned()).collect();
    let mut names = Vec::new();
    let viewer = Viewer::new(user, &groups);
    reader
        .visible(&viewer, None, &mut |row| {
            names.push(row.name.to_string());
            ControlFlow::Continue(())
        })
        .unwrap();
    // Page by page it is the same.
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let before = paged.len();
        reader
            .visible(&viewer, after.as_ref(), &mut |row| {
                paged.push(row.name.to_string());
                ControlFlow::Break(())
            })
            .unwrap();
        if paged.len() == before {
            break;
        }
        after = paged.last().map(|name| Name::from(name.as_str()));
    }
    assert_eq!(paged, names);
    names
}

fn publish(master: &mut Master, root: &str, first: u64, rows: &[(&str, &str)]) {
    for ((name, acl), number) in rows.iter().zip(first..) {
        let (who, request) = row("be-a", root, 1, number, put(name, acl));
        let answer = ask(master, &who, request);
        assert!(matches!(answer, Response::RowsApplied { .. }), "{answer:?}");
    }
}

/// alice and bob at be-a, a shared tree, and lists that let some see some.
fn populated() -> Master {
    let mut master = master_of(&["be-a", "be-b"]);
    for root in ["user.alice", "user.bob", "user.bob-x", "projects"] {
        grant(&mut master, "be-a", root);
    }
    publish(
        &mut master,
        "user.alice",
        1,
        &[
            ("user.alice", "alice\tlrswipkxtea\t"),
            ("user.alice.Work", "alice\tlrswipkxtea\tbob\tlr\t"),
            ("user.alice.Hidden", "alice\trswi\t"),
        ],
    );
    publish(
        &mut master,
        "user.bob",
        1,
        &[("user.bob", "bob\tlrswipkxtea\tgroup:staff\tl\t")],
    );
    publish(
        &mut master,
        "user.bob-x",
        1,
        &[("user.bob-x", "bob-x\tlrswipkxtea\t")],
    );
    publish(
        &mut master,
        "projects",
        1,
        &[
            ("projects", "anyone\tlr\t-bob\tl\t"),
            ("projects.alpha", "alice\tlr\t"),
            ("projects.beta", "group:staff\tlr\t"),
        ],
    );
    master
}

#[test]
fn a_user_sees_its_own_names_and_those_that_lists_show_it() {
    let master = populated();
    let mut replica = replica();
    follow(&mut replica, &master);
    let reader = replica.reader();
    assert_eq!(
        seen(&reader, "alice", &[]),
        [
            "projects",
            "projects.alpha",
            "user.alice",
            "user.alice.Work"
        ]
    );
    assert_eq!(seen(&reader, "bob", &[]), ["user.alice.Work", "user.bob"]);
    assert_eq!(
        seen(&reader, "dora", &["staff"]),
        ["projects", "projects.beta", "user.bob"]
    );
    let under = |user: &str, name: &str| {
        reader
            .has_visible_children(&Viewer::new(user, &[]), &Name::from(name))
            .unwrap()
    };
    assert!(under("alice", "projects") && !under("dora", "projects"));
    assert!(under("alice", "user.alice") && under("bob", "user.alice"));
    assert!(!under("alice", "user.alice.Work"));
    assert!(reader.has_children(&Name::from("projects")).unwrap());
}

#[test]
fn an_acl_change_or_a_dropped_unit_takes_its_names_out_of_the_index() {
    let mut master = populated();
    let mut replica = replica();
    follow(&mut replica, &master);
    publish(
        &mut master,
        "user.alice",
        4,
        &[("user.alice.Work", "alice\tl\t")],
    );
    let drop = Request::DropUnit {
        unit: unit_id("projects"),
        epoch: Epoch::new(1),
        number: OutboxNumber::new(9),
        uidvalidity_max: 1,
    };
    ask(&mut master, &backend("be-a"), drop);
    follow(&mut replica, &master);
    assert_eq!(seen(&replica.reader(), "bob", &[]), ["user.bob"]);
    assert_eq!(seen(&replica.reader(), "dora", &["staff"]), ["user.bob"]);
    assert_eq!(
        replica
            .reader()
            .route(&Name::from("projects.beta"))
            .unwrap(),
        None
    );
}

#[test]
fn a_name_is_routed_by_its_row_else_by_its_longest_known_root() {
    let mut master = populated();
    let activate = |name: &str, location: &str| Request::Activate {
        name: Name::from(name),
        location: location.into(),
        acl: Vec::new(),
    };
    ask(&mut master, &cyrus(), activate("user.old", "be1!p"));
    ask(&mut master, &cyrus(), activate("user.old.Far", "be2!p"));
    let mut replica = replica();
    follow(&mut replica, &master);
    let reader = replica.reader();
    let at = |name: &str| {
        let route = reader.route(&Name::from(name)).unwrap()?;
        Some((
            route.server_name().to_string(),
            route.server.is_some(),
            route.row.is_some(),
        ))
    };
    assert_eq!(at("user.alice.Work"), Some(("be-a".to_owned(), true, true)));
    assert_eq!(
        at("user.alice.New.Deep"),
        Some(("be-a".to_owned(), true, false))
    );
    assert_eq!(at("user.old.Far"), Some(("be2".to_owned(), false, true)));
    assert_eq!(
        at("user.old.Near.x"),
        Some(("be1".to_owned(), false, false))
    );
    assert_eq!(at("user.nobody"), None);
    flip(&mut master, "be-a", "be-b", "user.alice", 1, 1);
    let old = reader.route(&Name::from("user.alice")).unwrap().unwrap();
    assert!(old.is_older_than(Term::new(1), Epoch::new(2)));
    follow(&mut replica, &master);
    let new = reader
        .route(&Name::from("user.alice.Work"))
        .unwrap()
        .unwrap();
    assert_eq!(new.server_name(), &server("be-b"));
}

#[test]
fn a_gap_or_another_reign_is_asked_for_and_deletes_nothing() {
    let mut master = populated();
    let mut replica = replica();
    follow(&mut replica, &master);
    let before = all(&replica.reader());
    let here = replica.position();
    publish(
        &mut master,
        "user.alice",
        4,
        &[("user.alice.A", ""), ("user.alice.B", "")],
    );
    let Since::Changes(items) = master.reader().changes_since(here, 10).unwrap() else {
        panic!("the ring reaches back");
    };
    assert_eq!(
        replica.apply(items[1..].to_vec()).unwrap(),
        Need::CatchUp { after: here }
    );
    assert_eq!(all(&replica.reader()), before);
    // Doubled changes are passed over.
    let doubled = [items.clone(), items].concat();
    assert_eq!(replica.apply(doubled).unwrap(), Need::Nothing);
    let position = Position {
        term: Term::new(9),
        seq: replica.position().seq + 1,
    };
    let foreign = StreamItem::Change {
        position,
        change: Change::NameGone(Name::from("user.bob")),
    };
    assert!(matches!(
        replica.apply(vec![foreign]).unwrap(),
        Need::CatchUp { .. }
    ));
    assert_eq!(all(&replica.reader()).len(), before.len() + 2);
}

#[test]
fn a_snapshot_shows_nothing_until_it_is_whole_and_holds_what_changed_meanwhile() {
    let mut master = populated();
    let mut replica = replica();
    follow(&mut replica, &master);
    let before = all(&replica.reader());
    let mut snapshot = master.reader().snapshot().unwrap();
    let mut steps = 0;
    let mut parts = Vec::new();
    while let Some(items) = snapshot.step(2).unwrap() {
        steps += 1;
        if steps == 6 {
            publish(&mut master, "user.alice", 4, &[("user.alice.Late", "")]);
            let name = Name::from("user.alice.Work");
            let (who, request) = row("be-a", "user.alice", 1, 5, RowOp::Delete { name });
            ask(&mut master, &who, request);
        }
        parts.push(items);
    }
    let last = parts.pop().unwrap();
    // The end of a snapshot whose beginning was missed deletes nothing.
    let lost = StreamItem::SnapshotEnd {
        position: master.position(),
    };
    assert!(matches!(
        replica.apply(vec![lost]).unwrap(),
        Need::CatchUp { .. }
    ));
    for items in parts {
        replica.apply(items).unwrap();
        assert_eq!(all(&replica.reader()), before);
    }
    replica.apply(last).unwrap();
    let names: Vec<_> = all(&replica.reader())
        .into_iter()
        .map(|row| row.name.to_string())
        .collect();
    assert!(names.contains(&"user.alice.Late".to_owned()));
    assert!(!names.contains(&"user.alice.Work".to_owned()));
    assert_eq!(replica.position(), master.position());
}

#[test]
fn a_snapshot_that_the_ring_overtakes_begins_again() {
    let options = MasterOptions {
        ring_changes_max: 4,
        ..MasterOptions::default()
    };
    let mut master = Master::in_memory(options).unwrap();
    Server::new("be-a").report(&mut master);
    grant(&mut master, "be-a", "user.alice");
    let mut replica = replica();
    let mut snapshot = master.reader().snapshot().unwrap();
    let mut number = 0;
    let mut begun = 0;
    while let Some(items) = snapshot.step(2).unwrap() {
        begun += items
            .iter()
            .filter(|item| matches!(item, StreamItem::SnapshotBegin { .. }))
            .count();
        replica.apply(items).unwrap();
        if number < 12 {
            number += 1;
            publish(
                &mut master,
                "user.alice",
                number,
                &[(&format!("user.alice.f{number}"), "")],
            );
        }
    }
    follow(&mut replica, &master);
    assert!(begun > 1);
    assert_eq!(all(&replica.reader()).len(), 12);
}

#[test]
fn a_replica_is_fresh_only_for_a_barrier_it_has_reached_in_the_same_reign() {
    let mut master = populated();
    let mut replica = replica();
    follow(&mut replica, &master);
    publish(&mut master, "user.bob", 2, &[("user.bob.New", "")]);
    let Response::At(barrier) = ask(&mut master, &backend("be-a"), Request::Barrier) else {
        panic!("a barrier answers a position");
    };
    assert!(!replica.reader().fresh_as_of(barrier).unwrap());
    follow(&mut replica, &master);
    assert!(replica.reader().fresh_as_of(barrier).unwrap());
    let other = Position {
        term: Term::new(2),
        seq: 0,
    };
    assert!(!replica.reader().fresh_as_of(other).unwrap());
}

#[test]
fn placement_follows_free_space_and_leaves_out_cordoned_and_full_servers() {
    let mut master = master_of(&["be-a", "be-b", "be-c"]);
    for (name, free_bytes) in [("be-a", 3 << 30), ("be-b", 1 << 30), ("be-c", 1 << 10)] {
        let mut partitions = space(0);
        partitions[0].free_bytes = free_bytes;
        let server_id = server_id(name);
        ask(
            &mut master,
            &backend(name),
            Request::Space {
                server_id,
                partitions,
            },
        );
    }
    let mut replica = replica();
    follow(&mut replica, &master);
    let limits = PlacementLimits {
        free_bytes_min: 1 << 20,
        ..PlacementLimits::default()
    };
    let share = |replica: &Replica, limits: &PlacementLimits| {
        let mut chosen = [0; 3];
        for step in 0..400_u64 {
            let place = replica
                .reader()
                .place(step * (u64::MAX / 400) + u64::MAX / 800, limits)
                .unwrap();
            if let Some(place) = place {
                chosen[usize::from(place.server.server.as_str().as_bytes()[3] - b'a')] += 1;
            }
        }
        chosen
    };
    assert_eq!(share(&replica, &limits), [300, 100, 0]);
    let flags = ServerFlags {
        cordoned: true,
        drain_epoch: 0,
    };
    let cordon = Request::SetFlags {
        server: server("be-a"),
        flags,
        fence: Fence::new(1),
    };
    ask(&mut master, &operator(), cordon);
    follow(&mut replica, &master);
    assert_eq!(share(&replica, &limits), [0, 400, 0]);
    let none = PlacementLimits {
        exclude: vec![server("be-b")],
        ..limits
    };
    assert_eq!(share(&replica, &none), [0, 0, 0]);
}
