//! The `Date:` field: RFC 5322 section 3.3 with its obsolete forms, and what common senders wrote
//! instead (`7-May-95`, asctime).
//!
//! SENTBEFORE, SENTON and SENTSINCE disregard time and zone (RFC 3501 section 6.4.4): they compare
//! [`SentDate::day_number`], the day as the sender wrote it.

use serde::{Deserialize, Serialize};

use super::lexer::Lexer;

/// When a message says that it was sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct SentDate {
    /// 1 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to the month's last.
    pub day: u8,
    /// Seconds since midnight, in the sender's zone.
    pub second_of_day: u32,
    /// Minutes east of Greenwich.
    pub offset_minutes: i16,
}

impl SentDate {
    /// Days from 1 January 1970 to the day that the sender wrote.
    pub fn day_number(&self) -> i64 {
        let month = i64::from(self.month);
        // Years begin in March, so that the leap day is their last.
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The instant, in seconds since the Unix epoch.
    pub fn unix_seconds(&self) -> i64 {
        self.day_number() * 86_400 + i64::from(self.second_of_day)
            - i64::from(self.offset_minutes) * 60
    }

    /// Reads an unfolded field; `None` without a day, a month and a year that exist.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let mut draft = Draft::default();
        for word in words(value) {
            draft.word(&word);
        }
        draft.finish()
    }
}

/// Words outside of comments; a date joined by hyphens is three.
fn words(value: &[u8]) -> Vec<Vec<u8>> {
    let mut lexer = Lexer::new(value);
    let mut words: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(byte) = lexer.peek() {
        let last = words.len() - 1;
        match byte {
            b'(' => drop(lexer.comment()),
            b' ' | b'\t' | b',' => {
                lexer.next();
            }
            b'-' if words[last]
                .first()
                .is_some_and(|byte| byte.is_ascii_alphanumeric()) =>
            {
                lexer.next();
            }
            _ => {
                words[last].extend(lexer.next());
                continue;
            }
        }
        if words.len() == WORDS_MAX {
            break;
        }
        words.push(Vec::new());
    }
    words
}

/// No date has more words, white space and commas counted.
const WORDS_MAX: usize = 64;

#[derive(Default)]
struct Draft {
    day: Option<u32>,
    month: Option<u8>,
    year: Option<u32>,
    second_of_day: Option<u32>,
    offset_minutes: Option<i16>,
}

impl Draft {
    fn word(&mut self, word: &[u8]) {
        let text = String::from_utf8_lossy(word);
        let number = text
            .parse::<u32>()
            .ok()
            .filter(|_| word[0].is_ascii_digit());
        if let Some(number) = number {
            if self.day.is_none() && word.len() <= 2 {
                self.day = Some(number);
            } else if self.year.is_none() {
                self.year = Some(match (word.len(), number) {
                    (..=2, ..50) => number + 2000,
                    (..=3, _) => number + 1900,
                    _ => number,
                });
            }
        } else if word.contains(&b':') {
            self.second_of_day = self.second_of_day.or_else(|| time(&text));
        } else if let Some(month) = month(word) {
            self.month = self.month.or(Some(month));
        } else {
            self.offset_minutes = self.offset_minutes.or_else(|| zone(&text));
        }
    }

    fn finish(self) -> Option<SentDate> {
        let year = u16::try_from(self.year?)
            .ok()
            .filter(|year| (1..=9999).contains(year))?;
        let month = self.month?;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let day = self.day.filter(|day| (1..=days).contains(day))?;
        Some(SentDate {
            year,
            month,
            day: u8::try_from(day).ok()?,
            second_of_day: self.second_of_day.unwrap_or(0),
            offset_minutes: self.offset_minutes.unwrap_or(0),
        })
    }
}

fn month(word: &[u8]) -> Option<u8> {
    const NAMES: &[u8; 36] = b"janfebmaraprmayjunjulaugsepoctnovdec";
    let name = word.get(..3)?.to_ascii_lowercase();
    let number = NAMES.chunks(3).position(|known| known == name)?;
    u8::try_from(number + 1).ok()
}

fn time(text: &str) -> Option<u32> {
    let mut pieces = text.split(':').map(|piece| piece.parse::<u32>().ok());
    let hour = pieces.next()??;
    let minute = pieces.next()??;
    let second = pieces.next().flatten().unwrap_or(0).min(59);
    (hour < 24 && minute < 60).then(|| hour * 3600 + minute * 60 + second)
}

/// Minutes of `+hhmm` or of a name; military letters mean nothing certain (RFC 5322 section 4.3).
fn zone(text: &str) -> Option<i16> {
    let named = |hours: i16| Some(hours * 60);
    match text.to_ascii_uppercase().as_str() {
        "UT" | "GMT" | "UTC" | "Z" => return named(0),
        "EDT" => return named(-4),
        "EST" | "CDT" => return named(-5),
        "CST" | "MDT" => return named(-6),
        "MST" | "PDT" => return named(-7),
        "PST" => return named(-8),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-'])?;
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse::<i16>().ok()?;
    let minutes = number / 100 * 60 + number % 100;
    Some(if text.starts_with('-') {
        -minutes
    } else {
        minutes
    })
}
