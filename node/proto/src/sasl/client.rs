//! The client's side of an exchange, as nodes use it toward each other and toward Cyrus.

use super::{Mechanism, Password, encode};

/// One exchange in progress: send [`Self::initial_response`] where the protocol has room for it,
/// else answer each challenge with [`Self::respond`].
#[derive(Clone, Debug)]
pub struct ClientExchange {
    mechanism: Mechanism,
    authorization: String,
    authentication: String,
    password: Option<Password>,
    sent: u8,
}

impl ClientExchange {
    /// PLAIN; an empty `authorization` acts as `authentication` itself. Fields must be without NUL.
    #[must_use]
    pub fn plain(authorization: &str, authentication: &str, password: Password) -> Self {
        Self {
            mechanism: Mechanism::Plain,
            authorization: authorization.to_owned(),
            authentication: authentication.to_owned(),
            password: Some(password),
            sent: 0,
        }
    }

    /// LOGIN, for peers that know nothing better.
    #[must_use]
    pub fn login(authentication: &str, password: Password) -> Self {
        Self {
            mechanism: Mechanism::Login,
            ..Self::plain("", authentication, password)
        }
    }

    /// EXTERNAL; an empty `authorization` acts as the certificate's own name.
    #[must_use]
    pub fn external(authorization: &str) -> Self {
        Self {
            mechanism: Mechanism::External,
            authorization: authorization.to_owned(),
            authentication: String::new(),
            password: None,
            sent: 0,
        }
    }

    /// The mechanism to name in AUTHENTICATE or AUTH.
    #[must_use]
    pub const fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The first message in base64; an empty one is `=`, as RFC 4959 and RFC 4954 want it.
    /// `None`: the mechanism lets the server speak first.
    pub fn initial_response(&mut self) -> Option<String> {
        if self.mechanism == Mechanism::Login {
            return None;
        }
        let message = self.respond()?;
        Some(if message.is_empty() {
            "=".to_owned()
        } else {
            message
        })
    }

    /// The answer to the next challenge in base64. `None`: nothing more to say, so the peer asks
    /// too much; cancel with `*`.
    pub fn respond(&mut self) -> Option<String> {
        let password = self
            .password
            .as_ref()
            .map(Password::as_bytes)
            .unwrap_or_default();
        let message = match (self.mechanism, self.sent) {
            (Mechanism::Plain, 0) => {
                let mut message = Vec::new();
                message.extend_from_slice(self.authorization.as_bytes());
                message.push(0);
                message.extend_from_slice(self.authentication.as_bytes());
                message.push(0);
                message.extend_from_slice(password);
                encode(&message)
            }
            (Mechanism::External, 0) => encode(self.authorization.as_bytes()),
            (Mechanism::Login, 0) => encode(self.authentication.as_bytes()),
            (Mechanism::Login, 1) => encode(password),
            _ => return None,
        };
        self.sent += 1;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Credentials, ServerExchange, Step};
    use super::*;

    #[test]
    fn plain_sends_the_message_that_cyrus_tools_send() {
        let mut client = ClientExchange::plain("mupd", "mupd", Password::new("pw"));
        assert_eq!(
            client.initial_response().as_deref(),
            Some("bXVwZABtdXBkAHB3")
        );
        assert_eq!(client.respond(), None);
    }

    #[test]
    fn external_with_no_identity_is_an_equals_sign_or_an_empty_line() {
        assert_eq!(
            ClientExchange::external("").initial_response().as_deref(),
            Some("=")
        );
        assert_eq!(ClientExchange::external("").respond().as_deref(), Some(""));
    }

    #[test]
    fn client_and_server_agree() {
        for mut client in [
            ClientExchange::plain("", "alice", Password::new("wonder")),
            ClientExchange::login("alice", Password::new("wonder")),
        ] {
            let (mut server, mut step) = ServerExchange::start(client.mechanism(), None);
            while let Step::Challenge(_) = step {
                step = server.respond(client.respond().unwrap().as_bytes());
            }
            let Step::Done(Credentials::Password {
                authorization,
                authentication,
                password,
            }) = step
            else {
                panic!("{step:?}");
            };
            assert_eq!((authorization, authentication.as_str()), (None, "alice"));
            assert!(password.matches(b"wonder") && !password.matches(b"wonde"));
        }
    }
}
