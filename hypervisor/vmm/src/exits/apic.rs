//! What the processor leaves to do of an APIC that it runs.

use crate::vm::{Host, Vm};
use base::Vector;
use devices::lapic::{Effect, Mode};
use seams::GuestMemory;
use vcpu::Vcpu;

/// The bytes from one register of the page to the next.
const STRIDE_BYTES: u32 = 16;
/// The MSR of register 0 in x2APIC mode.
const FIRST_MSR: u32 = 0x800;

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// The processor has ended an interrupt: the IOAPICs are told.
    pub(super) fn end_of_interrupt(&mut self, vector: Vector) {
        self.look_at_events();
        self.board.fabric.carry_out(Effect::EndOfInterrupt(vector));
    }

    /// The guest has written `register`, and the value lies in the page.
    pub(super) fn apic_written(&mut self, register: u32, host: &impl Host) {
        self.apic_at(host);
        let Some(value) = self.vcpu.apic_page().map(|page| page.register(register)) else { return };
        let local = &mut self.board.fabric.local;
        let effect = match local.lapic.mode() {
            // A vector for itself that no interrupt has: the processor has checked the rest.
            Mode::X2Apic => {
                let written = local.lapic.write_msr(FIRST_MSR + register, value.into(), local.now);
                written.unwrap_or(Effect::None)
            }
            _ => local.lapic.write_mmio(register * STRIDE_BYTES, value, local.now),
        };
        self.board.fabric.carry_out(effect);
    }
}
