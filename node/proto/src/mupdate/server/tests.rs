use proptest::prelude::*;

use super::super::reply;
use super::*;

/// A driver with one row, `user.x` at `be1!default`, whose password is `pw`.
fn drive(session: &mut Session, out: &mut BytesMut) {
    while let Some(event) = session.next_event() {
        match event {
            Event::Write(octets) => out.extend_from_slice(&octets),
            Event::StartTls => out.extend_from_slice(b"[tls]"),
            Event::Close => out.extend_from_slice(b"[close]"),
            Event::Credentials(credentials) => {
                let right = match credentials {
                    Credentials::Password {
                        authentication,
                        password,
                        ..
                    } => authentication == "mupd" && password.matches(b"pw"),
                    Credentials::External { authorization } => authorization.is_none(),
                };
                let answer = match right {
                    true => session.authenticated(),
                    false => session.authentication_failed(),
                };
                out.extend_from_slice(&answer);
            }
            Event::Request { tag, request } => answer(&tag, &request, out),
        }
    }
}

fn answer(tag: &[u8], request: &Request, out: &mut BytesMut) {
    let mut row = || reply::write_mailbox(out, tag, b"user.x", b"be1!default", b"x\tlrs\t");
    let (status, text) = match request {
        Request::Find { name } => {
            if name == "user.x" {
                row();
            }
            (Status::Ok, reply::SEARCH_COMPLETED)
        }
        Request::List { prefix } => {
            if prefix
                .as_ref()
                .is_none_or(|prefix| b"be1!default".starts_with(prefix))
            {
                row();
            }
            (Status::Ok, reply::LIST_COMPLETE)
        }
        Request::Update { .. } => {
            row();
            (Status::Ok, reply::STREAMING_STARTS)
        }
        Request::Noop => {
            reply::write_delete(out, tag, b"user.gone");
            (Status::Ok, reply::NOOP_DONE)
        }
        Request::Reserve { name, .. } if name == "user.x" => (Status::No, reply::EXISTS),
        Request::Delete { name } if name != "user.x" => (Status::No, reply::ABSENT),
        Request::Deactivate { name, .. } if name != "user.x" => (Status::No, reply::NOT_ACTIVE),
        Request::Reserve { .. }
        | Request::Activate { .. }
        | Request::Deactivate { .. }
        | Request::Delete { .. } => (Status::Ok, reply::DONE),
        Request::Extension { payload } => {
            reply::write_stream_item(out, tag, payload);
            return reply::write_extension_reply(out, tag, payload);
        }
    };
    write_status(out, tag, status, text);
}

fn run<'a>(options: &SessionOptions, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let (mut session, mut out) = (Session::new(options.clone()), BytesMut::new());
    drive(&mut session, &mut out);
    for piece in pieces {
        session.feed(piece);
        drive(&mut session, &mut out);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

/// What the server says to `sent`, the same whatever the sizes of the reads; without the greeting.
fn said(options: &SessionOptions, sent: &[u8]) -> String {
    let whole = run(options, [sent]);
    assert_eq!(run(options, sent.chunks(1)), whole, "byte by byte");
    for at in 0..sent.len() {
        assert_eq!(
            run(options, [&sent[..at], &sent[at..]]),
            whole,
            "split at {at}"
        );
    }
    whole
        .split_once("\"(master)\"\r\n")
        .map_or_else(|| whole.clone(), |(_, said)| said.to_owned())
}

fn logged_in(options: &SessionOptions, sent: &[u8]) -> String {
    let login = b"A01 AUTHENTICATE \"PLAIN\" {16+}\r\nbXVwZABtdXBkAHB3\r\n";
    let said = said(options, &[&login[..], sent].concat());
    said.strip_prefix("A01 OK \"Authenticated\"\r\n")
        .unwrap()
        .to_owned()
}

fn master() -> SessionOptions {
    SessionOptions {
        host: "mm".to_owned(),
        implementation: "Cyrus IMAP".to_owned(),
        version: "3.6.1-Debian-3.6.1-4+deb12u5".to_owned(),
        mechanisms: vec![Mechanism::Plain, Mechanism::Login],
        ..SessionOptions::default()
    }
}

/// A Cyrus 3.6.1 master's greeting, but for the COMPRESS that is not offered here.
#[test]
fn the_greeting_without_extension_is_that_of_cyrus() {
    let options = SessionOptions {
        extension: false,
        start_tls: true,
        ..master()
    };
    assert_eq!(
        run(&options, []),
        "* AUTH \"PLAIN\" \"LOGIN\"\r\n\
         * STARTTLS\r\n\
         * PARTIAL-UPDATE\r\n\
         * OK MUPDATE \"mm\" \"Cyrus IMAP\" \"3.6.1-Debian-3.6.1-4+deb12u5\" \"(master)\"\r\n"
    );
}

#[test]
fn the_extension_is_advertised_before_the_last_line() {
    let options = SessionOptions {
        source: Source::Replica("mm".to_owned()),
        ..SessionOptions::default()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        run(&options, []),
        format!(
            "* AUTH \"PLAIN\"\r\n* PARTIAL-UPDATE\r\n* XMURDER \"1\"\r\n\
             * OK MUPDATE \"localhost\" \"Murder\" \"{version}\" \"mupdate://mm\"\r\n"
        )
    );
}

#[test]
fn the_dialogue_of_ctl_mboxlist_is_answered_as_cyrus_does() {
    let sent = b"X0 LIST {4+}\r\nbe1!\r\nX1 LIST {5+}\r\nbe10!\r\nF1 FIND {6+}\r\nuser.y\r\n\
        F2 FIND {6}\r\nuser.x\r\nR1 RESERVE {6+}\r\nuser.z {11+}\r\nbe1!default\r\n\
        R2 ACTIVATE {6+}\r\nuser.z {11+}\r\nbe1!default {6+}\r\nz\tlrs\t\r\n\
        R3 RESERVE \"user.x\" \"be2!default\"\r\nR4 DEACTIVATE \"user.n\" \"be1!default\"\r\n\
        R5 DELETE \"user.n\"\r\nR6 delete \"user.x\"\r\nQ01 LOGOUT\r\nQ02 NOOP\r\n";
    assert_eq!(
        logged_in(&master(), sent),
        "X0 MAILBOX {6+}\r\nuser.x {11+}\r\nbe1!default {6+}\r\nx\tlrs\t\r\n\
         X0 OK \"list complete\"\r\n\
         X1 OK \"list complete\"\r\n\
         F1 OK \"Search completed\"\r\n\
         + go ahead\r\n\
         F2 MAILBOX {6+}\r\nuser.x {11+}\r\nbe1!default {6+}\r\nx\tlrs\t\r\n\
         F2 OK \"Search completed\"\r\n\
         R1 OK \"done\"\r\n\
         R2 OK \"done\"\r\n\
         R3 NO \"mailbox already exists\"\r\n\
         R4 NO \"mailbox not currently active\"\r\n\
         R5 NO \"mailbox doesn't exist\"\r\n\
         R6 OK \"done\"\r\n\
         Q01 OK \"bye-bye\"\r\n[close]"
    );
}

#[test]
fn a_streaming_session_may_say_little() {
    let sent = b"U01 UPDATE\r\nN0 NOOP\r\nF FIND \"user.x\"\r\nL LIST\r\nU02 UPDATE\r\n\
        R RESERVE \"a\" \"b!c\"\r\nX1 X {2+}\r\n\r\n\r\n";
    assert_eq!(
        logged_in(&master(), sent),
        "U01 MAILBOX {6+}\r\nuser.x {11+}\r\nbe1!default {6+}\r\nx\tlrs\t\r\n\
         U01 OK \"streaming starts\"\r\n\
         N0 DELETE {9+}\r\nuser.gone\r\n\
         N0 OK \"Noop done\"\r\n\
         F BAD \"not legal when streaming\"\r\n\
         L BAD \"not legal when streaming\"\r\n\
         U02 BAD \"not legal when streaming\"\r\n\
         R BAD \"not legal when streaming\"\r\n\
         X1 XS {2+}\r\n\r\n\r\n\
         X1 XR {2+}\r\n\r\n\r\n"
    );
}

#[test]
fn little_is_possible_before_login() {
    let sent = b"A NOOP\r\nB FIND \"x\"\r\nC LIST\r\nD UPDATE\r\nE X {0+}\r\n\r\nF FROB\r\n\
        G COMPRESS \"DEFLATE\"\r\nH STARTTLS\r\nI LOGOUT\r\n";
    assert_eq!(
        said(&master(), sent),
        "A BAD \"Please login first\"\r\n\
         B BAD \"Please login first\"\r\n\
         C BAD \"Please login first\"\r\n\
         D BAD \"Please login first\"\r\n\
         E BAD \"Please login first\"\r\n\
         F BAD \"Unrecognized command\"\r\n\
         G NO \"compression is not available\"\r\n\
         H NO \"TLS is not available\"\r\n\
         I OK \"bye-bye\"\r\n[close]"
    );
}

#[test]
fn a_replica_is_read_only() {
    let options = SessionOptions {
        source: Source::Replica("(master)".to_owned()),
        ..master()
    };
    let (mut session, mut out) = (Session::new(options), BytesMut::new());
    session.feed(b"A AUTHENTICATE \"PLAIN\" \"bXVwZABtdXBkAHB3\"\r\n");
    drive(&mut session, &mut out);
    out.clear();
    session.feed(b"B RESERVE \"a\" \"b\"\r\nC ACTIVATE\r\nD DELETE \"a\"\r\nE DEACTIVATE\r\nF FIND \"a\"\r\n");
    drive(&mut session, &mut out);
    assert_eq!(
        out,
        "B BAD \"read-only session\"\r\n\
         C BAD \"read-only session\"\r\n\
         D BAD \"read-only session\"\r\n\
         E BAD \"read-only session\"\r\n\
         F OK \"Search completed\"\r\n"
    );
}

#[test]
fn bad_arguments_are_named_in_cyrus_words() {
    let sent = b"A FIND user.x\r\nB FIND\r\nC FIND \r\nD FIND \"a\" \"b\"\r\nE RESERVE \"a\"\r\n\
        F NOOP x\r\nG\r\nH \r\n\r\n* NOOP\r\n\"I\" NOOP\r\nJ \"NOOP\"\r\nK LIST \"a\" \"b\"\r\n\
        L FIND \"a\r\nM NOOP\r\n";
    assert_eq!(
        logged_in(&master(), sent),
        "A BAD \"Extra arguments\"\r\n\
         B BAD \"Missing arguments\"\r\n\
         C BAD \"Missing arguments\"\r\n\
         D BAD \"Extra arguments\"\r\n\
         E BAD \"Missing arguments\"\r\n\
         F BAD \"Extra arguments\"\r\n\
         * BAD \"Need command\"\r\n\
         H BAD \"Null command\"\r\n\
         * BAD \"Need command\"\r\n\
         * BAD \"Need tag\"\r\n\
         * BAD \"Need tag\"\r\n\
         J BAD \"Unrecognized command\"\r\n\
         K BAD \"Extra arguments\"\r\n\
         L BAD \"Malformed line\"\r\n\
         M DELETE {9+}\r\nuser.gone\r\n\
         M OK \"Noop done\"\r\n"
    );
}

#[test]
fn update_takes_up_to_thirty_servers() {
    let servers = |count| format!("U UPDATE{}\r\n", " \"be1\"".repeat(count));
    let options = master();
    assert!(logged_in(&options, servers(30).as_bytes()).ends_with("U OK \"streaming starts\"\r\n"));
    assert_eq!(
        logged_in(&options, servers(31).as_bytes()),
        "U BAD \"Extra arguments\"\r\n"
    );
}

#[test]
fn authentication_by_continuation_is_bare_lines() {
    assert_eq!(
        said(&master(), b"A AUTHENTICATE \"PLAIN\"\r\n*\r\nB AUTHENTICATE \"PLAIN\"\r\nbXVwZABtdXBkAHB3\r\nC AUTHENTICATE \"PLAIN\"\r\n"),
        "\r\nA NO Client canceled authentication\r\n\
         \r\nB OK \"Authenticated\"\r\n\
         C BAD \"already authenticated\"\r\n"
    );
    assert_eq!(
        said(&master(), b"A AUTHENTICATE \"GSSAPI\"\r\nB AUTHENTICATE \"PLAIN\" \"AAA=\"\r\nC AUTHENTICATE \"PLAIN\" \"AG11cGQAeA==\"\r\nD AUTHENTICATE \"LOGIN\"\r\nbXVwZA==\r\ncHc=\r\n"),
        "A NO \"no mechanism available\"\r\n\
         B NO \"response is malformed\"\r\n\
         C NO \"authentication failure\"\r\n\
         VXNlcm5hbWU6\r\nUGFzc3dvcmQ6\r\nD OK \"Authenticated\"\r\n"
    );
}

#[test]
fn tls_forgets_what_was_said_in_clear_and_greets_again() {
    let options = SessionOptions {
        start_tls: true,
        ..master()
    };
    let (mut session, mut out) = (Session::new(options), BytesMut::new());
    session.feed(b"S STARTTLS\r\nA AUTHENTICATE \"PLAIN\" \"bXVwZABtdXBkAHB3\"\r\n");
    drive(&mut session, &mut out);
    assert!(out.ends_with(b"\r\nS OK Begin TLS negotiation now\r\n[tls]"));
    out.clear();
    session.tls_started(vec![Mechanism::External]);
    session.feed(b"N NOOP\r\nB AUTHENTICATE \"EXTERNAL\" \"=\"\r\nS STARTTLS\r\n");
    drive(&mut session, &mut out);
    assert_eq!(
        out,
        "* AUTH \"EXTERNAL\"\r\n* PARTIAL-UPDATE\r\n* XMURDER \"1\"\r\n\
         * OK MUPDATE \"mm\" \"Cyrus IMAP\" \"3.6.1-Debian-3.6.1-4+deb12u5\" \"(master)\"\r\n\
         N BAD \"Please login first\"\r\n\
         B OK \"Authenticated\"\r\n\
         S BAD \"STARTTLS is not legal after authentication\"\r\n"
    );
}

#[test]
fn payloads_are_taken_only_after_login_and_only_with_the_extension() {
    let payload = "p".repeat(100_000);
    let sent = format!("X1 X {{100000+}}\r\n{payload}\r\n");
    let (mut session, mut out) = (Session::new(master()), BytesMut::new());
    session.feed(sent.as_bytes());
    drive(&mut session, &mut out);
    assert!(out.ends_with(b"X1 BAD \"Line too long\"\r\n"));
    session.feed(b"A AUTHENTICATE \"PLAIN\" \"bXVwZABtdXBkAHB3\"\r\n");
    session.feed(sent.as_bytes());
    drive(&mut session, &mut out);
    assert!(out.ends_with(format!("X1 XR {{100000+}}\r\n{payload}\r\n").as_bytes()));
    let options = SessionOptions {
        extension: false,
        ..master()
    };
    assert_eq!(
        logged_in(&options, b"X1 X {1+}\r\na\r\n"),
        "X1 BAD \"Unrecognized command\"\r\n"
    );
}

#[test]
fn bad_commands_end_the_session_past_their_limit() {
    let options = SessionOptions {
        bad_commands_max: 1,
        ..master()
    };
    assert_eq!(
        said(&options, b"A\r\nB\r\nC\r\n"),
        "* BAD \"Need command\"\r\n* BAD \"Need command\"\r\n\
         * BYE \"too many bad commands\"\r\n[close]"
    );
}

proptest! {
    #[test]
    fn any_octets_are_survived_and_splits_do_not_matter(
        words in prop::collection::vec(prop::sample::select(vec![
            &b"A FIND"[..], b" \"a\"", b" {1+}\r\na", b" {1}\r\n", b"\r\n", b"\r\n", b"B UPDATE\r\n", b"C AUTHENTICATE \"PLAIN\"",
            b"bXVwZABtdXBkAHB3\r\n", b"*\r\n", b"\0", b"\xff", b"X X", b"L LOGOUT\r\n", b"{90+}\r\n", b" ",
        ]), 0..30),
        size in 1usize..9,
    ) {
        let sent = words.concat();
        let options = master();
        let whole = run(&options, [&sent[..]]);
        prop_assert_eq!(run(&options, sent.chunks(size)), whole);
    }

    #[test]
    fn written_requests_read_back(
        octets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 3),
        servers in prop::collection::vec("[a-z]{1,5}", 0..5),
    ) {
        let [name, location, acl] = [0, 1, 2].map(|index: usize| Bytes::from(octets[index].clone()));
        let requests = [
            Request::Activate { name: name.clone(), location: location.clone(), acl },
            Request::Deactivate { name: name.clone(), location: location.clone() },
            Request::Delete { name: name.clone() },
            Request::Extension { payload: location.clone() },
            Request::Find { name: name.clone() },
            Request::List { prefix: None },
            Request::List { prefix: Some(location.clone()) },
            Request::Noop,
            Request::Reserve { name, location },
            Request::Update { servers: servers.into_iter().map(Bytes::from).collect() },
        ];
        let mut sent = BytesMut::from(&b"A AUTHENTICATE \"PLAIN\" \"bXVwZABtdXBkAHB3\"\r\n"[..]);
        requests.iter().for_each(|request| request.write("T1", &mut sent));
        let mut session = Session::new(master());
        session.feed(&sent);
        let mut read = Vec::new();
        while let Some(event) = session.next_event() {
            match event {
                Event::Credentials(_) => { session.authenticated(); }
                Event::Request { tag, request } => {
                    prop_assert_eq!(&tag, "T1");
                    read.push(request);
                }
                Event::Write(_) => {}
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(&read[..], &requests[..]);
    }
}
