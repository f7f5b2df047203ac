//! Letting the processor run the local APIC (SDM, chapter 30).

use super::super::controls::Secondary;
use super::super::invalidation::Due;
use super::super::vmcs::Field;
use super::Vcpu;
use base::Vector;
use vcpu::{ApicAccess, ApicStatus};

const EXITING_ENDS: [Field; 4] =
    [Field::EoiExitBitmap0, Field::EoiExitBitmap1, Field::EoiExitBitmap2, Field::EoiExitBitmap3];

impl Vcpu {
    /// Makes the VMCS say what `status` says.
    pub(super) fn write_apic_status(&mut self, status: &ApicStatus) {
        self.vmcs.write(Field::GuestInterruptStatus, interrupt_status(status));
        if status.exiting_ends != self.apic.exiting_ends {
            for (field, vectors) in EXITING_ENDS.into_iter().zip(status.exiting_ends) {
                self.vmcs.write(field, vectors);
            }
        }
        if status.access != self.apic.access {
            self.set_apic_access(status.access);
        }
        self.apic = *status;
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

/// The guest interrupt status: RVI, and SVI above it (SDM 25.4.2).
fn interrupt_status(status: &ApicStatus) -> u64 {
    let number = |vector: Option<Vector>| vector.map_or(0, |vector| u64::from(vector.0));
    number(status.requested) | number(status.in_service) << 8
}
