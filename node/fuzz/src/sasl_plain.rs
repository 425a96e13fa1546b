//! SASL messages, framed by line ends: credentials that are understood say what was sent.

use murder_proto::sasl::{
    ClientExchange, Credentials, Mechanism, Password, ServerExchange, Step, decode, encode,
};

/// For mutations: base64 of short messages, and what is none.
pub const WORDS: &[&[u8]] = &[
    b"AHRpbQB0YW5zdGFhZnRhbnN0YWFm",
    b"bXVwZABtdXBkAHB3",
    b"AAAA",
    b"=",
    b"==",
    b"*",
    b"\n",
    b"YQ==",
    b"YWI=",
    b"AP8A",
];

/// Runs each mechanism over the lines of `data`.
pub fn run(data: &[u8]) {
    for mechanism in [Mechanism::Plain, Mechanism::External, Mechanism::Login] {
        let mut lines = data.split(|&octet| octet == b'\n');
        let (mut exchange, mut step) = ServerExchange::start(mechanism, lines.next());
        for line in lines {
            check(&step);
            step = exchange.respond(line);
        }
        check(&step);
        // The same octets as a message, not as base64.
        check(&ServerExchange::start(mechanism, Some(encode(data).as_bytes())).1);
    }
    if let Ok(message) = decode(data) {
        assert_eq!(encode(&message).as_bytes(), data, "base64 is not canonical");
    }
}

fn check(step: &Step) {
    let Step::Done(Credentials::Password {
        authorization,
        authentication,
        password,
    }) = step
    else {
        return;
    };
    assert!(!authentication.is_empty() && !authentication.contains('\0'));
    let authorization = authorization.as_deref().unwrap_or_default();
    let secret = Password::new(password.as_bytes());
    let mut client = ClientExchange::plain(authorization, authentication, secret);
    let sent = client.initial_response().expect("PLAIN speaks first");
    match ServerExchange::start(Mechanism::Plain, Some(sent.as_bytes())).1 {
        Step::Done(Credentials::Password {
            authentication: again,
            password: known,
            ..
        }) => {
            assert_eq!(&again, authentication);
            assert!(known.matches(password.as_bytes()));
        }
        other => panic!("{other:?}"),
    }
}
