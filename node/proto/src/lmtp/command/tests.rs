use proptest::prelude::*;

use super::*;

fn parsed(line: &str) -> Command {
    parse(line.as_bytes(), false).unwrap()
}

fn refused(line: &str) -> String {
    let bytes = parse(line.as_bytes(), false).unwrap_err().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn verbs_are_read_in_any_case() {
    assert_eq!(
        parsed("lhlo mx.example.org"),
        Command::Lhlo("mx.example.org".to_owned())
    );
    assert_eq!(parsed("Data"), Command::Data);
    assert_eq!(parsed("rSET "), Command::Reset);
    assert_eq!(parsed("NOOP anything"), Command::Noop);
    assert_eq!(
        parsed("bdat 86 last"),
        Command::Chunk {
            octets: 86,
            last: true
        }
    );
    assert_eq!(
        parsed("BDAT 0"),
        Command::Chunk {
            octets: 0,
            last: false
        }
    );
    assert_eq!(
        parsed("AUTH PLAIN AGEAYg=="),
        Command::Auth {
            mechanism: "PLAIN".to_owned(),
            initial: Some("AGEAYg==".to_owned())
        }
    );
}

#[test]
fn mail_takes_its_parameters() {
    let Command::Mail(mail) =
        parsed("MAIL FROM:<a@b> SIZE=12345 BODY=8BITMIME SMTPUTF8 AUTH=e+3Dmc2@example.com")
    else {
        panic!();
    };
    assert_eq!(mail.sender, Some(Address::new("a", Some("b".to_owned()))));
    assert_eq!(mail.size, Some(12345));
    assert_eq!(mail.body, Some(Body::EightBitMime));
    assert!(mail.utf8);
    let submitter = Submitter::Mailbox("e=mc2@example.com".to_owned());
    assert_eq!(mail.submitter, Some(submitter));
    let Command::Mail(mail) = parsed("mail from: <> auth=<>") else {
        panic!();
    };
    assert_eq!(
        (mail.sender, mail.submitter),
        (None, Some(Submitter::Unknown))
    );
}

#[test]
fn garbage_is_refused_with_a_reason() {
    for (line, reply) in [
        ("", "500 5.5.1 unknown command\r\n"),
        ("FROB", "500 5.5.1 unknown command\r\n"),
        ("EHLO x", "500 5.5.1 this is LMTP: use LHLO\r\n"),
        ("EXPN x", "502 5.5.1 command is not implemented\r\n"),
        ("LHLO", "501 5.5.4 LHLO needs the client's name\r\n"),
        ("DATA now", "501 5.5.4 no argument is allowed\r\n"),
        (
            "NOOP \0",
            "501 5.5.2 control characters in a command line\r\n",
        ),
        ("MAIL", "501 5.5.2 use MAIL FROM:<path>\r\n"),
        (
            "MAIL FROM:a@b",
            "501 5.1.3 path must be in angle brackets\r\n",
        ),
        (
            "MAIL FROM:<a@b>SIZE=1",
            "501 5.5.2 a space must follow the path\r\n",
        ),
        ("MAIL FROM:<a@b> =1", "501 5.5.2 malformed parameter\r\n"),
        ("MAIL FROM:<a@b> SIZE=", "501 5.5.2 malformed parameter\r\n"),
        (
            "MAIL FROM:<a@b> SIZE",
            "501 5.5.4 malformed or repeated parameter\r\n",
        ),
        (
            "MAIL FROM:<> SIZE=1 SIZE=1",
            "501 5.5.4 malformed or repeated parameter\r\n",
        ),
        (
            "MAIL FROM:<a@b> SIZE=-1",
            "501 5.5.4 a number is malformed or too large\r\n",
        ),
        (
            "MAIL FROM:<> BODY=BINARYMIME",
            "501 5.5.4 BODY must be 7BIT or 8BITMIME\r\n",
        ),
        (
            "MAIL FROM:<a@b> RET=HDRS",
            "555 5.5.4 parameter RET is not known\r\n",
        ),
        ("MAIL FROM:<a@b> AUTH=+3", "501 5.5.4 AUTH is not xtext\r\n"),
        (
            "MAIL FROM:<é@b>",
            "553 5.6.7 non-ASCII address without SMTPUTF8\r\n",
        ),
        (
            "RCPT TO:<é@b>",
            "553 5.6.7 non-ASCII address without SMTPUTF8\r\n",
        ),
        ("RCPT TO:<>", "501 5.5.4 a recipient cannot be empty\r\n"),
        (
            "RCPT TO:<a@b> NOTIFY=NEVER",
            "555 5.5.4 parameter NOTIFY is not known\r\n",
        ),
        ("BDAT", "501 5.5.4 a number is malformed or too large\r\n"),
        (
            "BDAT 99999999999999999999",
            "501 5.5.4 a number is malformed or too large\r\n",
        ),
        ("BDAT 1 LASTING", "501 5.5.4 use BDAT size [LAST]\r\n"),
        ("AUTH", "501 5.5.4 AUTH needs a mechanism\r\n"),
    ] {
        assert_eq!(refused(line), reply, "{line}");
    }
}

fn mails() -> impl Strategy<Value = Mail> {
    let address = ("[ -~é]{0,12}", prop::option::of("[a-z]{1,9}"));
    let submitter = prop_oneof![
        Just(Submitter::Unknown),
        "[ -~é]{1,12}".prop_map(Submitter::Mailbox)
    ];
    let body = prop::sample::select(vec![Body::SevenBit, Body::EightBitMime]);
    (
        prop::option::of(address.prop_map(|(local, domain)| Address::new(local, domain))),
        prop::option::of(any::<u64>()),
        prop::option::of(body),
        prop::option::of(submitter),
    )
        .prop_map(|(sender, size, body, submitter)| Mail {
            sender,
            size,
            body,
            utf8: true,
            submitter,
        })
}

proptest! {
    #[test]
    fn written_lines_read_back(mail in mails(), ignore_quota: bool) {
        prop_assert_eq!(parse(mail.to_line().as_bytes(), false), Ok(Command::Mail(mail.clone())));
        if let Some(address) = mail.sender {
            let recipient = RecipientTo { address, ignore_quota };
            let read = parse(recipient.to_line().as_bytes(), true);
            prop_assert_eq!(read, Ok(Command::Recipient(recipient)));
        }
    }

    #[test]
    fn any_line_is_survived(verb in "(MAIL FROM:<|RCPT TO:<|BDAT |AUTH |)", octets in prop::collection::vec(any::<u8>(), 0..40), utf8: bool) {
        let _ = parse(&[verb.as_bytes(), &octets].concat(), utf8);
    }
}
