//! The list of a function's capabilities (PCI Local Bus 3.0, section 6.7).

use super::{Address, ConfigSpace};

const STATUS: u16 = 0x06;
const HAS_LIST: u16 = 1 << 4;
const FIRST: u16 = 0x34;
/// The list lies behind the header, in 4-byte units: it cannot have more entries.
const MAX_ENTRIES: usize = (0x100 - 0x40) / 4;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is.
    pub id: u8,
    /// Where it is in configuration space.
    pub offset: u16,
}

impl Capability {
    /// Message-signaled interrupts.
    pub const MSI: u8 = 0x05;
    /// A vendor's own.
    pub const VENDOR: u8 = 0x09;
    /// Message-signaled interrupts with a table.
    pub const MSIX: u8 = 0x11;
}

/// The capabilities of the function at `at`. A list that runs in a circle ends.
pub fn capabilities(config: &impl ConfigSpace, at: Address) -> impl Iterator<Item = Capability> {
    let has_list = config.read16(at, STATUS) & HAS_LIST != 0;
    let mut next = if has_list { config.read8(at, FIRST) } else { 0 };
    let entries = core::iter::from_fn(move || {
        let offset = u16::from(next & !3);
        if offset < 0x40 {
            return None;
        }
        let [id, following, ..] = config.read32(at, offset).to_le_bytes();
        next = following;
        Some(Capability { id, offset })
    });
    entries.take(MAX_ENTRIES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::testing::FakeConfig;
    use std::vec::Vec;

    const AT: Address = Address::new(0, 0, 4, 0);

    #[test]
    fn the_list_is_followed_to_its_end() {
        let mut config = FakeConfig::default();
        config.put(AT, 0, &[0x1234_8086, 0x0010_0000]);
        config.put(AT, FIRST, &[0x50]);
        config.put(AT, 0x50, &[0x0005 | 0x60 << 8]);
        config.put(AT, 0x60, &[0x0011]);
        let found: Vec<_> =
            capabilities(&config, AT).map(|capability| (capability.id, capability.offset)).collect();
        assert_eq!(found, [(5, 0x50), (0x11, 0x60)]);
    }

    #[test]
    fn a_circle_ends_and_a_function_without_a_list_has_none() {
        let mut config = FakeConfig::default();
        config.put(AT, 0, &[0x1234_8086, 0x0010_0000]);
        config.put(AT, FIRST, &[0x50]);
        config.put(AT, 0x50, &[0x0009 | 0x50 << 8]);
        assert_eq!(capabilities(&config, AT).count(), MAX_ENTRIES);
        config.put(AT, 4, &[0]);
        assert_eq!(capabilities(&config, AT).count(), 0);
    }
}
