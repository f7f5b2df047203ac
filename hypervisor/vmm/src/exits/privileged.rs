//! Instructions that never run in a guest: refused as a processor without them would, or done without effect.

use crate::exits::Stop;
use crate::vm::Vm;
use seams::GuestMemory;
use vcpu::{Exception, Gpr, Privileged, Vcpu, control, decode::Known};

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    #[inline(never)]
    pub(super) fn privileged(&mut self, instruction: Privileged) -> Result<(), Stop> {
        match instruction {
            // CPUID shows none of them.
            Privileged::Virtualization | Privileged::MonitorWait | Privileged::ResumeFromSmm => {
                Err(Exception::INVALID_OPCODE.into())
            }
            Privileged::ReadPerformanceCounter => Err(Exception::GENERAL_PROTECTION.into()),
            Privileged::CacheFlush => self.flush_caches(),
            Privileged::SetXcr => self.set_xcr(),
        }
    }

    /// Caches are coherent, and no device bypasses them: there is nothing to write back that anybody could miss.
    fn flush_caches(&mut self) -> Result<(), Stop> {
        let next = self.next_rip(Known::Wbinvd).or_else(|stop| match stop {
            Stop::End(_) => self.next_rip(Known::Invd),
            Stop::Raise(_) | Stop::Retry | Stop::Yield | Stop::Kicked => Err(stop),
        })?;
        self.vcpu.set_rip(next);
        Ok(())
    }

    fn set_xcr(&mut self) -> Result<(), Stop> {
        let next = self.next_rip(Known::Xsetbv)?;
        let gprs = self.vcpu.gprs();
        let index = gprs.get(Gpr::Rcx) as u32;
        let value = gprs.get(Gpr::Rdx) << 32 | gprs.get(Gpr::Rax) & 0xffff_ffff;
        let (cpl, cr4) = (self.vcpu.cpl(), self.vcpu.cr4());
        let xcr0 = control::check_xcr0(index, value, cpl, cr4, self.cpuid.allowed())?;
        self.vcpu.set_xcr0(xcr0);
        self.vcpu.set_rip(next);
        Ok(())
    }
}
