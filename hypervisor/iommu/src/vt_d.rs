//! The DMAR table.
//!
//! ```text
//! 36 host address width   37 flags (bit 0: interrupt remapping)   48 structures: type u16, length u16, ...
//! DRHD (type 0): 4 flags (bit 0: all devices that no other claims)   6 segment u16   8 register base u64
//! ```
//! Source: Intel VT-d specification (D51397), sections 8.1 and 8.3.

use crate::bytes::{entries, u16_at, u64_at};
use crate::{Scope, Unit, UnitKind, Units};
use base::Hpa;

const FLAGS: usize = 37;
const STRUCTURES: usize = 48;
const DRHD: u16 = 0;
const INTERRUPT_REMAPPING: u8 = 1 << 0;
const INCLUDE_ALL: u8 = 1 << 0;

pub fn parse(table: &[u8], units: &mut Units) {
    units.interrupt_remapping |= table.get(FLAGS).is_some_and(|flags| flags & INTERRUPT_REMAPPING != 0);
    for entry in entries(table.get(STRUCTURES..).unwrap_or_default()) {
        match entry {
            Some(entry) if u16_at(entry, 0) == Some(DRHD) => units.add(unit(entry)),
            Some(_) => {}
            None => units.leave_out(),
        }
    }
}

fn unit(entry: &[u8]) -> Option<Unit> {
    let scope = if entry.get(4)? & INCLUDE_ALL != 0 { Scope::Rest } else { Scope::Listed };
    let base = Hpa::new(u64_at(entry, 8)?).ok().filter(|base| *base != Hpa::ZERO)?;
    Some(Unit { kind: UnitKind::VtD, segment: u16_at(entry, 6)?, base, scope })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn parsed(structures: &[u8]) -> Units {
        let mut table = std::vec![0; STRUCTURES];
        table[FLAGS] = 1;
        table.extend(structures);
        let mut units = Units::default();
        parse(&table, &mut units);
        units
    }

    #[test]
    fn units_are_found_between_other_structures() {
        let mut structures = Vec::new();
        structures.extend([0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0xd9, 0xfe, 0, 0, 0, 0]);
        structures.extend([1, 0, 6, 0, 9, 9]);
        structures
            .extend([0, 0, 24, 0, 1, 0, 0, 0, 0, 0x10, 0xd9, 0xfe, 0, 0, 0, 0, 3, 8, 0, 0, 0, 0xff, 0, 0]);
        let units = parsed(&structures);
        let unit = |base, segment, scope| Unit {
            kind: UnitKind::VtD,
            segment,
            base: Hpa::new(base).unwrap(),
            scope,
        };
        assert_eq!(
            units.found.as_slice(),
            [unit(0xfed9_0000, 1, Scope::Listed), unit(0xfed9_1000, 0, Scope::Rest)]
        );
        assert!(units.interrupt_remapping);
        assert_eq!(units.left_out, 0);
    }

    #[test]
    fn broken_structures_are_left_out_and_counted() {
        assert_eq!(parsed(&[0, 0, 8, 0, 0, 0, 0, 0]).left_out, 1);
        assert_eq!(parsed(&[0, 0, 0, 0, 0, 0, 16, 0]).left_out, 1);
        assert_eq!(parsed(&[0, 0, 200, 0]).left_out, 1);
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes: Vec<u8>) {
            parse(&bytes, &mut Units::default());
            parsed(&bytes);
        }
    }
}
