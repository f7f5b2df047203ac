//! The bitmaps that let registers and ports through, built from [`vcpu::permission`], shared by every vCPU.
//!
//! A set bit makes the access exit. Both maps begin all ones, so what no rule passes is closed. Registers beyond the MSR
//! map always exit, and so do accesses that run past the last port.
//!
//! ```text
//!   MSR map, 1 bit a register                      I/O maps, 1 bit a port
//!   0x000  reads  0000_0000-0000_1FFF              A, 0x0000  ports 0-0x7FFF
//!   0x400  reads  C000_0000-C000_1FFF              B, 0x1000  ports 0x8000-0xFFFF
//!   0x800  writes 0000_0000-0000_1FFF
//!   0xC00  writes C000_0000-C000_1FFF
//! ```
//! Sources: SDM, volume 3, sections 25.6.4 (I/O) and 25.6.9 (MSR).

use crate::frames::{FrameSource, OutOfFrames};
use base::{Hpa, PAGE_BYTES};
use vcpu::permission::{MSRS, MsrRule, PORTS, Permission, PortRule, X2APIC_MSRS};

/// Two MSR bitmaps, and the frame that stands for APICs' pages.
const MSR_MAP_FRAMES: usize = 2;
const APIC_FRAMES: usize = 1;
const IO_MAP_FRAMES: usize = 2;

/// The registers of one region of the MSR map.
const REGION_REGISTERS: u32 = 0x2000;
/// First register and first byte of each region, for reads.
const REGIONS: [(u32, usize); 2] = [(0, 0), (0xc000_0000, 0x400)];
/// How far behind the bits for reads those for writes are.
const WRITES_BYTES: usize = 0x800;

/// Where the maps are. They are never freed: they serve every VM until the machine stops.
#[derive(Clone, Copy, Debug)]
pub struct PermissionMaps {
    /// The MSR bitmap, for the VMCS.
    pub msrs: Hpa,
    /// As that, for a guest whose local APIC the processor runs in x2APIC mode.
    pub msrs_and_apic: Hpa,
    /// I/O bitmap A, for the VMCS.
    pub ports_a: Hpa,
    /// I/O bitmap B.
    pub ports_b: Hpa,
    /// What stands for the page of each guest's local APIC; never accessed.
    pub apic_page: Hpa,
}

impl PermissionMaps {
    /// Builds the maps.
    ///
    /// # Errors
    /// [`OutOfFrames`] when there are no frames for them.
    pub fn build(frames: &mut impl FrameSource) -> Result<Self, OutOfFrames> {
        let mut msrs = frames.take(MSR_MAP_FRAMES + APIC_FRAMES)?;
        let mut ports = match frames.take(IO_MAP_FRAMES) {
            Ok(ports) => ports,
            Err(error) => {
                frames.give_back(msrs);
                return Err(error);
            }
        };
        let (plain, apic) = msrs.bytes_mut().split_at_mut(PAGE_BYTES as usize);
        close(plain);
        open_msrs(plain, MSRS);
        if let Some(apic) = apic.first_chunk_mut::<{ PAGE_BYTES as usize }>() {
            apic.copy_from_slice(plain);
            open_msrs(apic, X2APIC_MSRS);
        }
        fill_io_map(ports.bytes_mut(), PORTS);
        let second = |hpa: Hpa| Hpa::from_low_bits(hpa.as_u64().wrapping_add(PAGE_BYTES));
        let (msrs, ports_a) = (msrs.hpa(), ports.hpa());
        Ok(Self {
            msrs,
            msrs_and_apic: second(msrs),
            ports_a,
            ports_b: second(ports_a),
            apic_page: second(second(msrs)),
        })
    }
}

/// Where the bit for reading `register` is: byte and bit. None: such a register always exits.
fn msr_position(register: u32) -> Option<(usize, u32)> {
    REGIONS.iter().find_map(|(first, first_byte)| {
        let index = register.checked_sub(*first).filter(|index| *index < REGION_REGISTERS)?;
        Some((first_byte + (index / 8) as usize, index % 8))
    })
}

fn close(map: &mut [u8]) {
    map.fill(0xff);
}

fn open_msrs(map: &mut [u8], rules: &[MsrRule]) {
    for rule in rules {
        for register in rule.first..=rule.last {
            let Some((byte, bit)) = msr_position(register) else { continue };
            if rule.read == Permission::Pass {
                open(map, byte, bit);
            }
            if rule.write == Permission::Pass {
                open(map, byte + WRITES_BYTES, bit);
            }
        }
    }
}

fn fill_io_map(map: &mut [u8], rules: &[PortRule]) {
    close(map);
    for rule in rules.iter().filter(|rule| rule.access == Permission::Pass) {
        for port in rule.first..=rule.last {
            open(map, usize::from(port) / 8, u32::from(port % 8));
        }
    }
}

fn open(map: &mut [u8], byte: usize, bit: u32) {
    if let Some(byte) = map.get_mut(byte) {
        *byte &= !(1 << bit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vcpu::permission::{msr, msr_rule};

    /// Whether reading and writing exits.
    fn exits(map: &[u8], (byte, bit): (usize, u32)) -> (bool, bool) {
        (map[byte] >> bit & 1 == 1, map[byte + WRITES_BYTES] >> bit & 1 == 1)
    }

    fn msr_map(tables: &[&[MsrRule]]) -> [u8; 0x1000] {
        let mut map = [0; 0x1000];
        close(&mut map);
        tables.iter().for_each(|rules| open_msrs(&mut map, rules));
        map
    }

    #[test]
    fn of_a_local_apic_that_the_processor_runs_just_the_rules_pass() {
        let (plain, apic) = (msr_map(&[MSRS]), msr_map(&[MSRS, X2APIC_MSRS]));
        let at = |map: &[u8], register| exits(map, msr_position(register).unwrap());
        assert_eq!(at(&plain, 0x80b), (true, true));
        // EOI and self-IPI by writing, the version by reading; the current count and the command exit.
        assert_eq!(
            [0x80b, 0x83f, 0x803].map(|r| at(&apic, r)),
            [(true, false), (true, false), (false, true)]
        );
        assert_eq!([0x839, 0x830].map(|r| at(&apic, r)), [(true, true), (false, true)]);
        assert_eq!(at(&apic, msr::EFER), (true, true));
    }

    #[test]
    fn positions_are_the_manuals() {
        assert_eq!(msr_position(0), Some((0, 0)));
        assert_eq!(msr_position(0x1fff), Some((0x3ff, 7)));
        assert_eq!(msr_position(0xc000_0080), Some((0x410, 0)));
        assert_eq!(msr_position(0x2000), None);
        assert_eq!(msr_position(0xc001_0015), None);
        assert_eq!(msr_position(u32::MAX), None);
    }

    #[test]
    fn efer_exits_and_the_system_call_target_does_not() {
        let map = msr_map(&[MSRS]);
        assert_eq!(exits(&map, msr_position(msr::EFER).unwrap()), (true, true));
        assert_eq!(exits(&map, msr_position(msr::LSTAR).unwrap()), (false, false));
    }

    #[test]
    fn every_port_exits_but_those_that_a_rule_passes() {
        let mut map = [0; 0x2000];
        fill_io_map(&mut map, PORTS);
        assert!(map.iter().all(|byte| *byte == 0xff));
        let rule = PortRule { first: 0x83f9, last: 0x83fa, access: Permission::Pass, reason: "test" };
        fill_io_map(&mut map, &[rule]);
        assert_eq!(map[0x1000 + 0x3f8 / 8], !0b110);
        assert_eq!(map.iter().filter(|byte| **byte != 0xff).count(), 1);
    }

    proptest! {
        #[test]
        fn a_register_exits_unless_its_rule_passes_it(region in 0_usize..2, index in 0_u32..0x2000) {
            let map = msr_map(&[MSRS]);
            let register = REGIONS[region].0 + index;
            let rule = msr_rule(register);
            let expected = (rule.read != Permission::Pass, rule.write != Permission::Pass);
            prop_assert_eq!(exits(&map, msr_position(register).unwrap()), expected);
        }
    }
}
