//! Base address registers: where a function's own registers are.
//!
//! ```text
//! memory BAR   31..4 address   3 prefetchable   2..1 type: 00 32-bit, 10 64-bit (the next register is its upper half)   0: 0
//! ```
//! Source: PCI Local Bus 3.0, section 6.2.5.1.

use super::{Address, Command, ConfigSpace, PciError};
use base::{Hpa, PhysRange};

const FIRST: u16 = 0x10;
/// BARs of an endpoint.
pub const MAX_BARS: u8 = 6;

const IS_PORT: u32 = 1 << 0;
const TYPE: u32 = 0b11 << 1;
const TYPE_64: u32 = 0b10 << 1;
const FLAGS: u64 = 0xf;

/// Where memory BAR `index` of the endpoint at `at` is, measured with decoding off: all address bits that stick are
/// ones, so their lowest tells the size. The function is as before afterwards.
///
/// # Errors
/// When it is no memory BAR, has no address, or makes no sense.
pub fn memory(config: &mut impl ConfigSpace, at: Address, index: u8) -> Result<PhysRange, PciError> {
    let offset = FIRST + 4 * u16::from(index);
    let low = if index < MAX_BARS { config.read32(at, offset) } else { IS_PORT };
    if low & IS_PORT != 0 {
        return Err(PciError::NoMemoryBar(index));
    }
    let is_wide = match low & TYPE {
        0 => false,
        TYPE_64 if index + 1 < MAX_BARS => true,
        _ => return Err(PciError::BadBar(index)),
    };
    let command = Command::read(config, at);
    command.difference(Command::PORTS | Command::MEMORY).write(config, at);
    let high = if is_wide { config.read32(at, offset + 4) } else { 0 };
    let low_mask = probe(config, at, offset, low);
    let high_mask = if is_wide { probe(config, at, offset + 4, high) } else { u32::MAX };
    command.write(config, at);

    let address = (u64::from(high) << 32 | u64::from(low)) & !FLAGS;
    let mask = (u64::from(high_mask) << 32 | u64::from(low_mask)) & !FLAGS;
    if low_mask == 0 && (high_mask == 0 || !is_wide) {
        return Err(PciError::NoMemoryBar(index));
    }
    if address == 0 {
        return Err(PciError::Unassigned(index));
    }
    let len_bytes = mask.wrapping_neg();
    let makes_sense = len_bytes.is_power_of_two() && address.is_multiple_of(len_bytes);
    let start = Hpa::new(address).ok().filter(|_| makes_sense).ok_or(PciError::BadBar(index))?;
    PhysRange::new(start, len_bytes).map_err(|_| PciError::BadBar(index))
}

/// What sticks of all ones; `value` is put back.
fn probe(config: &mut impl ConfigSpace, at: Address, offset: u16, value: u32) -> u32 {
    config.write32(at, offset, u32::MAX);
    let mask = config.read32(at, offset);
    config.write32(at, offset, value);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::testing::FakeConfig;
    use proptest::prelude::*;

    const AT: Address = Address::new(0, 0, 4, 0);

    fn config(bars: &[(u32, u32)]) -> FakeConfig {
        let mut config = FakeConfig::default();
        config.put(AT, 0, &[0x1234_8086, 0x0010_0007]);
        for (index, (value, mask)) in bars.iter().enumerate() {
            config.put_masked(AT, FIRST + 4 * index as u16, *value, *mask);
        }
        config
    }

    #[test]
    fn a_bar_is_measured_with_decoding_off_and_left_as_it_was() {
        let mut config =
            config(&[(0xfebd_4004, 0xffff_c000), (0x0000_0001, 0xffff_ffff), (0xfe00_0000, 0xffff_f000)]);
        let range = memory(&mut config, AT, 0).unwrap();
        assert_eq!((range.start().as_u64(), range.len_bytes()), (0x1_febd_4000, 0x4000));
        assert_eq!(config.read32(AT, FIRST), 0xfebd_4004);
        let decoding: std::vec::Vec<_> =
            config.writes().iter().filter(|(_, at, _)| *at == 4).map(|w| w.2).collect();
        assert_eq!(decoding, [4, 7], "off first, on again at the end");
        assert_eq!(memory(&mut config, AT, 2).unwrap().len_bytes(), 0x1000);
    }

    #[test]
    fn what_is_no_assigned_memory_bar_is_refused() {
        let mut config = config(&[
            (0, 0xffff_f000),
            (0xc001, 0xffff_fffd),
            (0, 0),
            (0xfe00_0002, !0),
            (0xfe00_1000, 0xffff_c000),
        ]);
        assert_eq!(memory(&mut config, AT, 0), Err(PciError::Unassigned(0)));
        assert_eq!(memory(&mut config, AT, 1), Err(PciError::NoMemoryBar(1)));
        assert_eq!(memory(&mut config, AT, 2), Err(PciError::NoMemoryBar(2)));
        assert_eq!(memory(&mut config, AT, 3), Err(PciError::BadBar(3)));
        assert_eq!(memory(&mut config, AT, 4), Err(PciError::BadBar(4)), "not at a multiple of its size");
        assert_eq!(memory(&mut config, AT, 6), Err(PciError::NoMemoryBar(6)));
    }

    proptest! {
        #[test]
        fn whatever_a_device_says_a_bar_is_aligned_memory_or_refused(
            bars in proptest::collection::vec((any::<u32>(), any::<u32>()), 6), index in 0_u8..8,
        ) {
            if let Ok(range) = memory(&mut config(&bars), AT, index) {
                prop_assert!(range.len_bytes() >= 16 && range.start().is_aligned(range.len_bytes()));
            }
        }
    }
}
