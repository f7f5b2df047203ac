//! Firmware's calendar time as seconds since 1970 (UEFI 2.10, section 8.3, `EFI_TIME`).

/// A calendar time as firmware gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalendarTime {
    /// The year, 1970 to 9999 here.
    pub year: u16,
    /// The month, 1 to 12.
    pub month: u8,
    /// The day of the month, 1 to 31.
    pub day: u8,
    /// The hour, 0 to 23.
    pub hour: u8,
    /// The minute, 0 to 59.
    pub minute: u8,
    /// The second, 0 to 59.
    pub second: u8,
    /// Minutes to be added for UTC; `None` when firmware does not know: taken for UTC.
    pub zone_minutes: Option<i16>,
}

/// Days before each month of a year that begins in March, so that the leap day is its last.
const DAYS_BEFORE_MONTH: [u64; 12] = [306, 337, 0, 31, 61, 92, 122, 153, 184, 214, 245, 275];

/// Days from 1 March of year 0 to 1 January 1970.
const DAYS_BEFORE_1970: u64 = 719_468;

impl CalendarTime {
    /// Seconds since 1970-01-01 00:00 UTC, or `None` for what is no time at all.
    pub fn unix_seconds(&self) -> Option<u64> {
        let in_range = (1970..=9999).contains(&self.year)
            && (1..=31).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60;
        let month = usize::from(self.month).checked_sub(1).filter(|_| in_range)?;
        let before_month = DAYS_BEFORE_MONTH.get(month)?;
        let year = u64::from(self.year) - u64::from(self.month < 3);
        let days = 365 * year + year / 4 - year / 100 + year / 400 + before_month + u64::from(self.day) - 1;
        let minutes = (days - DAYS_BEFORE_1970) * 1440 + u64::from(self.hour) * 60 + u64::from(self.minute);
        let zone_minutes = i64::from(self.zone_minutes.unwrap_or(0));
        let minutes = minutes.checked_add_signed(zone_minutes)?;
        Some(minutes * 60 + u64::from(self.second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> CalendarTime {
        CalendarTime { year, month, day, hour, minute, second, zone_minutes: None }
    }

    #[test]
    fn known_moments_have_their_seconds() {
        for (moment, seconds) in [
            (time(1970, 1, 1, 0, 0, 0), 0),
            (time(2000, 2, 29, 12, 0, 0), 951_825_600),
            (time(2000, 3, 1, 0, 0, 0), 951_868_800),
            (time(2038, 1, 19, 3, 14, 8), 1 << 31),
            (time(2100, 3, 1, 0, 0, 0), 4_107_542_400),
        ] {
            assert_eq!(moment.unix_seconds(), Some(seconds), "{moment:?}");
        }
    }

    #[test]
    fn the_zone_is_added_to_local_time() {
        let vienna = CalendarTime { zone_minutes: Some(-60), ..time(1970, 1, 1, 1, 0, 0) };
        assert_eq!(vienna.unix_seconds(), Some(0));
        let before = CalendarTime { zone_minutes: Some(-61), ..vienna };
        assert_eq!(before.unix_seconds(), None);
    }

    #[test]
    fn an_unset_clock_is_no_time() {
        for moment in [time(0, 0, 0, 0, 0, 0), time(2026, 13, 1, 0, 0, 0), time(2026, 1, 1, 24, 0, 0)] {
            assert_eq!(moment.unix_seconds(), None, "{moment:?}");
        }
    }
}
