//! Dates to seconds: what the clock's registers mean. Pure.

/// A reading of the clock's registers, as they are: perhaps binary-coded decimal, perhaps twelve-hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) second: u8,
    pub(crate) minute: u8,
    pub(crate) hour: u8,
    pub(crate) day: u8,
    pub(crate) month: u8,
    pub(crate) year: u8,
    pub(crate) century: u8,
    /// Register B: bit 2 binary, bit 1 twenty-four hours.
    pub(crate) mode: u8,
}

const MODE_BINARY: u8 = 4;
const MODE_24_HOURS: u8 = 2;
const AFTERNOON: u8 = 0x80;

/// A date and time of day, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DateTime {
    pub(crate) year: u64,
    pub(crate) month: u64,
    pub(crate) day: u64,
    pub(crate) hour: u64,
    pub(crate) minute: u64,
    pub(crate) second: u64,
}

impl Reading {
    /// What it means; `None` if it is not a date.
    pub(crate) fn date_time(&self) -> Option<DateTime> {
        let number = |raw: u8| -> Option<u64> {
            if self.mode & MODE_BINARY != 0 {
                return Some(u64::from(raw));
            }
            (raw & 0xf < 10 && raw >> 4 < 10).then(|| u64::from(raw >> 4) * 10 + u64::from(raw & 0xf))
        };
        let mut hour = number(self.hour & !AFTERNOON)?;
        if self.mode & MODE_24_HOURS == 0 {
            hour = hour % 12 + if self.hour & AFTERNOON != 0 { 12 } else { 0 };
        }
        let century = number(self.century).filter(|century| (19..=30).contains(century)).unwrap_or(20);
        let date = DateTime {
            year: century * 100 + number(self.year)?,
            month: number(self.month)?,
            day: number(self.day)?,
            hour,
            minute: number(self.minute)?,
            second: number(self.second)?,
        };
        date.is_valid().then_some(date)
    }
}

impl DateTime {
    fn is_valid(&self) -> bool {
        (1..=12).contains(&self.month)
            && (1..=days_in_month(self.year, self.month)).contains(&self.day)
            && self.year >= 1970
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
    }

    /// Seconds since 1970-01-01 00:00:00 UTC.
    pub(crate) fn seconds(&self) -> u64 {
        // Days by the civil calendar counted from March, so that a leap day ends its year.
        let (year, month) = if self.month > 2 { (self.year, self.month - 3) } else { (self.year - 1, self.month + 9) };
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + self.day - 1;
        // 0000-03-01 is 719,468 days before 1970-01-01.
        ((days - 719_468) * 24 + self.hour) * 3600 + self.minute * 60 + self.second
    }
}

const fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::{DateTime, Reading};

    #[test]
    fn known_dates() {
        let at = |year, month, day, hour, minute, second| DateTime { year, month, day, hour, minute, second }.seconds();
        assert_eq!(at(1970, 1, 1, 0, 0, 0), 0);
        assert_eq!(at(2000, 2, 29, 12, 0, 0), 951_825_600);
        assert_eq!(at(2026, 11, 20, 8, 3, 0), 1_795_161_780);
        assert_eq!(at(2100, 3, 1, 0, 0, 0), 4_107_542_400);
    }

    #[test]
    fn coded_decimal_and_twelve_hours() {
        let reading = Reading {
            second: 0x59,
            minute: 0x30,
            hour: 0x92,
            day: 0x29,
            month: 0x02,
            year: 0x24,
            century: 0x20,
            mode: 0,
        };
        let date = reading.date_time();
        assert_eq!(date, Some(DateTime { year: 2024, month: 2, day: 29, hour: 12, minute: 30, second: 59 }));
        let midnight = Reading { hour: 0x12, ..reading }.date_time();
        assert_eq!(midnight.map(|date| date.hour), Some(0));
    }

    #[test]
    fn nonsense_is_refused() {
        let good = Reading { second: 0, minute: 0, hour: 0, day: 1, month: 1, year: 26, century: 20, mode: 6 };
        assert!(good.date_time().is_some());
        assert_eq!(Reading { month: 13, ..good }.date_time(), None);
        assert_eq!(Reading { day: 29, month: 2, ..good }.date_time(), None);
        assert_eq!(Reading { second: 0x7a, mode: 2, ..good }.date_time(), None);
    }
}
