//! CR0, CR4 and EFER: what the guest sees, and what the processor has (SDM 25.6.6, 24.8 and 27.3.1.1).
//!
//! ```text
//!   CR0   the guest's own     TS and MP: it changes them without an exit, by MOV, CLTS and LMSW
//!         shadowed            all others: reads give the shadow, a write that changes one exits
//!         in the processor    the shadow's, but NE set (VMX needs it), CD and NW clear (caching is the host's)
//!   CR4   shadowed            all bits
//!         in the processor    the shadow's, but VMXE set (VMX needs it), MCE set (a machine check is the host's)
//! ```
//! EFER in the VMCS is the guest's; EFER.LMA stands also in the entry controls.

use super::super::controls::OnEntry;
use super::super::vmcs::Field;
use super::Vcpu;
use vcpu::control::{cr0, cr4, efer};

/// What the guest changes of CR0 without an exit.
const CR0_OWN: u64 = cr0::TS | cr0::MP;
/// The guest/host masks: a set bit is the host's.
pub(super) const CR0_MASK: u64 = !CR0_OWN;
pub(super) const CR4_MASK: u64 = u64::MAX;

/// CR0 in the processor for a guest that sees `value`.
const fn cr0_in_processor(value: u64) -> u64 {
    value & !(cr0::CD | cr0::NW) | cr0::NE
}

/// CR4 in the processor for a guest that sees `value`.
const fn cr4_in_processor(value: u64) -> u64 {
    value | cr4::VMXE | cr4::MCE
}

impl Vcpu {
    /// CR0 as the guest sees it.
    #[inline]
    pub(super) fn guest_cr0(&self) -> u64 {
        self.cr0_shadow & CR0_MASK | self.vmcs.read(Field::Cr0) & CR0_OWN
    }

    /// Makes the guest see `value` in CR0.
    pub(super) fn set_guest_cr0(&mut self, value: u64) {
        self.cr0_shadow = value;
        self.vmcs.write(Field::Cr0Shadow, value);
        self.vmcs.write(Field::Cr0, cr0_in_processor(value));
    }

    /// CR4 as the guest sees it.
    #[inline]
    pub(super) fn guest_cr4(&self) -> u64 {
        self.cr4_shadow
    }

    /// Makes the guest see `value` in CR4.
    pub(super) fn set_guest_cr4(&mut self, value: u64) {
        self.cr4_shadow = value;
        self.vmcs.write(Field::Cr4Shadow, value);
        self.vmcs.write(Field::Cr4, cr4_in_processor(value));
    }

    /// Makes `value` the guest's EFER.
    pub(super) fn set_guest_efer(&mut self, value: u64) {
        self.efer = value;
        self.vmcs.write(Field::Efer, value);
        let mode = OnEntry::IA32E_MODE_GUEST.bits();
        self.on_entry = if value & efer::LMA != 0 { self.on_entry | mode } else { self.on_entry & !mode };
        self.vmcs.write(Field::EntryControls, self.on_entry.into());
    }

    /// PAE's directory pointers, which an entry takes from the VMCS (SDM 27.3.2.4).
    pub(super) fn set_directory_pointers(&mut self, pdptes: [u64; 4]) {
        let fields = [Field::Pdpte0, Field::Pdpte1, Field::Pdpte2, Field::Pdpte3];
        for (field, value) in fields.into_iter().zip(pdptes) {
            self.vmcs.write(field, value);
        }
    }
}
