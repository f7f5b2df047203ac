//! Sizes as they are written: a whole number and a binary unit, such as `256M`.

use base::{ByteSize, GIB, KIB, MIB};
use core::fmt;

/// Why a text is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeProblem {
    /// No K, M or G at the end.
    NoUnit,
    /// What stands before the unit is not a whole number of decimal digits.
    NotANumber,
    /// The number of bytes does not fit 64 bits.
    TooLarge,
}

impl fmt::Display for SizeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoUnit => "has no unit",
            Self::NotANumber => "is not a whole number with a unit",
            Self::TooLarge => "is too large",
        })
    }
}

/// The size that `text` says.
pub(crate) fn parse(text: &str) -> Result<ByteSize, SizeProblem> {
    let (digits, unit_bytes) = split_unit(text).ok_or(SizeProblem::NoUnit)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SizeProblem::NotANumber);
    }
    let count: u64 = digits.parse().map_err(|_| SizeProblem::TooLarge)?;
    count.checked_mul(unit_bytes).map(ByteSize).ok_or(SizeProblem::TooLarge)
}

fn split_unit(text: &str) -> Option<(&str, u64)> {
    [('K', KIB), ('M', MIB), ('G', GIB)]
        .into_iter()
        .find_map(|(unit, bytes)| text.strip_suffix(unit).map(|digits| (digits, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_binary() {
        assert_eq!(parse("4096K"), Ok(ByteSize(4 << 20)));
        assert_eq!(parse("256M"), Ok(ByteSize(256 << 20)));
        assert_eq!(parse("2G"), Ok(ByteSize(2 << 30)));
    }

    #[test]
    fn what_is_not_a_number_with_a_unit_is_refused() {
        assert_eq!(parse("256"), Err(SizeProblem::NoUnit));
        assert_eq!(parse("256m"), Err(SizeProblem::NoUnit));
        assert_eq!(parse("M"), Err(SizeProblem::NotANumber));
        assert_eq!(parse("1.5G"), Err(SizeProblem::NotANumber));
        assert_eq!(parse("+1G"), Err(SizeProblem::NotANumber));
        assert_eq!(parse("99999999999999G"), Err(SizeProblem::TooLarge));
        assert_eq!(parse("99999999999999999999999K"), Err(SizeProblem::TooLarge));
    }
}
