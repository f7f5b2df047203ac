//! A vCPU's whole state, in and out.

use super::super::kept::Kept;
use super::super::segment::{self, GDTR, IDTR, TssMode};
use super::super::vmcs::Field;
use super::{Vcpu, rflags};
use vcpu::control::efer;
use vcpu::{SegmentName, Vcpu as _, VcpuState};

impl Vcpu {
    /// Makes the state `state` and the FPU's that after reset.
    pub(super) fn load_state(&mut self, state: &VcpuState) {
        self.reset_events();
        self.gprs = state.gprs;
        self.load_vmcs(state);
        self.set_task_priority(state.cr8 as u8);
        self.flush_tlb();
        self.fpu.reset();
        self.fpu.set_xcr0(state.xcr0);
        self.kept = Kept::of(state);
        if self.vmcs.is_loaded() {
            self.fpu.restore();
            self.kept.to_hardware();
        }
    }

    fn load_vmcs(&mut self, state: &VcpuState) {
        let tss = if state.efer & efer::LMA != 0 { TssMode::Long } else { TssMode::Legacy };
        for name in SegmentName::ALL {
            segment::write(&mut self.vmcs, name, state.segment(name), tss);
        }
        segment::write_table(&mut self.vmcs, GDTR, state.gdtr);
        segment::write_table(&mut self.vmcs, IDTR, state.idtr);
        self.set_guest_cr0(state.cr0);
        self.set_guest_cr4(state.cr4);
        self.set_guest_efer(state.efer);
        self.rip = state.rip;
        let fields = [
            (Field::Cr3, state.cr3),
            (Field::Dr7, state.dr7 & 0xffff_ffff),
            (Field::Rip, state.rip),
            (Field::Rflags, state.rflags & rflags::DEFINED | rflags::FIXED),
            (Field::SysenterCs, state.sysenter_cs),
            (Field::SysenterEsp, state.sysenter_esp),
            (Field::SysenterEip, state.sysenter_eip),
            (Field::Pat, state.pat),
            (Field::DebugControl, 0),
        ];
        for (field, value) in fields {
            self.vmcs.write(field, value);
        }
    }

    /// The whole state.
    pub(super) fn save_state(&self) -> VcpuState {
        let vmcs = &self.vmcs;
        let segment = |name| segment::read(vmcs, name);
        let kept = if vmcs.is_loaded() { Kept::from_hardware() } else { self.kept };
        VcpuState {
            gprs: self.gprs,
            rip: self.rip,
            rflags: vmcs.read(Field::Rflags),
            cr0: self.guest_cr0(),
            cr2: kept.cr2,
            cr3: vmcs.read(Field::Cr3),
            cr4: self.guest_cr4(),
            cr8: self.page.task_priority().into(),
            efer: self.efer,
            xcr0: self.fpu.xcr0(),
            dr6: kept.dr6,
            dr7: vmcs.read(Field::Dr7),
            dr0_to_3: kept.dr0_to_3,
            es: segment(SegmentName::Es),
            cs: segment(SegmentName::Cs),
            ss: segment(SegmentName::Ss),
            ds: segment(SegmentName::Ds),
            fs: segment(SegmentName::Fs),
            gs: segment(SegmentName::Gs),
            ldtr: segment(SegmentName::Ldtr),
            tr: segment(SegmentName::Tr),
            gdtr: segment::read_table(vmcs, GDTR),
            idtr: segment::read_table(vmcs, IDTR),
            star: kept.star,
            lstar: kept.lstar,
            cstar: kept.cstar,
            sfmask: kept.sfmask,
            kernel_gs_base: kept.kernel_gs_base,
            sysenter_cs: vmcs.read(Field::SysenterCs),
            sysenter_esp: vmcs.read(Field::SysenterEsp),
            sysenter_eip: vmcs.read(Field::SysenterEip),
            pat: vmcs.read(Field::Pat),
        }
    }
}
