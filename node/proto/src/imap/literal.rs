//! Headers of literals at the end of a line: `{n}` and, for clients, `{n+}` (RFC 3501 section 4.3,
//! RFC 7888).

/// The header of a literal that follows a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LiteralHeader {
    /// Where the `{` is in the line.
    pub(super) start: usize,
    /// Where the `}` is.
    pub(super) end: usize,
    /// Bytes that follow the line; `u64::MAX` if the number is larger.
    pub(super) size: u64,
    /// `{n}`: the sender waits for a continuation.
    pub(super) synchronizing: bool,
}

/// Longest header with its line end, so that a tail of this length shows whether there is one.
pub(super) const HEADER_BYTES_MAX: usize = 40;

/// The header with which `line`, line end included, ends.
pub(super) fn header(line: &[u8]) -> Option<LiteralHeader> {
    let text = line.strip_suffix(b"\n")?;
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let inner = text.strip_suffix(b"}")?;
    let digits = inner.strip_suffix(b"+").unwrap_or(inner);
    let count = digits
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let start = digits.len().checked_sub(count + 1)?;
    if count == 0 || count > HEADER_BYTES_MAX - 5 || digits[start] != b'{' {
        return None;
    }
    let size = digits[start + 1..].iter().fold(0_u64, |size, digit| {
        size.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    let synchronizing = digits.len() == inner.len();
    Some(LiteralHeader {
        start,
        end: inner.len(),
        size,
        synchronizing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_at_the_end_of_a_line_only() {
        let found = |line: &[u8]| header(line).map(|it| (it.start, it.size, it.synchronizing));
        assert_eq!(found(b"a LOGIN {5}\r\n"), Some((8, 5, true)));
        assert_eq!(found(b"a LOGIN {5+}\r\n"), Some((8, 5, false)));
        assert_eq!(found(b"a LOGIN {5}\n"), Some((8, 5, true)));
        assert_eq!(found(b"{0}\r\n"), Some((0, 0, true)));
        assert_eq!(
            found(b"{99999999999999999999999}\r\n"),
            Some((0, u64::MAX, true))
        );
        for line in [
            "{5} \r\n",
            "{}\r\n",
            "{+}\r\n",
            "{5++}\r\n",
            "{-5}\r\n",
            "5}\r\n",
            "\r\n",
            "{5}",
        ] {
            assert_eq!(found(line.as_bytes()), None, "{line:?}");
        }
    }
}
