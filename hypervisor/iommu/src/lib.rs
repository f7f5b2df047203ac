//! Memory for DMA, and IOMMU units: which exist. **Devices are not isolated yet.**
//!
//! This version finds the units and names them, and programs none: a host device can reach all memory, as on a machine
//! without an IOMMU. That is tolerable for two reasons alone: no device is ever given to a guest in this version, and the
//! hypervisor's own drivers name to their devices nothing but memory that was pinned for that ([`dma`]). A device that
//! does not keep to what it was told is not stopped; domains and remapping will do that.
//!
//! # Principles
//! - Firmware's tables are input: bounded, never trusted, never the cause of a panic.
//! - Both vendors' units are found by one function and told apart by [`UnitKind`].
//! - Memory that a device may reach has one owner, and is never freed by accident.
//!
//! # What it must never do
//! Claim isolation that is not there.
//!
//! # Unsafe
//! `dma` alone, and `fake`, which stands for it in tests: memory that a device writes to is raw memory.

#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[cfg(test)]
extern crate std;

mod amd_vi;
mod bytes;
pub mod dma;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod vt_d;

pub use dma::{HostBuffer, HostDma, HostRing};

use arrayvec::ArrayVec;
use base::Hpa;
use core::fmt;
use machine::acpi::{Signature, Tables};

/// How many units are kept; large servers have about 20.
pub const MAX_UNITS: usize = 64;

/// Whose design a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// Intel's, described by the DMAR table.
    VtD,
    /// AMD's, described by the IVRS table.
    AmdVi,
}

/// Which devices of its segment a unit serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All that no other unit of the segment claims.
    Rest,
    /// Those listed in its table.
    Listed,
}

/// One IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Whose design it is.
    pub kind: UnitKind,
    /// The PCI segment whose devices it serves.
    pub segment: u16,
    /// Where its registers are.
    pub base: Hpa,
    /// Which devices it serves.
    pub scope: Scope,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            UnitKind::VtD => "VT-d",
            UnitKind::AmdVi => "AMD-Vi",
        };
        write!(f, "{kind} unit at {}, segment {}", self.base, self.segment)
    }
}

/// The units of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Those found.
    pub found: ArrayVec<Unit, MAX_UNITS>,
    /// Entries left out: broken, or more than are kept.
    pub left_out: usize,
    /// Whether firmware says that interrupts can be remapped too. VT-d says it in its table, AMD-Vi in its registers.
    pub interrupt_remapping: bool,
}

impl Units {
    /// Reads DMAR and IVRS; a host without either has no units.
    pub fn discover(tables: &Tables<'_>) -> Self {
        let mut units = Self::default();
        if let Ok(dmar) = tables.get(Signature::DMAR) {
            vt_d::parse(dmar.bytes(), &mut units);
        }
        if let Ok(ivrs) = tables.get(Signature::IVRS) {
            amd_vi::parse(ivrs.bytes(), &mut units);
        }
        units
    }

    /// Keeps `unit`, or counts it as left out. A unit that is described twice (AMD's tables do that, in newer and
    /// older form) is one.
    fn add(&mut self, unit: Option<Unit>) {
        let Some(unit) = unit else { return self.leave_out() };
        let known = self.found.iter().any(|u| u.base == unit.base && u.segment == unit.segment);
        if !known && self.found.try_push(unit).is_err() {
            self.leave_out();
        }
    }

    fn leave_out(&mut self) {
        self.left_out = self.left_out.saturating_add(1);
    }
}

/// One line for the log.
impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found.len() {
            0 => f.write_str("no IOMMU")?,
            1 => f.write_str("1 IOMMU unit, not in use")?,
            count => write!(f, "{count} IOMMU units, not in use")?,
        }
        f.write_str(": devices are not isolated, and none is given to a guest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn the_log_line_promises_no_isolation() {
        let mut units = Units::default();
        assert_eq!(units.to_string(), "no IOMMU: devices are not isolated, and none is given to a guest");
        units.add(Some(Unit { kind: UnitKind::VtD, segment: 0, base: Hpa::ZERO, scope: Scope::Rest }));
        assert!(units.to_string().starts_with("1 IOMMU unit, not in use: devices are not isolated"));
        assert_eq!(units.found[0].to_string(), "VT-d unit at 0x0, segment 0");
    }

    #[test]
    fn more_units_than_are_kept_are_counted() {
        let mut units = Units::default();
        for n in 0..70_u64 {
            let base = Hpa::new(n << 12).unwrap();
            units.add(Some(Unit { kind: UnitKind::AmdVi, segment: 0, base, scope: Scope::Listed }));
        }
        assert_eq!((units.found.len(), units.left_out), (MAX_UNITS, 6));
    }
}
