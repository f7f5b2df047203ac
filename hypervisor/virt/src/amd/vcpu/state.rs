//! A vCPU's whole state, in and out.

use super::super::vmcb::{CleanBits, InterruptControl};
use super::{Vcpu, rflags};
use crate::debug_registers;
use vcpu::control::{cr0, efer};
use vcpu::{Vcpu as _, VcpuState};

impl Vcpu {
    /// Makes the state `state` and the FPU's that after reset.
    pub(super) fn load_state(&mut self, state: &VcpuState) {
        self.reset_events();
        self.gprs = state.gprs;
        self.load_save_area(state);
        self.judge_registers();
        self.set_task_priority(state.cr8 as u8);
        self.flush_tlb();
        self.fpu.reset();
        self.fpu.set_xcr0(state.xcr0);
        self.breakpoints = state.dr0_to_3;
        if self.host.is_some() {
            self.fpu.restore();
            debug_registers::write(&self.breakpoints);
        }
    }

    fn load_save_area(&mut self, state: &VcpuState) {
        let cpl = cpl(state);
        let vmcb = self.vmcb_mut();
        vmcb.control.clean = CleanBits::empty().bits();
        let save = &mut vmcb.save;
        save.es = state.es.into();
        save.cs = state.cs.into();
        save.ss = state.ss.into();
        save.ds = state.ds.into();
        save.fs = state.fs.into();
        save.gs = state.gs.into();
        save.ldtr = state.ldtr.into();
        save.tr = state.tr.into();
        save.gdtr = state.gdtr.into();
        save.idtr = state.idtr.into();
        save.cpl = cpl;
        save.efer = state.efer | efer::SVME;
        save.cr0 = state.cr0;
        save.cr2 = state.cr2;
        save.cr3 = state.cr3;
        save.cr4 = state.cr4;
        save.dr6 = state.dr6;
        save.dr7 = state.dr7;
        save.rflags = state.rflags | rflags::FIXED;
        save.rip = state.rip;
        save.star = state.star;
        save.lstar = state.lstar;
        save.cstar = state.cstar;
        save.sfmask = state.sfmask;
        save.kernel_gs_base = state.kernel_gs_base;
        save.sysenter_cs = state.sysenter_cs;
        save.sysenter_esp = state.sysenter_esp;
        save.sysenter_eip = state.sysenter_eip;
        save.g_pat = state.pat;
    }

    /// The whole state.
    pub(super) fn save_state(&self) -> VcpuState {
        let vmcb = self.vmcb();
        let save = &vmcb.save;
        VcpuState {
            gprs: self.gprs,
            rip: save.rip,
            rflags: self.guest_rflags(),
            cr0: save.cr0,
            cr2: save.cr2,
            cr3: save.cr3,
            cr4: save.cr4,
            cr8: vmcb.control.interrupt_control & InterruptControl::TASK_PRIORITY.bits(),
            efer: self.efer(),
            xcr0: self.fpu.xcr0(),
            dr6: save.dr6,
            dr7: save.dr7,
            dr0_to_3: if self.host.is_some() { debug_registers::read() } else { self.breakpoints },
            es: save.es.into(),
            cs: save.cs.into(),
            ss: save.ss.into(),
            ds: save.ds.into(),
            fs: save.fs.into(),
            gs: save.gs.into(),
            ldtr: save.ldtr.into(),
            tr: save.tr.into(),
            gdtr: save.gdtr.into(),
            idtr: save.idtr.into(),
            star: save.star,
            lstar: save.lstar,
            cstar: save.cstar,
            sfmask: save.sfmask,
            kernel_gs_base: save.kernel_gs_base,
            sysenter_cs: save.sysenter_cs,
            sysenter_esp: save.sysenter_esp,
            sysenter_eip: save.sysenter_eip,
            pat: save.g_pat,
        }
    }
}

/// The privilege level that `state` implies: the VMCB holds it apart (APM 24593, volume 2, section 15.5.1).
fn cpl(state: &VcpuState) -> u8 {
    if state.cr0 & cr0::PE == 0 {
        return 0;
    }
    if state.rflags & rflags::VM != 0 {
        return 3;
    }
    state.ss.dpl()
}
