//! What the floors above see of a vCPU: the trait of `vcpu`, over the VMCS.
//!
//! Why unsafe: entering the guest runs the world switch.

use super::events::{NMIS_BLOCKED, SHADOW};
use super::{Outcome, Vcpu, apic, rflags};
use crate::flushes::Flush;
use crate::intel::controls::Primary;
use crate::intel::exit::{self, ControlAccess, reason};
use crate::intel::invalidation::Due;
use crate::intel::vmcs::Field;
use crate::intel::{entry_checks, event, kept, segment, switch};
use base::Vector;
use sync::pending::PendingInterrupts;
use vcpu::control::{cr0, efer};
use vcpu::{
    ApicPage, ApicProgress, ApicStatus, CpuMode, EntryFailure, Event, Exit, Gpr, Gprs, InterruptState,
    OffendingFields, Segment, SegmentName, VcpuState, VectorValue, Wanted,
};

/// The longest instruction, in bytes.
const INSTRUCTION_MAX_BYTES: u64 = 15;

/// Access rights of CS: L and D/B. They lie four bits higher than in [`Segment`].
const RIGHTS_LONG: u64 = (Segment::LONG as u64) << 4;
const RIGHTS_DEFAULT_BIG: u64 = (Segment::DEFAULT_BIG as u64) << 4;

impl vcpu::Vcpu for Vcpu {
    #[inline(always)]
    fn enter(&mut self) -> Option<Exit> {
        if !self.vmcs.is_loaded() {
            self.outcome = Outcome::NotLoaded;
            return None;
        }
        if !self.due.is_empty() {
            self.carry_out_due();
        }
        let rsp = self.gprs.get(Gpr::Rsp);
        if rsp != self.rsp {
            self.vmcs.write(Field::Rsp, rsp);
        }
        let outcome = if self.guards.is_empty() {
            // SAFETY: a vCPU is loaded only by an `Engine`, so this CPU is in VMX operation, and with this vCPU's VMCS and
            // the CPU's own state in it; `prepare` closed the VMCS but for the permission maps and the nested tables
            // that `new` was given; and the trait's callers keep interrupts masked.
            unsafe { switch::run(&mut self.gprs, &mut self.host_rsp, self.entry) }
        } else {
            self.run_guarded()
        };
        if outcome != 0 {
            self.outcome = Outcome::Refused;
            return None;
        }
        self.outcome = Outcome::Exited;
        self.after_exit()
    }

    /// The exits by which the processor tells of the guest's task priority are this vCPU's own.
    fn rare_exit(&mut self) -> Option<Exit> {
        if let Some(failure) = self.entry_failure() {
            return Some(Exit::EntryFailure(failure));
        }
        if self.reason == reason::EXCEPTION_OR_NMI {
            return Some(self.after_exception());
        }
        self.settle_delivery(false);
        match self.reason {
            reason::INTERRUPT_WINDOW => {
                self.set_primary(Primary::INTERRUPT_WINDOW_EXITING, Wanted::No);
                Some(Exit::InterruptWindow)
            }
            reason::NMI_WINDOW => {
                self.set_primary(Primary::NMI_WINDOW_EXITING, Wanted::No);
                Some(Exit::NmiWindow)
            }
            // Whoever wanted to know looks before the next entry.
            reason::TPR_BELOW_THRESHOLD => {
                self.set_threshold();
                None
            }
            reason::VIRTUALIZED_EOI => {
                Some(Exit::EndOfInterrupt(Vector(self.vmcs.read(Field::Qualification) as u8)))
            }
            reason::APIC_WRITE => {
                let offset = self.vmcs.read(Field::Qualification) & 0xfff;
                Some(Exit::ApicWrite(offset as u32 / 16))
            }
            reason::APIC_ACCESS => {
                Some(Exit::NestedFault(exit::apic_access(self.vmcs.read(Field::Qualification))))
            }
            reason::CR_ACCESS => self.control_register_accessed(),
            other => Some(exit::decode_rare(other)),
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
        self.rip
    }

    #[inline]
    fn set_rip(&mut self, rip: u64) {
        self.rip = rip;
        self.vmcs.write(Field::Rip, rip);
        // An instruction has completed: it lifts the shadow and the resume flag.
        let state = self.vmcs.read(Field::Interruptibility);
        if state & SHADOW != 0 {
            self.lift_shadow(state);
        }
        let flags = self.vmcs.read(Field::Rflags);
        if flags & (rflags::TF | rflags::RF) != 0 {
            self.complete_flags(flags);
        }
    }

    #[inline]
    fn rflags(&self) -> u64 {
        self.vmcs.read(Field::Rflags)
    }

    #[inline]
    fn set_rflags(&mut self, value: u64) {
        self.vmcs.write(Field::Rflags, value & rflags::DEFINED | rflags::FIXED);
    }

    fn segment(&self, name: SegmentName) -> Segment {
        segment::read(&self.vmcs, name)
    }

    #[inline]
    fn cr0(&self) -> u64 {
        self.guest_cr0()
    }

    fn set_cr0(&mut self, value: u64) {
        self.set_guest_cr0(value);
    }

    fn set_cr2(&mut self, value: u64) {
        if self.vmcs.is_loaded() {
            kept::set_cr2(value);
        } else {
            self.kept.cr2 = value;
        }
    }

    #[inline]
    fn cr3(&self) -> u64 {
        self.vmcs.read(Field::Cr3)
    }

    #[inline]
    fn cr4(&self) -> u64 {
        self.guest_cr4()
    }

    fn set_cr4(&mut self, value: u64) {
        self.set_guest_cr4(value);
    }

    #[inline(always)]
    fn holds_pdptes(&self) -> bool {
        true
    }

    fn set_pdptes(&mut self, pdptes: [u64; 4]) {
        self.set_directory_pointers(pdptes);
    }

    #[inline]
    fn efer(&self) -> u64 {
        self.efer
    }

    fn set_efer(&mut self, value: u64) {
        self.set_guest_efer(value);
    }

    fn set_xcr0(&mut self, value: u64) {
        self.fpu.set_xcr0(value);
        if self.vmcs.is_loaded() {
            self.fpu.load_xcr0();
        }
    }

    fn xcr0(&self) -> u64 {
        self.fpu.xcr0()
    }

    fn vector(&mut self, number: u8) -> [u8; 32] {
        if self.vmcs.is_loaded() {
            self.fpu.save();
            self.fpu.load_xcr0();
        }
        self.fpu.vector(number)
    }

    fn set_vector(&mut self, number: u8, value: VectorValue) {
        if self.vmcs.is_loaded() {
            self.fpu.save();
        }
        self.fpu.set_vector(number, value);
        if self.vmcs.is_loaded() {
            self.fpu.restore();
        }
    }

    fn pat(&self) -> u64 {
        self.vmcs.read(Field::Pat)
    }

    fn set_pat(&mut self, value: u64) {
        self.vmcs.write(Field::Pat, value);
    }

    #[inline(always)]
    fn dr7(&self) -> u64 {
        self.vmcs.read(Field::Dr7)
    }

    fn hit_breakpoints(&mut self, hits: u64) {
        self.trap_breakpoints(hits);
    }

    #[inline]
    fn task_priority(&self) -> u8 {
        self.page.task_priority()
    }

    #[inline]
    fn set_task_priority(&mut self, priority: u8) {
        self.page.set_task_priority(priority);
        if self.task_priority_exits == Wanted::Yes {
            self.set_threshold();
        }
    }

    /// With a TPR shadow no exit of that kind comes: the processor tells when the priority falls, and `vmm` looks then.
    /// Without one every write exits anyway.
    fn want_task_priority_exits(&mut self, wanted: Wanted) {
        self.task_priority_exits = wanted;
        self.set_threshold();
    }

    #[inline]
    fn apic_page(&mut self) -> Option<&mut ApicPage> {
        self.capabilities.runs_apics().then(|| self.page.registers())
    }

    #[inline]
    fn pending_interrupts(&self) -> Option<&PendingInterrupts> {
        self.capabilities.posts_interrupts().then(|| self.page.pending())
    }

    #[inline]
    fn follow_apic(&mut self, status: &ApicStatus) {
        if self.capabilities.runs_apics() {
            self.write_apic_status(status);
        }
    }

    #[inline]
    fn apic_progress(&self) -> ApicProgress {
        apic::progress(self.vmcs.read(Field::GuestInterruptStatus))
    }

    #[inline]
    fn request_interrupt(&mut self, highest: Vector) {
        self.raise_requested(highest);
    }

    fn set_exiting_ends(&mut self, vectors: &[u64; 4]) {
        self.write_exiting_ends(vectors);
    }

    #[inline]
    fn cpl(&self) -> u8 {
        // The privilege level is SS's (SDM 25.4.1).
        (self.vmcs.read(Field::SsRights) >> 5 & 3) as u8
    }

    #[inline]
    fn mode(&self) -> CpuMode {
        let code = self.vmcs.read(Field::CsRights);
        // The frequent one first: with LMA set the others are impossible (SDM 2.2).
        if self.efer & efer::LMA != 0 && code & RIGHTS_LONG != 0 {
            return CpuMode::Long64;
        }
        if self.cr0_shadow & cr0::PE == 0 {
            return CpuMode::Real;
        }
        if self.vmcs.read(Field::Rflags) & rflags::VM != 0 {
            return CpuMode::Virtual8086;
        }
        if code & RIGHTS_DEFAULT_BIG != 0 { CpuMode::Protected32 } else { CpuMode::Protected16 }
    }

    #[inline]
    fn instruction_length(&self) -> Option<u8> {
        let length = self.vmcs.read(Field::InstructionLength);
        let is_told = exit::is_by_instruction(self.reason) && (1..=INSTRUCTION_MAX_BYTES).contains(&length);
        is_told.then_some(length as u8)
    }

    /// VT-x gives none.
    fn instruction_bytes(&self) -> &[u8] {
        &[]
    }

    #[inline]
    fn interrupt_state(&self) -> InterruptState {
        let state = self.vmcs.read(Field::Interruptibility);
        InterruptState {
            enabled: self.vmcs.read(Field::Rflags) & rflags::IF != 0,
            shadowed: state & SHADOW != 0,
            nmi_masked: state & NMIS_BLOCKED != 0,
            event_queued: event::is_valid(self.vmcs.read(Field::EntryInterruptionInfo)),
        }
    }

    #[inline]
    fn inject(&mut self, event: Event) {
        self.queue(event);
    }

    #[inline]
    fn queued_event(&self) -> Option<Event> {
        self.queued()
    }

    /// The wish is fulfilled once: the exit takes it back.
    #[inline]
    fn want_interrupt_window(&mut self, wanted: Wanted) {
        self.set_primary(Primary::INTERRUPT_WINDOW_EXITING, wanted);
    }

    /// The wish is fulfilled once.
    fn want_nmi_window(&mut self, wanted: Wanted) {
        self.set_primary(Primary::NMI_WINDOW_EXITING, wanted);
    }

    #[inline]
    fn tsc_offset(&self) -> u64 {
        self.vmcs.read(Field::TscOffset)
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        self.vmcs.write(Field::TscOffset, offset);
    }

    fn flush_tlb(&mut self) {
        self.want_flush(Flush::Guest, Due::GUEST);
    }

    fn flush_nested(&mut self) {
        self.want_flush(Flush::Nested, Due::NESTED);
    }

    fn load(&mut self, state: &VcpuState) {
        self.load_state(state);
    }

    fn save(&self) -> VcpuState {
        self.save_state()
    }
}

impl Vcpu {
    /// Why the guest did not run, if it did not.
    fn entry_failure(&self) -> Option<EntryFailure> {
        match self.outcome {
            Outcome::NotLoaded => {
                let reason = "the vCPU is loaded on no CPU";
                Some(EntryFailure { code: 0, reason, fields: OffendingFields::default() })
            }
            Outcome::Refused => Some(self.explain(self.instruction_error())),
            Outcome::Exited if self.reason & reason::ENTRY_FAILURE != 0 => {
                let qualification = self.vmcs.read(Field::Qualification);
                Some(self.explain(entry_checks::Outcome::Exit { reason: self.reason, qualification }))
            }
            Outcome::Exited => None,
        }
    }

    fn instruction_error(&self) -> entry_checks::Outcome {
        match self.vmcs.read(Field::InstructionError) as u32 {
            0 => entry_checks::Outcome::NoVmcs,
            number => entry_checks::Outcome::Error(number),
        }
    }

    #[cold]
    fn explain(&self, outcome: entry_checks::Outcome) -> EntryFailure {
        entry_checks::explain(outcome, &self.vmcs, &self.capabilities.limits)
    }

    /// A write is `vmm`'s to judge; a read of CR8, which exits only without a TPR shadow, is done here.
    fn control_register_accessed(&mut self) -> Option<Exit> {
        match exit::control_access(self.vmcs.read(Field::Qualification)) {
            ControlAccess::Write(register) => Some(Exit::WriteControlRegister(register)),
            ControlAccess::ReadTaskPriority(operand) => {
                self.gprs.set(operand, self.page.task_priority().into());
                let next = self.rip.wrapping_add(self.vmcs.read(Field::InstructionLength));
                vcpu::Vcpu::set_rip(self, self.wrapped(next));
                None
            }
            ControlAccess::Unexpected => Some(Exit::Unexpected(self.reason.into())),
        }
    }

    /// `rip` as it is outside 64-bit mode, where it has 32 bits.
    #[cold]
    pub(super) fn wrapped(&self, rip: u64) -> u64 {
        match vcpu::Vcpu::mode(self) {
            CpuMode::Long64 => rip,
            _ => rip & 0xffff_ffff,
        }
    }
}
