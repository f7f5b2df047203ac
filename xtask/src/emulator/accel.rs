//! Who executes the emulated computer's instructions.

/// The executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Accel {
    /// QEMU's own translator: everywhere the same, emulates AMD-V.
    Tcg,
    /// The host's processor through nested virtualization.
    Kvm,
}

impl Accel {
    /// Nested virtualization where this computer has it for AMD-V, else the translator.
    #[must_use]
    pub fn best() -> Self {
        if nested_svm_is_enabled() && kvm_can_be_opened() { Self::Kvm } else { Self::Tcg }
    }
}

/// Whether KVM shows AMD-V to its guests.
fn nested_svm_is_enabled() -> bool {
    std::fs::read_to_string("/sys/module/kvm_amd/parameters/nested")
        .is_ok_and(|value| matches!(value.trim(), "1" | "Y"))
}

/// Whether this user may use KVM.
fn kvm_can_be_opened() -> bool {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}
