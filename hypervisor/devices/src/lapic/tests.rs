//! The local APIC's specification, in the order of the SDM's chapter 11.

mod extended;
mod handling;
mod interprocessor;
mod local;
mod sequences;
mod state;

use super::*;
use base::TscScale;

const NOW: Instant = Instant(1_000_000_000);

const TPR: u32 = 0x80;
const PPR: u32 = 0xa0;
const EOI: u32 = 0xb0;
const LDR: u32 = 0xd0;
const DFR: u32 = 0xe0;
const SVR: u32 = 0xf0;
const ESR: u32 = 0x280;
const ICR: u32 = 0x300;
const ICR_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_LINT0: u32 = 0x350;
const LVT_ERROR: u32 = 0x370;
const INITIAL_COUNT: u32 = 0x380;
const CURRENT_COUNT: u32 = 0x390;
const DIVIDE: u32 = 0x3e0;

const PERIODIC: u32 = 1 << 17;
const TSC_DEADLINE: u32 = 2 << 17;
const DIVIDE_BY_1: u32 = 0b1011;

fn xapic() -> LocalApic {
    let mut apic = LocalApic::new(ApicId(0), Role::Bootstrap);
    apic.write_mmio(SVR, 0x1ff, NOW);
    apic
}

fn x2apic(id: u32) -> LocalApic {
    let mut apic = LocalApic::new(ApicId(id), Role::Bootstrap);
    apic.set_apic_base(apic.apic_base() | apic_base::X2APIC).unwrap();
    apic.write_msr(0x80f, 0x1ff, NOW).unwrap();
    apic
}

fn fixed(vector: u8, trigger: Trigger) -> Message {
    Message { recipients: Recipients::All, delivery: Delivery::Fixed(Vector(vector)), trigger }
}

fn logical(destination: u32) -> Message {
    Message { recipients: Recipients::Logical(destination), ..fixed(0x40, Trigger::Edge) }
}
