//! Letting the processor run the local APIC (SDM, chapter 30).

use super::super::controls::Secondary;
use super::super::invalidation::Due;
use super::super::vmcs::Field;
use super::Vcpu;
use base::Vector;
use vcpu::{ApicAccess, ApicProgress, ApicStatus};

const EXITING_ENDS: [Field; 4] =
    [Field::EoiExitBitmap0, Field::EoiExitBitmap1, Field::EoiExitBitmap2, Field::EoiExitBitmap3];

impl Vcpu {
    /// Makes the VMCS say what `status` says.
    pub(super) fn write_apic_status(&mut self, status: &ApicStatus) {
        self.vmcs.write(Field::GuestInterruptStatus, interrupt_status(status));
        if status.exiting_ends != self.apic.exiting_ends {
            self.write_exiting_ends(&status.exiting_ends);
        }
        if status.access != self.apic.access {
            self.set_apic_access(status.access);
        }
        self.apic = *status;
    }

    /// Lets the ends of these vectors exit.
    pub(super) fn write_exiting_ends(&mut self, ends: &[u64; 4]) {
        self.apic.exiting_ends = *ends;
        for (field, vectors) in EXITING_ENDS.into_iter().zip(ends) {
            self.vmcs.write(field, *vectors);
        }
    }

    /// IRR has `highest` besides what it had.
    #[inline]
    pub(super) fn raise_requested(&mut self, highest: Vector) {
        let status = self.vmcs.read(Field::GuestInterruptStatus);
        if u64::from(highest.0) > status & 0xff {
            self.vmcs.write(Field::GuestInterruptStatus, status & !0xff | u64::from(highest.0));
        }
    }

    #[cold]
    fn set_apic_access(&mut self, access: ApicAccess) {
        let (control, map) = match access {
            ApicAccess::Emulated => (Secondary::empty(), self.maps.msrs),
            ApicAccess::Msrs => (Secondary::X2APIC_MODE, self.maps.msrs_and_apic),
            ApicAccess::Page => (Secondary::APIC_ACCESSES, self.maps.msrs),
        };
        self.vmcs.write(Field::SecondaryControls, (self.capabilities.secondary | control.bits()).into());
        self.vmcs.write(Field::MsrBitmap, map.as_u64());
        // Accesses to the page are told by its address, at which the processor looks when it caches a translation
        // (SDM 30.4.6.1).
        self.due |= Due::GUEST | Due::NESTED;
    }
}

/// What the guest interrupt status says.
#[inline]
pub(super) fn progress(status: u64) -> ApicProgress {
    let vector = |number: u64| Some(Vector(number as u8)).filter(|vector| vector.0 != 0);
    ApicProgress { requested: vector(status), in_service: vector(status >> 8) }
}

/// The guest interrupt status: RVI, and SVI above it (SDM 25.4.2).
fn interrupt_status(status: &ApicStatus) -> u64 {
    let number = |vector: Option<Vector>| vector.map_or(0, |vector| u64::from(vector.0));
    number(status.requested) | number(status.in_service) << 8
}
