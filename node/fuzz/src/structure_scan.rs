//! Messages: every one has a structure, whose ranges lie inside of it and which reads back.

use murder_store::structure::{
    Section, SectionPath, SectionPlan, decode, encode, locate, scan, write_body, write_envelope,
};

/// For mutations.
pub const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"--b\r\n",
    b"--b--\r\n",
    b"--b \t\r\n",
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Type: text/plain; charset*0*=utf-8''%41; charset*1=b\r\n",
    b"MIME-Version: 1.0\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Disposition: attachment; filename=\"a b\"\r\n",
    b"From: \"A, B\" <a@b>, c@d (e)\r\n",
    b"To: group: a@b, c@d;\r\n",
    b"Date: Mon, 7 Feb 1994 21:52:25 -0800\r\n",
    b"Subject: =?utf-8?q?=C3=A9?=\r\n",
    b"Message-ID: <a@b>\r\n",
    b"(",
    b"\\",
    b"\"",
    b";",
    b":",
];

/// Scans `data` and reads everything that the structure names.
pub fn run(data: &[u8]) {
    let structure = scan(data);
    assert_eq!(structure.bytes, data.len() as u64);
    for part in &structure.parts {
        for range in [&part.header, &part.body] {
            assert!(
                range.start <= range.end && range.end <= structure.bytes,
                "{range:?}"
            );
        }
    }
    let again = decode(&encode(&structure)).expect("an encoded structure decodes");
    assert_eq!(again, structure);
    let mut out = Vec::new();
    write_envelope(&structure.envelope, &mut out);
    write_body(&structure, false, &mut out);
    write_body(&structure, true, &mut out);
    for part in [
        vec![],
        vec![1],
        vec![2],
        vec![1, 1],
        vec![1, 2, 1],
        vec![u32::MAX],
        vec![0],
    ] {
        for section in [Section::Full, Section::Header, Section::Text, Section::Mime] {
            let path = SectionPath {
                part: part.clone(),
                section,
            };
            if let Some(SectionPlan::Range(range)) = locate(&structure, &path) {
                assert!(
                    range.start <= range.end && range.end <= structure.bytes,
                    "{range:?}"
                );
            }
        }
    }
    // Whatever was cached may be damaged.
    let _ = decode(data);
}
