//! Known answers, and that what is written is read back.

use bytes::Bytes;
use murder_model::{InternalDate, Keyword, SystemFlags, UidSet};
use proptest::prelude::*;

use super::*;
use crate::imap::command::{Section, SectionText, StatusItem};
use crate::imap::parse::input::Input;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn set(text: &str) -> UidSet {
    text.parse().unwrap()
}

#[test]
fn status_lines_with_codes() {
    let line = |code: Code<'_>| written(|out| tagged(out, b"a1", Status::Ok, Some(&code), "done"));
    assert_eq!(line(Code::ReadWrite), "a1 OK [READ-WRITE] done\r\n");
    assert_eq!(
        line(Code::AppendUid {
            uid_validity: 38_505,
            uid: 3955
        }),
        "a1 OK [APPENDUID 38505 3955] done\r\n",
    );
    let (from, to) = (set("304,319:320"), set("3956:3958"));
    assert_eq!(
        line(Code::CopyUid {
            uid_validity: 38_505,
            from: &from,
            to: &to
        }),
        "a1 OK [COPYUID 38505 304,319:320 3956:3958] done\r\n",
    );
    assert_eq!(
        line(Code::HighestModSeq(715_194_045_007)),
        "a1 OK [HIGHESTMODSEQ 715194045007] done\r\n"
    );
    assert_eq!(
        line(Code::Modified(&set("7,9"))),
        "a1 OK [MODIFIED 7,9] done\r\n"
    );
    let keywords = [Keyword::parse("$Junk").unwrap()];
    let flags = |any_keyword| Code::PermanentFlags {
        system: SystemFlags::from_name("\\Seen").unwrap(),
        keywords: &keywords,
        any_keyword,
    };
    assert_eq!(
        line(flags(true)),
        "a1 OK [PERMANENTFLAGS (\\Seen $Junk \\*)] done\r\n"
    );
    assert_eq!(
        line(flags(false)),
        "a1 OK [PERMANENTFLAGS (\\Seen $Junk)] done\r\n"
    );
    assert_eq!(
        line(Code::Capability(&["IMAP4rev1", "ID"])),
        "a1 OK [CAPABILITY IMAP4rev1 ID] done\r\n"
    );
    assert_eq!(line(Code::Other("X 1")), "a1 OK [X 1] done\r\n");
    assert_eq!(
        written(|out| untagged(out, Status::Bye, None, "bad\r\nnews")),
        "* BYE bad??news\r\n",
    );
    assert_eq!(written(|out| continuation(out, "idling")), "+ idling\r\n");
}

#[test]
fn strings_take_the_form_that_they_need() {
    let form = |text: &str| written(|out| astring(out, text.as_bytes()));
    assert_eq!(form("INBOX"), "INBOX");
    assert_eq!(form(""), "\"\"");
    assert_eq!(form("nil"), "\"nil\"");
    assert_eq!(form("a b"), "\"a b\"");
    assert_eq!(form("a\"\\b"), "\"a\\\"\\\\b\"");
    assert_eq!(form("a\r\nb"), "{4}\r\na\r\nb");
    assert_eq!(form("\u{e9}"), "{2}\r\n\u{e9}");
    assert_eq!(written(|out| nstring(out, None)), "NIL");
    assert_eq!(written(|out| nstring(out, Some(b"x"))), "\"x\"");
}

#[test]
fn data_lines() {
    assert_eq!(
        written(|out| numbered(out, 23, "EXISTS")),
        "* 23 EXISTS\r\n"
    );
    assert_eq!(written(|out| expunge(out, 3)), "* 3 EXPUNGE\r\n");
    assert_eq!(
        written(|out| vanished(out, true, &set("41,43:116"))),
        "* VANISHED (EARLIER) 41,43:116\r\n",
    );
    assert_eq!(
        written(|out| capability(out, &["IMAP4rev1"])),
        "* CAPABILITY IMAP4rev1\r\n"
    );
    assert_eq!(written(|out| enabled(out, &[])), "* ENABLED\r\n");
    assert_eq!(
        written(|out| list(
            out,
            "LIST",
            ["\\HasNoChildren", "\\Sent"],
            Some(b'/'),
            b"Sent Items"
        )),
        "* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent Items\"\r\n",
    );
    assert_eq!(
        written(|out| list(out, "LSUB", [], None, b"x")),
        "* LSUB () NIL x\r\n"
    );
    assert_eq!(
        written(|out| status(
            out,
            b"x",
            [(StatusItem::Messages, 231), (StatusItem::UidNext, 44_292)]
        )),
        "* STATUS x (MESSAGES 231 UIDNEXT 44292)\r\n",
    );
    assert_eq!(written(|out| search(out, [], None)), "* SEARCH\r\n");
    assert_eq!(
        written(|out| search(out, [2, 84], Some(917))),
        "* SEARCH 2 84 (MODSEQ 917)\r\n",
    );
    assert_eq!(
        written(|out| acl(out, b"x", [("alice", "lrs"), ("-bob", "")])),
        "* ACL x alice lrs -bob \"\"\r\n",
    );
    assert_eq!(
        written(|out| list_rights(out, b"x", b"bob", "", ["l", "r"])),
        "* LISTRIGHTS x bob \"\" l r\r\n",
    );
    assert_eq!(
        written(|out| my_rights(out, b"x", "lr")),
        "* MYRIGHTS x lr\r\n"
    );
    assert_eq!(
        written(|out| namespace(out, [&[("", b'/')], &[("Other Users/", b'/')], &[]])),
        "* NAMESPACE ((\"\" \"/\")) ((\"Other Users/\" \"/\")) NIL\r\n",
    );
    assert_eq!(written(|out| id(out, &[])), "* ID NIL\r\n");
    assert_eq!(
        written(|out| id(out, &[("name", Some("murder")), ("os", None)])),
        "* ID (\"name\" \"murder\" \"os\" NIL)\r\n",
    );
}

#[test]
fn fetch_lines() {
    let date = InternalDate::parse(b"17-Jul-1996 02:44:25 -0700").unwrap();
    let asked = Section {
        path: vec![1, 2],
        text: Some(SectionText::HeaderFields(vec![
            Bytes::from("From"),
            Bytes::from("a b"),
        ])),
    };
    let keywords = [Keyword::parse("$Junk").unwrap()];
    let line = written(|out| {
        let mut fetch = FetchWriter::begin(out, 12);
        fetch.uid(out, 7);
        fetch.flags(
            out,
            true,
            SystemFlags::from_name("\\Seen").unwrap(),
            &keywords,
        );
        fetch.internal_date(out, date);
        fetch.size(out, 4286);
        fetch.mod_seq(out, 65);
        fetch.body(out, &asked, Some(0), 3);
        out.extend(b"a\r\n");
        fetch.body_nil(out, &Section::default(), None);
        fetch.item(out, "RFC822");
        string(out, b"");
        fetch.end(out);
    });
    assert_eq!(
        line,
        "* 12 FETCH (UID 7 FLAGS (\\Recent \\Seen $Junk) \
         INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" RFC822.SIZE 4286 MODSEQ (65) \
         BODY[1.2.HEADER.FIELDS (From \"a b\")]<0> {3}\r\na\r\n BODY[] NIL RFC822 \"\")\r\n",
    );
}

proptest! {
    #[test]
    fn any_string_is_read_as_written(content in prop::collection::vec(1_u8.., 0..50)) {
        let mut out = Vec::new();
        astring(&mut out, &content);
        out.push(b' ');
        string(&mut out, &content);
        let raw = Bytes::from(out);
        let mut input = Input::new(&raw);
        prop_assert_eq!(input.astring().unwrap(), content.clone());
        input.space().unwrap();
        prop_assert_eq!(input.string().unwrap(), content);
        prop_assert!(input.rest().is_empty());
    }
}
