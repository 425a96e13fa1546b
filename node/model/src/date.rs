//! Internal dates: a moment and the zone it was written in (RFC 3501 section 2.3.3).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A text is not a date-time as IMAP writes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a date-time such as \" 7-Feb-1994 21:52:25 -0800\"")]
pub struct DateError;

/// Internal date of a message; the zone is kept as it was given.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct InternalDate {
    seconds: i64,
    offset_minutes: i16,
}

/// A day of the Gregorian calendar, without zone.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Day {
    /// Year, 0 to 9999.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
}

impl Day {
    /// The day if the calendar has it.
    pub fn new(year: i32, month: u8, day: u8) -> Option<Self> {
        let this = Self { year, month, day };
        ((1..=12).contains(&month) && day >= 1 && Self::from_days(this.days()) == this)
            .then_some(this)
    }

    /// Parses `7-Feb-1994` or `07-Feb-1994`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.split('-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || day.len() > 2 || year.len() != 4 {
            return None;
        }
        let month = MONTHS
            .iter()
            .position(|name| name.eq_ignore_ascii_case(month))? as u8
            + 1;
        Self::new(
            digits(year.as_bytes())? as i32,
            month,
            digits(day.as_bytes())? as u8,
        )
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i64 {
        // Years are counted from March, so that the leap day is the last of its year.
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The day that is so many days after 1970-01-01.
    pub fn from_days(days: i64) -> Self {
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month + 2) / 5 + 1) as u8;
        let month = (if month < 10 { month + 3 } else { month - 9 }) as u8;
        let year = (year_of_era + era * 400 + i64::from(month <= 2)) as i32;
        Self { year, month, day }
    }
}

impl InternalDate {
    /// A moment in seconds since the Unix epoch, shown at `offset_minutes` east of UTC.
    pub const fn new(seconds: i64, offset_minutes: i16) -> Self {
        Self {
            seconds,
            offset_minutes,
        }
    }

    /// A moment shown in UTC.
    pub const fn from_timestamp(timestamp: Timestamp) -> Self {
        Self::new(timestamp.as_seconds(), 0)
    }

    /// Seconds since the Unix epoch.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Minutes east of UTC.
    pub const fn offset_minutes(self) -> i16 {
        self.offset_minutes
    }

    /// The calendar day, disregarding the zone as SEARCH's BEFORE, ON and SINCE do.
    pub fn day(self) -> Day {
        Day::from_days(self.local_seconds().div_euclid(86_400))
    }

    /// A damaged row may hold any number, which must not stop the reader.
    const fn local_seconds(self) -> i64 {
        self.seconds.saturating_add(self.offset_minutes as i64 * 60)
    }

    /// Parses the 26 characters of RFC 3501's `date-time`, without the quotes.
    pub fn parse(text: &[u8]) -> Result<Self, DateError> {
        if text.len() != 26 || text[11] != b' ' || text[20] != b' ' {
            return Err(DateError);
        }
        if text[14] != b':' || text[17] != b':' {
            return Err(DateError);
        }
        let day = text[..11].strip_prefix(b" ").unwrap_or(&text[..11]);
        let day = Day::parse(day).ok_or(DateError)?;
        let number = |from: usize| digits(&text[from..from + 2]).ok_or(DateError);
        let (hour, minute, second) = (number(12)?, number(15)?, number(18)?);
        let (zone_hours, zone_minutes) = (number(22)?, number(24)?);
        if hour > 23 || minute > 59 || second > 60 || zone_hours > 23 || zone_minutes > 59 {
            return Err(DateError);
        }
        let zone = (zone_hours * 60 + zone_minutes) as i16;
        let offset_minutes = match text[21] {
            b'+' => zone,
            b'-' => -zone,
            _ => return Err(DateError),
        };
        let local = day.days() * 86_400 + i64::from(hour * 3600 + minute * 60 + second);
        Ok(Self {
            seconds: local - i64::from(offset_minutes) * 60,
            offset_minutes,
        })
    }
}

/// The 26 characters of `date-time`, without quotes.
impl fmt::Display for InternalDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.local_seconds();
        let day = Day::from_days(local.div_euclid(86_400));
        let time = local.rem_euclid(86_400);
        let sign = if self.offset_minutes < 0 { '-' } else { '+' };
        let zone = self.offset_minutes.unsigned_abs();
        write!(
            f,
            "{:2}-{}-{:04} {:02}:{:02}:{:02} {sign}{:02}{:02}",
            day.day,
            MONTHS[usize::from(day.month) - 1],
            day.year,
            time / 3600,
            time / 60 % 60,
            time % 60,
            zone / 60,
            zone % 60
        )
    }
}

fn digits(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        text.iter()
            .fold(0, |number, digit| number * 10 + u32::from(digit - b'0')),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Day, InternalDate};

    #[test]
    fn the_example_of_the_rfc_is_read_and_written() {
        let date = InternalDate::parse(b" 7-Feb-1994 21:52:25 -0800").unwrap();
        assert_eq!(date.seconds(), 760_686_745);
        assert_eq!(date.to_string(), " 7-Feb-1994 21:52:25 -0800");
        assert_eq!(date.day(), Day::new(1994, 2, 7).unwrap());
    }

    #[test]
    fn impossible_dates_are_refused() {
        for text in [
            "30-Feb-1994 21:52:25 -0800",
            " 7-Feb-1994 24:52:25 -0800",
            " 7-Feb-1994 21:52:25 0800 ",
            " 7-Xyz-1994 21:52:25 -0800",
            "7-Feb-1994 21:52:25 -0800",
        ] {
            assert!(InternalDate::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn dates_are_read_as_written(
            seconds in -30_000_000_000_i64..250_000_000_000, offset in -1439_i16..1440,
        ) {
            let date = InternalDate::new(seconds, offset);
            prop_assert_eq!(InternalDate::parse(date.to_string().as_bytes()), Ok(date));
        }

        #[test]
        fn days_round_trip(days in -700_000_i64..2_900_000) {
            prop_assert_eq!(Day::from_days(days).days(), days);
        }
    }
}
