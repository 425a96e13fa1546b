//! Modified UTF-7, IMAP4rev1's encoding of mailbox names (RFC 3501 section 5.1.3).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Whether the text is well-formed: only what must be encoded is, in the one way there is, and no
/// control character hides in it.
pub fn is_valid(text: &str) -> bool {
    decode(text)
        .is_some_and(|decoded| encode(&decoded) == text && !decoded.chars().any(char::is_control))
}

/// The Unicode text; `None` if it is not well-formed.
pub fn decode(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        let (plain, shifted) = rest.split_at(start);
        decoded.push_str(plain);
        let end = shifted.find('-')?;
        if end == 1 {
            decoded.push('&');
        } else {
            decoded.push_str(&decode_run(&shifted.as_bytes()[1..end])?);
        }
        rest = &shifted[end + 1..];
    }
    decoded.push_str(rest);
    Some(decoded)
}

/// Encodes Unicode text.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    let mut run: Vec<u16> = Vec::new();
    for character in text.chars() {
        if (' '..='~').contains(&character) {
            flush(&mut encoded, &mut run);
            encoded.push(character);
            if character == '&' {
                encoded.push('-');
            }
        } else {
            run.extend_from_slice(character.encode_utf16(&mut [0; 2]));
        }
    }
    flush(&mut encoded, &mut run);
    encoded
}

fn flush(encoded: &mut String, run: &mut Vec<u16>) {
    if run.is_empty() {
        return;
    }
    encoded.push('&');
    let (mut bits, mut count) = (0_u32, 0);
    for unit in run.drain(..) {
        bits = bits << 16 | u32::from(unit);
        count += 16;
        while count >= 6 {
            count -= 6;
            encoded.push(ALPHABET[(bits >> count & 63) as usize] as char);
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        encoded.push(ALPHABET[(bits << (6 - count) & 63) as usize] as char);
    }
    encoded.push('-');
}

fn decode_run(run: &[u8]) -> Option<String> {
    let (mut bits, mut count) = (0_u32, 0);
    let mut units = Vec::with_capacity(run.len() * 6 / 16);
    for byte in run {
        let value = ALPHABET.iter().position(|letter| letter == byte)? as u32;
        bits = bits << 6 | value;
        count += 6;
        if count >= 16 {
            count -= 16;
            units.push((bits >> count) as u16);
            bits &= (1 << count) - 1;
        }
    }
    if bits != 0 || count >= 6 {
        return None;
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{decode, encode, is_valid};

    #[test]
    fn the_examples_of_the_rfc_hold() {
        let text = "~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}";
        assert_eq!(encode(text), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(
            decode("~peter/mail/&U,BTFw-/&ZeVnLIqe-").as_deref(),
            Some(text)
        );
        assert_eq!(encode("a&b"), "a&-b");
        assert!(!is_valid("&Jjo!"));
        assert!(!is_valid("&U,BTFw-&ZeVnLIqe-"));
        assert!(!is_valid("&AGE-"));
    }

    proptest! {
        #[test]
        fn text_round_trips(text in "\\PC{0,20}") {
            let encoded = encode(&text);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode(&encoded), Some(text));
            prop_assert!(is_valid(&encoded));
        }
    }
}
