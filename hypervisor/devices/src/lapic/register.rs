//! The registers by number: the offset in the xAPIC page divided by 16, which is the x2APIC MSR index less 0x800
//! (SDM tables 11-1 and 11-6).

pub(super) const ID: u32 = 0x02;
pub(super) const VERSION: u32 = 0x03;
pub(super) const TPR: u32 = 0x08;
pub(super) const PPR: u32 = 0x0a;
pub(super) const EOI: u32 = 0x0b;
pub(super) const LDR: u32 = 0x0d;
pub(super) const DFR: u32 = 0x0e;
pub(super) const SVR: u32 = 0x0f;
pub(super) const ISR_FIRST: u32 = 0x10;
pub(super) const ISR_LAST: u32 = 0x17;
pub(super) const TMR_FIRST: u32 = 0x18;
pub(super) const TMR_LAST: u32 = 0x1f;
pub(super) const IRR_FIRST: u32 = 0x20;
pub(super) const IRR_LAST: u32 = 0x27;
pub(super) const ESR: u32 = 0x28;
pub(super) const ICR: u32 = 0x30;
/// The high half of the ICR, in xAPIC mode only.
pub(super) const ICR_HIGH: u32 = 0x31;
pub(super) const LVT_FIRST: u32 = 0x32;
pub(super) const LVT_TIMER: u32 = 0x32;
pub(super) const LVT_THERMAL: u32 = 0x33;
pub(super) const LVT_PERFORMANCE: u32 = 0x34;
pub(super) const LVT_LINT0: u32 = 0x35;
pub(super) const LVT_LINT1: u32 = 0x36;
pub(super) const LVT_ERROR: u32 = 0x37;
pub(super) const LVT_LAST: u32 = 0x37;
pub(super) const INITIAL_COUNT: u32 = 0x38;
pub(super) const CURRENT_COUNT: u32 = 0x39;
pub(super) const DIVIDE: u32 = 0x3e;
/// In x2APIC mode only.
pub(super) const SELF_IPI: u32 = 0x3f;

/// The bits of a writable register that exist.
pub(super) const fn writable_bits(register: u32) -> u32 {
    match register {
        TPR | SELF_IPI => 0xff,
        LDR | ICR_HIGH => 0xff00_0000,
        DFR => 0xf000_0000,
        SVR => 0x0000_03ff,
        LVT_TIMER => LVT_MASKED | 0x0006_00ff,
        LVT_THERMAL | LVT_PERFORMANCE => LVT_MASKED | 0x0000_07ff,
        LVT_LINT0 | LVT_LINT1 => LVT_MASKED | 0x0000_a7ff,
        LVT_ERROR => LVT_MASKED | 0xff,
        ICR => ICR_BITS,
        INITIAL_COUNT => u32::MAX,
        DIVIDE => 0b1011,
        _ => 0,
    }
}

/// Vector, delivery mode, destination mode, level, trigger and shorthand (SDM figure 11-12).
const ICR_BITS: u32 = 0x000c_cfff;

/// The mask bit of an LVT entry.
pub(super) const LVT_MASKED: u32 = 1 << 16;

/// SVR: the APIC is enabled by software.
pub(super) const SVR_ENABLED: u32 = 1 << 8;

/// Errors that ESR shows (SDM figure 11-9).
pub(super) mod error {
    pub const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    pub const RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
    pub const ILLEGAL_REGISTER: u32 = 1 << 7;
    pub const ALL: u32 = SEND_ILLEGAL_VECTOR | RECEIVE_ILLEGAL_VECTOR | ILLEGAL_REGISTER;
}
