//! Queueing events, the windows in which the guest can take them, and what exits interrupt.

use super::super::controls::Primary;
use super::super::event::{self, Encoded, ErrorCodes};
use super::super::exit::{self, reason};
use super::super::kept;
use super::super::vmcs::Field;
use super::{Vcpu, rflags};
use vcpu::control::cr0;
use vcpu::{Event, Exception, Exit, Vcpu as _, Wanted};

/// Interruptibility state: blocking by STI and by MOV SS, and of NMIs (SDM table 25-3).
pub(super) const SHADOW: u64 = 3;
pub(super) const NMIS_BLOCKED: u64 = 1 << 3;

/// DR6 bits 3:0: which breakpoints hit.
const DR6_BREAKPOINTS: u64 = 0xf;
/// DR6.BD: an access to a debug register.
const DR6_DEBUG_ACCESS: u64 = 1 << 13;
/// DR6.BS: a single step.
const DR6_SINGLE_STEP: u64 = 1 << 14;
/// DR7.GD, which delivering `#DB` clears.
const DR7_DETECT: u64 = 1 << 13;

impl Vcpu {
    /// Queues `event` for the next entry.
    #[inline]
    pub(super) fn queue(&mut self, event: Event) {
        if let Event::SoftwareInterrupt(_) = event {
            self.step_back();
        }
        let error_codes =
            if self.cr0_shadow & cr0::PE != 0 { ErrorCodes::Pushed } else { ErrorCodes::Absent };
        let Encoded { information, error_code } = event::encode(event, error_codes);
        self.vmcs.write(Field::EntryInterruptionInfo, information);
        self.vmcs.write(Field::EntryErrorCode, error_code);
    }

    /// The processor pushes RIP plus the instruction's length; the caller has RIP behind the instruction.
    #[cold]
    fn step_back(&mut self) {
        self.rip = self.rip.wrapping_sub(event::SOFTWARE_INTERRUPT_BYTES);
        self.vmcs.write(Field::Rip, self.rip);
        self.vmcs.write(Field::EntryInstructionLength, event::SOFTWARE_INTERRUPT_BYTES);
    }

    /// The event queued for the next entry; an entry takes its valid bit back.
    #[inline]
    pub(super) fn queued(&self) -> Option<Event> {
        let information = self.vmcs.read(Field::EntryInterruptionInfo);
        // Nearly always there is none.
        if !event::is_valid(information) {
            return None;
        }
        event::decode(Encoded { information, error_code: self.vmcs.read(Field::EntryErrorCode) })
    }

    /// Switches exits of the primary controls on or off.
    pub(super) fn set_primary(&mut self, controls: Primary, wanted: Wanted) {
        match wanted {
            Wanted::Yes => self.primary |= controls.bits(),
            Wanted::No => self.primary &= !controls.bits(),
        }
        self.vmcs.write(Field::PrimaryControls, self.primary.into());
    }

    /// What became of the event whose delivery the exit has interrupted, and of the IRET that met it: the first is
    /// queued again, unless the exit is what it led to; the second has not unblocked NMIs.
    #[cold]
    pub(super) fn settle_delivery(&mut self, met_by_iret: bool) {
        let information = self.vmcs.read(Field::VectoringInfo);
        if !event::is_valid(information) {
            if met_by_iret {
                self.set_nmis_blocked(NMIS_BLOCKED);
            }
            return;
        }
        if self.reason == reason::TASK_SWITCH {
            return;
        }
        let error_code = self.vmcs.read(Field::VectoringErrorCode);
        if let Some(event) = event::requeue(Encoded { information, error_code }) {
            if event == Event::Nmi {
                // Its delivery, which begins anew, has blocked further ones (SDM 25.4.2).
                self.set_nmis_blocked(0);
            }
            self.queue(event);
        }
    }

    fn set_nmis_blocked(&mut self, blocked: u64) {
        let state = self.vmcs.read(Field::Interruptibility);
        self.vmcs.write(Field::Interruptibility, state & !NMIS_BLOCKED | blocked);
    }

    /// An exception that leaves the guest, or an NMI of the host's.
    pub(super) fn after_exception(&mut self) -> Exit {
        let information = self.vmcs.read(Field::ExitInterruptionInfo);
        if event::is_nmi(information) {
            super::super::switch::take_nmi();
            return Exit::HostNmi;
        }
        self.settle_delivery(event::met_by_iret(information));
        let exception = exit::exception(information, self.vmcs.read(Field::ExitErrorCode));
        if exception == Exception::DEBUG {
            self.take_over_debug_state(information);
        }
        Exit::Exception(exception)
    }

    /// What a `#DB` does before it is delivered, which an exit in its place leaves to do (SDM 28.1).
    fn take_over_debug_state(&mut self, information: u64) {
        if event::is_int1(information) {
            self.rip = self.rip.wrapping_add(self.vmcs.read(Field::InstructionLength));
            self.vmcs.write(Field::Rip, self.rip);
            return;
        }
        let hits =
            self.vmcs.read(Field::Qualification) & (DR6_BREAKPOINTS | DR6_DEBUG_ACCESS | DR6_SINGLE_STEP);
        let sticky = self.dr6() & !DR6_BREAKPOINTS;
        self.set_dr6(sticky | hits);
        if hits & DR6_DEBUG_ACCESS != 0 {
            let dr7 = self.vmcs.read(Field::Dr7);
            self.vmcs.write(Field::Dr7, dr7 & !DR7_DETECT);
        }
    }

    /// An instruction has completed: it lifts the interrupt shadow.
    #[cold]
    pub(super) fn lift_shadow(&mut self, state: u64) {
        self.vmcs.write(Field::Interruptibility, state & !SHADOW);
    }

    /// An instruction has completed with RFLAGS.TF or RFLAGS.RF set: the latter is cleared, the first is a step.
    #[cold]
    pub(super) fn complete_flags(&mut self, flags: u64) {
        self.vmcs.write(Field::Rflags, flags & !rflags::RF);
        if flags & rflags::TF != 0 {
            // What the shadow held back comes with the step.
            self.vmcs.write(Field::PendingDebug, 0);
            self.trap(DR6_SINGLE_STEP);
        }
    }

    /// What has just completed hit breakpoints.
    #[cold]
    pub(super) fn trap_breakpoints(&mut self, hits: u64) {
        self.trap(hits & DR6_BREAKPOINTS);
    }

    fn trap(&mut self, hits: u64) {
        self.set_dr6(self.dr6() & !DR6_BREAKPOINTS | hits);
        self.queue(Event::Exception(Exception::DEBUG));
    }

    pub(super) fn dr6(&self) -> u64 {
        if self.vmcs.is_loaded() { kept::dr6() } else { self.kept.dr6 }
    }

    fn set_dr6(&mut self, value: u64) {
        if self.vmcs.is_loaded() {
            kept::set_dr6(value);
        } else {
            self.kept.dr6 = value;
        }
    }

    /// Lets the processor tell when the guest has lowered its task priority below what it is now (SDM 30.1.2).
    pub(super) fn set_threshold(&mut self) {
        let threshold = match self.task_priority_exits {
            Wanted::Yes => self.page.task_priority(),
            Wanted::No => 0,
        };
        self.vmcs.write(Field::TprThreshold, threshold.into());
    }

    /// Forgets what was queued and wished.
    pub(super) fn reset_events(&mut self) {
        self.set_primary(super::super::controls::WINDOWS, Wanted::No);
        self.want_task_priority_exits(Wanted::No);
        for field in
            [Field::EntryInterruptionInfo, Field::Interruptibility, Field::PendingDebug, Field::ActivityState]
        {
            self.vmcs.write(field, 0);
        }
    }
}
