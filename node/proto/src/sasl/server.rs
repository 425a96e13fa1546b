//! The server's side of an exchange: feed it the client's messages, it ends in [`Credentials`].

use thiserror::Error;

use super::{Credentials, FIELD_BYTES_MAX, Mechanism, Password, decode};

/// Why an exchange ended without credentials.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SaslError {
    /// The client sent `*`.
    #[error("authentication cancelled by the client")]
    Cancelled,
    /// The message is not canonical base64.
    #[error("response is not valid base64")]
    NotBase64,
    /// The message or one of its fields is longer than allowed.
    #[error("response is too long")]
    TooLong,
    /// The message does not have the mechanism's form.
    #[error("response is malformed")]
    Malformed,
}

/// What the caller does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Send this base64 text (it may be empty) and give the client's next line to
    /// [`ServerExchange::respond`].
    Challenge(&'static str),
    /// Verify these.
    Done(Credentials),
    /// The exchange is over.
    Failed(SaslError),
}

/// One exchange in progress.
#[derive(Clone, Debug)]
pub struct ServerExchange {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Plain,
    External,
    LoginUser,
    LoginPassword(String),
    Over,
}

/// `Username:` and `Password:` in base64, as every LOGIN client expects them.
const LOGIN_USER_PROMPT: &str = "VXNlcm5hbWU6";
const LOGIN_PASSWORD_PROMPT: &str = "UGFzc3dvcmQ6";

impl ServerExchange {
    /// Starts `mechanism`. `initial` is the initial response as sent: base64, or `=` for a
    /// response that is there and empty (RFC 4959, RFC 4954).
    #[must_use]
    pub fn start(mechanism: Mechanism, initial: Option<&[u8]>) -> (Self, Step) {
        let state = match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::External => State::External,
            Mechanism::Login => State::LoginUser,
        };
        let mut exchange = Self { state };
        let step = match (initial, mechanism) {
            (Some(b"="), _) => exchange.respond(b""),
            (Some(response), _) => exchange.respond(response),
            (None, Mechanism::Login) => Step::Challenge(LOGIN_USER_PROMPT),
            (None, _) => Step::Challenge(""),
        };
        (exchange, step)
    }

    /// Takes the client's answer to the last challenge, without its line end.
    pub fn respond(&mut self, line: &[u8]) -> Step {
        let state = std::mem::replace(&mut self.state, State::Over);
        match Self::advance(state, line) {
            Ok((state, step)) => {
                self.state = state;
                step
            }
            Err(error) => Step::Failed(error),
        }
    }

    fn advance(state: State, line: &[u8]) -> Result<(State, Step), SaslError> {
        if line == b"*" {
            return Err(SaslError::Cancelled);
        }
        let message = decode(line)?;
        Ok(match state {
            State::Plain => (State::Over, Step::Done(plain(&message)?)),
            State::External => (State::Over, Step::Done(external(&message)?)),
            State::LoginUser => (
                State::LoginPassword(identity(&message)?),
                Step::Challenge(LOGIN_PASSWORD_PROMPT),
            ),
            State::LoginPassword(user) => {
                let credentials = Credentials::Password {
                    authorization: None,
                    authentication: user,
                    password: secret(&message)?,
                };
                (State::Over, Step::Done(credentials))
            }
            State::Over => return Err(SaslError::Malformed),
        })
    }
}

/// `[authzid] NUL authcid NUL passwd`, RFC 4616 section 2.
fn plain(message: &[u8]) -> Result<Credentials, SaslError> {
    let mut fields = message.split(|&octet| octet == 0);
    let (Some(authorization), Some(authentication), Some(password), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(SaslError::Malformed);
    };
    Ok(Credentials::Password {
        authorization: optional_identity(authorization)?,
        authentication: identity(authentication)?,
        password: secret(password)?,
    })
}

fn external(message: &[u8]) -> Result<Credentials, SaslError> {
    Ok(Credentials::External {
        authorization: optional_identity(message)?,
    })
}

fn optional_identity(octets: &[u8]) -> Result<Option<String>, SaslError> {
    if octets.is_empty() {
        return Ok(None);
    }
    identity(octets).map(Some)
}

fn identity(octets: &[u8]) -> Result<String, SaslError> {
    let octets = field(octets)?;
    let text = std::str::from_utf8(octets).map_err(|_| SaslError::Malformed)?;
    Ok(text.to_owned())
}

fn secret(octets: &[u8]) -> Result<Password, SaslError> {
    let octets = field(octets)?;
    std::str::from_utf8(octets).map_err(|_| SaslError::Malformed)?;
    Ok(Password::new(octets))
}

fn field(octets: &[u8]) -> Result<&[u8], SaslError> {
    if octets.len() > FIELD_BYTES_MAX {
        return Err(SaslError::TooLong);
    }
    if octets.is_empty() || octets.contains(&0) {
        return Err(SaslError::Malformed);
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{MESSAGE_BASE64_BYTES_MAX, encode};
    use super::*;

    fn shown(step: &Step) -> String {
        match step {
            Step::Challenge(text) => format!("challenge {text}"),
            Step::Done(Credentials::Password {
                authorization,
                authentication,
                password,
            }) => format!(
                "password {authorization:?} {authentication} {}",
                String::from_utf8_lossy(password.as_bytes())
            ),
            Step::Done(Credentials::External { authorization }) => {
                format!("external {authorization:?}")
            }
            Step::Failed(error) => format!("failed: {error}"),
        }
    }

    fn started(mechanism: Mechanism, initial: Option<&str>) -> String {
        shown(&ServerExchange::start(mechanism, initial.map(str::as_bytes)).1)
    }

    /// The two examples of RFC 4616 section 4.
    #[test]
    fn plain_of_the_rfc_is_understood() {
        assert_eq!(
            started(Mechanism::Plain, Some(&encode(b"\0tim\0tanstaaftanstaaf"))),
            "password None tim tanstaaftanstaaf"
        );
        assert_eq!(
            started(Mechanism::Plain, Some(&encode(b"Ursel\0Kurt\0xipj3plmq"))),
            "password Some(\"Ursel\") Kurt xipj3plmq"
        );
    }

    /// What Cyrus' own tools send: `mupd NUL mupd NUL pw`.
    #[test]
    fn plain_of_a_cyrus_mupdate_client_is_understood() {
        assert_eq!(
            started(Mechanism::Plain, Some("bXVwZABtdXBkAHB3")),
            "password Some(\"mupd\") mupd pw"
        );
    }

    #[test]
    fn plain_without_initial_response_gets_an_empty_challenge() {
        let (mut exchange, step) = ServerExchange::start(Mechanism::Plain, None);
        assert_eq!(shown(&step), "challenge ");
        let step = exchange.respond(encode(b"\0tim\0secret").as_bytes());
        assert_eq!(shown(&step), "password None tim secret");
        let step = exchange.respond(encode(b"\0tim\0secret").as_bytes());
        assert_eq!(shown(&step), "failed: response is malformed");
    }

    #[test]
    fn malformed_plain_is_refused() {
        let malformed = "failed: response is malformed";
        for message in [
            &b""[..],
            b"tim",
            b"\0tim",
            b"\0tim\0",
            b"\0\0secret",
            b"a\0b\0c\0d",
            b"\0t\xffm\0secret",
            b"\0tim\0secr\xff",
        ] {
            assert_eq!(started(Mechanism::Plain, Some(&encode(message))), malformed);
        }
        assert_eq!(started(Mechanism::Plain, Some("=")), malformed);
    }

    #[test]
    fn base64_is_strict() {
        for text in [
            "AHRpbQBz ",
            "AHRpbQBzZQ",
            "AHRpbQBzZR==",
            "AHRpbQ\r\n",
            "A",
            "====",
        ] {
            assert_eq!(
                started(Mechanism::Plain, Some(text)),
                "failed: response is not valid base64"
            );
        }
    }

    #[test]
    fn the_longest_fields_fit_and_one_more_octet_does_not() {
        let longest = "x".repeat(FIELD_BYTES_MAX);
        let message = encode(format!("{longest}\0{longest}\0{longest}").as_bytes());
        assert!(message.len() <= MESSAGE_BASE64_BYTES_MAX);
        assert!(started(Mechanism::Plain, Some(&message)).starts_with("password Some"));
        let message = encode(format!("\0{longest}x\0p").as_bytes());
        assert_eq!(
            started(Mechanism::Plain, Some(&message)),
            "failed: response is too long"
        );
        let message = "A".repeat(MESSAGE_BASE64_BYTES_MAX + 4);
        assert_eq!(
            started(Mechanism::Plain, Some(&message)),
            "failed: response is too long"
        );
    }

    #[test]
    fn external_takes_an_empty_and_a_given_identity() {
        assert_eq!(started(Mechanism::External, Some("=")), "external None");
        assert_eq!(started(Mechanism::External, Some("")), "external None");
        assert_eq!(
            started(Mechanism::External, Some(&encode(b"alice"))),
            "external Some(\"alice\")"
        );
        assert_eq!(
            started(Mechanism::External, Some(&encode(b"al\0ice"))),
            "failed: response is malformed"
        );
    }

    #[test]
    fn login_prompts_for_user_and_password() {
        let (mut exchange, step) = ServerExchange::start(Mechanism::Login, None);
        assert_eq!(shown(&step), "challenge VXNlcm5hbWU6");
        let step = exchange.respond(encode(b"alice").as_bytes());
        assert_eq!(shown(&step), "challenge UGFzc3dvcmQ6");
        let step = exchange.respond(encode(b"wonder").as_bytes());
        assert_eq!(shown(&step), "password None alice wonder");
    }

    #[test]
    fn a_star_cancels() {
        for mechanism in [Mechanism::Plain, Mechanism::External, Mechanism::Login] {
            let (mut exchange, _) = ServerExchange::start(mechanism, None);
            assert_eq!(
                shown(&exchange.respond(b"*")),
                "failed: authentication cancelled by the client"
            );
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let (_, step) = ServerExchange::start(
            Mechanism::Plain,
            Some(encode(b"\0tim\0tanstaaf").as_bytes()),
        );
        let shown = format!("{step:?}");
        assert!(
            !shown.contains("tanstaaf") && !shown.contains("116, 97"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn any_line_is_survived(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 1..4)) {
            for mechanism in [Mechanism::Plain, Mechanism::External, Mechanism::Login] {
                let (mut exchange, _) = ServerExchange::start(mechanism, Some(&lines[0]));
                for line in &lines {
                    exchange.respond(line);
                    exchange.respond(encode(line).as_bytes());
                }
            }
        }
    }
}
