//! Ends of interrupts without an exit, as KVM offers them (Linux, `Documentation/virt/kvm/x86/msr.rst`,
//! MSR_KVM_EOI_EN).
//!
//! The guest names a flag in its memory. With an interrupt whose end concerns nobody else the flag is set; a guest that
//! finds it set clears it instead of writing EOI. It is looked at before anything depends on the local APIC's state, and
//! taken back then: from there on the guest writes EOI.

use crate::exits::msr::REFUSED;
use crate::vm::Vm;
use base::Gpa;
use seams::GuestMemory;
use vcpu::{Exception, Vcpu};

/// The register: enabled.
const ENABLED: u64 = 1 << 0;
/// Bits that are reserved: the flag is four bytes, aligned.
const RESERVED: u64 = 1 << 1;
/// In the flag's first byte: EOI need not be written.
const QUIET: u8 = 1 << 0;

/// The flag.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EoiFlag {
    register: u64,
    /// Whether it was set, and has not been looked at since.
    is_set: bool,
}

impl EoiFlag {
    pub(super) const fn register(self) -> u64 {
        self.register
    }

    fn place(self) -> Option<Gpa> {
        (self.register & ENABLED != 0).then(|| Gpa::from_low_bits(self.register & !(ENABLED | RESERVED)))
    }
}

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    pub(super) fn set_eoi_register(&mut self, value: u64) -> Result<(), Exception> {
        let flag = EoiFlag { register: value, is_set: false };
        let is_memory = |place| self.memory.read_u8(place).is_ok();
        if value & RESERVED != 0 || !flag.place().is_none_or(is_memory) {
            return Err(REFUSED);
        }
        self.catch_up_apic();
        self.look_at_events();
        self.msrs.eoi = flag;
        Ok(())
    }

    /// Lets the guest end the interrupt that it is about to get without an exit, if it may.
    #[inline]
    pub(crate) fn offer_quiet_end(&mut self) {
        let Some(place) = self.msrs.eoi.place() else { return };
        if self.board.fabric.local.lapic.may_end_quietly() {
            self.msrs.eoi.is_set = self.change_flag(place, |flag| flag | QUIET).is_some();
        }
    }

    /// Ends the interrupt in service if the guest has done so in its memory. Until the next one it writes EOI.
    #[inline]
    pub(crate) fn follow_quiet_end(&mut self) {
        if self.msrs.eoi.is_set {
            self.take_flag_back();
        }
    }

    fn take_flag_back(&mut self) {
        self.msrs.eoi.is_set = false;
        let Some(place) = self.msrs.eoi.place() else { return };
        if self.change_flag(place, |flag| flag & !QUIET).is_some_and(|flag| flag & QUIET == 0) {
            self.board.fabric.local.lapic.end_quietly();
        }
    }

    /// Changes the flag; what it was, or `None` when it is in no memory any more.
    fn change_flag(&self, place: Gpa, change: impl FnOnce(u8) -> u8) -> Option<u8> {
        let flag = self.memory.read_u8(place).ok()?;
        self.memory.write(place, &[change(flag)]).ok()?;
        Some(flag)
    }
}
