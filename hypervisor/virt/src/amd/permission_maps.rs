//! The bitmaps that let registers and ports through, built from [`vcpu::permission`], shared by every vCPU.
//!
//! A set bit makes the access exit. Both maps begin all ones, so what no rule passes is closed.
//!
//! ```text
//!   MSR map, 2 bits a register: read, write        I/O map, 1 bit a port
//!   0x0000  0000_0000-0000_1FFF                    0x0000  ports 0-0xFFFF
//!   0x0800  C000_0000-C000_1FFF                    0x2000  3 bits for accesses that run past the last port,
//!   0x1000  C001_0000-C001_1FFF                            and the rest of the third page
//!   0x1800  reserved
//! ```
//! Sources: APM 24593, volume 2, sections 15.10.1 (I/O) and 15.11 (MSR).

use crate::frames::{FrameSource, OutOfFrames};
use base::Hpa;
use vcpu::permission::{MSRS, MsrRule, PORTS, Permission, PortRule};

const MSR_MAP_FRAMES: usize = 2;
const IO_MAP_FRAMES: usize = 3;

/// The registers of one region of the MSR map.
const REGION_REGISTERS: u32 = 0x2000;
/// First register and first byte of each region.
const REGIONS: [(u32, usize); 3] = [(0, 0), (0xc000_0000, 0x800), (0xc001_0000, 0x1000)];

/// Where both maps are. They are never freed: they serve every VM until the machine stops.
#[derive(Clone, Copy, Debug)]
pub struct PermissionMaps {
    /// The MSR permission map, for the VMCB.
    pub msrs: Hpa,
    /// The I/O permission map, for the VMCB.
    pub ports: Hpa,
}

impl PermissionMaps {
    /// Builds both maps.
    ///
    /// # Errors
    /// [`OutOfFrames`] when there are no frames for them.
    pub fn build(frames: &mut impl FrameSource) -> Result<Self, OutOfFrames> {
        let mut msrs = frames.take(MSR_MAP_FRAMES)?;
        let mut ports = match frames.take(IO_MAP_FRAMES) {
            Ok(ports) => ports,
            Err(error) => {
                frames.give_back(msrs);
                return Err(error);
            }
        };
        fill_msr_map(msrs.bytes_mut(), MSRS);
        fill_io_map(ports.bytes_mut(), PORTS);
        Ok(Self { msrs: msrs.hpa(), ports: ports.hpa() })
    }
}

/// Where the bit for reading `register` is: byte and bit; the bit for writing follows it. None: such a register always
/// exits.
fn msr_position(register: u32) -> Option<(usize, u32)> {
    REGIONS.iter().find_map(|(first, first_byte)| {
        let index = register.checked_sub(*first).filter(|index| *index < REGION_REGISTERS)?;
        Some((first_byte + (index / 4) as usize, index % 4 * 2))
    })
}

fn fill_msr_map(map: &mut [u8], rules: &[MsrRule]) {
    map.fill(0xff);
    for rule in rules {
        for register in rule.first..=rule.last {
            let Some((byte, bit)) = msr_position(register) else { continue };
            let Some(byte) = map.get_mut(byte) else { continue };
            if rule.read == Permission::Pass {
                *byte &= !(1 << bit);
            }
            if rule.write == Permission::Pass {
                *byte &= !(2 << bit);
            }
        }
    }
}

fn fill_io_map(map: &mut [u8], rules: &[PortRule]) {
    map.fill(0xff);
    for rule in rules.iter().filter(|rule| rule.access == Permission::Pass) {
        for port in rule.first..=rule.last {
            if let Some(byte) = map.get_mut(usize::from(port) / 8) {
                *byte &= !(1 << (port % 8));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vcpu::permission::{msr, msr_rule};

    fn exits(map: &[u8], byte: usize, bit: u32) -> bool {
        map[byte] >> bit & 1 == 1
    }

    #[test]
    fn positions_are_the_manuals() {
        assert_eq!(msr_position(0), Some((0, 0)));
        assert_eq!(msr_position(0x1fff), Some((0x7ff, 6)));
        assert_eq!(msr_position(0xc000_0080), Some((0x820, 0)));
        assert_eq!(msr_position(0xc001_0117), Some((0x1045, 6)));
        assert_eq!(msr_position(0x2000), None);
        assert_eq!(msr_position(0x4b56_4d00), None);
        assert_eq!(msr_position(0xc001_2000), None);
        assert_eq!(msr_position(u32::MAX), None);
    }

    #[test]
    fn efer_exits_and_the_system_call_target_does_not() {
        let mut map = [0; 0x2000];
        fill_msr_map(&mut map, MSRS);
        let (byte, bit) = msr_position(msr::EFER).unwrap();
        assert!(exits(&map, byte, bit) && exits(&map, byte, bit + 1));
        let (byte, bit) = msr_position(msr::LSTAR).unwrap();
        assert!(!exits(&map, byte, bit) && !exits(&map, byte, bit + 1));
    }

    #[test]
    fn every_port_exits_but_those_that_a_rule_passes() {
        let mut map = [0; 0x3000];
        fill_io_map(&mut map, PORTS);
        assert!(map.iter().all(|byte| *byte == 0xff));
        let rule = PortRule { first: 0x3f9, last: 0x3fa, access: Permission::Pass, reason: "test" };
        fill_io_map(&mut map, &[rule]);
        assert_eq!(map[0x3f8 / 8], !0b110);
        assert_eq!(map.iter().filter(|byte| **byte != 0xff).count(), 1);
    }

    proptest! {
        #[test]
        fn a_register_exits_unless_its_rule_passes_it(region in 0_usize..3, index in 0_u32..0x2000) {
            let mut map = [0; 0x2000];
            fill_msr_map(&mut map, MSRS);
            let register = REGIONS[region].0 + index;
            let (byte, bit) = msr_position(register).unwrap();
            let rule = msr_rule(register);
            prop_assert_eq!(exits(&map, byte, bit), rule.read != Permission::Pass);
            prop_assert_eq!(exits(&map, byte, bit + 1), rule.write != Permission::Pass);
        }
    }
}
