//! Queueing events, and the windows in which the guest can take them.

use super::super::event;
use super::super::intercepts::Intercepts1;
use super::super::nmi::{GuestTrap, NmiMask};
use super::super::vmcb::{CleanBits, InterruptControl};
use super::{Vcpu, rflags};
use vcpu::{Event, Exception, Exit, Vcpu as _, Wanted};

/// DR6 bits 3:0: which breakpoints hit.
const DR6_BREAKPOINTS: u64 = 0xf;
/// DR6.BS: a single step.
const DR6_SINGLE_STEP: u64 = 1 << 14;

/// A virtual interrupt that every priority lets through: it is never delivered, because VINTR exits first.
const WINDOW: u64 = InterruptControl::PENDING
    .union(InterruptControl::HIGHEST_PRIORITY)
    .union(InterruptControl::IGNORE_TASK_PRIORITY)
    .bits();

impl Vcpu {
    /// Queues `event` for the next entry.
    #[inline]
    pub(super) fn queue(&mut self, event: Event) {
        let queued = self.vmcb().control.event_injection;
        match (event, event::decode(queued)) {
            (Event::Nmi, _) => self.mask_nmis(),
            (_, Some(Event::Nmi)) => self.unmask_nmis(),
            _ => {}
        }
        let vmcb = self.vmcb_mut();
        if let Event::SoftwareInterrupt(_) = event {
            // With NRIPS the processor pushes this field, without it RIP: the caller has RIP behind the instruction.
            vmcb.control.next_rip = vmcb.save.rip;
        }
        vmcb.control.event_injection = event::encode(event);
    }

    #[inline]
    pub(super) fn set_interrupt_window(&mut self, wanted: Wanted) {
        let control = &mut self.vmcb_mut().control;
        match wanted {
            Wanted::Yes => {
                control.intercepts1 |= Intercepts1::VINTR.bits();
                control.interrupt_control |= WINDOW;
            }
            Wanted::No => {
                control.intercepts1 &= !Intercepts1::VINTR.bits();
                control.interrupt_control &= !WINDOW;
            }
        }
        control.clean &= !(CleanBits::INTERCEPTS | CleanBits::INTERRUPTS).bits();
    }

    /// Asks for an exit when NMIs are no longer masked, or takes the wish back.
    pub(super) fn set_nmi_window(&mut self, wanted: Wanted) {
        self.nmi_window = wanted;
        let at_iret = matches!(self.nmi_mask, NmiMask::Returning { .. })
            && self.nmi_mask.masks_at(self.vmcb().save.rip);
        if wanted == Wanted::Yes && at_iret {
            self.start_step();
        }
    }

    fn mask_nmis(&mut self) {
        self.nmi_mask = NmiMask::Masked;
        self.nmi_window = Wanted::No;
        self.set_iret_intercept(Wanted::Yes);
    }

    fn unmask_nmis(&mut self) {
        self.nmi_mask = NmiMask::Open;
        self.set_iret_intercept(Wanted::No);
    }

    fn set_iret_intercept(&mut self, wanted: Wanted) {
        let control = &mut self.vmcb_mut().control;
        match wanted {
            Wanted::Yes => control.intercepts1 |= Intercepts1::IRET.bits(),
            Wanted::No => control.intercepts1 &= !Intercepts1::IRET.bits(),
        }
        control.clean &= !CleanBits::INTERCEPTS.bits();
    }

    /// The guest is about to run the IRET that ends its NMI handler: nothing to tell anyone.
    pub(super) fn before_iret(&mut self) -> Option<Exit> {
        self.set_iret_intercept(Wanted::No);
        match self.nmi_window {
            Wanted::Yes => self.start_step(),
            Wanted::No => self.nmi_mask = NmiMask::Returning { rip: self.vmcb().save.rip },
        }
        None
    }

    /// Makes the processor stop after the IRET at RIP.
    fn start_step(&mut self) {
        let vmcb = self.vmcb_mut();
        let trap = if vmcb.save.rflags & rflags::TF != 0 { GuestTrap::Set } else { GuestTrap::Clear };
        vmcb.save.rflags |= rflags::TF;
        self.nmi_mask = NmiMask::Stepping(trap);
    }

    /// The `#DB` of the step: the IRET has run, and RFLAGS is the guest's again.
    pub(super) fn after_step(&mut self) -> Option<Exit> {
        let guest_trap = self.nmi_mask == NmiMask::Stepping(GuestTrap::Set);
        self.nmi_mask = NmiMask::Open;
        let vmcb = self.vmcb_mut();
        vmcb.control.clean &= !CleanBits::DEBUG_REGISTERS.bits();
        if guest_trap || vmcb.save.dr6 & DR6_BREAKPOINTS != 0 {
            // The guest waits for this exception itself; its NMI follows.
            self.queue(Event::Exception(Exception::DEBUG));
        } else {
            vmcb.save.dr6 &= !DR6_SINGLE_STEP;
        }
        match core::mem::replace(&mut self.nmi_window, Wanted::No) {
            Wanted::Yes => Some(Exit::NmiWindow),
            Wanted::No => None,
        }
    }

    /// An instruction has completed with RFLAGS.TF set: the guest's step, unless the hypervisor set the flag.
    #[cold]
    pub(super) fn trap_single_step(&mut self) {
        if self.guest_rflags() & rflags::TF == 0 {
            return;
        }
        let vmcb = self.vmcb_mut();
        vmcb.save.dr6 = vmcb.save.dr6 & !DR6_BREAKPOINTS | DR6_SINGLE_STEP;
        vmcb.control.clean &= !CleanBits::DEBUG_REGISTERS.bits();
        self.queue(Event::Exception(Exception::DEBUG));
    }

    /// What has just completed hit breakpoints.
    #[cold]
    pub(super) fn trap_breakpoints(&mut self, hits: u64) {
        let vmcb = self.vmcb_mut();
        vmcb.save.dr6 = vmcb.save.dr6 & !DR6_BREAKPOINTS | hits & DR6_BREAKPOINTS;
        vmcb.control.clean &= !CleanBits::DEBUG_REGISTERS.bits();
        self.queue(Event::Exception(Exception::DEBUG));
    }

    /// RFLAGS without the trap flag of a step.
    #[inline]
    pub(super) fn guest_rflags(&self) -> u64 {
        let value = self.vmcb().save.rflags;
        if self.nmi_mask == NmiMask::Stepping(GuestTrap::Clear) { value & !rflags::TF } else { value }
    }

    /// Replaces RFLAGS, keeping the trap flag of a step.
    #[inline]
    pub(super) fn set_guest_rflags(&mut self, value: u64) {
        let step = if matches!(self.nmi_mask, NmiMask::Stepping(_)) { rflags::TF } else { 0 };
        self.vmcb_mut().save.rflags = value | step;
    }

    /// Forgets what was queued and wished.
    pub(super) fn reset_events(&mut self) {
        self.unmask_nmis();
        self.nmi_window = Wanted::No;
        self.set_interrupt_window(Wanted::No);
        self.want_task_priority_exits(Wanted::No);
        let control = &mut self.vmcb_mut().control;
        control.event_injection = 0;
        control.interrupt_shadow = 0;
    }
}
