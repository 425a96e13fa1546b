//! Known answers for each verb.

use bytes::Bytes;
use murder_model::{Day, InternalDate, SequenceSet};

use super::{BadCommand, command};
use crate::imap::command::*;

fn parse(line: &'static str) -> Command {
    let raw = Bytes::from(format!("a1 {line}\r\n"));
    let (tag, command) = command(&raw).unwrap_or_else(|bad| panic!("{line}: {bad:?}"));
    assert_eq!(tag, "a1");
    command
}

fn refusal(line: &'static str) -> &'static str {
    let raw = Bytes::from(format!("a1 {line}\r\n"));
    let BadCommand { tag, text } = command(&raw).expect_err(line);
    assert_eq!(tag.as_deref(), Some(&b"a1"[..]));
    text
}

fn set(text: &str) -> SequenceSet {
    SequenceSet::parse(text.as_bytes()).unwrap()
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn strings(texts: &[&'static str]) -> Vec<Bytes> {
    texts.iter().map(|text| bytes(text)).collect()
}

#[test]
fn verbs_without_arguments() {
    for (line, expected) in [
        ("CAPABILITY", Command::Capability),
        ("noop", Command::Noop),
        ("Logout", Command::Logout),
        ("STARTTLS", Command::StartTls),
        ("NAMESPACE", Command::Namespace),
        ("CHECK", Command::Check),
        ("CLOSE", Command::Close),
        ("UNSELECT", Command::Unselect),
        ("IDLE", Command::Idle),
        ("EXPUNGE", Command::Expunge { uids: None }),
        ("NOOP ", Command::Noop),
    ] {
        assert_eq!(parse(line), expected);
    }
    assert_eq!(refusal("NOOP x"), "unexpected argument");
}

#[test]
fn session_commands() {
    assert_eq!(parse("ID NIL"), Command::Id(vec![]));
    assert_eq!(
        parse(r#"ID ("name" "mutt \"2\"" "os" NIL)"#),
        Command::Id(vec![
            (bytes("name"), Some(bytes("mutt \"2\""))),
            (bytes("os"), None),
        ]),
    );
    assert_eq!(
        parse("LOGIN alice \"pass word\""),
        Command::Login {
            user: bytes("alice"),
            password: Secret::new("pass word")
        },
    );
    assert_eq!(
        parse("LOGIN {5}\r\nalice {4+}\r\na)\r\n"),
        Command::Login {
            user: bytes("alice"),
            password: Secret::new("a)\r\n")
        },
    );
    assert_eq!(
        parse("AUTHENTICATE PLAIN AGEAYg=="),
        Command::Authenticate {
            mechanism: bytes("PLAIN"),
            initial: Some(Secret::new("\0a\0b")),
        },
    );
    assert_eq!(
        parse("AUTHENTICATE EXTERNAL ="),
        Command::Authenticate {
            mechanism: bytes("EXTERNAL"),
            initial: Some(Secret::default())
        },
    );
    assert_eq!(
        parse("AUTHENTICATE SCRAM-SHA-256"),
        Command::Authenticate {
            mechanism: bytes("SCRAM-SHA-256"),
            initial: None
        },
    );
    assert_eq!(
        parse("ENABLE CONDSTORE X-Foo"),
        Command::Enable(strings(&["CONDSTORE", "X-Foo"])),
    );
    assert_eq!(refusal("AUTHENTICATE PLAIN !!"), "invalid base64");
    assert_eq!(refusal("LOGIN alice"), "argument missing");
    assert_eq!(refusal("LOGIN alice \"x"), "quoted string not ended");
    assert_eq!(
        refusal("LOGIN alice \"x\\y\""),
        "invalid escape in a quoted string"
    );
    assert_eq!(refusal("LOGIN a\0b x"), "argument missing");
    assert_eq!(refusal("LOGIN {3}\r\na\0b x"), "NUL in a literal");
    assert_eq!(refusal("ID (\"name\")"), "argument missing");
}

#[test]
fn select_with_its_parameters() {
    let plain = Select {
        mailbox: bytes("INBOX"),
        condstore: false,
        qresync: None,
    };
    assert_eq!(parse("SELECT INBOX"), Command::Select(plain.clone()));
    assert_eq!(parse("EXAMINE \"INBOX\""), Command::Examine(plain.clone()));
    assert_eq!(
        parse("SELECT INBOX (condstore)"),
        Command::Select(Select {
            condstore: true,
            ..plain.clone()
        }),
    );
    assert_eq!(
        parse("SELECT INBOX (QRESYNC (67890007 20050715194045000 41,43:211 (1:3 4:6)))"),
        Command::Select(Select {
            qresync: Some(Qresync {
                uid_validity: 67_890_007,
                mod_seq: 20_050_715_194_045_000,
                known_uids: Some(set("41,43:211")),
                sequence_match: Some((set("1:3"), set("4:6"))),
            }),
            ..plain.clone()
        }),
    );
    assert_eq!(
        parse("SELECT INBOX (QRESYNC (1 2))"),
        Command::Select(Select {
            qresync: Some(Qresync {
                uid_validity: 1,
                mod_seq: 2,
                known_uids: None,
                sequence_match: None,
            }),
            ..plain
        }),
    );
    assert_eq!(refusal("SELECT INBOX (FOO)"), "unknown parameter");
    assert_eq!(refusal("SELECT"), "argument missing");
}

#[test]
fn mailbox_commands() {
    assert_eq!(
        parse("CREATE a/b"),
        Command::Create(Create {
            mailbox: bytes("a/b"),
            special_use: vec![],
            partition: None
        }),
    );
    assert_eq!(
        parse("CREATE Sent (USE (\\Sent \\Archive))"),
        Command::Create(Create {
            mailbox: bytes("Sent"),
            special_use: strings(&["\\Sent", "\\Archive"]),
            partition: None,
        }),
    );
    assert_eq!(
        parse("CREATE user/x default"),
        Command::Create(Create {
            mailbox: bytes("user/x"),
            special_use: vec![],
            partition: Some(bytes("default")),
        }),
    );
    assert_eq!(
        parse("RENAME a b"),
        Command::Rename(Rename {
            from: bytes("a"),
            to: bytes("b"),
            location: None
        }),
    );
    assert_eq!(
        parse("RENAME user/a user/a be2!default"),
        Command::Rename(Rename {
            from: bytes("user/a"),
            to: bytes("user/a"),
            location: Some(bytes("be2!default")),
        }),
    );
    assert_eq!(
        parse("DELETE x]"),
        Command::Delete {
            mailbox: bytes("x]")
        }
    );
    assert_eq!(
        parse("SUBSCRIBE x"),
        Command::Subscribe {
            mailbox: bytes("x")
        }
    );
    assert_eq!(
        parse("UNSUBSCRIBE \"\""),
        Command::Unsubscribe { mailbox: bytes("") }
    );
    assert_eq!(
        parse("STATUS x (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ SIZE)"),
        Command::Status {
            mailbox: bytes("x"),
            items: vec![
                StatusItem::Messages,
                StatusItem::Recent,
                StatusItem::UidNext,
                StatusItem::UidValidity,
                StatusItem::Unseen,
                StatusItem::HighestModSeq,
                StatusItem::Size,
            ],
        },
    );
    assert_eq!(refusal("STATUS x ()"), "unknown status item");
    assert_eq!(refusal("DELETE x*"), "unexpected argument");
}

#[test]
fn list_plain_and_extended() {
    assert_eq!(
        parse("LIST \"\" *"),
        Command::List(List {
            patterns: strings(&["*"]),
            ..List::default()
        }),
    );
    assert_eq!(
        parse("LSUB \"\" \"%\""),
        Command::Lsub {
            reference: bytes(""),
            pattern: bytes("%")
        },
    );
    assert_eq!(
        parse("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (% a*) RETURN (CHILDREN STATUS (UNSEEN))"),
        Command::List(List {
            selection: ListSelection {
                subscribed: true,
                recursive_match: true,
                ..ListSelection::default()
            },
            reference: bytes(""),
            patterns: strings(&["%", "a*"]),
            returns: Some(ListReturn {
                children: true,
                status: Some(vec![StatusItem::Unseen]),
                ..ListReturn::default()
            }),
            extended: true,
        }),
    );
    assert_eq!(
        parse("LIST (SPECIAL-USE) \"\" \"*\" RETURN (SPECIAL-USE SUBSCRIBED)"),
        Command::List(List {
            selection: ListSelection {
                special_use: true,
                ..ListSelection::default()
            },
            reference: bytes(""),
            patterns: strings(&["*"]),
            returns: Some(ListReturn {
                special_use: true,
                subscribed: true,
                ..ListReturn::default()
            }),
            extended: true,
        }),
    );
    assert_eq!(refusal("LIST (FOO) \"\" *"), "unknown selection option");
    assert_eq!(
        refusal("LIST (RECURSIVEMATCH) \"\" *"),
        "RECURSIVEMATCH needs another selection option",
    );
}

#[test]
fn fetch_items_macros_and_modifiers() {
    let fetch = |line| match parse(line) {
        Command::Fetch(fetch) => fetch,
        other => panic!("{other:?}"),
    };
    let got = fetch("UID FETCH 1:* (UID FLAGS)");
    assert!(got.uid);
    assert_eq!(got.set, set("1:*"));
    assert_eq!(got.items, [FetchItem::Uid, FetchItem::Flags]);
    assert_eq!(
        fetch("FETCH 1 full").items,
        [
            FetchItem::Flags,
            FetchItem::InternalDate,
            FetchItem::Rfc822Size,
            FetchItem::Envelope,
            FetchItem::Body,
        ],
    );
    assert_eq!(fetch("FETCH 1 ALL").items.len(), 4);
    assert_eq!(fetch("FETCH 1 FAST").items.len(), 3);
    assert_eq!(
        fetch("FETCH 1 (BODYSTRUCTURE MODSEQ RFC822 RFC822.HEADER RFC822.TEXT BODY)").items,
        [
            FetchItem::BodyStructure,
            FetchItem::ModSeq,
            FetchItem::Rfc822,
            FetchItem::Rfc822Header,
            FetchItem::Rfc822Text,
            FetchItem::Body,
        ],
    );
    let got = fetch("UID FETCH 7 (FLAGS) (CHANGEDSINCE 12345 VANISHED)");
    assert_eq!((got.changed_since, got.vanished), (Some(12_345), true));
    assert_eq!(refusal("FETCH 1 (ALL)"), "unknown fetch item");
    assert_eq!(refusal("FETCH 1 ()"), "unknown fetch item");
    assert_eq!(refusal("FETCH 0 FLAGS"), "invalid sequence set");
    assert_eq!(
        refusal("FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)"),
        "VANISHED needs UID FETCH with CHANGEDSINCE",
    );
}

#[test]
fn fetch_sections() {
    let section = |line| match parse(line) {
        Command::Fetch(mut fetch) => match fetch.items.remove(0) {
            FetchItem::BodySection {
                peek,
                section,
                partial,
            } => (peek, section, partial),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(section("FETCH 1 BODY[]"), (false, Section::default(), None));
    assert_eq!(
        section("FETCH 1 body.peek[]<0.2048>"),
        (
            true,
            Section::default(),
            Some(Partial {
                offset: 0,
                length: 2048
            })
        ),
    );
    assert_eq!(
        section("FETCH 1 BODY[1.2.MIME]").1,
        Section {
            path: vec![1, 2],
            text: Some(SectionText::Mime)
        },
    );
    assert_eq!(
        section("FETCH 1 BODY[3]").1,
        Section {
            path: vec![3],
            text: None
        }
    );
    assert_eq!(
        section("FETCH 1 (BODY.PEEK[HEADER.FIELDS (From \"To\" {2}\r\nCc)])").1,
        Section {
            path: vec![],
            text: Some(SectionText::HeaderFields(strings(&["From", "To", "Cc"]))),
        },
    );
    assert_eq!(
        section("FETCH 1 BODY[4.HEADER.FIELDS.NOT (Received)]").1,
        Section {
            path: vec![4],
            text: Some(SectionText::HeaderFieldsNot(strings(&["Received"]))),
        },
    );
    assert_eq!(
        section("FETCH 1 BODY[TEXT]").1.text,
        Some(SectionText::Text)
    );
    for line in [
        "FETCH 1 BODY[MIME]",
        "FETCH 1 BODY[1.]",
        "FETCH 1 BODY[1.FOO]",
        "FETCH 1 BODY[0]",
        "FETCH 1 BODY[]<0>",
        "FETCH 1 BODY[]<0.0>",
        "FETCH 1 BODY[",
        "FETCH 1 BODY[HEADER.FIELDS ()]",
    ] {
        refusal(line);
    }
}

#[test]
fn store_copy_move_and_uid_expunge() {
    let plain = Store {
        uid: false,
        set: set("2:4"),
        mode: StoreMode::Add,
        silent: false,
        flags: strings(&["\\Deleted", "$Junk"]),
        unchanged_since: None,
    };
    assert_eq!(
        parse("STORE 2:4 +FLAGS (\\Deleted $Junk)"),
        Command::Store(plain.clone())
    );
    assert_eq!(
        parse("STORE 2:4 +FLAGS \\Deleted $Junk"),
        Command::Store(plain.clone())
    );
    assert_eq!(
        parse("UID STORE 2:4 (UNCHANGEDSINCE 320162338) -flags.silent ()"),
        Command::Store(Store {
            uid: true,
            mode: StoreMode::Remove,
            silent: true,
            flags: vec![],
            unchanged_since: Some(320_162_338),
            ..plain.clone()
        }),
    );
    assert_eq!(
        parse("STORE 2:4 FLAGS.SILENT (\\Deleted $Junk)"),
        Command::Store(Store {
            mode: StoreMode::Replace,
            silent: true,
            ..plain
        }),
    );
    let copy = Copy {
        uid: false,
        set: set("1,3"),
        mailbox: bytes("Trash"),
    };
    assert_eq!(parse("COPY 1,3 Trash"), Command::Copy(copy.clone()));
    assert_eq!(parse("MOVE 1,3 Trash"), Command::Move(copy.clone()));
    let copy = Copy { uid: true, ..copy };
    assert_eq!(parse("uid copy 1,3 Trash"), Command::Copy(copy.clone()));
    assert_eq!(parse("UID MOVE 1,3 Trash"), Command::Move(copy));
    assert_eq!(
        parse("UID EXPUNGE 3:5"),
        Command::Expunge {
            uids: Some(set("3:5"))
        }
    );
    assert_eq!(refusal("STORE 1 FLAG (x)"), "unknown store item");
    assert_eq!(refusal("STORE 1 FLAGS (x"), ") expected");
}

#[test]
fn every_search_key() {
    let keys = |line: &'static str| match parse(line) {
        Command::Search(search) => search.keys,
        other => panic!("{other:?}"),
    };
    let day = Day::new(1994, 2, 1).unwrap();
    assert_eq!(
        keys(
            "SEARCH ALL ANSWERED DELETED DRAFT FLAGGED NEW OLD RECENT SEEN UNANSWERED UNDELETED \
             UNDRAFT UNFLAGGED UNSEEN"
        ),
        [
            SearchKey::All,
            SearchKey::Answered,
            SearchKey::Deleted,
            SearchKey::Draft,
            SearchKey::Flagged,
            SearchKey::New,
            SearchKey::Old,
            SearchKey::Recent,
            SearchKey::Seen,
            SearchKey::Unanswered,
            SearchKey::Undeleted,
            SearchKey::Undraft,
            SearchKey::Unflagged,
            SearchKey::Unseen,
        ],
    );
    assert_eq!(
        keys(
            "SEARCH bcc a BODY b CC c FROM d SUBJECT \"e f\" TEXT {3}\r\ng h TO i HEADER X-A \"\""
        ),
        [
            SearchKey::Bcc(bytes("a")),
            SearchKey::Body(bytes("b")),
            SearchKey::Cc(bytes("c")),
            SearchKey::From(bytes("d")),
            SearchKey::Subject(bytes("e f")),
            SearchKey::Text(bytes("g h")),
            SearchKey::To(bytes("i")),
            SearchKey::Header(bytes("X-A"), bytes("")),
        ],
    );
    assert_eq!(
        keys(
            "SEARCH BEFORE 1-Feb-1994 ON \"1-Feb-1994\" SINCE 01-feb-1994 SENTBEFORE 1-Feb-1994 \
             SENTON 1-Feb-1994 SENTSINCE 1-Feb-1994"
        ),
        [
            SearchKey::Before(day),
            SearchKey::On(day),
            SearchKey::Since(day),
            SearchKey::SentBefore(day),
            SearchKey::SentOn(day),
            SearchKey::SentSince(day),
        ],
    );
    assert_eq!(
        keys(
            "SEARCH LARGER 10 SMALLER 5000000000 KEYWORD $Junk UNKEYWORD x MODSEQ 620162338 \
             MODSEQ \"/flags/\\\\draft\" all 7 UID 5:* 1:3,9 *"
        ),
        [
            SearchKey::Larger(10),
            SearchKey::Smaller(5_000_000_000),
            SearchKey::Keyword(bytes("$Junk")),
            SearchKey::Unkeyword(bytes("x")),
            SearchKey::ModSeq(620_162_338),
            SearchKey::ModSeq(7),
            SearchKey::Uid(set("5:*")),
            SearchKey::Sequence(set("1:3,9")),
            SearchKey::Sequence(set("*")),
        ],
    );
    assert_eq!(
        keys("SEARCH NOT SEEN OR (FLAGGED FROM x) NOT ALL"),
        [
            SearchKey::Not(Box::new(SearchKey::Seen)),
            SearchKey::Or(
                Box::new(SearchKey::And(vec![
                    SearchKey::Flagged,
                    SearchKey::From(bytes("x"))
                ])),
                Box::new(SearchKey::Not(Box::new(SearchKey::All))),
            ),
        ],
    );
    assert_eq!(
        parse("UID SEARCH CHARSET utf-8 TEXT {2}\r\n\u{e9}"),
        Command::Search(Search {
            uid: true,
            charset: Some(bytes("utf-8")),
            keys: vec![SearchKey::Text(bytes("\u{e9}"))],
        }),
    );
    assert_eq!(refusal("SEARCH FOO"), "unknown search key");
    assert_eq!(refusal("SEARCH ON 30-Feb-2000"), "invalid date");
    assert_eq!(refusal("SEARCH ()"), "unknown search key");
    assert_eq!(refusal("SEARCH (ALL"), ") expected");
}

#[test]
fn searches_nest_to_a_limit() {
    let nested = |depth: usize| {
        let line = format!("a SEARCH {}ALL{}\r\n", "(".repeat(depth), ")".repeat(depth));
        command(&Bytes::from(line))
            .map(|_| ())
            .map_err(|bad| bad.text)
    };
    assert_eq!(nested(SEARCH_DEPTH_MAX - 1), Ok(()));
    assert_eq!(nested(SEARCH_DEPTH_MAX), Err("search nested too deep"));
    assert_eq!(nested(30_000), Err("search nested too deep"));
    let line = format!("a SEARCH {}ALL\r\n", "NOT ".repeat(10_000));
    assert_eq!(
        command(&line.into()).unwrap_err().text,
        "search nested too deep"
    );
}

#[test]
fn rights_and_transfers() {
    let acl = SetAcl {
        mailbox: bytes("m"),
        identifier: bytes("-bob"),
        mode: AclMode::Replace,
        rights: bytes("lrs"),
    };
    assert_eq!(parse("SETACL m -bob lrs"), Command::SetAcl(acl.clone()));
    assert_eq!(
        parse("SETACL m -bob +lrs"),
        Command::SetAcl(SetAcl {
            mode: AclMode::Add,
            ..acl.clone()
        }),
    );
    assert_eq!(
        parse("SETACL m -bob \"-\""),
        Command::SetAcl(SetAcl {
            mode: AclMode::Remove,
            rights: bytes(""),
            ..acl
        }),
    );
    assert_eq!(
        parse("DELETEACL m bob"),
        Command::DeleteAcl {
            mailbox: bytes("m"),
            identifier: bytes("bob")
        },
    );
    assert_eq!(
        parse("GETACL m"),
        Command::GetAcl {
            mailbox: bytes("m")
        }
    );
    assert_eq!(
        parse("LISTRIGHTS m bob"),
        Command::ListRights {
            mailbox: bytes("m"),
            identifier: bytes("bob")
        },
    );
    assert_eq!(
        parse("MYRIGHTS m"),
        Command::MyRights {
            mailbox: bytes("m")
        }
    );
    assert_eq!(
        parse("XFER user/x be2"),
        Command::Xfer {
            mailbox: bytes("user/x"),
            server: bytes("be2"),
            partition: None
        },
    );
    assert_eq!(
        parse("XFER user/x be2 p1"),
        Command::Xfer {
            mailbox: bytes("user/x"),
            server: bytes("be2"),
            partition: Some(bytes("p1")),
        },
    );
}

#[test]
fn unknown_verbs_are_passed_on() {
    assert_eq!(
        parse("xview (1 {3+}\r\nabc) \"x\""),
        Command::Other {
            verb: bytes("XVIEW"),
            arguments: bytes("(1 {3+}\r\nabc) \"x\"")
        },
    );
    assert_eq!(
        parse("UID thread REFERENCES"),
        Command::Other {
            verb: bytes("UID THREAD"),
            arguments: bytes("REFERENCES")
        },
    );
    assert_eq!(
        parse("AVERYLONGVERBTHATNOBODYKNOWS"),
        Command::Other {
            verb: bytes("AVERYLONGVERBTHATNOBODYKNOWS"),
            arguments: bytes("")
        },
    );
}

#[test]
fn lines_without_a_usable_tag() {
    for (line, text) in [
        ("\r\n", "empty line"),
        (" NOOP\r\n", "invalid tag"),
        ("+ NOOP\r\n", "invalid tag"),
        ("a(b NOOP\r\n", "invalid tag"),
    ] {
        assert_eq!(
            command(&line.into()),
            Err(BadCommand { tag: None, text }),
            "{line:?}"
        );
    }
    for line in ["a1\r\n", "a1 \r\n", "a1 (\r\n"] {
        let bad = command(&line.into()).unwrap_err();
        assert_eq!(
            bad,
            BadCommand {
                tag: Some(bytes("a1")),
                text: "command missing"
            }
        );
    }
}

#[test]
fn append_without_a_message_says_what_is_missing() {
    assert_eq!(refusal("APPEND"), "argument missing");
    assert_eq!(refusal("APPEND INBOX"), "argument missing");
    assert_eq!(refusal("APPEND INBOX \"text\""), "invalid date-time");
    assert_eq!(refusal("APPEND INBOX text"), "message must be a literal");
    let date = InternalDate::parse(b" 7-Feb-1994 21:52:25 -0800").unwrap();
    let head = Bytes::from_static(b"a append m (\\Seen x) \" 7-Feb-1994 21:52:25 -0800\" ");
    assert!(super::is_append(&head));
    match super::append_arguments(&head).unwrap() {
        super::AppendArguments::Complete {
            mailbox,
            flags,
            date: parsed,
        } => {
            assert_eq!(mailbox, "m");
            assert_eq!(flags, strings(&["\\Seen", "x"]));
            assert_eq!(parsed, Some(date));
        }
        super::AppendArguments::MailboxIsLiteral => panic!("the mailbox is there"),
    }
}
