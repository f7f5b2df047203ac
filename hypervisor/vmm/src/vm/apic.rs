//! Who runs the local APIC: the model on the board, or the processor while the guest runs.
//!
//! ```text
//!              hand over: before an entry, when the model was looked at
//!   the model ──────────────────────────────────────────────────────> the processor
//!             <──────────────────────────────────────────────────────
//!              catch up: when an exit makes somebody look at the model
//! ```
//! After most exits nobody looks, and the processor goes on with what it has. A device that interrupts does not look: its
//! vector is added to what the processor has. Where the processor cannot run an APIC, what it keeps is the task priority,
//! and an end that the guest told in its memory; the rest is the model's always.

use crate::vm::serve::Attention;
use crate::vm::{Host, PageInMap, Vm};
use base::{Gpa, Vector};
use devices::lapic::{Changed, LocalApic, Mode};
use seams::GuestMemory;
use sync::pending::Notification;
use vcpu::{ApicAccess, ApicPage, ApicProgress, ApicStatus, Vcpu};

/// Registers by their numbers (Intel SDM, volume 3, table 11-6).
const TASK_PRIORITY: u32 = 0x08;
const ISR_FIRST: u32 = 0x10;
const TMR_FIRST: u32 = 0x18;
const IRR_FIRST: u32 = 0x20;
const COMMAND: u32 = 0x30;
const COMMAND_HIGH: u32 = 0x31;

/// Where the processor can run an APIC in xAPIC mode.
const PAGE: Gpa = Gpa::from_low_bits(0xfee0_0000);

/// Who runs the local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApicKeeper {
    /// The model: what it says counts.
    Model,
    /// The processor: the model has to catch up before it is looked at.
    Processor,
}

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// Whether the processor delivers the local APIC's interrupts.
    #[inline]
    pub(crate) fn processor_runs_apic(&mut self) -> bool {
        self.vcpu.apic_page().is_some()
    }

    /// Whether the processor can go on with its APIC as it stands, although the VM was not served for a while: nothing has
    /// come but the APIC's own timer, which is posted.
    #[inline]
    pub(super) fn processor_goes_on(&mut self, host: &mut impl Host) -> bool {
        let Some(pending) = self.vcpu.pending_interrupts() else { return false };
        let now = host.now();
        if self.apic_keeper == ApicKeeper::Model || pending.is_posted() || self.board.others_are_due(now) {
            return false;
        }
        let local = &mut self.board.fabric.local;
        local.now = now;
        // What is looked at before the entry would take the vector from where it is posted, and the notification would find
        // nothing there, which Bochs takes for vector 255.
        if self.attention == Attention::None
            && let Some(vector) = local.lapic.expire_to_post(now)
            && let Notification::Needed { vector, destination } = pending.post(vector)
        {
            host.notify(vector, destination);
        }
        local.lapic.next_deadline().is_none_or(|deadline| deadline > now)
    }

    /// What has to become of the local APIC's page, if that is something else than what is there.
    #[inline]
    pub(super) fn apic_page_to_change(&mut self) -> Option<PageInMap> {
        if !self.processor_runs_apic() || self.apic_page == PageInMap::Impossible {
            return None;
        }
        let wanted = match access(&self.board.fabric.local.lapic) {
            ApicAccess::Page => PageInMap::Shown,
            ApicAccess::Emulated | ApicAccess::Msrs => PageInMap::Hidden,
        };
        (wanted != self.apic_page).then_some(wanted)
    }

    /// Takes note of what the nested tables say now.
    pub fn apic_page_is(&mut self, page: PageInMap) {
        self.apic_page = page;
    }

    /// Makes the model's state count: it takes over what the guest did without an exit.
    #[inline]
    pub(crate) fn catch_up_apic(&mut self) {
        if self.apic_keeper == ApicKeeper::Model {
            return;
        }
        self.apic_keeper = ApicKeeper::Model;
        if self.processor_runs_apic() {
            self.take_over_from_processor();
        }
        self.read_task_priority();
        self.follow_quiet_end();
    }

    #[inline(never)]
    fn take_over_from_processor(&mut self) {
        let Some(page) = self.vcpu.apic_page() else { return };
        self.board.fabric.local.lapic.take_over(&Changed {
            task_priority: page.register(TASK_PRIORITY),
            command: [page.register(COMMAND), page.register(COMMAND_HIGH)],
            irr: page.vectors(IRR_FIRST),
            isr: page.vectors(ISR_FIRST),
        });
        self.take_posted();
    }

    #[inline]
    fn take_posted(&mut self) {
        let Some(pending) = self.vcpu.pending_interrupts().filter(|pending| pending.is_posted()) else {
            return;
        };
        let mut posted = pending.take();
        while let Some(vector) = posted.pop_highest() {
            self.board.fabric.local.lapic.take_posted(vector);
        }
    }

    /// Adds what has come to what the processor has, which goes on with its APIC. That is also what was posted to the guest
    /// when it had just left: its notification has reached the host, and nobody sends another.
    #[inline]
    pub(super) fn pass_arrivals(&mut self) {
        self.take_posted();
        let lapic = &mut self.board.fabric.local.lapic;
        let Some((highest, arrivals)) = lapic.take_arrivals() else { return };
        let ends = lapic.ends_to_tell();
        let Some(page) = self.vcpu.apic_page() else { return };
        page.insert_vectors(IRR_FIRST, &arrivals);
        if ends != self.exiting_ends {
            page.set_vectors(TMR_FIRST, &ends);
            self.exiting_ends = ends;
            self.vcpu.set_exiting_ends(&ends);
        }
        self.vcpu.request_interrupt(highest);
    }

    /// Whether the local APIC has an interrupt that the guest would get if it took any.
    #[inline]
    pub(super) fn apic_interrupts(&mut self) -> bool {
        if self.apic_keeper == ApicKeeper::Model {
            return self.board.fabric.local.lapic.highest_pending().is_some();
        }
        self.pass_arrivals();
        let ApicProgress { requested, in_service } = self.vcpu.apic_progress();
        let class = |vector: Option<Vector>| vector.map_or(0, |vector| vector.0 >> 4);
        class(requested) > class(in_service).max(self.vcpu.task_priority())
    }

    /// Lets the processor go on with what the model says, as far as it can.
    #[inline]
    pub(super) fn hand_over_apic(&mut self) {
        self.apic_keeper = ApicKeeper::Processor;
        if self.processor_runs_apic() {
            self.hand_over_to_processor();
        }
    }

    #[inline(never)]
    fn hand_over_to_processor(&mut self) {
        let Some(page) = self.vcpu.apic_page() else { return };
        let lapic = &mut self.board.fabric.local.lapic;
        show(lapic, page);
        let access = access(lapic);
        let status = ApicStatus {
            access: if self.apic_page == PageInMap::Impossible && access == ApicAccess::Page {
                ApicAccess::Emulated
            } else {
                access
            },
            requested: lapic.requested(),
            in_service: lapic.in_service(),
            exiting_ends: lapic.ends_to_tell(),
        };
        lapic.hand_over();
        self.exiting_ends = status.exiting_ends;
        self.vcpu.follow_apic(&status);
    }
}

fn show(lapic: &LocalApic, page: &mut ApicPage) {
    lapic.show_registers(|number, value| page.set_register(number, value));
    let upper = if lapic.mode() == Mode::X2Apic { lapic.command_high() } else { 0 };
    page.set_upper_half(COMMAND, upper);
}

/// How the guest reaches its APIC. One that is switched off by software drops what is sent to it, which the processor
/// would not.
fn access(lapic: &LocalApic) -> ApicAccess {
    match lapic.mode() {
        _ if !lapic.software_enabled() => ApicAccess::Emulated,
        Mode::X2Apic => ApicAccess::Msrs,
        Mode::XApic if lapic.page() == Some(PAGE) => ApicAccess::Page,
        Mode::XApic | Mode::Disabled => ApicAccess::Emulated,
    }
}

#[cfg(test)]
mod tests;
