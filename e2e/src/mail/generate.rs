//! Mail from a seed: sizes in a stated spread, and the shapes that real mail has.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::random::Random;

const KIB: usize = 1 << 10;

/// Sizes: so many of 1,000 messages are of so many bytes, evenly spread over the range.
pub const SPREAD: [(u64, usize, usize); 4] = [
    (900, KIB, 16 * KIB),
    (90, 16 * KIB, 256 * KIB),
    (9, 256 * KIB, 2048 * KIB),
    (1, 25 * 1024 * KIB, 25 * 1024 * KIB),
];

/// Which of 1,000 messages has which row of [`SPREAD`] is mixed by a factor that is prime to 1,000.
const MIXER: u64 = 387;

/// Bytes before encoding of a line of base64.
const BASE64_LINE_BYTES: usize = 57;

/// Below this size a message is one part.
const PARTS_BYTES_MIN: usize = 6 * KIB;

const WORDS: &[&str] = &[
    "mail", "server", "the", "a", "drain", "backend", "for", "delivers", "queue", "mailbox", "and",
    "with", "letter", "news", "of", "report", "please", "find", "attached", "meeting", "on",
    "Monday", "thanks", "regards", "see", "below", "figures", "next", "week", "we", "should",
];

const PEOPLE: &[&str] = &[
    "ana", "bela", "chen", "dora", "emil", "farah", "goran", "hana",
];

/// Makes messages; the same seed and number give the same bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Generator {
    seed: u64,
}

impl Generator {
    /// Messages of this seed.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The exact size of message `number`.
    pub fn size(&self, number: u64) -> usize {
        let mut place = (number + 1).wrapping_mul(MIXER) % 1000;
        let mut random = Random::new(self.seed ^ number.rotate_left(32) ^ 0x517e);
        for (share, low, high) in SPREAD {
            if place < share {
                return random.between(low, high);
            }
            place -= share;
        }
        KIB
    }

    /// Message `number`.
    pub fn message(&self, number: u64) -> Vec<u8> {
        let size = self.size(number);
        let mut random = Random::new(self.seed.wrapping_mul(0x1_0001) ^ number);
        let header = self.header(number, &mut random);
        let body = if size < PARTS_BYTES_MIN {
            Body::plain(&mut random)
        } else {
            match random.below(4) {
                0 => Body::plain(&mut random),
                1 => Body::alternative(&mut random),
                2 => Body::attachment(&mut random, size),
                _ => Body::nested(&mut random, size),
            }
        };
        let mut message = header.into_bytes();
        message.extend_from_slice(body.before.as_bytes());
        let rest = message.len() + body.after.len();
        text(&mut random, size.saturating_sub(rest), &mut message);
        message.extend_from_slice(body.after.as_bytes());
        message
    }

    fn header(&self, number: u64, random: &mut Random) -> String {
        let (from, to) = (random.choose(PEOPLE), random.choose(PEOPLE));
        let subject = match random.below(4) {
            0 => "=?utf-8?Q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?=".to_owned(),
            1 => format!("Re: {} {}", random.choose(WORDS), random.choose(WORDS)),
            _ => format!("{} {number}", random.choose(WORDS)),
        };
        let (day, hour) = (number / 1440 % 28 + 1, number / 60 % 24);
        let minute = number % 60;
        format!(
            "From: {from} <{from}@sender.example>\r\n\
             To: {to} <{to}@demo.example>\r\n\
             Subject: {subject}\r\n\
             Date: {day} Jan 2025 {hour:02}:{minute:02}:00 +0000\r\n\
             Message-ID: <{number}.{:016x}@generated.demo.example>\r\n\
             MIME-Version: 1.0\r\n",
            self.seed
        )
    }
}

/// What stands before and after the text that fills a message up to its size.
struct Body {
    before: String,
    after: String,
}

impl Body {
    fn plain(random: &mut Random) -> Self {
        let (charset, greeting) = match random.below(3) {
            0 => (
                "utf-8",
                "Gr\u{fc}\u{df} Gott, \u{3053}\u{3093}\u{306b}\u{3061}\u{306f},\r\n",
            ),
            _ => ("us-ascii", "Hello,\r\n"),
        };
        Self {
            before: format!(
                "Content-Type: text/plain; charset={charset}\r\n\
                 Content-Transfer-Encoding: 8bit\r\n\r\n{greeting}"
            ),
            after: ".\r\n..\r\n-- \r\nsent by a generator\r\n".to_owned(),
        }
    }

    fn alternative(random: &mut Random) -> Self {
        let mark = boundary(random);
        let mut html = String::new();
        for _ in 0..random.between(1, 6) {
            let (word, other) = (random.choose(WORDS), random.choose(WORDS));
            let _ = write!(html, "<p>{word} <b>{other}</b></p>\r\n");
        }
        Self {
            before: format!(
                "Content-Type: multipart/alternative; boundary=\"{mark}\"\r\n\r\n\
                 --{mark}\r\nContent-Type: text/plain\r\n\r\n"
            ),
            after: format!(
                "\r\n--{mark}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
                 <html><body>\r\n{html}</body></html>\r\n--{mark}--\r\n"
            ),
        }
    }

    fn attachment(random: &mut Random, size: usize) -> Self {
        let mark = boundary(random);
        let data = encoded(random, size / 2);
        Self {
            before: format!(
                "Content-Type: multipart/mixed; boundary=\"{mark}\"\r\n\r\n\
                 A message in parts.\r\n--{mark}\r\nContent-Type: text/plain\r\n\r\n"
            ),
            after: format!(
                "\r\n--{mark}\r\nContent-Type: application/pdf; name=\"report.pdf\"\r\n\
                 Content-Disposition: attachment; filename=\"report.pdf\"\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n{data}--{mark}--\r\n"
            ),
        }
    }

    /// mixed(alternative(plain, related(html, image)), message(mixed(plain)), attachment).
    fn nested(random: &mut Random, size: usize) -> Self {
        let [outer, middle, inner, forwarded] = [(); 4].map(|()| boundary(random));
        let (image, data) = (encoded(random, size / 4), encoded(random, size / 4));
        Self {
            before: format!(
                "Content-Type: multipart/mixed; boundary=\"{outer}\"\r\n\r\n\
                 --{outer}\r\nContent-Type: multipart/alternative; boundary=\"{middle}\"\r\n\r\n\
                 --{middle}\r\nContent-Type: text/plain; format=flowed\r\n\r\n"
            ),
            after: format!(
                "\r\n--{middle}\r\nContent-Type: multipart/related; boundary=\"{inner}\"\r\n\r\n\
                 --{inner}\r\nContent-Type: text/html\r\n\r\n<img src=\"cid:i\">\r\n\
                 --{inner}\r\nContent-Type: image/png\r\nContent-ID: <i>\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n{image}--{inner}--\r\n\
                 --{middle}--\r\n\
                 --{outer}\r\nContent-Type: message/rfc822\r\n\r\nSubject: forwarded\r\n\
                 Content-Type: multipart/mixed; boundary=\"{forwarded}\"\r\n\r\n\
                 --{forwarded}\r\n\r\nThe first part.\r\n--{forwarded}--\r\n\
                 --{outer}\r\nContent-Type: application/octet-stream\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n{data}--{outer}--\r\n"
            ),
        }
    }
}

fn boundary(random: &mut Random) -> String {
    format!("=_{:016x}", random.bits())
}

/// Random octets in base64, of at most `size` bytes in lines.
fn encoded(random: &mut Random, size: usize) -> String {
    let line_bytes = BASE64_LINE_BYTES / 3 * 4 + 2;
    let lines = (size / line_bytes).max(1);
    let mut out = String::with_capacity(lines * line_bytes);
    let mut octets = [0; 64];
    for _ in 0..lines {
        for chunk in octets.chunks_exact_mut(8) {
            chunk.copy_from_slice(&random.bits().to_le_bytes());
        }
        STANDARD.encode_string(&octets[..BASE64_LINE_BYTES], &mut out);
        out.push_str("\r\n");
    }
    out
}

/// Exactly `size` bytes, at least 2, of lines of words.
fn text(random: &mut Random, size: usize, out: &mut Vec<u8>) {
    let end = out.len() + size;
    let mut line = 0;
    while out.len() < end {
        let word = random.choose(WORDS);
        out.extend_from_slice(word.as_bytes());
        line += word.len() + 1;
        if line > 66 {
            line = 0;
            out.extend_from_slice(b".\r\n");
        } else {
            out.push(b' ');
        }
    }
    out.truncate(end.saturating_sub(2));
    // The cut may fall between CR and LF.
    if let Some(last @ b'\r') = out.last_mut() {
        *last = b'.';
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_gives_others() {
        for number in 0..50 {
            let message = Generator::new(7).message(number);
            assert_eq!(Generator::new(7).message(number), message);
            assert_ne!(Generator::new(8).message(number), message);
        }
    }

    #[test]
    fn each_message_has_its_size_its_own_id_and_clean_lines() {
        let generator = Generator::new(1);
        let mut ids = HashSet::new();
        for number in 0..300 {
            let message = generator.message(number);
            assert_eq!(message.len(), generator.size(number), "message {number}");
            assert!(message.ends_with(b"\r\n"), "message {number}");
            let mut before = 0;
            for &byte in &message {
                assert_eq!(byte == b'\n', before == b'\r', "message {number}");
                before = byte;
            }
            let text = String::from_utf8(message).unwrap();
            let id = text.lines().find(|line| line.starts_with("Message-ID: "));
            assert!(ids.insert(id.unwrap().to_owned()), "message {number}");
        }
    }

    #[test]
    fn sizes_follow_the_spread_and_the_whole_stays_small() {
        let generator = Generator::new(1);
        let sizes: Vec<_> = (0..2000).map(|number| generator.size(number)).collect();
        for (share, low, high) in SPREAD {
            let count = sizes.iter().filter(|size| (low..high + 1).contains(size));
            assert!(count.count() as u64 >= share * 2, "{low} to {high}");
        }
        let total: usize = sizes.iter().sum();
        assert!((90 << 20..200 << 20).contains(&total), "{total}");
    }
}
