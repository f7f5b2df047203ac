//! What the floors above see of a vCPU: the trait of `vcpu`, over the VMCB.
//!
//! Why unsafe: entering the guest runs the world switch.

use super::{Vcpu, block_mut, rflags};
use crate::amd::consistency::{self, Finding};
use crate::amd::exit::{self, code};
use crate::amd::intercepts::CR8_WRITES;
use crate::amd::nmi::NmiMask;
use crate::amd::vmcb::{CleanBits, InterruptControl, Vmcb};
use crate::amd::{event, switch};
use crate::flushes::Flush;
use base::Vector;
use sync::pending::PendingInterrupts;
use vcpu::control::{cr0, efer};
use vcpu::{
    ApicPage, ApicProgress, ApicStatus, CpuMode, EntryFailure, Event, Exit, Gpr, Gprs, InterruptState,
    OffendingFields, Segment, SegmentName, VcpuState, VectorValue, Wanted,
};

/// Enters the guest by `run`, whose time counts as the guest's where that is counted.
#[inline(always)]
fn counted(run: impl FnOnce()) {
    #[cfg(feature = "exit-shares")]
    machine::shares::in_guest(run);
    #[cfg(not(feature = "exit-shares"))]
    run();
}

/// The longest instruction, in bytes.
const INSTRUCTION_MAX_BYTES: u64 = 15;

/// Bit 0 of the VMCB's interrupt shadow field.
const INTERRUPT_SHADOW: u64 = 1;

impl vcpu::Vcpu for Vcpu {
    #[inline(always)]
    fn enter(&mut self) -> Option<Exit> {
        let host = self.host?;
        let vmcb = block_mut(&mut self.vmcb);
        vmcb.save.rax = self.gprs.get(Gpr::Rax);
        vmcb.save.rsp = self.gprs.get(Gpr::Rsp);
        if !self.guards.is_empty() {
            self.run_guarded(host);
            return self.after_exit();
        }
        // SAFETY: a vCPU is loaded only by an `Engine`, so this CPU has been brought up and `host` is its state;
        // `prepare` closed the VMCB but for the permission maps and the nested tables that `new` was given; and
        // the trait's callers keep interrupts masked.
        counted(|| unsafe { switch::run(&mut self.gprs, self.vmcb.hpa(), host) });
        self.after_exit()
    }

    /// The exits provoked to learn when the guest can take an event are this vCPU's own.
    fn rare_exit(&mut self) -> Option<Exit> {
        if self.host.is_none() {
            let reason = "the vCPU is loaded on no CPU";
            let fields = OffendingFields::default();
            return Some(Exit::EntryFailure(EntryFailure { code: 0, reason, fields }));
        }
        let control = &self.vmcb().control;
        if exit::is_refusal(control.exit_code) {
            let Finding { reason, fields } =
                consistency::explain(self.inconsistency, control, &self.capabilities);
            self.flush(Flush::Refusal);
            return Some(Exit::EntryFailure(EntryFailure { code: code::INVALID, reason, fields }));
        }
        match control.exit_code {
            code::VINTR => {
                self.set_interrupt_window(Wanted::No);
                Some(Exit::InterruptWindow)
            }
            code::IRET => self.before_iret(),
            code::EXCEPTION_DB if matches!(self.nmi_mask, NmiMask::Stepping(_)) => self.after_step(),
            _ => Some(exit::decode_rare(control)),
        }
    }

    #[inline(always)]
    fn gprs(&self) -> &Gprs {
        &self.gprs
    }

    #[inline(always)]
    fn gprs_mut(&mut self) -> &mut Gprs {
        &mut self.gprs
    }

    #[inline(always)]
    fn rip(&self) -> u64 {
        self.vmcb().save.rip
    }

    #[inline]
    fn set_rip(&mut self, rip: u64) {
        let vmcb = self.vmcb_mut();
        vmcb.save.rip = rip;
        // An instruction has completed: it lifts the shadow and the resume flag.
        vmcb.save.rflags &= !rflags::RF;
        vmcb.control.interrupt_shadow = 0;
        if vmcb.save.rflags & rflags::TF != 0 {
            self.trap_single_step();
        }
    }

    #[inline]
    fn rflags(&self) -> u64 {
        self.guest_rflags()
    }

    #[inline]
    fn set_rflags(&mut self, value: u64) {
        self.set_guest_rflags(value | rflags::FIXED);
    }

    fn segment(&self, name: SegmentName) -> Segment {
        let save = &self.vmcb().save;
        Segment::from(match name {
            SegmentName::Es => save.es,
            SegmentName::Cs => save.cs,
            SegmentName::Ss => save.ss,
            SegmentName::Ds => save.ds,
            SegmentName::Fs => save.fs,
            SegmentName::Gs => save.gs,
            SegmentName::Ldtr => save.ldtr,
            SegmentName::Tr => save.tr,
        })
    }

    #[inline]
    fn cr0(&self) -> u64 {
        self.vmcb().save.cr0
    }

    fn set_cr0(&mut self, value: u64) {
        self.set_control_registers(|save| save.cr0 = value);
    }

    fn set_cr2(&mut self, value: u64) {
        self.save_mut(CleanBits::CR2).cr2 = value;
    }

    #[inline]
    fn cr3(&self) -> u64 {
        self.vmcb().save.cr3
    }

    #[inline]
    fn cr4(&self) -> u64 {
        self.vmcb().save.cr4
    }

    fn set_cr4(&mut self, value: u64) {
        self.set_control_registers(|save| save.cr4 = value);
    }

    /// With nested paging the processor reads them from memory at each walk (APM 24593, volume 2, section 15.25.10).
    /// Under nested paging they are entries like others (APM 24593, volume 2, section 15.25.10).
    #[inline(always)]
    fn holds_pdptes(&self) -> bool {
        false
    }

    fn set_pdptes(&mut self, _pdptes: [u64; 4]) {}

    #[inline]
    fn efer(&self) -> u64 {
        self.vmcb().save.efer & !efer::SVME
    }

    fn set_efer(&mut self, value: u64) {
        // VMRUN refuses a guest without SVME; the guest does not see it.
        self.set_control_registers(|save| save.efer = value | efer::SVME);
    }

    fn set_xcr0(&mut self, value: u64) {
        self.fpu.set_xcr0(value);
        if self.host.is_some() {
            self.fpu.load_xcr0();
        }
    }

    fn xcr0(&self) -> u64 {
        self.fpu.xcr0()
    }

    fn vector(&mut self, number: u8) -> [u8; 32] {
        if self.host.is_some() {
            self.fpu.save();
            self.fpu.load_xcr0();
        }
        self.fpu.vector(number)
    }

    fn set_vector(&mut self, number: u8, value: VectorValue) {
        if self.host.is_some() {
            self.fpu.save();
        }
        self.fpu.set_vector(number, value);
        if self.host.is_some() {
            self.fpu.restore();
        }
    }

    fn pat(&self) -> u64 {
        self.vmcb().save.g_pat
    }

    fn set_pat(&mut self, value: u64) {
        self.save_mut(CleanBits::NESTED).g_pat = value;
        self.judge_registers();
    }

    #[inline(always)]
    fn dr7(&self) -> u64 {
        self.vmcb().save.dr7
    }

    fn hit_breakpoints(&mut self, hits: u64) {
        self.trap_breakpoints(hits);
    }

    #[inline]
    fn task_priority(&self) -> u8 {
        (self.vmcb().control.interrupt_control & InterruptControl::TASK_PRIORITY.bits()) as u8
    }

    #[inline]
    fn set_task_priority(&mut self, priority: u8) {
        let control = &mut self.vmcb_mut().control;
        let mask = InterruptControl::TASK_PRIORITY.bits();
        control.interrupt_control = control.interrupt_control & !mask | u64::from(priority) & mask;
        control.clean &= !CleanBits::INTERRUPTS.bits();
    }

    fn want_task_priority_exits(&mut self, wanted: Wanted) {
        let control = &mut self.vmcb_mut().control;
        match wanted {
            Wanted::Yes => control.intercept_cr |= CR8_WRITES,
            Wanted::No => control.intercept_cr &= !CR8_WRITES,
        }
        control.clean &= !CleanBits::INTERCEPTS.bits();
    }

    /// AVIC is not in use: the local APIC is always `vmm`'s.
    #[inline(always)]
    fn apic_page(&mut self) -> Option<&mut ApicPage> {
        None
    }

    #[inline(always)]
    fn pending_interrupts(&self) -> Option<&PendingInterrupts> {
        None
    }

    fn follow_apic(&mut self, _status: &ApicStatus) {}

    #[inline(always)]
    fn apic_progress(&self) -> ApicProgress {
        ApicProgress::default()
    }

    #[inline(always)]
    fn request_interrupt(&mut self, _highest: Vector) {}

    #[inline(always)]
    fn set_exiting_ends(&mut self, _vectors: &[u64; 4]) {}

    #[inline]
    fn cpl(&self) -> u8 {
        self.vmcb().save.cpl & 3
    }

    #[inline]
    fn mode(&self) -> CpuMode {
        let save = &self.vmcb().save;
        let code = save.cs.attributes();
        // The frequent one first: with LMA set the others are impossible (APM, volume 2, section 14.4).
        if save.efer & efer::LMA != 0 && code & Segment::LONG != 0 {
            return CpuMode::Long64;
        }
        if save.cr0 & cr0::PE == 0 {
            return CpuMode::Real;
        }
        if save.rflags & rflags::VM != 0 {
            return CpuMode::Virtual8086;
        }
        if code & Segment::DEFAULT_BIG != 0 { CpuMode::Protected32 } else { CpuMode::Protected16 }
    }

    /// With NRIPS the VMCB names the next instruction for most intercepted instructions, else it holds 0.
    #[inline]
    fn instruction_length(&self) -> Option<u8> {
        let vmcb = self.vmcb();
        let length = vmcb.control.next_rip.wrapping_sub(vmcb.save.rip);
        (1..=INSTRUCTION_MAX_BYTES).contains(&length).then_some(length as u8)
    }

    /// With decode assists the VMCB holds the bytes at a fault, else none.
    fn instruction_bytes(&self) -> &[u8] {
        let control = &self.vmcb().control;
        let count = usize::from(control.instruction_bytes_count & 0xf);
        control.instruction_bytes.get(..count).unwrap_or_default()
    }

    #[inline]
    fn interrupt_state(&self) -> InterruptState {
        let Vmcb { control, save, .. } = self.vmcb();
        InterruptState {
            enabled: save.rflags & rflags::IF != 0,
            shadowed: control.interrupt_shadow & INTERRUPT_SHADOW != 0,
            nmi_masked: self.nmi_mask.masks_at(save.rip),
            event_queued: event::is_valid(control.event_injection),
        }
    }

    #[inline]
    fn inject(&mut self, event: Event) {
        #[cfg(feature = "exit-shares")]
        if matches!(event, Event::Interrupt(_)) {
            machine::shares::count_interrupt();
        }
        self.queue(event);
    }

    #[inline]
    fn queued_event(&self) -> Option<Event> {
        event::decode(self.vmcb().control.event_injection)
    }

    /// The wish is fulfilled once: the exit takes it back.
    #[inline]
    fn want_interrupt_window(&mut self, wanted: Wanted) {
        self.set_interrupt_window(wanted);
    }

    /// The wish is fulfilled once. While just an event or an interrupt shadow is in the way, no exit comes of it: ask
    /// again after the next one.
    fn want_nmi_window(&mut self, wanted: Wanted) {
        self.set_nmi_window(wanted);
    }

    #[inline]
    fn tsc_offset(&self) -> u64 {
        self.vmcb().control.tsc_offset
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        let control = &mut self.vmcb_mut().control;
        control.tsc_offset = offset;
        control.clean &= !CleanBits::INTERCEPTS.bits();
    }

    fn flush_tlb(&mut self) {
        self.flush(Flush::Guest);
    }

    /// What is cached under an ASID leads through both tables.
    fn flush_nested(&mut self) {
        self.flush(Flush::Nested);
    }

    fn load(&mut self, state: &VcpuState) {
        self.load_state(state);
    }

    fn save(&self) -> VcpuState {
        self.save_state()
    }
}
