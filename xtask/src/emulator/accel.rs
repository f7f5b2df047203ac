//! Who executes the emulated computer's instructions.

use std::fmt;

use super::Vendor;

/// The executor. QEMU emulates the rest of the computer for the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Accel {
    /// QEMU's own translator: everywhere the same, emulates AMD-V.
    Tcg,
    /// The host's processor through nested virtualization.
    Kvm,
    /// Bochs' interpreter: everywhere the same, emulates VT-x.
    Bochs,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcg => "QEMU's translator (tcg)",
            Self::Kvm => "QEMU, by nested virtualization (kvm)",
            Self::Bochs => "Bochs' interpreter (bochs)",
        })
    }
}

impl Accel {
    /// Nested virtualization where this computer has it for the vendor's processors, else the emulator.
    #[must_use]
    pub fn best(vendor: Vendor) -> Self {
        let nested = std::fs::read_to_string(nested_parameter(vendor)).is_ok_and(|value| is_on(&value));
        if nested && kvm_can_be_opened() { Self::Kvm } else { Self::emulating(vendor) }
    }

    /// What emulates the vendor's virtualization on any computer.
    #[must_use]
    pub const fn emulating(vendor: Vendor) -> Self {
        match vendor {
            Vendor::Amd => Self::Tcg,
            Vendor::Intel => Self::Bochs,
        }
    }
}

/// The parameter by which KVM tells whether it shows the vendor's virtualization to its guests. The file is there only
/// on the vendor's processors.
const fn nested_parameter(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Amd => "/sys/module/kvm_amd/parameters/nested",
        Vendor::Intel => "/sys/module/kvm_intel/parameters/nested",
    }
}

/// Whether a module's parameter is on; older kernels print a number.
fn is_on(parameter: &str) -> bool {
    matches!(parameter.trim(), "1" | "Y")
}

/// Whether this user may use KVM.
fn kvm_can_be_opened() -> bool {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_parameter_that_is_on_are_known() {
        assert!(is_on("Y\n") && is_on("1\n"));
        assert!(!is_on("N\n") && !is_on("0\n") && !is_on(""));
    }

    #[test]
    fn each_vendor_has_an_emulator_and_a_parameter_of_its_own() {
        assert_eq!(Accel::emulating(Vendor::Amd), Accel::Tcg);
        assert_eq!(Accel::emulating(Vendor::Intel), Accel::Bochs);
        assert!(nested_parameter(Vendor::Intel).contains("kvm_intel"));
    }
}
