//! Why a CPU with VT-x cannot run guests, and how to provide what is missing.

use core::fmt;

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The firmware switched the extension off and locked that.
    DisabledByFirmware,
    /// The default controls cannot be switched off.
    NoTrueControls,
    /// It cannot translate guest-physical addresses.
    NoNestedPaging,
    /// It can, but not by tables of four levels in cached memory, with 2 MiB pages.
    NoSuitableNestedPaging,
    /// It runs guests with paging only.
    NoUnrestrictedGuest,
    /// It has no ids for guests' translations.
    NoVpid,
    /// It cannot drop cached translations of one guest or of all.
    NoInvalidation,
    /// A control has no 1-setting or no 0-setting.
    Control {
        /// The control.
        name: &'static str,
        /// The register that tells of it.
        register: &'static str,
    },
    /// VMXON failed: the region does not suit the processor.
    VmxonFailed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NEWER: &str = "a newer CPU is needed, or a virtual machine that shows it";
        let missing = match self {
            Self::DisabledByFirmware => {
                return f.write_str(
                    "VT-x is switched off and locked by the firmware (IA32_FEATURE_CONTROL, bit 2): enable \"Intel \
                     Virtualization Technology\" in its setup, often under Advanced > CPU Configuration, then power \
                     the machine off and on",
                );
            }
            Self::VmxonFailed => {
                return f.write_str(
                    "VMXON failed, though the CPU shows VT-x: something else on this machine runs in VMX operation; \
                     start the hypervisor directly from the firmware",
                );
            }
            Self::Control { name, register } => {
                return write!(f, "this CPU's VT-x lacks the control {name} ({register}): {NEWER}");
            }
            Self::NoTrueControls => "true controls (IA32_VMX_BASIC, bit 55)",
            Self::NoNestedPaging => "EPT (IA32_VMX_PROCBASED_CTLS2, bit 33)",
            Self::NoSuitableNestedPaging => {
                "EPT with four levels, write-back tables and 2 MiB pages (IA32_VMX_EPT_VPID_CAP, bits 6, 14, 16)"
            }
            Self::NoUnrestrictedGuest => "unrestricted guest (IA32_VMX_PROCBASED_CTLS2, bit 39)",
            Self::NoVpid => "VPID (IA32_VMX_PROCBASED_CTLS2, bit 37)",
            Self::NoInvalidation => "INVEPT and INVVPID (IA32_VMX_EPT_VPID_CAP, bits 20, 25, 26, 32, 41, 42)",
        };
        write!(f, "this CPU's VT-x has no {missing}: {NEWER}")
    }
}

impl core::error::Error for Refusal {}
