//! Fakes for tests: a vCPU that plays a script of exits, a host with a clock to be set.

extern crate std;

use crate::layout::RamLayout;
use crate::loader::{File, Image};
use crate::vm::{DebugExitPort, Host, Settings, Vm};
use base::{ApicId, Instant, MIB, Nanoseconds, Port, TscScale, Vector, VmName};
use config::OnReset;
use seams::fake::FlatMemory;
use std::{boxed::Box, collections::VecDeque, vec, vec::Vec};
use sync::pending::PendingInterrupts;
use vcpu::{
    ApicPage, ApicProgress, ApicStatus, CpuMode, Direction, Event, Exception, Exit, Gpr, Gprs,
    InterruptState, IoExit, IoOperand, Segment, SegmentName, Vcpu, VcpuState, VectorValue, Wanted,
    control::efer,
    cpuid::{Registers, TscStability},
};

type Step = std::boxed::Box<dyn FnOnce(&mut FakeVcpu) -> Exit>;

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
        self.script.push_back(std::boxed::Box::new(step));
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
        let s = &self.state;
        match name {
            SegmentName::Es => s.es,
            SegmentName::Cs => s.cs,
            SegmentName::Ss => s.ss,
            SegmentName::Ds => s.ds,
            SegmentName::Fs => s.fs,
            SegmentName::Gs => s.gs,
            SegmentName::Ldtr => s.ldtr,
            SegmentName::Tr => s.tr,
        }
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
        match value {
            VectorValue::Xmm(low) => register[..16].copy_from_slice(&low),
            VectorValue::Ymm(whole) => *register = whole,
        }
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

/// The TSC frequency of the fakes: a tick is a nanosecond.
pub const TSC: TscScale = match TscScale::new(1_000_000_000) {
    Ok(scale) => scale,
    Err(_) => panic!("1 GHz is a frequency"),
};

/// A host whose clock stands still until it is set.
#[derive(Default)]
pub struct FakeHost {
    pub now: Instant,
    pub timer: Option<Instant>,
    /// How often an entry was to be interrupted.
    pub interrupted_entries: u32,
    /// Who was told of a posted interrupt.
    pub notified: Vec<(Vector, ApicId)>,
}

impl Host for FakeHost {
    fn now(&self) -> Instant {
        self.now
    }
    fn tsc(&self) -> u64 {
        self.now.0
    }
    fn set_guest_timer(&mut self, deadline: Option<Instant>) {
        self.timer = deadline;
    }
    fn interrupt_entry(&mut self) {
        self.interrupted_entries += 1;
    }
    fn notify(&mut self, vector: Vector, destination: ApicId) {
        self.notified.push((vector, destination));
    }
}

/// A segment of [`elf_with`].
pub struct Phdr {
    pub offset: u64,
    pub paddr: u64,
    pub filesz: u64,
    pub memsz: u64,
}

/// An ELF64 x86-64 executable of 0x3000 bytes with these segments; its content is 0xC5 throughout.
pub fn elf_with(entry: u64, phdrs: &[Phdr]) -> Vec<u8> {
    let mut bytes = vec![0xc5; 0x3000];
    bytes[..64].fill(0);
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    bytes[16..18].copy_from_slice(&2u16.to_le_bytes());
    bytes[18..20].copy_from_slice(&62u16.to_le_bytes());
    bytes[20..24].copy_from_slice(&1u32.to_le_bytes());
    bytes[24..32].copy_from_slice(&entry.to_le_bytes());
    bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
    bytes[52..54].copy_from_slice(&64u16.to_le_bytes());
    bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
    bytes[56..58].copy_from_slice(&(phdrs.len() as u16).to_le_bytes());
    for (n, p) in phdrs.iter().enumerate() {
        let at = 64 + n * 56;
        bytes[at..at + 8].copy_from_slice(&0x5_0000_0001_u64.to_le_bytes());
        for (field, value) in [p.offset, p.paddr, p.paddr, p.filesz, p.memsz, 0x1000].iter().enumerate() {
            bytes[at + 8 + field * 8..at + 16 + field * 8].copy_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

/// An ELF32 i386 executable of 0x3000 bytes with these segments, and another with `notes`, which lie at 0x800; its
/// content is 0xC5 throughout.
pub fn elf_32_with(entry: u32, phdrs: &[Phdr], notes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc5; 0x3000];
    bytes[..52].fill(0);
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1, 1, 1]);
    bytes[16..20].copy_from_slice(&[2, 0, 3, 0]);
    bytes[20..24].copy_from_slice(&1u32.to_le_bytes());
    bytes[24..28].copy_from_slice(&entry.to_le_bytes());
    bytes[28..32].copy_from_slice(&52u32.to_le_bytes());
    bytes[40..44].copy_from_slice(&[52, 0, 32, 0]);
    bytes[44..46].copy_from_slice(&(phdrs.len() as u16 + 1).to_le_bytes());
    bytes[0x800..0x800 + notes.len()].copy_from_slice(notes);
    let len = notes.len() as u32;
    let segments = phdrs.iter().map(|p| {
        let [offset, paddr, filesz, memsz] = [p.offset, p.paddr, p.filesz, p.memsz].map(|n| n as u32);
        [1, offset, paddr, paddr, filesz, memsz, 5, 0x1000]
    });
    let all = segments.chain([[4, 0x800, 0, 0, len, len, 4, 4]]);
    for (at, word) in (52..).step_by(4).zip(all.flatten()) {
        bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
    }
    bytes
}

/// An ELF note.
pub fn note(owner: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    for word in [owner.len() as u32, desc.len() as u32, kind] {
        bytes.extend(word.to_le_bytes());
    }
    for part in [owner, desc] {
        bytes.extend(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// The RAM of [`started`].
pub const RAM_BYTES: u64 = 4 * MIB;

/// Where the kernel of [`started`] is entered.
pub const ENTRY: u64 = 0x10_0000;

pub fn settings() -> Settings {
    Settings {
        name: VmName::new("demo").unwrap(),
        ram: RamLayout::new(RAM_BYTES).unwrap(),
        withheld: None,
        on_reset: OnReset::Restart,
        debug_exit: DebugExitPort::Present,
        exit_profile: crate::vm::ExitProfile::NotKept,
        tsc: TSC,
        tsc_stability: TscStability::Invariant,
        wall_clock_at_zero: Nanoseconds::from_secs(1_000_000_000),
    }
}

/// A host processor with every feature.
fn host_cpuid(leaf: u32, _subleaf: u32) -> Registers {
    match leaf {
        0 => [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
        0x8000_0000 => [0x8000_0021, 0, 0, 0],
        0x8000_0008 => [48 << 8 | 40, 0, 0, 0],
        _ => [u32::MAX; 4],
    }
}

/// A VM with nothing loaded.
pub fn created(settings: Settings, vcpu: FakeVcpu) -> Vm<FakeVcpu, FlatMemory> {
    Vm::new(settings, vcpu, FlatMemory::new(RAM_BYTES), host_cpuid)
}

/// Loads a kernel of 4 KiB at [`ENTRY`] into `vm`.
pub fn start(vm: &mut Vm<FakeVcpu, FlatMemory>, host: &FakeHost) {
    let segment = Phdr { offset: 0x1000, paddr: ENTRY, filesz: 0x1000, memsz: 0x1000 };
    let kernel = elf_with(ENTRY, &[segment]);
    let image = Image {
        kernel: File { name: "vmlinux", bytes: &kernel },
        initrd: None,
        modules: Vec::new(),
        cmdline: "",
    };
    vm.start(&image, host).unwrap();
}

/// A VM with `settings` whose guest does what `script` says.
pub fn started_with(settings: Settings, script: impl FnOnce(&mut FakeVcpu)) -> Vm<FakeVcpu, FlatMemory> {
    let mut vcpu = FakeVcpu::new();
    script(&mut vcpu);
    let mut vm = created(settings, vcpu);
    start(&mut vm, &FakeHost::default());
    vm
}

/// A VM whose guest does what `script` says.
pub fn started(script: impl FnOnce(&mut FakeVcpu)) -> Vm<FakeVcpu, FlatMemory> {
    started_with(settings(), script)
}

/// The guest's step of writing `value` to MSR `index`.
pub fn wrmsr(index: u32, value: u64) -> impl FnOnce(&mut FakeVcpu) -> Exit {
    move |vcpu| {
        vcpu.state.gprs.set(Gpr::Rcx, index.into());
        vcpu.state.gprs.set(Gpr::Rax, value & 0xffff_ffff);
        vcpu.state.gprs.set(Gpr::Rdx, value >> 32);
        Exit::WriteMsr
    }
}

/// The guest's step of reading MSR `index`.
pub fn rdmsr(index: u32) -> impl FnOnce(&mut FakeVcpu) -> Exit {
    move |vcpu| {
        vcpu.state.gprs.set(Gpr::Rcx, index.into());
        Exit::ReadMsr
    }
}

fn io(vcpu: &FakeVcpu, port: u16, size_bytes: u8, direction: Direction) -> Exit {
    let next_rip = vcpu.state.rip + 1;
    Exit::Io(IoExit { port: Port(port), size_bytes, direction, operand: IoOperand::Accumulator, next_rip })
}

/// The guest's step of writing `value` to `port`.
pub fn out(port: u16, size_bytes: u8, value: u32) -> impl FnOnce(&mut FakeVcpu) -> Exit {
    move |vcpu| {
        vcpu.state.gprs.set(Gpr::Rax, value.into());
        io(vcpu, port, size_bytes, Direction::Out)
    }
}

/// The guest's step of reading `port`.
pub fn inp(port: u16, size_bytes: u8) -> impl FnOnce(&mut FakeVcpu) -> Exit {
    move |vcpu| io(vcpu, port, size_bytes, Direction::In)
}

/// RFLAGS.TF.
pub const TRAP_FLAG: u64 = 1 << 8;

/// RFLAGS with interrupts enabled.
pub const INTERRUPTS_ON: u64 = 0x202;
