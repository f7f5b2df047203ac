//! The trait that each vendor's vCPU implements: enter the guest, and everything an exit's handler needs of it.

use crate::{
    ApicPage, ApicProgress, ApicStatus, CpuMode, Event, Exit, Gprs, Segment, SegmentName, VcpuState,
    VectorValue,
};
use base::Vector;
use sync::pending::PendingInterrupts;

/// What stands in the way of delivering an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptState {
    /// RFLAGS.IF.
    pub enabled: bool,
    /// The instruction boundary is shadowed by STI or MOV SS (Intel SDM, volume 3, section 6.8.3).
    pub shadowed: bool,
    /// NMIs are blocked until IRET.
    pub nmi_masked: bool,
    /// An event is already queued for the next entry.
    pub event_queued: bool,
}

impl InterruptState {
    /// Whether a maskable interrupt can be queued now.
    #[inline]
    pub const fn accepts_interrupt(self) -> bool {
        self.enabled && !self.shadowed && !self.event_queued
    }

    /// Whether an NMI can be queued now.
    #[inline]
    pub const fn accepts_nmi(self) -> bool {
        !self.shadowed && !self.nmi_masked && !self.event_queued
    }
}

/// One virtual CPU on the hardware (or a fake of it).
///
/// Between [`Vcpu::enter`] returning and the next call, the vCPU stands between two instructions, or before one that
/// exited: [`Vcpu::rip`] is that instruction's address. An event whose delivery an exit interrupted is queued
/// again by the implementation before it returns, unless the exit is itself that event's consequence.
///
/// No method allocates, locks or formats.
pub trait Vcpu {
    /// Runs guest code until something stops it. Host interrupts are masked before and after; while the guest runs
    /// they end it with [`Exit::HostInterrupt`] and stay pending.
    ///
    /// The exit is told if it is a frequent one; else it is asked for by [`Vcpu::rare_exit`]. So the path of the frequent
    /// ones has no call of a function that could have told any exit, and the compiler keeps them in registers.
    fn enter(&mut self) -> Option<Exit>;

    /// The exit that [`Vcpu::enter`] did not tell, to be asked for once; `None` when it was the implementation's own
    /// business, and the guest shall go on.
    fn rare_exit(&mut self) -> Option<Exit>;

    /// The general-purpose registers, RAX and RSP included.
    fn gprs(&self) -> &Gprs;
    /// The general-purpose registers, to change.
    fn gprs_mut(&mut self) -> &mut Gprs;
    /// The address of the current instruction.
    fn rip(&self) -> u64;
    /// An instruction has completed: continues at `rip`. Ends the interrupt shadow; when the guest steps itself
    /// (RFLAGS.TF), DR6 says so and `#DB` is queued.
    fn set_rip(&mut self, rip: u64);
    /// RFLAGS.
    fn rflags(&self) -> u64;
    /// Replaces RFLAGS.
    fn set_rflags(&mut self, value: u64);
    /// The hidden and visible parts of a segment register.
    fn segment(&self, name: SegmentName) -> Segment;
    /// CR0 as the guest sees it.
    fn cr0(&self) -> u64;
    /// Replaces CR0; `vmm` has checked the value.
    fn set_cr0(&mut self, value: u64);
    /// Replaces CR2.
    fn set_cr2(&mut self, value: u64);
    /// CR3.
    fn cr3(&self) -> u64;
    /// CR4 as the guest sees it.
    fn cr4(&self) -> u64;
    /// Replaces CR4; `vmm` has checked the value.
    fn set_cr4(&mut self, value: u64);
    /// Whether the processor holds the four directory pointers of PAE paging as registers, which a write of CR0 or CR4
    /// loads and judges, instead of reading them from memory when it uses them.
    fn holds_pdptes(&self) -> bool;
    /// Makes `pdptes` the four directory pointers of PAE paging, where it [`Vcpu::holds_pdptes`]. `vmm` has checked them;
    /// they follow a write of CR0 or CR4 that loads them, and a [`Vcpu::load`] of a state with PAE paging.
    fn set_pdptes(&mut self, pdptes: [u64; 4]);
    /// EFER as the guest sees it, without what the virtualization extension needs for itself.
    fn efer(&self) -> u64;
    /// Replaces EFER; `vmm` has checked the value.
    fn set_efer(&mut self, value: u64);
    /// Replaces XCR0; `vmm` has checked the value.
    fn set_xcr0(&mut self, value: u64);
    /// XCR0.
    fn xcr0(&self) -> u64;
    /// Bits 255:0 of vector register `number`, 0-15; what the processor lacks is zero. It takes long: all vector state
    /// is saved for it.
    fn vector(&mut self, number: u8) -> [u8; 32];
    /// Replaces vector register `number`, 0-15, as slowly.
    fn set_vector(&mut self, number: u8, value: VectorValue);
    /// The page-attribute table.
    fn pat(&self) -> u64;
    /// Replaces the page-attribute table; `vmm` has checked the value.
    fn set_pat(&mut self, value: u64);
    /// DR7.
    fn dr7(&self) -> u64;
    /// Breakpoints that `vmm` matched were hit by what has just completed: DR6 tells `hits`, bits 3:0, and `#DB` is
    /// queued.
    fn hit_breakpoints(&mut self, hits: u64);
    /// The task priority: bits 7:4 of the local APIC's TPR, that is CR8.
    fn task_priority(&self) -> u8;
    /// Replaces the task priority, 0-15.
    fn set_task_priority(&mut self, priority: u8);
    /// Asks for [`Exit::WriteControlRegister`] when the guest writes CR8, which it else does without an exit, or takes
    /// the wish back.
    fn want_task_priority_exits(&mut self, wanted: Wanted);
    /// The registers of the local APIC, where the processor runs that while the guest runs; `None` where it keeps the task
    /// priority alone. Whoever writes to them tells [`Vcpu::follow_apic`] before the next entry.
    fn apic_page(&mut self) -> Option<&mut ApicPage>;
    /// Where interrupts are posted that the processor shall put into [`Vcpu::apic_page`] while it runs the local APIC; `None`
    /// where it cannot. What it has not taken yet is the owner's to take, together with the page.
    fn pending_interrupts(&self) -> Option<&PendingInterrupts>;
    /// Lets the processor run the local APIC in [`Vcpu::apic_page`] from the next entry on; without such a page nothing.
    fn follow_apic(&mut self, status: &ApicStatus);
    /// The highest vectors requested and in service, as the processor has them that runs the local APIC.
    fn apic_progress(&self) -> ApicProgress;
    /// Tells the processor that runs the local APIC that the page's IRR has `highest` besides what it knew.
    fn request_interrupt(&mut self, highest: Vector);
    /// Lets the ends of these vectors, 256 bits, exit where the processor runs the local APIC.
    fn set_exiting_ends(&mut self, vectors: &[u64; 4]);
    /// The current privilege level, 0-3.
    fn cpl(&self) -> u8;
    /// How instructions are interpreted now.
    fn mode(&self) -> CpuMode;

    /// The length of the instruction that exited, where the hardware tells it.
    fn instruction_length(&self) -> Option<u8>;
    /// The bytes of the instruction that exited, as far as the hardware gave them; often none.
    fn instruction_bytes(&self) -> &[u8];

    /// What stands in the way of an interrupt.
    fn interrupt_state(&self) -> InterruptState;
    /// Queues `event` for the next entry. Replaces an event queued before.
    fn inject(&mut self, event: Event);
    /// The event queued for the next entry.
    fn queued_event(&self) -> Option<Event>;
    /// Asks for [`Exit::InterruptWindow`] as soon as the guest can take an interrupt, or takes the wish back. That exit
    /// fulfils the wish: who still waits asks again.
    fn want_interrupt_window(&mut self, wanted: Wanted);
    /// Asks for [`Exit::NmiWindow`] as soon as the guest can take an NMI, or takes the wish back. That exit fulfils the
    /// wish: who still waits asks again.
    fn want_nmi_window(&mut self, wanted: Wanted);

    /// What is added to the host's TSC for the guest's.
    fn tsc_offset(&self) -> u64;
    /// Replaces the offset.
    fn set_tsc_offset(&mut self, offset: u64);

    /// Drops all translations that are cached by the guest's own tables before the next entry.
    fn flush_tlb(&mut self);
    /// Drops all translations that are cached by the nested tables before the next entry: these tables have changed.
    fn flush_nested(&mut self);

    /// Makes the vCPU's whole state `state` and its FPU as after reset; nothing stays queued.
    fn load(&mut self, state: &VcpuState);
    /// The vCPU's whole state.
    fn save(&self) -> VcpuState;
}

/// Whether something is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It is.
    Yes,
    /// It is not, or no longer.
    No,
}
