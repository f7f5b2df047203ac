//! CPUID: the filtered view, computed when the VM was made.

use crate::exits::Stop;
use crate::vm::Vm;
use devices::lapic::Mode;
use seams::GuestMemory;
use vcpu::{Gpr, Vcpu, cpuid::Dynamic, decode::Known};

/// A leaf by which a guest, even one's user program, asks for a snapshot of whose ticks have passed; the subleaf names it.
/// The programs that ask share no crate with the hypervisor, and repeat it: a test of `bench io` (xtask) compares.
#[cfg(feature = "exit-shares")]
const MARK: u32 = 0x4346_0000;

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    #[inline(always)]
    pub(super) fn cpuid(&mut self) -> Result<(), Stop> {
        let next = self.next_rip(Known::Cpuid)?;
        let (leaf, subleaf) = (self.vcpu.gprs().get(Gpr::Rax), self.vcpu.gprs().get(Gpr::Rcx));
        let dynamic = Dynamic {
            cr4: self.vcpu.cr4(),
            xcr0: self.vcpu.xcr0(),
            apic_enabled: self.board.fabric.local.lapic.mode() != Mode::Disabled,
        };
        // The low halves are the operands (Intel SDM, volume 2, CPUID).
        let answer = self.cpuid.query(leaf as u32, subleaf as u32, &dynamic);
        for (register, value) in [Gpr::Rax, Gpr::Rbx, Gpr::Rcx, Gpr::Rdx].into_iter().zip(answer) {
            self.vcpu.gprs_mut().set(register, value.into());
        }
        self.vcpu.set_rip(next);
        Ok(())
    }

    #[cfg(feature = "exit-shares")]
    pub(super) fn mark_if_asked(&self, host: &impl crate::vm::Host) {
        let (leaf, subleaf) = (self.vcpu.gprs().get(Gpr::Rax), self.vcpu.gprs().get(Gpr::Rcx));
        if leaf as u32 == MARK {
            host.mark(subleaf as u8);
        }
    }
}
