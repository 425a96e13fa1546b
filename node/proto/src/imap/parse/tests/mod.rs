//! Known answers for each verb.

mod messages;

use bytes::Bytes;
use murder_model::{InternalDate, SequenceSet};

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
