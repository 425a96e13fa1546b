//! Replies: RFC 5321 section 4.2 with enhanced status codes (RFC 2034, RFC 3463).

use std::borrow::Cow;
use std::fmt;

use bytes::BytesMut;

/// Longest text of one reply line that is written; longer text is cut. With code, status and CRLF
/// a line stays within the 512 octets of RFC 5321 section 4.5.3.1.5.
pub const TEXT_BYTES_MAX: usize = 480;

/// `class.subject.detail` of RFC 3463.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl EnhancedCode {
    /// Takes `2.1.5 ` (or the same without anything behind) off the front of a reply's text.
    fn strip(text: &str) -> Option<(Self, &str)> {
        let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut parts = code.split('.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        let short = |part: &str| {
            let digits = part.bytes().all(|octet| octet.is_ascii_digit());
            (digits && (1..=3).contains(&part.len())).then(|| part.parse().ok())?
        };
        let class = matches!(class, "2" | "4" | "5").then(|| class.parse().ok())??;
        let code = Self(class, short(subject)?, short(detail)?);
        parts.next().is_none().then_some((code, rest))
    }
}

/// One reply of one or more lines.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    code: u16,
    enhanced: Option<EnhancedCode>,
    lines: Vec<Cow<'static, str>>,
}

impl Reply {
    /// A reply of one line with an enhanced code, as all but the greeting, LHLO, 334 and 354 have.
    #[must_use]
    pub fn new(code: u16, enhanced: EnhancedCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            enhanced: Some(enhanced),
            ..Self::bare(code, text)
        }
    }

    /// A reply of one line without an enhanced code.
    #[must_use]
    pub fn bare(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            enhanced: None,
            lines: vec![text.into()],
        }
    }

    /// Adds a line.
    #[must_use]
    pub fn line(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.lines.push(text.into());
        self
    }

    /// Rebuilds what a peer sent; see [`super::client::ReplyReader`].
    pub(super) fn from_wire(code: u16, lines: Vec<String>) -> Self {
        let stripped: Option<Vec<_>> = lines.iter().map(|line| EnhancedCode::strip(line)).collect();
        let enhanced = stripped.as_ref().and_then(|all| {
            let first = all.first()?.0;
            let same = u16::from(first.0) == code / 100 && all.iter().all(|each| each.0 == first);
            same.then_some(first)
        });
        let lines = match (enhanced, stripped) {
            (Some(_), Some(all)) => all
                .iter()
                .map(|each| Cow::Owned(each.1.to_owned()))
                .collect(),
            _ => lines.into_iter().map(Cow::Owned).collect(),
        };
        Self {
            code,
            enhanced,
            lines,
        }
    }

    /// The three digits.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced code, if there is one.
    #[must_use]
    pub const fn enhanced(&self) -> Option<EnhancedCode> {
        self.enhanced
    }

    /// The texts of the lines, without codes.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(AsRef::as_ref)
    }

    /// 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4xx: the same may work later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx: it will not.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Appends the reply's bytes. Characters that would break a line are written as `?`.
    pub fn write(&self, out: &mut BytesMut) {
        let mut digits = itoa::Buffer::new();
        let last = self.lines.len() - 1;
        for (index, text) in self.lines.iter().enumerate() {
            out.extend_from_slice(digits.format(self.code).as_bytes());
            out.extend_from_slice(if index == last { b" " } else { b"-" });
            if let Some(enhanced) = self.enhanced {
                out.extend_from_slice(enhanced.to_string().as_bytes());
                out.extend_from_slice(b" ");
            }
            let cut = (0..=TEXT_BYTES_MAX.min(text.len()))
                .rev()
                .find(|&at| text.is_char_boundary(at))
                .unwrap_or_default();
            let clean = |octet: u8| {
                if octet < b' ' || octet == 0x7f {
                    b'?'
                } else {
                    octet
                }
            };
            out.extend(text.as_bytes()[..cut].iter().copied().map(clean));
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The reply's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> BytesMut {
        let mut out = BytesMut::new();
        self.write(&mut out);
        out
    }
}

/// Replies that more than one place gives, so that their texts are the same everywhere.
impl Reply {
    /// The greeting of a node.
    #[must_use]
    pub fn greeting(host: &str) -> Self {
        Self::bare(220, format!("{host} LMTP ready"))
    }

    /// MAIL accepted.
    #[must_use]
    pub fn sender_ok() -> Self {
        Self::new(250, EnhancedCode(2, 1, 0), "sender ok")
    }

    /// RCPT accepted.
    #[must_use]
    pub fn recipient_ok() -> Self {
        Self::new(250, EnhancedCode(2, 1, 5), "recipient ok")
    }

    /// RCPT refused for good.
    #[must_use]
    pub fn recipient_unknown() -> Self {
        Self::new(550, EnhancedCode(5, 1, 1), "no such recipient here")
    }

    /// RCPT or delivery refused for now.
    #[must_use]
    pub fn try_later(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(451, EnhancedCode(4, 3, 0), text)
    }

    /// DATA accepted, the content may come.
    #[must_use]
    pub fn start_content() -> Self {
        Self::bare(354, "end with CRLF.CRLF")
    }

    /// A BDAT chunk that is not the last was taken, RFC 3030 section 2.
    #[must_use]
    pub fn chunk_ok(octets: u64) -> Self {
        Self::new(
            250,
            EnhancedCode(2, 0, 0),
            format!("{octets} octets received"),
        )
    }

    /// One recipient's message is stored for good.
    #[must_use]
    pub fn delivered() -> Self {
        Self::new(250, EnhancedCode(2, 1, 5), "delivered")
    }

    /// The message is larger than this server takes.
    #[must_use]
    pub fn too_large(octets_max: u64) -> Self {
        let text = format!("message is larger than {octets_max} octets");
        Self::new(552, EnhancedCode(5, 3, 4), text)
    }

    /// The disk is full, RFC 3463 X.3.1.
    #[must_use]
    pub fn no_space() -> Self {
        Self::new(452, EnhancedCode(4, 3, 1), "no space left for new mail")
    }

    /// This peer may not send mail here.
    #[must_use]
    pub fn authentication_required() -> Self {
        Self::new(530, EnhancedCode(5, 7, 0), "authentication required")
    }

    /// AUTH succeeded, RFC 4954.
    #[must_use]
    pub fn authenticated() -> Self {
        Self::new(235, EnhancedCode(2, 7, 0), "authenticated")
    }

    /// AUTH failed, RFC 4954.
    #[must_use]
    pub fn authentication_failed() -> Self {
        Self::new(535, EnhancedCode(5, 7, 8), "authentication failed")
    }

    /// The server ends the connection for a reason of its own.
    #[must_use]
    pub fn closing(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(421, EnhancedCode(4, 3, 2), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_code_status_and_text() {
        let reply = Reply::new(250, EnhancedCode(2, 1, 5), "one").line("two");
        assert_eq!(reply.to_bytes(), "250-2.1.5 one\r\n250 2.1.5 two\r\n");
        assert_eq!(
            Reply::greeting("fe-0").to_bytes(),
            "220 fe-0 LMTP ready\r\n"
        );
        assert_eq!(
            Reply::too_large(10).to_bytes(),
            "552 5.3.4 message is larger than 10 octets\r\n"
        );
    }

    #[test]
    fn text_cannot_break_out_of_its_line() {
        let reply = Reply::bare(550, "no\r\n250 yes\0");
        assert_eq!(reply.to_bytes(), "550 no??250 yes?\r\n");
        let long = Reply::new(550, EnhancedCode(5, 1, 1), "é".repeat(400));
        let bytes = long.to_bytes();
        assert!(bytes.len() <= 512 && std::str::from_utf8(&bytes).is_ok());
    }

    #[test]
    fn enhanced_codes_are_found_only_where_they_are_meant() {
        let parsed = |code, lines: &[&str]| {
            Reply::from_wire(code, lines.iter().map(|&line| line.to_owned()).collect())
        };
        let reply = parsed(250, &["2.1.5 ok", "2.1.5 fine"]);
        assert_eq!(reply.enhanced(), Some(EnhancedCode(2, 1, 5)));
        assert_eq!(reply.lines().collect::<Vec<_>>(), ["ok", "fine"]);
        for (code, line) in [
            (250, "5.1.1 ok"),
            (250, "2.1 ok"),
            (250, "2.1.5.6 ok"),
            (250, "2.1.5000 ok"),
            (250, "2..5 ok"),
            (250, "be1.example.org"),
            (250, ""),
        ] {
            let reply = parsed(code, &[line]);
            assert_eq!((reply.enhanced(), reply.lines().next()), (None, Some(line)));
        }
    }
}
