//! `\_S5`: the sleep types that mean power-off, found in AML without interpreting it.
//!
//! ```text
//! 08 [5c] "_S5_" 12 PkgLength NumElements  SLP_TYPa SLP_TYPb ...     Name (\_S5, Package (4) { 5, 5, 0, 0 })
//! ```
//! Every firmware in the field declares it as a static package like this, since it must be readable before anything
//! else is. Source: ACPI 6.5, sections 7.4.2 and 20.2 (AML encoding).

use super::table::{u8_at, u16_at, u32_at};

const NAME_OP: u8 = 0x08;
const ROOT_CHAR: u8 = b'\\';
const PACKAGE_OP: u8 = 0x12;
const ZERO_OP: u8 = 0x00;
const ONE_OP: u8 = 0x01;
const BYTE_PREFIX: u8 = 0x0a;
const WORD_PREFIX: u8 = 0x0b;
const DWORD_PREFIX: u8 = 0x0c;
const NAME: [u8; 4] = *b"_S5_";
/// A sleep type has three bits (ACPI 6.5, table 4.15).
const SLEEP_TYPE_MAX: u32 = 7;

/// What to write to SLP_TYP of the two PM1 control registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepTypes {
    /// For PM1a.
    pub pm1a: u8,
    /// For PM1b.
    pub pm1b: u8,
}

/// The first readable `\_S5` in `aml`.
pub fn find(aml: &[u8]) -> Option<SleepTypes> {
    let names = aml.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    names.map(|(at, _)| at).find_map(|at| {
        let named = match at.checked_sub(1).and_then(|before| u8_at(aml, before))? {
            NAME_OP => true,
            ROOT_CHAR => at.checked_sub(2).and_then(|before| u8_at(aml, before)) == Some(NAME_OP),
            _ => false,
        };
        if !named {
            return None;
        }
        package(aml.get(at.checked_add(NAME.len())?..)?)
    })
}

/// Reads a package whose first elements are the sleep types. A package of one element means the same for both.
fn package(aml: &[u8]) -> Option<SleepTypes> {
    if u8_at(aml, 0)? != PACKAGE_OP {
        return None;
    }
    // The top two bits of the length's first byte say how many bytes follow it.
    let length_bytes = 1 + usize::from(u8_at(aml, 1)? >> 6);
    let count_at = 1 + length_bytes;
    let count = u8_at(aml, count_at)?;
    let (pm1a, rest) = integer(aml.get(count_at + 1..)?)?;
    let pm1b = if count >= 2 { integer(rest)?.0 } else { pm1a };
    let narrow = |value: u32| u8::try_from(value).ok().filter(|_| value <= SLEEP_TYPE_MAX);
    Some(SleepTypes { pm1a: narrow(pm1a)?, pm1b: narrow(pm1b)? })
}

/// An integer constant, and what follows it.
fn integer(aml: &[u8]) -> Option<(u32, &[u8])> {
    let (value, len) = match u8_at(aml, 0)? {
        ZERO_OP => (0, 1),
        ONE_OP => (1, 1),
        BYTE_PREFIX => (u8_at(aml, 1)?.into(), 2),
        WORD_PREFIX => (u16_at(aml, 1)?.into(), 3),
        DWORD_PREFIX => (u32_at(aml, 1)?, 5),
        _ => return None,
    };
    Some((value, aml.get(len..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_package_is_found_among_other_code() {
        let aml = b"\x10\x20junk_S5_\x08_S5_\x12\x0a\x04\x0a\x05\x0a\x06\x00\x00tail";
        assert_eq!(find(aml), Some(SleepTypes { pm1a: 5, pm1b: 6 }));
    }

    #[test]
    fn a_rooted_name_and_short_constants_are_understood() {
        assert_eq!(find(b"\x08\\_S5_\x12\x06\x04\x00\x01\x00\x00"), Some(SleepTypes { pm1a: 0, pm1b: 1 }));
    }

    #[test]
    fn a_long_package_length_is_skipped() {
        let aml = b"\x08_S5_\x12\x41\x00\x02\x0b\x07\x00\x01.";
        assert_eq!(find(aml), Some(SleepTypes { pm1a: 7, pm1b: 1 }));
    }

    #[test]
    fn what_is_no_static_package_or_no_sleep_type_is_not_it() {
        for aml in [
            &b"\x14\x0b_S5_\x00\xa4"[..],
            b"_S5_\x12\x06\x04\x00\x01",
            b"\x08_S5_\x12",
            b"\x08_S5_\x12\x06\x04\x0a\x08\x00\x00",
            b"\x08_S5_\x12\x06\x04\x70\x00\x00",
            b"",
        ] {
            assert_eq!(find(aml), None, "{aml:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(mut bytes: std::vec::Vec<u8>, tail: std::vec::Vec<u8>) {
            bytes.extend(b"\x08_S5_\x12");
            bytes.extend(tail);
            let _ = find(&bytes);
        }
    }
}
