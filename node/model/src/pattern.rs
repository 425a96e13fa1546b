//! Patterns of LIST and LSUB: `*` matches anything, `%` anything without the separator
//! (RFC 3501 section 6.3.8).

/// A reference and a mailbox pattern, joined.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListPattern {
    pattern: Vec<u8>,
}

impl ListPattern {
    /// Joins the reference and the pattern as Cyrus does: a pattern that names a namespace, or an
    /// empty reference, stands alone; else the reference goes before. Runs of wildcards shrink to one.
    pub fn new(reference: &[u8], pattern: &[u8]) -> Self {
        let mut joined = Vec::with_capacity(reference.len() + pattern.len() + 1);
        joined.extend_from_slice(reference);
        joined.extend_from_slice(pattern);
        let mut compact: Vec<u8> = Vec::with_capacity(joined.len());
        for byte in joined {
            match (byte, compact.last()) {
                (b'*' | b'%', Some(b'*')) => {}
                (b'*', Some(b'%')) => {
                    compact.pop();
                    compact.push(b'*');
                }
                (b'%', Some(b'%')) => {}
                _ => compact.push(byte),
            }
        }
        // INBOX is one name in any case.
        let head = compact.len().min(5);
        if compact[..head].eq_ignore_ascii_case(b"INBOX")
            && matches!(compact.get(5), None | Some(b'/' | b'*' | b'%'))
        {
            compact[..5].copy_from_slice(b"INBOX");
        }
        Self { pattern: compact }
    }

    /// Whether the client's name of a mailbox matches. Time is bounded by the product of the lengths.
    pub fn matches(&self, name: &str) -> bool {
        // RFC 3501 section 6.3.8: INBOX is listed if the pattern matches it in upper case.
        if name == "INBOX" {
            return matches(&self.pattern.to_ascii_uppercase(), name.as_bytes());
        }
        matches(&self.pattern, name.as_bytes())
    }

    /// The part before the first wildcard: every name that matches begins with it.
    pub fn literal_prefix(&self) -> &[u8] {
        let end = self
            .pattern
            .iter()
            .position(|byte| matches!(byte, b'*' | b'%'));
        &self.pattern[..end.unwrap_or(self.pattern.len())]
    }

    /// Whether the pattern ends in `%`, for which LIST also shows the parents of what matches deeper.
    pub fn ends_with_percent(&self) -> bool {
        self.pattern.last() == Some(&b'%')
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // One bit a pattern position: which positions can be reached after the bytes read so far.
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    close(pattern, &mut reached);
    let mut next = vec![false; pattern.len() + 1];
    for byte in name {
        next.fill(false);
        for (index, token) in pattern
            .iter()
            .enumerate()
            .filter(|(index, _)| reached[*index])
        {
            match token {
                b'*' => next[index] = true,
                b'%' if *byte != b'/' => next[index] = true,
                b'%' => {}
                literal if literal == byte => next[index + 1] = true,
                _ => {}
            }
        }
        close(pattern, &mut next);
        std::mem::swap(&mut reached, &mut next);
    }
    reached[pattern.len()]
}

/// A wildcard may match nothing.
fn close(pattern: &[u8], reached: &mut [bool]) {
    for (index, token) in pattern.iter().enumerate() {
        if reached[index] && matches!(token, b'*' | b'%') {
            reached[index + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ListPattern;

    #[test]
    fn percent_stops_at_the_separator_and_star_does_not() {
        for (pattern, name, expected) in [
            ("*", "a/b/c", true),
            ("%", "a", true),
            ("%", "a/b", false),
            ("%/%", "a/b", true),
            ("a*c", "a/b/c", true),
            ("a%c", "a/c", false),
            ("inbox", "INBOX", true),
            ("InBoX*", "INBOX", true),
            ("inboxes", "INBOXES", false),
            ("", "a", false),
            ("Shared Folders/%", "Shared Folders/x", true),
            ("*%*", "anything/at/all", true),
        ] {
            assert_eq!(
                ListPattern::new(b"", pattern.as_bytes()).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn the_reference_goes_before_the_pattern() {
        let pattern = ListPattern::new(b"Work/", b"%");
        assert!(pattern.matches("Work/a"));
        assert!(!pattern.matches("Home/a"));
        assert_eq!(pattern.literal_prefix(), b"Work/");
    }

    #[test]
    fn many_wildcards_take_no_exponential_time() {
        let pattern = "*a".repeat(200);
        let name = "a".repeat(199) + &"b".repeat(800);
        assert!(!ListPattern::new(b"", pattern.as_bytes()).matches(&name));
    }
}
