//! Hypercalls: a KVM guest's are all refused in KVM's way (Linux, `Documentation/virt/kvm/x86/hypercalls.rst`).
//!
//! One of ours is for tests, in VMs that have the debug exit port: [`COUNT_EXITS`].

use crate::exits::Stop;
use crate::vm::{DebugExitPort, Vm};
use seams::GuestMemory;
use vcpu::{CpuMode, Gpr, Vcpu, decode::Known};

/// The hypercall is unknown (Linux, `include/uapi/linux/kvm_para.h`).
const KVM_ENOSYS: i64 = 1000;
/// Only the kernel may call.
const KVM_EPERM: i64 = 1;

/// In RAX: how many times has this VM exited, this one included? The answer is in RAX.
const COUNT_EXITS: u64 = 0x4346_0001;

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    #[inline(always)]
    pub(super) fn hypercall(&mut self) -> Result<(), Stop> {
        let next = self.next_rip(Known::Hypercall)?;
        let call = self.vcpu.gprs().get(Gpr::Rax);
        if call == COUNT_EXITS && self.settings.debug_exit == DebugExitPort::Present {
            let exits = self.stats.total_exits();
            self.vcpu.gprs_mut().set(Gpr::Rax, exits);
            self.vcpu.set_rip(next);
            return Ok(());
        }
        let error = if self.vcpu.cpl() == 0 { -KVM_ENOSYS } else { -KVM_EPERM };
        let result = match self.vcpu.mode() {
            CpuMode::Long64 => error as u64,
            _ => u64::from(error as u32),
        };
        self.vcpu.gprs_mut().set(Gpr::Rax, result);
        self.vcpu.set_rip(next);
        Ok(())
    }
}
