//! What leaves the guest, and what an entry and an exit switch (SDM 25.6 to 25.8).
//!
//! Each vector of controls has a set that the hypervisor cannot do without and a set that it uses where the processor has
//! it. Reads of control registers, moves to CR3 and accesses to debug registers never exit: extended page tables do not
//! need it, and DR0-DR3 and DR6 are the guest's while its vCPU is loaded.
//!
//! IA32_PAT and IA32_EFER are loaded by entry and exit but not saved: the guest's change by `vmm` alone.

use bitflags::bitflags;

bitflags! {
    /// Pin-based controls (SDM table 25-5).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)] // the names are the manual's
    pub struct Pin: u32 {
        const EXTERNAL_INTERRUPT_EXITING = 1 << 0;
        const NMI_EXITING = 1 << 3;
        const VIRTUAL_NMIS = 1 << 5;
        const POSTED_INTERRUPTS = 1 << 7;
    }
}

bitflags! {
    /// Primary processor-based controls (SDM table 25-6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)] // the names are the manual's
    pub struct Primary: u32 {
        const INTERRUPT_WINDOW_EXITING = 1 << 2;
        const TSC_OFFSETTING = 1 << 3;
        const HLT_EXITING = 1 << 7;
        const MWAIT_EXITING = 1 << 10;
        const RDPMC_EXITING = 1 << 11;
        const CR3_LOAD_EXITING = 1 << 15;
        const CR3_STORE_EXITING = 1 << 16;
        const CR8_LOAD_EXITING = 1 << 19;
        const CR8_STORE_EXITING = 1 << 20;
        const TPR_SHADOW = 1 << 21;
        const NMI_WINDOW_EXITING = 1 << 22;
        const IO_BITMAPS = 1 << 25;
        const MSR_BITMAPS = 1 << 28;
        const MONITOR_EXITING = 1 << 29;
        const SECONDARY_CONTROLS = 1 << 31;
    }
}

bitflags! {
    /// Secondary processor-based controls (SDM table 25-7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)] // the names are the manual's
    pub struct Secondary: u32 {
        const APIC_ACCESSES = 1 << 0;
        const EPT = 1 << 1;
        const X2APIC_MODE = 1 << 4;
        const VPID = 1 << 5;
        const WBINVD_EXITING = 1 << 6;
        const UNRESTRICTED_GUEST = 1 << 7;
        const APIC_REGISTERS = 1 << 8;
        const VIRTUAL_INTERRUPTS = 1 << 9;
        const PAUSE_LOOP_EXITING = 1 << 10;
        const INVPCID = 1 << 12;
    }
}

bitflags! {
    /// Exit controls (SDM table 25-13).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)] // the names are the manual's
    pub struct OnExit: u32 {
        const SAVE_DEBUG_CONTROLS = 1 << 2;
        const HOST_ADDRESS_SPACE_64 = 1 << 9;
        const ACKNOWLEDGE_INTERRUPT = 1 << 15;
        const LOAD_PAT = 1 << 19;
        const LOAD_EFER = 1 << 21;
    }
}

bitflags! {
    /// Entry controls (SDM table 25-15).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)] // the names are the manual's
    pub struct OnEntry: u32 {
        const LOAD_DEBUG_CONTROLS = 1 << 2;
        const IA32E_MODE_GUEST = 1 << 9;
        const LOAD_PAT = 1 << 14;
        const LOAD_EFER = 1 << 15;
    }
}

/// What every processor must have of the pin-based controls.
pub const PIN: Pin = Pin::EXTERNAL_INTERRUPT_EXITING.union(Pin::NMI_EXITING).union(Pin::VIRTUAL_NMIS);

/// What every processor must have of the primary controls. Both windows are open only while one is wanted.
pub const PRIMARY: Primary = Primary::INTERRUPT_WINDOW_EXITING
    .union(Primary::TSC_OFFSETTING)
    .union(Primary::HLT_EXITING)
    .union(Primary::RDPMC_EXITING)
    .union(Primary::NMI_WINDOW_EXITING)
    .union(Primary::IO_BITMAPS)
    .union(Primary::MSR_BITMAPS)
    .union(Primary::SECONDARY_CONTROLS);

/// What is used of the primary controls where the processor has it. CPUID shows guests no MONITOR and no MWAIT; a
/// processor that has the instructions has the controls.
pub const PRIMARY_OPTIONAL: Primary =
    Primary::MWAIT_EXITING.union(Primary::MONITOR_EXITING).union(Primary::TPR_SHADOW);

/// What stands in for the TPR shadow.
pub const WITHOUT_TPR_SHADOW: Primary = Primary::CR8_LOAD_EXITING.union(Primary::CR8_STORE_EXITING);

/// What only the true controls can switch off: moves to and from CR3 exit by default (SDM A.3.2).
pub const NEVER: Primary = Primary::CR3_LOAD_EXITING.union(Primary::CR3_STORE_EXITING);

/// The windows, which are closed until somebody waits.
pub const WINDOWS: Primary = Primary::INTERRUPT_WINDOW_EXITING.union(Primary::NMI_WINDOW_EXITING);

/// What every processor must have of the secondary controls.
pub const SECONDARY: Secondary = Secondary::EPT
    .union(Secondary::VPID)
    .union(Secondary::WBINVD_EXITING)
    .union(Secondary::UNRESTRICTED_GUEST);

/// What is used of the secondary controls where the processor has it. INVPCID is there wherever CPUID shows it; without
/// the control of its name it would raise `#UD`.
pub const SECONDARY_OPTIONAL: Secondary = Secondary::PAUSE_LOOP_EXITING.union(Secondary::INVPCID);

/// What makes the processor run a local APIC, all of it or nothing: no processor is known that has just a part. It needs
/// the TPR shadow besides.
pub const APIC: Secondary = APIC_ALWAYS.union(Secondary::APIC_ACCESSES).union(Secondary::X2APIC_MODE);

/// What is on of [`APIC`] in each of the APIC's modes.
pub const APIC_ALWAYS: Secondary = Secondary::APIC_REGISTERS.union(Secondary::VIRTUAL_INTERRUPTS);

/// What every processor must have of the exit controls.
pub const ON_EXIT: OnExit = OnExit::SAVE_DEBUG_CONTROLS
    .union(OnExit::HOST_ADDRESS_SPACE_64)
    .union(OnExit::LOAD_PAT)
    .union(OnExit::LOAD_EFER);

/// What every processor must have of the entry controls. The mode follows the guest's EFER.LMA.
pub const ON_ENTRY: OnEntry = OnEntry::all();

/// Exceptions that leave a guest always, by vector.
///
/// `#DB` and `#AC` can be raised by their own delivery, by a breakpoint on or a misaligned handler's stack: without an
/// exit a guest could keep the processor in microcode for ever, where no host interrupt ends it (CVE-2015-8104 and
/// CVE-2015-5307). A machine check (`#MC`) is the host's business.
pub const EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;
