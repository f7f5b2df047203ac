//! A vCPU whose guest is a script.

use super::TRAP_FLAG;
use super::std::{boxed::Box, collections::VecDeque, vec::Vec};
use base::Vector;
use sync::pending::PendingInterrupts;
use vcpu::{
    ApicPage, ApicProgress, ApicStatus, CpuMode, Event, Exception, Exit, Gprs, InterruptState, Segment,
    SegmentName, Vcpu, VcpuState, VectorValue, Wanted, control::efer,
};

type Step = Box<dyn FnOnce(&mut FakeVcpu) -> Exit>;

/// A vCPU whose guest is a script: each entry runs the next step, which says how it exits.
pub struct FakeVcpu {
    pub state: VcpuState,
    pub shadowed: bool,
    pub queued: Option<Event>,
    /// Every event that was delivered by an entry.
    pub delivered: Vec<Event>,
    pub window_wanted: Wanted,
    pub nmi_window_wanted: Wanted,
    pub task_priority_exits_wanted: Wanted,
    /// The local APIC's page, on a processor that runs one.
    pub apic_page: Option<Box<ApicPage>>,
    /// Where interrupts are posted, on a processor that takes them.
    pub pending: Option<Box<PendingInterrupts>>,
    /// What the processor was last told of it.
    pub apic_status: ApicStatus,
    pub tsc_offset: u64,
    pub tlb_flushes: u32,
    pub holds_pdptes: bool,
    pub pdptes: [u64; 4],
    pub length: Option<u8>,
    pub vectors: [[u8; 32]; 16],
    script: VecDeque<Step>,
}

impl FakeVcpu {
    pub fn new() -> Self {
        Self {
            state: VcpuState::reset(),
            shadowed: false,
            queued: None,
            delivered: Vec::new(),
            window_wanted: Wanted::No,
            nmi_window_wanted: Wanted::No,
            task_priority_exits_wanted: Wanted::No,
            apic_page: None,
            pending: None,
            apic_status: ApicStatus::default(),
            tsc_offset: 0,
            tlb_flushes: 0,
            holds_pdptes: true,
            pdptes: [0; 4],
            length: Some(2),
            vectors: [[0; 32]; 16],
            script: VecDeque::new(),
        }
    }

    /// Adds a step that changes registers and exits.
    pub fn then(&mut self, step: impl FnOnce(&mut FakeVcpu) -> Exit + 'static) -> &mut Self {
        self.script.push_back(Box::new(step));
        self
    }

    /// Adds a step that only exits.
    pub fn exits(&mut self, exit: Exit) -> &mut Self {
        self.then(move |_| exit)
    }
}

impl Vcpu for FakeVcpu {
    /// At the end of the script the host is wanted, so that `serve` returns.
    fn enter(&mut self) -> Option<Exit> {
        self.delivered.extend(self.queued.take());
        let exit = match self.script.pop_front() {
            Some(step) => step(self),
            None => Exit::HostInterrupt,
        };
        if exit == Exit::InterruptWindow {
            self.window_wanted = Wanted::No;
        }
        Some(exit)
    }

    /// All exits are frequent here.
    fn rare_exit(&mut self) -> Option<Exit> {
        None
    }

    fn gprs(&self) -> &Gprs {
        &self.state.gprs
    }
    fn gprs_mut(&mut self) -> &mut Gprs {
        &mut self.state.gprs
    }
    fn rip(&self) -> u64 {
        self.state.rip
    }
    fn set_rip(&mut self, rip: u64) {
        self.state.rip = rip;
        self.shadowed = false;
        if self.state.rflags & TRAP_FLAG != 0 {
            self.queued = Some(Event::Exception(Exception::DEBUG));
        }
    }
    fn rflags(&self) -> u64 {
        self.state.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.state.rflags = value;
    }
    fn segment(&self, name: SegmentName) -> Segment {
        *self.state.segment(name)
    }
    fn cr0(&self) -> u64 {
        self.state.cr0
    }
    fn set_cr0(&mut self, value: u64) {
        self.state.cr0 = value;
    }
    fn set_cr2(&mut self, value: u64) {
        self.state.cr2 = value;
    }
    fn cr3(&self) -> u64 {
        self.state.cr3
    }
    fn cr4(&self) -> u64 {
        self.state.cr4
    }
    fn set_cr4(&mut self, value: u64) {
        self.state.cr4 = value;
    }
    fn holds_pdptes(&self) -> bool {
        self.holds_pdptes
    }
    fn set_pdptes(&mut self, pdptes: [u64; 4]) {
        self.pdptes = pdptes;
    }
    fn efer(&self) -> u64 {
        self.state.efer
    }
    fn set_efer(&mut self, value: u64) {
        self.state.efer = value;
    }
    fn set_xcr0(&mut self, value: u64) {
        self.state.xcr0 = value;
    }
    fn xcr0(&self) -> u64 {
        self.state.xcr0
    }
    fn vector(&mut self, number: u8) -> [u8; 32] {
        self.vectors[usize::from(number)]
    }
    fn set_vector(&mut self, number: u8, value: VectorValue) {
        let register = &mut self.vectors[usize::from(number)];
        *register = value.over(*register);
    }
    fn pat(&self) -> u64 {
        self.state.pat
    }
    fn set_pat(&mut self, value: u64) {
        self.state.pat = value;
    }
    fn dr7(&self) -> u64 {
        self.state.dr7
    }
    fn hit_breakpoints(&mut self, hits: u64) {
        self.state.dr6 |= hits;
        self.queued = Some(Event::Exception(Exception::DEBUG));
    }
    fn task_priority(&self) -> u8 {
        self.state.cr8 as u8
    }
    fn set_task_priority(&mut self, priority: u8) {
        self.state.cr8 = priority.into();
    }
    fn want_task_priority_exits(&mut self, wanted: Wanted) {
        self.task_priority_exits_wanted = wanted;
    }
    fn apic_page(&mut self) -> Option<&mut ApicPage> {
        self.apic_page.as_deref_mut()
    }
    fn pending_interrupts(&self) -> Option<&PendingInterrupts> {
        self.pending.as_deref()
    }
    fn follow_apic(&mut self, status: &ApicStatus) {
        self.apic_status = *status;
    }
    /// As the page has it: scripts play the processor there.
    fn apic_progress(&self) -> ApicProgress {
        let Some(page) = &self.apic_page else { return ApicProgress::default() };
        let highest = |first| {
            (0..=255)
                .rev()
                .map(Vector)
                .find(|vector| page.register(first + u32::from(vector.0 / 32)) >> (vector.0 % 32) & 1 != 0)
        };
        ApicProgress { requested: highest(0x20), in_service: highest(0x10) }
    }
    fn request_interrupt(&mut self, highest: Vector) {
        self.apic_status.requested = self.apic_status.requested.max(Some(highest));
    }
    fn set_exiting_ends(&mut self, vectors: &[u64; 4]) {
        self.apic_status.exiting_ends = *vectors;
    }
    fn cpl(&self) -> u8 {
        self.state.ss.dpl()
    }
    fn mode(&self) -> CpuMode {
        match (self.state.efer & efer::LMA, self.state.cs.attributes) {
            (0, _) if self.state.cr0 & 1 == 0 => CpuMode::Real,
            (lma, attributes) if lma != 0 && attributes & Segment::LONG != 0 => CpuMode::Long64,
            (_, attributes) if attributes & Segment::DEFAULT_BIG != 0 => CpuMode::Protected32,
            _ => CpuMode::Protected16,
        }
    }
    fn instruction_length(&self) -> Option<u8> {
        self.length
    }
    fn instruction_bytes(&self) -> &[u8] {
        &[]
    }
    fn interrupt_state(&self) -> InterruptState {
        InterruptState {
            enabled: self.state.rflags & 0x200 != 0,
            shadowed: self.shadowed,
            nmi_masked: false,
            event_queued: self.queued.is_some(),
        }
    }
    fn inject(&mut self, event: Event) {
        self.queued = Some(event);
    }
    fn queued_event(&self) -> Option<Event> {
        self.queued
    }
    fn want_interrupt_window(&mut self, wanted: Wanted) {
        self.window_wanted = wanted;
    }
    fn want_nmi_window(&mut self, wanted: Wanted) {
        self.nmi_window_wanted = wanted;
    }
    fn tsc_offset(&self) -> u64 {
        self.tsc_offset
    }
    fn set_tsc_offset(&mut self, offset: u64) {
        self.tsc_offset = offset;
    }
    fn flush_tlb(&mut self) {
        self.tlb_flushes += 1;
    }
    fn flush_nested(&mut self) {
        self.tlb_flushes += 1;
    }
    fn load(&mut self, state: &VcpuState) {
        self.state = *state;
        self.queued = None;
        self.shadowed = false;
    }
    fn save(&self) -> VcpuState {
        self.state
    }
}
