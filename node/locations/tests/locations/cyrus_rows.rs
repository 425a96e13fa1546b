//! RFC 3656 as real Cyrus servers speak it.

use murder_locations::request::*;

use crate::support::*;

fn reserve(name: &str, location: &str) -> Request {
    Request::Reserve {
        name: Name::from(name),
        location: location.into(),
    }
}

fn activate(name: &str, location: &str, acl: &str) -> Request {
    Request::Activate {
        name: Name::from(name),
        location: location.into(),
        acl: acl.into(),
    }
}

fn deactivate(name: &str, location: &str) -> Request {
    Request::Deactivate {
        name: Name::from(name),
        location: location.into(),
    }
}

#[test]
fn rows_are_reserved_activated_deactivated_and_deleted() {
    let mut master = master();
    let mut cyrus = |request| ask(&mut master, &cyrus(), request);
    let bob = "user.bob";
    assert_eq!(cyrus(reserve(bob, "be1!default")), Response::Done);
    assert_eq!(cyrus(reserve(bob, "be1!default")), Response::Done);
    assert_eq!(
        cyrus(reserve(bob, "be2!default")),
        Response::Refused(Refusal::MailboxExists)
    );
    assert_eq!(
        cyrus(deactivate(bob, "be1!default")),
        Response::Refused(Refusal::NotActive)
    );
    assert_eq!(
        cyrus(activate(bob, "be1!default", "bob\tlr\t")),
        Response::Done
    );
    assert_eq!(cyrus(deactivate(bob, "be1!default")), Response::Done);
    assert_eq!(cyrus(activate(bob, "be2!p", "bob\tlrs\t")), Response::Done);
    assert_eq!(
        cyrus(Request::Find(Name::from(bob))),
        Response::Lines {
            lines: vec![Line {
                name: Name::from(bob),
                location: b"be2!p".to_vec(),
                acl: b"bob\tlrs\t".to_vec(),
                reserved: false,
            }],
            next: None,
        }
    );
    assert_eq!(cyrus(Request::Delete(Name::from(bob))), Response::Done);
    assert_eq!(
        cyrus(Request::Find(Name::from(bob))),
        Response::Lines {
            lines: vec![],
            next: None
        }
    );
}

#[test]
fn an_absent_row_is_refused_and_the_master_lives() {
    let mut master = master();
    for request in [
        Request::Delete(Name::from("user.x")),
        deactivate("user.x", "be1!default"),
    ] {
        assert_eq!(
            ask(&mut master, &cyrus(), request),
            Response::Refused(Refusal::NoMailbox)
        );
    }
    for location in ["be1", "be1!a!b", "!p", "b e!p"] {
        assert_eq!(
            ask(&mut master, &cyrus(), reserve("user.x", location)),
            Response::Refused(Refusal::BadLocation),
            "{location}"
        );
    }
}

#[test]
fn list_is_sorted_by_octets_and_its_prefix_is_exact() {
    let mut master = master();
    for (name, location) in [
        ("user.b", "be1!default"),
        ("user.a.z", "be1!default"),
        ("user.a", "be10!default"),
        ("user.a-b", "be1!"),
        ("shared.\u{e9}", "be1!other"),
    ] {
        let response = ask(&mut master, &cyrus(), activate(name, location, ""));
        assert_eq!(response, Response::Done);
    }
    assert_eq!(
        lines(&master, "be1!"),
        [
            "MAILBOX shared.\u{e9} be1!other ",
            "MAILBOX user.a-b be1! ",
            "MAILBOX user.a.z be1!default ",
            "MAILBOX user.b be1!default ",
        ]
    );
    assert_eq!(lines(&master, "be1!d").len(), 2);
    assert_eq!(lines(&master, "be10").len(), 1);
    assert_eq!(lines(&master, "").len(), 5);
}

#[test]
fn a_listing_goes_on_where_it_stopped() {
    let mut master = master();
    for number in 0..7 {
        ask(
            &mut master,
            &cyrus(),
            activate(&format!("user.u{number}"), "be1!p", ""),
        );
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let list = Request::List {
            prefix: b"be1!".to_vec(),
            after,
            limit: 3,
        };
        let Response::Lines { lines, next } = ask(&mut master, &cyrus(), list) else {
            panic!("LIST answers lines");
        };
        seen.extend(lines.into_iter().map(|line| line.name.to_string()));
        let Some(next) = next else { break };
        after = Some(next);
    }
    assert_eq!(
        seen,
        [
            "user.u0", "user.u1", "user.u2", "user.u3", "user.u4", "user.u5", "user.u6"
        ]
    );
}

#[test]
fn cyrus_cannot_write_rows_of_our_own_units_or_servers() {
    let mut master = master_of(&["be-a"]);
    grant(&mut master, "be-a", "user.alice");
    let denied = |name: &str| Response::Refused(Refusal::NotAllowed(name.to_owned()));
    for (request, answer) in [
        (
            reserve("user.alice.x", "be1!p"),
            Response::Refused(Refusal::MailboxExists),
        ),
        (activate("user.alice", "be1!p", ""), denied("mupd")),
        (deactivate("user.alice", "be1!p"), denied("mupd")),
        (Request::Delete(Name::from("user.alice")), denied("mupd")),
        (activate("user.bob", "be-a!p", ""), denied("be-a")),
    ] {
        assert_eq!(
            ask(&mut master, &cyrus(), request.clone()),
            answer,
            "{request:?}"
        );
        let denied = ask(&mut master, &backend("be-a"), request);
        assert!(matches!(denied, Response::Refused(Refusal::NotAllowed(_))));
    }
}

#[test]
fn a_root_with_rows_of_cyrus_is_not_granted_until_they_are_gone() {
    let mut master = master_of(&["be-a"]);
    ask(
        &mut master,
        &cyrus(),
        activate("user.carol.Sent", "be1!p", ""),
    );
    assert_eq!(
        grant(&mut master, "be-a", "user.carol"),
        Response::Refused(Refusal::RootTaken)
    );
    ask(
        &mut master,
        &cyrus(),
        Request::Delete(Name::from("user.carol.Sent")),
    );
    let anew = Request::Grant {
        unit: unit_id("anew"),
        root: root("user.carol"),
        partition: partition(),
        term: master.term(),
    };
    assert!(matches!(
        ask(&mut master, &backend("be-a"), anew),
        Response::Granted(_)
    ));
}
