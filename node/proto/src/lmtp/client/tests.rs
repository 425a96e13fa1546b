use proptest::prelude::*;

use super::super::address::Address;
use super::super::reply::EnhancedCode;
use super::*;

fn to(local: &str) -> RecipientTo {
    RecipientTo {
        address: Address::new(local, None),
        ignore_quota: true,
    }
}

fn shown(client: &mut Client) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(event) = client.next_event().unwrap() {
        let (name, reply) = match event {
            ClientEvent::Greeting(reply) => ("greeting".to_owned(), reply),
            ClientEvent::Hello(reply) => ("hello".to_owned(), reply),
            ClientEvent::Mail(reply) => ("mail".to_owned(), reply),
            ClientEvent::Recipient { index, reply } => (format!("recipient {index}"), reply),
            ClientEvent::Data(reply) => ("data".to_owned(), reply),
            ClientEvent::Chunk(reply) => ("chunk".to_owned(), reply),
            ClientEvent::Delivered { index, reply } => (format!("delivered {index}"), reply),
            ClientEvent::Undelivered(reply) => ("undelivered".to_owned(), reply),
            ClientEvent::Idle(reply) => ("idle".to_owned(), reply),
            other => panic!("{other:?}"),
        };
        events.push(format!("{name} {}", reply.code()));
    }
    events
}

fn feed_by_octet(client: &mut Client, octets: &[u8]) -> Vec<String> {
    let mut events = Vec::new();
    for octet in octets.chunks(1) {
        client.feed(octet);
        events.extend(shown(client));
    }
    events
}

fn greeted(offers: &str) -> Client {
    let mut client = Client::new();
    client.hello("fe-0");
    let offers = format!("220 be1 LMTP\r\n250-be1\r\n{offers}250 ENHANCEDSTATUSCODES\r\n");
    assert_eq!(
        feed_by_octet(&mut client, offers.as_bytes()),
        ["greeting 220", "hello 250"]
    );
    assert_eq!(client.output().split(), "LHLO fe-0\r\n");
    client
}

#[test]
fn each_accepted_recipient_has_its_reply_after_data() {
    let mut client = greeted("250-PIPELINING\r\n250-SIZE\r\n");
    let mail = Mail {
        size: Some(5),
        ..Mail::default()
    };
    assert!(client.mail(&mail));
    for local in ["a", "b", "c"] {
        client.recipient(&to(local));
    }
    client.data();
    assert_eq!(
        client.output().split(),
        "MAIL FROM:<> SIZE=5\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nRCPT TO:<c>\r\nDATA\r\n"
    );
    let replies = b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250-two\r\n250 lines\r\n354 go\r\n";
    assert_eq!(
        feed_by_octet(&mut client, replies),
        [
            "mail 250",
            "recipient 0 250",
            "recipient 1 550",
            "recipient 2 250",
            "data 354"
        ]
    );
    client.content(b".a\r\n.");
    client.content(b"b\r\n");
    assert!(!client.finish_data());
    client.reset();
    assert_eq!(client.output().split(), "..a\r\n..b\r\n.\r\nRSET\r\n");
    assert_eq!(
        feed_by_octet(
            &mut client,
            b"250 2.1.5 ok\r\n451 4.3.0 later\r\n250 reset\r\n"
        ),
        ["delivered 0 250", "delivered 2 451", "idle 250"]
    );
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn chunks_have_one_reply_each_and_the_last_one_per_recipient() {
    let mut client = greeted("250-PIPELINING\r\n250-CHUNKING\r\n250-IGNOREQUOTA\r\n");
    assert!(client.capabilities().chunking);
    assert!(client.mail(&Mail::default()));
    client.recipient(&to("a"));
    client.recipient(&to("b"));
    client.chunk(b"no line", false);
    client.chunk(b" end", true);
    assert_eq!(
        client.output().split(),
        "MAIL FROM:<>\r\nRCPT TO:<a> IGNOREQUOTA\r\nRCPT TO:<b> IGNOREQUOTA\r\n\
         BDAT 7\r\nno lineBDAT 4 LAST\r\n end"
    );
    client.feed(b"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n");
    assert_eq!(
        shown(&mut client),
        [
            "mail 250",
            "recipient 0 250",
            "recipient 1 250",
            "chunk 250",
            "delivered 0 250",
            "delivered 1 250"
        ]
    );
}

#[test]
fn content_without_an_accepted_recipient_has_one_reply() {
    let mut client = greeted("250-CHUNKING\r\n");
    assert!(client.mail(&Mail::default()));
    client.recipient(&to("a"));
    client.chunk(b"x", true);
    client.feed(b"250 ok\r\n550 no\r\n503 no recipients\r\n");
    assert_eq!(
        shown(&mut client),
        ["mail 250", "recipient 0 550", "undelivered 503"]
    );
}

#[test]
fn a_last_chunk_after_a_refused_one_is_ambiguous() {
    let mut client = greeted("250-CHUNKING\r\n");
    assert!(client.mail(&Mail::default()));
    client.recipient(&to("a"));
    client.chunk(b"x", false);
    client.chunk(b"y", true);
    client.feed(b"250 ok\r\n250 ok\r\n452 4.3.1 full\r\n");
    assert_eq!(
        shown(&mut client),
        ["mail 250", "recipient 0 250", "chunk 452"]
    );
    client.feed(b"503 no\r\n");
    assert_eq!(client.next_event(), Err(ReplyError::Ambiguous));
}

#[test]
fn internationalised_mail_is_not_sent_where_it_cannot_go() {
    let mut client = greeted("");
    assert!(!client.mail(&Mail {
        utf8: true,
        ..Mail::default()
    }));
    assert!(client.output().is_empty());
}

#[test]
fn malformed_replies_are_refused() {
    let long = "2".repeat(REPLY_LINE_BYTES_MAX);
    let many = "250-x\r\n".repeat(REPLY_LINES_MAX + 1);
    for (octets, error) in [
        ("ok\r\n", ReplyError::Malformed),
        ("25 ok\r\n", ReplyError::Malformed),
        ("150 ok\r\n", ReplyError::Malformed),
        ("2500 ok\r\n", ReplyError::Malformed),
        ("250-ok\r\n251 ok\r\n", ReplyError::Malformed),
        (long.as_str(), ReplyError::LineTooLong),
        (many.as_str(), ReplyError::TooManyLines),
    ] {
        let mut reader = ReplyReader::default();
        reader.feed(octets.as_bytes());
        assert_eq!(reader.next_reply(), Err(error), "{octets}");
    }
    let mut client = Client::new();
    client.feed(b"220 hi\r\n250 what\r\n");
    assert!(client.next_event().is_ok());
    assert_eq!(client.next_event(), Err(ReplyError::Unexpected));
}

#[test]
fn replies_written_here_read_back() {
    let reply = Reply::new(250, EnhancedCode(2, 1, 5), "one").line("two");
    let mut reader = ReplyReader::default();
    reader.feed(&reply.to_bytes());
    assert_eq!(reader.next_reply(), Ok(Some(reply)));
    reader.feed(b"250\n");
    assert_eq!(reader.next_reply(), Ok(Some(Reply::bare(250, ""))));
}

proptest! {
    #[test]
    fn any_octets_are_survived(pieces in prop::collection::vec(prop::collection::vec(prop::sample::select(&b"250 -\r\nx\xff"[..]), 0..20), 0..20)) {
        let mut client = Client::new();
        client.hello("x");
        for piece in pieces {
            client.feed(&piece);
            while let Ok(Some(_)) = client.next_event() {}
        }
    }
}
