//! MCFG: where PCI Express configuration spaces are mapped.
//!
//! Source: PCI Firmware specification 3.3, section 4.1.2.

use super::table::{HEADER_BYTES, Table, u8_at, u16_at, u64_at};
use arrayvec::ArrayVec;
use base::Hpa;

/// How many segments are kept.
pub const MAX_SEGMENTS: usize = 16;
const ENTRY_BYTES: usize = 16;

/// The configuration spaces of a range of buses: 1 MiB a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigWindow {
    /// Where bus 0 of the segment would be.
    pub base: Hpa,
    /// The PCI segment.
    pub segment: u16,
    /// The first bus.
    pub first_bus: u8,
    /// The last bus.
    pub last_bus: u8,
}

/// What the table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mcfg {
    /// The windows, at most [`MAX_SEGMENTS`].
    pub windows: ArrayVec<ConfigWindow, MAX_SEGMENTS>,
}

impl Mcfg {
    /// Reads the table; entries that are wrong or too many are left out.
    pub fn parse(table: Table<'_>) -> Self {
        let entries = table.bytes().get(HEADER_BYTES + 8..).unwrap_or_default().chunks_exact(ENTRY_BYTES);
        Self { windows: entries.filter_map(window).take(MAX_SEGMENTS).collect() }
    }
}

fn window(entry: &[u8]) -> Option<ConfigWindow> {
    let window = ConfigWindow {
        base: Hpa::new(u64_at(entry, 0)?).ok()?,
        segment: u16_at(entry, 8)?,
        first_bus: u8_at(entry, 10)?,
        last_bus: u8_at(entry, 11)?,
    };
    (window.first_bus <= window.last_bus).then_some(window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi::tests::table;
    use proptest::prelude::*;

    #[test]
    fn a_window_is_read_and_one_that_ends_before_it_begins_is_not() {
        let mut body = std::vec![0; 8];
        body.extend([0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0]);
        body.extend([0, 0, 0, 0xc0, 0, 0, 0, 0, 1, 0, 9, 8, 0, 0, 0, 0]);
        let bytes = table(b"MCFG", &body);
        let mcfg = Mcfg::parse(Table::unchecked(&bytes));
        let base = Hpa::new(0xb000_0000).unwrap();
        assert_eq!(mcfg.windows.as_slice(), [ConfigWindow { base, segment: 0, first_bus: 0, last_bus: 255 }]);
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(Mcfg::parse(Table::unchecked(&bytes)).windows.len() <= MAX_SEGMENTS);
        }
    }
}
