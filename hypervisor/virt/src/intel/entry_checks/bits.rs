//! The bits that the checks look at, by field (SDM 325462, volume 3, sections 25.4 to 25.8, and appendix A).
#![allow(missing_docs)] // the names are the manual's

/// Pin-based controls.
pub mod pin {
    pub const EXTERNAL_INTERRUPT_EXITING: u64 = 1 << 0;
    pub const NMI_EXITING: u64 = 1 << 3;
    pub const VIRTUAL_NMIS: u64 = 1 << 5;
    pub const PREEMPTION_TIMER: u64 = 1 << 6;
    pub const POSTED_INTERRUPTS: u64 = 1 << 7;
}

/// Primary processor-based controls.
pub mod primary {
    pub const TERTIARY: u64 = 1 << 17;
    pub const TPR_SHADOW: u64 = 1 << 21;
    pub const NMI_WINDOW_EXITING: u64 = 1 << 22;
    pub const IO_BITMAPS: u64 = 1 << 25;
    pub const MSR_BITMAPS: u64 = 1 << 28;
    pub const SECONDARY: u64 = 1 << 31;
}

/// Secondary processor-based controls.
pub mod secondary {
    pub const VIRTUALIZE_APIC_ACCESSES: u64 = 1 << 0;
    pub const EPT: u64 = 1 << 1;
    pub const X2APIC_MODE: u64 = 1 << 4;
    pub const VPID: u64 = 1 << 5;
    pub const UNRESTRICTED: u64 = 1 << 7;
    pub const APIC_REGISTERS: u64 = 1 << 8;
    pub const INTERRUPT_DELIVERY: u64 = 1 << 9;
    pub const PML: u64 = 1 << 17;
    pub const MODE_BASED_EXECUTE: u64 = 1 << 22;
    pub const TSC_SCALING: u64 = 1 << 25;
}

/// VM-exit controls.
pub mod exit {
    pub const HOST_ADDRESS_SPACE: u64 = 1 << 9;
    pub const ACKNOWLEDGE_INTERRUPT: u64 = 1 << 15;
    pub const LOAD_PAT: u64 = 1 << 19;
    pub const LOAD_EFER: u64 = 1 << 21;
    pub const SAVE_PREEMPTION_TIMER: u64 = 1 << 22;
}

/// VM-entry controls.
pub mod entry {
    pub const LOAD_DEBUG_CONTROLS: u64 = 1 << 2;
    pub const IA32E_MODE_GUEST: u64 = 1 << 9;
    pub const ENTRY_TO_SMM: u64 = 1 << 10;
    pub const DEACTIVATE_DUAL_MONITOR: u64 = 1 << 11;
    pub const LOAD_PAT: u64 = 1 << 14;
    pub const LOAD_EFER: u64 = 1 << 15;
    pub const LOAD_BNDCFGS: u64 = 1 << 16;
}

/// VM-entry interruption information.
pub mod event {
    pub const EXTERNAL_INTERRUPT: u64 = 0;
    pub const NMI: u64 = 2;
    pub const HARDWARE_EXCEPTION: u64 = 3;
    pub const SOFTWARE_INTERRUPT: u64 = 4;
    pub const PRIVILEGED_SOFTWARE_EXCEPTION: u64 = 5;
    pub const SOFTWARE_EXCEPTION: u64 = 6;
    pub const OTHER: u64 = 7;
    pub const ERROR_CODE: u64 = 1 << 11;
    pub const RESERVED: u64 = 0x7fff_f000;
    pub const VALID: u64 = 1 << 31;
}

/// Guest interruptibility state.
pub mod blocking {
    pub const STI: u64 = 1 << 0;
    pub const MOV_SS: u64 = 1 << 1;
    pub const SMI: u64 = 1 << 2;
    pub const NMI: u64 = 1 << 3;
    pub const ENCLAVE: u64 = 1 << 4;
    pub const DEFINED: u64 = STI | MOV_SS | SMI | NMI | ENCLAVE;
}

/// Guest activity state.
pub mod activity {
    pub const ACTIVE: u64 = 0;
    pub const HLT: u64 = 1;
    pub const SHUTDOWN: u64 = 2;
    pub const WAIT_FOR_SIPI: u64 = 3;
}

/// RFLAGS.
pub mod rflags {
    pub const FIXED: u64 = 1 << 1;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const VM: u64 = 1 << 17;
    /// Bits 63:22, 15, 5 and 3.
    pub const RESERVED: u64 = !0x3f_ffff | 1 << 15 | 1 << 5 | 1 << 3;
}

/// IA32_DEBUGCTL.
pub mod debugctl {
    pub const BTF: u64 = 1 << 1;
    /// Bits 63:16 and 5:3.
    pub const RESERVED: u64 = !0xffff | 7 << 3;
}

/// Pending debug exceptions.
pub mod pending_debug {
    pub const SINGLE_STEP: u64 = 1 << 14;
    /// All but breakpoints 3:0, bus lock, enabled breakpoint, single step and RTM.
    pub const RESERVED: u64 = !(0xf | 1 << 11 | 1 << 12 | SINGLE_STEP | 1 << 16);
}

/// Segment access rights.
pub mod rights {
    pub const TYPE: u64 = 0xf;
    pub const ACCESSED: u64 = 1 << 0;
    /// Of a code segment.
    pub const READABLE: u64 = 1 << 1;
    pub const CODE: u64 = 1 << 3;
    pub const CODE_OR_DATA: u64 = 1 << 4;
    pub const PRESENT: u64 = 1 << 7;
    pub const LONG: u64 = 1 << 13;
    pub const DEFAULT_BIG: u64 = 1 << 14;
    pub const GRANULARITY: u64 = 1 << 15;
    pub const UNUSABLE: u64 = 1 << 16;
    /// Bits 31:17 and 11:8.
    pub const RESERVED: u64 = 0xfffe_0f00;
}

/// Segment selectors.
pub mod selector {
    pub const RPL: u64 = 3;
    pub const TABLE_INDICATOR: u64 = 1 << 2;
}

/// IA32_VMX_BASIC.
pub mod basic {
    /// A hardware exception may come with or without an error code.
    pub const ANY_ERROR_CODE: u64 = 1 << 56;
}

/// IA32_VMX_MISC.
pub mod misc {
    /// Activity state n, of 1 to 3, is supported: bit 5 + n.
    pub const ACTIVITY_SHIFT: u64 = 5;
    pub const INSTRUCTION_LENGTH_0: u64 = 1 << 30;
}

/// IA32_VMX_EPT_VPID_CAP.
pub mod ept_vpid {
    pub const FIVE_LEVELS: u64 = 1 << 7;
    pub const UNCACHEABLE: u64 = 1 << 8;
    pub const WRITE_BACK: u64 = 1 << 14;
    pub const ACCESSED_DIRTY: u64 = 1 << 21;
}
