//! curl's IMAP.

use std::path::Path;

use crate::harness::PASSWORD;
use crate::service::Service;
use crate::{mail, program};

struct Curl<'a> {
    program: &'a Path,
    base: String,
    user: &'static str,
}

impl Curl<'_> {
    fn get(&self, path: &str, options: &[&str]) -> Vec<u8> {
        let url = format!("{}{path}", self.base);
        let user = format!("{}:{PASSWORD}", self.user);
        let mut arguments = vec!["-sS", "--max-time", "60", "--user", &user];
        arguments.extend(options);
        arguments.push(&url);
        program::succeed(self.program, &arguments)
    }

    fn lines(&self, path: &str, options: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.get(path, options)).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn list_upload_search_and_fetch(service: &Service) {
    let program = program::find("curl", "curl");
    let curl = Curl {
        program: &program,
        base: format!("imap://127.0.0.1:{}/", service.imap),
        user: service.user,
    };
    let message: &[u8] =
        b"From: ada@example.org\r\nSubject: upload\r\n\r\n.dot\r\n8 bit: \xfc\r\nA1 OK )\r\nbare \n\r\n";
    let file = service.path().join("upload.eml");
    std::fs::write(&file, message).unwrap();
    curl.get("", &["-X", "CREATE \"My mail\""]);
    let upload = ["-T", file.to_str().unwrap()];
    for folder in ["INBOX", "My%20mail"] {
        curl.get(folder, &upload);
    }
    assert_eq!(
        curl.lines("", &["-X", "LIST \"\" M*"]),
        ["* LIST (\\HasNoChildren) \"/\" \"My mail\""]
    );
    assert!(
        curl.lines("", &[])
            .contains(&"* LIST (\\HasNoChildren) \"/\" \"INBOX\"".to_owned())
    );
    for folder in ["INBOX", "My%20mail"] {
        let whole = curl.get(&format!("{folder};UID=1"), &[]);
        mail::assert_same(folder, &whole, message);
    }
    let text = curl.get("INBOX;UID=1;SECTION=TEXT", &[]);
    mail::assert_same("the text", &text, &message[42..]);
    let header = curl.get("INBOX;MAILINDEX=1;SECTION=HEADER", &[]);
    mail::assert_same("the header", &header, &message[..42]);
    let part = curl.get("INBOX;UID=1;PARTIAL=6.7", &[]);
    mail::assert_same("the partial", &part, &message[6..13]);
    assert_eq!(curl.lines("INBOX?SUBJECT%20UPLOAD", &[]), ["* SEARCH 1"]);
    assert_eq!(curl.lines("INBOX?SUBJECT%20nothing", &[]), ["* SEARCH"]);
}

fn upload_a_long_message(service: &Service) {
    let program = program::find("curl", "curl");
    let curl = Curl {
        program: &program,
        base: format!("imap://127.0.0.1:{}/", service.imap),
        user: service.user,
    };
    let mut message = b"Subject: long\r\n\r\n".to_vec();
    for number in 0..100_000_u32 {
        message.extend(
            format!(
                "line {number} {:08x}\r\n",
                number.wrapping_mul(2_654_435_761)
            )
            .bytes(),
        );
    }
    let file = service.path().join("upload.eml");
    std::fs::write(&file, &message).unwrap();
    curl.get("INBOX", &["-T", file.to_str().unwrap()]);
    mail::assert_same("the message", &curl.get("INBOX;UID=1", &[]), &message);
}

#[test]
fn curl_lists_uploads_searches_and_fetches_by_uid() {
    list_upload_search_and_fetch(&Service::single());
}

#[test]
fn curl_uploads_a_long_message() {
    upload_a_long_message(&Service::single());
}

#[test]
fn curl_does_the_same_through_a_frontend() {
    list_upload_search_and_fetch(&Service::murder("curl-a"));
    upload_a_long_message(&Service::murder("curl-b"));
}
