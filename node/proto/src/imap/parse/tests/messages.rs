//! Commands on messages.

use bytes::Bytes;
use murder_model::Day;

use super::{bytes, command, parse, refusal, set, strings};
use crate::imap::command::*;

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
