//! Why a CPU with AMD-V cannot run guests, and how to provide what is missing.

use core::fmt;

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The firmware switched the extension off and locked that.
    DisabledByFirmware,
    /// It cannot translate guest-physical addresses.
    NoNestedPaging,
    /// It has no address-space ids for guests.
    NoAddressSpaceIds,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DisabledByFirmware => {
                "AMD-V is switched off and locked by the firmware (VM_CR.SVMDIS): enable \"SVM Mode\" in its setup, \
                 often under Advanced > CPU Configuration, then power the machine off and on"
            }
            Self::NoNestedPaging => "this CPU's AMD-V has no nested paging (CPUID 0x8000000A, EDX bit 0): a newer one is needed",
            Self::NoAddressSpaceIds => "this CPU's AMD-V offers no ASID for guests (CPUID 0x8000000A, EBX below 2)",
        })
    }
}

impl core::error::Error for Refusal {}
