//! Dates, and how the clock's registers show them.
//!
//! The calendar is the Gregorian one, in both directions. Days are counted in eras of 400 years that begin with March,
//! so that a leap day is the last day of its year.

use super::{CENTURY, HOURS, MINUTES, SECONDS, YEAR};

const DAY_S: i64 = 86_400;
const ERA_DAYS: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

const B_BINARY: u8 = 1 << 2;
const B_24_HOURS: u8 = super::B_24_HOURS;
const WEEKDAY: u8 = 6;
const DAY: u8 = 7;
const MONTH: u8 = 8;
/// In 12-hour mode, the hour's bit for the afternoon.
const PM: u8 = 1 << 7;
/// An alarm register with both top bits set matches everything ("Alarm").
const ANY: u8 = 0xc0;

/// Whether numbers are binary or packed decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    Binary,
    Bcd,
}

/// Whether the hours count to 12 or to 24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hours {
    Twelve,
    TwentyFour,
}

/// How registers show numbers, as register B chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    numbers: Numbers,
    hours: Hours,
}

impl Format {
    pub(super) const fn from_register_b(b: u8) -> Self {
        let numbers = if b & B_BINARY != 0 { Numbers::Binary } else { Numbers::Bcd };
        let hours = if b & B_24_HOURS != 0 { Hours::TwentyFour } else { Hours::Twelve };
        Self { numbers, hours }
    }

    const fn number(self, value: u8) -> u8 {
        match self.numbers {
            Numbers::Binary => value,
            Numbers::Bcd => ((value / 10 % 10) << 4) | (value % 10),
        }
    }

    /// The number that `register` shows; digits above 9 show none.
    const fn value(self, register: u8) -> Option<u8> {
        let (tens, ones) = (register >> 4, register & 0x0f);
        match self.numbers {
            Numbers::Binary => Some(register),
            Numbers::Bcd if tens > 9 || ones > 9 => None,
            Numbers::Bcd => Some(tens * 10 + ones),
        }
    }

    const fn hour(self, hour: u8) -> u8 {
        match (self.hours, hour) {
            (Hours::TwentyFour, _) => self.number(hour),
            (Hours::Twelve, 0) => self.number(12),
            (Hours::Twelve, 1..=11) => self.number(hour),
            (Hours::Twelve, 12) => self.number(12) | PM,
            (Hours::Twelve, _) => self.number(hour - 12) | PM,
        }
    }

    fn hour_value(self, register: u8) -> Option<u8> {
        if self.hours == Hours::TwentyFour {
            return self.value(register);
        }
        let hour = self.value(register & !PM).filter(|hour| (1..=12).contains(hour))?;
        let afternoon = if register & PM != 0 { 12 } else { 0 };
        Some(hour % 12 + afternoon)
    }
}

/// A date and time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    year: i64,
    /// 1-12.
    month: u8,
    /// 1-31.
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl Civil {
    pub(super) const fn from_unix(unix_s: i64) -> Self {
        let (days, second_of_day) = (unix_s.div_euclid(DAY_S), unix_s.rem_euclid(DAY_S));
        let since_era = days.saturating_add(EPOCH_DAYS);
        let (era, day_of_era) = (since_era.div_euclid(ERA_DAYS), since_era.rem_euclid(ERA_DAYS));
        // A leap day every 4 years but not every 100, and one at the era's end.
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // From March on, months of 31 30 31 30 31 days repeat: 153 days in five of them.
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
        Self {
            year,
            month: month as u8,
            day: day as u8,
            hour: (second_of_day / 3600) as u8,
            minute: (second_of_day / 60 % 60) as u8,
            second: (second_of_day % 60) as u8,
        }
    }

    pub(super) const fn to_unix(self) -> i64 {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let month_from_march = (self.month as i64 + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + self.day as i64 - 1;
        let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * ERA_DAYS + day_of_era - EPOCH_DAYS;
        days * DAY_S + self.hour as i64 * 3600 + self.minute as i64 * 60 + self.second as i64
    }

    /// 1 is Sunday.
    const fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday.
        (self.to_unix().div_euclid(DAY_S) + 4).rem_euclid(7) as u8 + 1
    }

    /// What the time register `index` shows.
    pub(super) const fn register(self, format: Format, index: u8) -> u8 {
        match index {
            SECONDS => format.number(self.second),
            MINUTES => format.number(self.minute),
            HOURS => format.hour(self.hour),
            WEEKDAY => format.number(self.weekday()),
            DAY => format.number(self.day),
            MONTH => format.number(self.month),
            YEAR => format.number(self.year.rem_euclid(100) as u8),
            // The century is packed decimal on every PC, whatever register B says of the rest.
            _ => Format { numbers: Numbers::Bcd, ..format }.number((self.year / 100).rem_euclid(100) as u8),
        }
    }

    /// What time registers say; what cannot be is brought to the nearest that can.
    pub(super) fn from_registers(format: Format, register: impl Fn(u8) -> u8) -> Self {
        let value = |index, low: u8, high: u8| format.value(register(index)).unwrap_or(low).clamp(low, high);
        let century = Format { numbers: Numbers::Bcd, ..format }.value(register(CENTURY)).unwrap_or(20);
        Self {
            year: i64::from(century) * 100 + i64::from(value(YEAR, 0, 99)),
            month: value(MONTH, 1, 12),
            day: value(DAY, 1, 31),
            hour: format.hour_value(register(HOURS)).unwrap_or(0).min(23),
            minute: value(MINUTES, 0, 59),
            second: value(SECONDS, 0, 59),
        }
    }
}

/// What an alarm register matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Any,
    Value(u8),
    Never,
}

impl Match {
    fn new(register: u8, value: Option<u8>) -> Self {
        if register & ANY == ANY { Self::Any } else { value.map_or(Self::Never, Self::Value) }
    }

    /// The first number from `from` on, below `limit`, that matches.
    fn first(self, from: i64, limit: i64) -> Option<i64> {
        match self {
            Self::Any => Some(from).filter(|n| *n < limit),
            Self::Value(value) => Some(i64::from(value)).filter(|n| (from..limit).contains(n)),
            Self::Never => None,
        }
    }
}

/// The first second after `after` that matches the alarm registers for hours, minutes and seconds.
pub(super) fn next_alarm(format: Format, [hours, minutes, seconds]: [u8; 3], after: i64) -> Option<i64> {
    let hours = Match::new(hours, format.hour_value(hours));
    let minutes = Match::new(minutes, format.value(minutes));
    let seconds = Match::new(seconds, format.value(seconds));
    let from = after.saturating_add(1);
    let (midnight, second_of_day) = (from - from.rem_euclid(DAY_S), from.rem_euclid(DAY_S));
    // What is not matched today any more is matched tomorrow or never.
    [(midnight, second_of_day), (midnight.saturating_add(DAY_S), 0)].into_iter().find_map(|(day, from)| {
        first_of_day(hours, minutes, seconds, from).map(|second| day.saturating_add(second))
    })
}

/// The first second of a day, from `from` on, that matches.
fn first_of_day(hours: Match, minutes: Match, seconds: Match, from: i64) -> Option<i64> {
    let in_minute = |hour: i64, minute: i64| {
        let start = hour * 3600 + minute * 60;
        seconds.first((from - start).max(0), 60).map(|second| start + second)
    };
    let in_hour = |hour: i64| {
        let minute = minutes.first((from / 60 - hour * 60).max(0), 60)?;
        let next = || minutes.first(minute + 1, 60).and_then(|minute| in_minute(hour, minute));
        in_minute(hour, minute).or_else(next)
    };
    let hour = hours.first(from / 3600, 24)?;
    in_hour(hour).or_else(|| hours.first(hour + 1, 24).and_then(in_hour))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn civil(unix_s: i64) -> (i64, u8, u8, u8, u8, u8, u8) {
        let c = Civil::from_unix(unix_s);
        (c.year, c.month, c.day, c.hour, c.minute, c.second, c.weekday())
    }

    #[test]
    fn known_dates_are_right() {
        assert_eq!(civil(0), (1970, 1, 1, 0, 0, 0, 5));
        assert_eq!(civil(951_782_399), (2000, 2, 28, 23, 59, 59, 2));
        assert_eq!(civil(951_782_400), (2000, 2, 29, 0, 0, 0, 3));
        assert_eq!(civil(4_107_542_400), (2100, 3, 1, 0, 0, 0, 2));
        assert_eq!(civil(-1), (1969, 12, 31, 23, 59, 59, 4));
    }

    #[test]
    fn noon_and_midnight_are_twelve_in_the_12_hour_mode() {
        let format = Format::from_register_b(0);
        for (hour, register) in [(0, 0x12), (1, 0x01), (11, 0x11), (12, 0x92), (13, 0x81), (23, 0x91)] {
            assert_eq!(format.hour(hour), register);
            assert_eq!(format.hour_value(register), Some(hour));
        }
        assert_eq!(format.hour_value(0x00), None);
        assert_eq!(format.hour_value(0x13), None);
    }

    proptest! {
        #[test]
        fn dates_convert_forth_and_back(unix_s in -60_000_000_000..250_000_000_000i64) {
            prop_assert_eq!(Civil::from_unix(unix_s).to_unix(), unix_s);
        }

        #[test]
        fn registers_convert_forth_and_back(unix_s in -60_000_000_000..250_000_000_000i64, b: u8) {
            let (civil, format) = (Civil::from_unix(unix_s), Format::from_register_b(b));
            prop_assert_eq!(Civil::from_registers(format, |index| civil.register(format, index)), civil);
        }
    }

    proptest! {
        // Each case looks through a whole day.
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_next_alarm_is_the_first_second_that_matches(
            b: u8,
            hours in prop_oneof![Just(0xc0u8), 0..0x24u8, any::<u8>()],
            minutes in prop_oneof![Just(0xc0u8), 0..0x60u8, any::<u8>()],
            seconds in prop_oneof![Just(0xc0u8), 0..0x60u8, any::<u8>()],
            after in 0..200_000i64,
        ) {
            let format = Format::from_register_b(b);
            let matches = |register: u8, value: Option<u8>, is: u8| register >= 0xc0 || value == Some(is);
            let expected = (after + 1..=after + DAY_S).find(|second| {
                let c = Civil::from_unix(*second);
                matches(hours, format.hour_value(hours), c.hour)
                    && matches(minutes, format.value(minutes), c.minute)
                    && matches(seconds, format.value(seconds), c.second)
            });
            prop_assert_eq!(next_alarm(format, [hours, minutes, seconds], after), expected);
        }
    }
}
