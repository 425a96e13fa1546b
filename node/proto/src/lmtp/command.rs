//! Command lines: RFC 2033 section 4, RFC 5321 section 4.1.1 and the extensions in use.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use super::address::{Address, PathError, parse_path};
use super::reply::{EnhancedCode, Reply};

/// BODY= of RFC 6152.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// All octets below 128.
    SevenBit,
    /// Any octets, in lines.
    EightBitMime,
}

/// AUTH= of RFC 4954 section 5: who first submitted the message, as far as the sender trusts it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Submitter {
    /// `AUTH=<>`.
    Unknown,
    /// A mailbox, decoded from xtext.
    Mailbox(String),
}

/// MAIL FROM with its parameters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mail {
    /// The reverse-path; `None` is `<>`.
    pub sender: Option<Address>,
    /// SIZE= of RFC 1870.
    pub size: Option<u64>,
    /// BODY=.
    pub body: Option<Body>,
    /// SMTPUTF8: addresses and header fields may be UTF-8.
    pub utf8: bool,
    /// AUTH=.
    pub submitter: Option<Submitter>,
}

/// RCPT TO with its parameters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecipientTo {
    /// The forward-path.
    pub address: Address,
    /// IGNOREQUOTA, which Cyrus' LMTP clients pass on.
    pub ignore_quota: bool,
}

/// One command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// LHLO with the client's name.
    Lhlo(String),
    /// MAIL.
    Mail(Mail),
    /// RCPT.
    Recipient(RecipientTo),
    /// DATA.
    Data,
    /// BDAT: that many octets follow the line.
    Chunk {
        /// Size of the chunk.
        octets: u64,
        /// LAST: the message is complete with it.
        last: bool,
    },
    /// RSET.
    Reset,
    /// NOOP.
    Noop,
    /// VRFY.
    Verify,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth {
        /// As sent.
        mechanism: String,
        /// Base64, or `=`.
        initial: Option<String>,
    },
}

/// Parses a line without its CRLF. `utf8`: the open transaction has SMTPUTF8. An error is the
/// reply to send.
pub fn parse(line: &[u8], utf8: bool) -> Result<Command, Reply> {
    if line
        .iter()
        .any(|octet| matches!(octet, b'\0' | b'\r' | b'\n'))
    {
        return Err(syntax("control characters in a command line"));
    }
    let verb_end = line
        .iter()
        .position(|&octet| octet == b' ')
        .unwrap_or(line.len());
    let (verb, arguments) = line.split_at(verb_end);
    let arguments = arguments.trim_ascii();
    match verb.to_ascii_uppercase().as_slice() {
        b"LHLO" => lhlo(arguments),
        b"MAIL" => mail(arguments),
        b"RCPT" => recipient(arguments, utf8),
        b"DATA" => alone(Command::Data, arguments),
        b"BDAT" => chunk(arguments),
        b"RSET" => alone(Command::Reset, arguments),
        b"NOOP" => Ok(Command::Noop),
        b"VRFY" => Ok(Command::Verify),
        b"QUIT" => alone(Command::Quit, arguments),
        b"STARTTLS" => alone(Command::StartTls, arguments),
        b"AUTH" => auth(arguments),
        b"HELO" | b"EHLO" => Err(unrecognised("this is LMTP: use LHLO")),
        b"EXPN" | b"HELP" | b"TURN" | b"SEND" | b"SOML" | b"SAML" | b"ETRN" => Err(Reply::new(
            502,
            EnhancedCode(5, 5, 1),
            "command is not implemented",
        )),
        _ => Err(unrecognised("unknown command")),
    }
}

fn unrecognised(text: &'static str) -> Reply {
    Reply::new(500, EnhancedCode(5, 5, 1), text)
}

fn syntax(text: &'static str) -> Reply {
    Reply::new(501, EnhancedCode(5, 5, 2), text)
}

fn bad_argument(text: impl Into<String>) -> Reply {
    Reply::new(501, EnhancedCode(5, 5, 4), text.into())
}

fn unknown_parameter(name: &[u8]) -> Reply {
    let name = String::from_utf8_lossy(&name[..name.len().min(40)]).into_owned();
    Reply::new(
        555,
        EnhancedCode(5, 5, 4),
        format!("parameter {name} is not known"),
    )
}

fn alone(command: Command, arguments: &[u8]) -> Result<Command, Reply> {
    if arguments.is_empty() {
        Ok(command)
    } else {
        Err(bad_argument("no argument is allowed"))
    }
}

fn text(octets: &[u8]) -> Result<String, Reply> {
    let text = std::str::from_utf8(octets).map_err(|_| syntax("argument is not UTF-8"))?;
    Ok(text.to_owned())
}

fn lhlo(arguments: &[u8]) -> Result<Command, Reply> {
    if arguments.is_empty() {
        return Err(bad_argument("LHLO needs the client's name"));
    }
    Ok(Command::Lhlo(text(arguments)?))
}

fn mail(arguments: &[u8]) -> Result<Command, Reply> {
    let path = after_keyword(arguments, b"FROM:").ok_or_else(|| syntax("use MAIL FROM:<path>"))?;
    // Whether 8-bit is allowed in the path is known only after the parameters.
    let (sender, parameters) = parse_path(path, true).map_err(path_refusal)?;
    let mut mail = Mail {
        sender,
        ..Mail::default()
    };
    for (name, value) in parameters_of(parameters)? {
        match (name.to_ascii_uppercase().as_slice(), value) {
            (b"SIZE", Some(value)) => set_once(&mut mail.size, number(value)?)?,
            (b"BODY", Some(value)) => set_once(&mut mail.body, body(value)?)?,
            (b"AUTH", Some(value)) => set_once(&mut mail.submitter, submitter(value)?)?,
            (b"SMTPUTF8", None) if !mail.utf8 => mail.utf8 = true,
            (b"SIZE" | b"BODY" | b"AUTH" | b"SMTPUTF8", _) => {
                return Err(bad_argument("malformed or repeated parameter"));
            }
            _ => return Err(unknown_parameter(name)),
        }
    }
    if !mail.utf8
        && mail
            .sender
            .as_ref()
            .is_some_and(|sender| !sender.is_ascii())
    {
        return Err(path_refusal(PathError::NotAscii));
    }
    Ok(Command::Mail(mail))
}

fn recipient(arguments: &[u8], utf8: bool) -> Result<Command, Reply> {
    let path = after_keyword(arguments, b"TO:").ok_or_else(|| syntax("use RCPT TO:<path>"))?;
    let (address, parameters) = parse_path(path, utf8).map_err(path_refusal)?;
    let address = address.ok_or_else(|| bad_argument("a recipient cannot be empty"))?;
    let mut ignore_quota = false;
    for (name, value) in parameters_of(parameters)? {
        if !name.eq_ignore_ascii_case(b"IGNOREQUOTA") || value.is_some() {
            return Err(unknown_parameter(name));
        }
        ignore_quota = true;
    }
    Ok(Command::Recipient(RecipientTo {
        address,
        ignore_quota,
    }))
}

fn path_refusal(error: PathError) -> Reply {
    match error {
        PathError::NotAscii => Reply::new(553, EnhancedCode(5, 6, 7), error.to_string()),
        _ => Reply::new(501, EnhancedCode(5, 1, 3), error.to_string()),
    }
}

/// What follows `keyword`, after spaces that some clients put there.
fn after_keyword<'a>(arguments: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = arguments.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword)
        .then(|| rest.trim_ascii_start())
}

type Parameter<'a> = (&'a [u8], Option<&'a [u8]>);

fn parameters_of(rest: &[u8]) -> Result<Vec<Parameter<'_>>, Reply> {
    if !rest.is_empty() && !rest.starts_with(b" ") {
        return Err(syntax("a space must follow the path"));
    }
    let words = rest
        .split(|&octet| octet == b' ')
        .filter(|word| !word.is_empty());
    words
        .map(|word| {
            let end = memchr::memchr(b'=', word).unwrap_or(word.len());
            let (name, value) = (&word[..end], word.get(end + 1..));
            let named = name.iter().all(|&o| o.is_ascii_alphanumeric() || o == b'-');
            let printable =
                value.is_none_or(|v| !v.is_empty() && v.iter().all(u8::is_ascii_graphic));
            if name.is_empty() || !named || !printable {
                return Err(syntax("malformed parameter"));
            }
            Ok((name, value))
        })
        .collect()
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), Reply> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(bad_argument("malformed or repeated parameter")),
    }
}

/// Digits only, RFC 1870 allows twenty of them.
fn number(octets: &[u8]) -> Result<u64, Reply> {
    let digits = (1..=20).contains(&octets.len()) && octets.iter().all(u8::is_ascii_digit);
    let value = std::str::from_utf8(octets)
        .ok()
        .and_then(|text| text.parse().ok());
    value
        .filter(|_| digits)
        .ok_or_else(|| bad_argument("a number is malformed or too large"))
}

fn body(value: &[u8]) -> Result<Body, Reply> {
    match value.to_ascii_uppercase().as_slice() {
        b"7BIT" => Ok(Body::SevenBit),
        b"8BITMIME" => Ok(Body::EightBitMime),
        _ => Err(bad_argument("BODY must be 7BIT or 8BITMIME")),
    }
}

fn submitter(value: &[u8]) -> Result<Submitter, Reply> {
    if value == b"<>" {
        return Ok(Submitter::Unknown);
    }
    let decoded = decode_xtext(value).ok_or_else(|| bad_argument("AUTH is not xtext"))?;
    Ok(Submitter::Mailbox(decoded))
}

/// xtext of RFC 3461 section 4; the result must be UTF-8 without control characters.
fn decode_xtext(value: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.iter();
    while let Some(&octet) = rest.next() {
        let hex = |digit: Option<&u8>| match digit? {
            digit @ b'0'..=b'9' => Some(digit - b'0'),
            digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
            _ => None,
        };
        decoded.push(match octet {
            b'+' => hex(rest.next())? << 4 | hex(rest.next())?,
            b'=' => return None,
            _ => octet,
        });
    }
    String::from_utf8(decoded)
        .ok()
        .filter(|text| !text.chars().any(char::is_control))
}

fn encode_xtext(text: &str, out: &mut String) {
    for octet in text.bytes() {
        match octet {
            b'+' | b'=' | 0..=b' ' | 0x7f.. => {
                let _ = write!(out, "+{octet:02X}");
            }
            _ => out.push(char::from(octet)),
        }
    }
}

fn chunk(arguments: &[u8]) -> Result<Command, Reply> {
    let mut words = arguments
        .split(|&octet| octet == b' ')
        .filter(|word| !word.is_empty());
    let octets = number(words.next().unwrap_or_default())?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return Err(bad_argument("use BDAT size [LAST]")),
    };
    match words.next() {
        None => Ok(Command::Chunk { octets, last }),
        Some(_) => Err(bad_argument("use BDAT size [LAST]")),
    }
}

fn auth(arguments: &[u8]) -> Result<Command, Reply> {
    let mut words = arguments
        .split(|&octet| octet == b' ')
        .filter(|word| !word.is_empty());
    let mechanism = words
        .next()
        .ok_or_else(|| bad_argument("AUTH needs a mechanism"))?;
    let initial = words.next().map(text).transpose()?;
    if words.next().is_some() {
        return Err(bad_argument("use AUTH mechanism [response]"));
    }
    Ok(Command::Auth {
        mechanism: text(mechanism)?,
        initial,
    })
}

impl Mail {
    /// The command line without CRLF. Parameters that the peer does not know are for the caller
    /// to leave out.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = match &self.sender {
            Some(sender) => format!("MAIL FROM:<{sender}>"),
            None => "MAIL FROM:<>".to_owned(),
        };
        if let Some(size) = self.size {
            let _ = write!(line, " SIZE={size}");
        }
        match self.body {
            Some(Body::SevenBit) => line.push_str(" BODY=7BIT"),
            Some(Body::EightBitMime) => line.push_str(" BODY=8BITMIME"),
            None => {}
        }
        if self.utf8 {
            line.push_str(" SMTPUTF8");
        }
        match &self.submitter {
            Some(Submitter::Unknown) => line.push_str(" AUTH=<>"),
            Some(Submitter::Mailbox(mailbox)) => {
                line.push_str(" AUTH=");
                encode_xtext(mailbox, &mut line);
            }
            None => {}
        }
        line
    }
}

impl RecipientTo {
    /// The command line without CRLF.
    #[must_use]
    pub fn to_line(&self) -> String {
        let quota = if self.ignore_quota {
            " IGNOREQUOTA"
        } else {
            ""
        };
        format!("RCPT TO:<{}>{quota}", self.address)
    }
}
