//! The IVRS table.
//!
//! ```text
//! 36 IVinfo   48 blocks: type u8, flags u8, length u16, ...
//! IVHD (types 0x10, 0x11, 0x40): 4 device id   6 capability offset   8 register base u64   16 segment u16
//! ```
//! The same unit is described by a block of each type that an operating system may understand.
//! Source: AMD I/O Virtualization Technology (IOMMU) specification 48882, section 5.2.

use crate::bytes::{entries, u16_at, u64_at};
use crate::{Scope, Unit, UnitKind, Units};
use base::Hpa;

const BLOCKS: usize = 48;
const IVHD_TYPES: [u8; 3] = [0x10, 0x11, 0x40];

pub fn parse(table: &[u8], units: &mut Units) {
    for entry in entries(table.get(BLOCKS..).unwrap_or_default()) {
        match entry {
            Some(block) if block.first().is_some_and(|kind| IVHD_TYPES.contains(kind)) => {
                units.add(unit(block))
            }
            Some(_) => {}
            None => units.leave_out(),
        }
    }
}

fn unit(block: &[u8]) -> Option<Unit> {
    let base = Hpa::new(u64_at(block, 8)?).ok().filter(|base| *base != Hpa::ZERO)?;
    Some(Unit { kind: UnitKind::AmdVi, segment: u16_at(block, 16)?, base, scope: Scope::Listed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn parsed(blocks: &[u8]) -> Units {
        let mut table = std::vec![0; BLOCKS];
        table.extend(blocks);
        let mut units = Units::default();
        parse(&table, &mut units);
        units
    }

    fn ivhd(kind: u8, base: u32) -> Vec<u8> {
        let mut block = std::vec![kind, 0, 24, 0, 0x10, 0, 0x40, 0];
        block.extend(u64::from(base).to_le_bytes());
        block.extend([0; 8]);
        block
    }

    #[test]
    fn a_unit_described_in_two_forms_is_one() {
        let mut blocks = ivhd(0x10, 0xfed8_0000);
        blocks.extend(ivhd(0x11, 0xfed8_0000));
        blocks.extend([0x20, 0, 8, 0, 0, 0, 0, 0]);
        blocks.extend(ivhd(0x40, 0xfed8_4000));
        let units = parsed(&blocks);
        let bases: Vec<_> = units.found.iter().map(|unit| unit.base.as_u64()).collect();
        assert_eq!((bases.as_slice(), units.left_out), (&[0xfed8_0000, 0xfed8_4000][..], 0));
        assert!(units.found.iter().all(|unit| unit.kind == UnitKind::AmdVi));
    }

    #[test]
    fn a_unit_without_registers_is_left_out_and_counted() {
        assert_eq!(parsed(&ivhd(0x10, 0)).left_out, 1);
        assert_eq!(parsed(&[0x10, 0, 4, 0]).left_out, 1);
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes: Vec<u8>) {
            parse(&bytes, &mut Units::default());
            parsed(&bytes);
        }
    }
}
