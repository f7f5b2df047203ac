//! The local APIC in x2APIC mode (Intel SDM, volume 3, section 11.12).
//!
//! Unsafe because it writes model-specific registers.

use crate::cpu::{cpuid, rdmsr, wrmsr};

/// IA32_APIC_BASE.
pub const APIC_BASE: u32 = 0x1b;
/// The task priority.
pub const TASK_PRIORITY: u32 = 0x808;
/// APIC_BASE: enabled, in x2APIC mode.
const APIC_BASE_X2APIC: u64 = 1 << 11 | 1 << 10;
const SPURIOUS: u32 = 0x80f;
const SPURIOUS_APIC_ON: u64 = 1 << 8;
/// The entry of the legacy controllers' line.
pub const LVT_LINT0: u32 = 0x835;
/// The entry of the timer.
pub const LVT_TIMER: u32 = 0x832;
/// The timer's initial count; writing it starts the timer.
pub const INITIAL_COUNT: u32 = 0x838;
/// What is left of the count.
pub const CURRENT_COUNT: u32 = 0x839;
const DIVIDE: u32 = 0x83e;
const DIVIDE_BY_1: u64 = 0xb;

/// LVT: periodic timer.
pub const PERIODIC: u64 = 1 << 17;
/// LVT: masked.
pub const MASKED: u64 = 1 << 16;
/// LVT: the vector comes from the legacy controller.
pub const EXTINT: u64 = 7 << 8;

/// Whether the processor has x2APIC mode.
pub fn has_x2apic() -> bool {
    cpuid(1, 0).ecx & 1 << 21 != 0
}

/// Switches the APIC on, in x2APIC mode, timer masked and undivided.
pub fn enable(spurious_vector: u8) {
    // SAFETY: every vector has a handler.
    unsafe {
        wrmsr(APIC_BASE, rdmsr(APIC_BASE) | APIC_BASE_X2APIC);
        wrmsr(SPURIOUS, SPURIOUS_APIC_ON | u64::from(spurious_vector));
        wrmsr(LVT_TIMER, MASKED);
        wrmsr(DIVIDE, DIVIDE_BY_1);
    }
}

/// Whether the APIC says that it is on, in x2APIC mode.
pub fn is_x2apic() -> bool {
    rdmsr(APIC_BASE) & APIC_BASE_X2APIC == APIC_BASE_X2APIC
}
