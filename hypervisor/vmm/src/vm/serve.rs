//! The loop that serves a VM: events in, the guest runs, its exit is handled; until the CPU must be given up.

use crate::exits::Stop;
use crate::platform::{Board, Fabric};
use crate::vm::apic::ApicKeeper;
use crate::vm::history::{Record, detail};
use crate::vm::{Ending, Host, Lifecycle, Served, Vm};
use base::Instant;
use config::OnReset;
use devices::Request;
use seams::GuestMemory;
use vcpu::{Event, Exit, Gpr, Vcpu, Wanted};

/// What has to be looked at before the guest is entered again. After most exits it is nothing: only an access to the
/// board can make an event pending or a deadline move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attention {
    /// Nothing.
    None,
    /// Whether the guest can take by now what is pending.
    Waiting,
    /// Events that are pending, requests of the guest, whether it halts.
    Events,
    /// And the board's next deadline.
    EventsAndDeadline,
}

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// Runs the VM until it gives the CPU up. Host interrupts are masked before and after, and the vCPU's mappings are
    /// those of this CPU.
    pub fn serve(&mut self, host: &mut impl Host) -> Served {
        match self.lifecycle {
            Lifecycle::Created => return Served::LoadRequested,
            Lifecycle::Ended(ending) => return Served::Ended(ending),
            Lifecycle::Running | Lifecycle::Halted => {}
        }
        if !self.processor_goes_on(host) {
            self.board.advance(host.now());
            self.attention = Attention::Waiting;
        }
        // The CPU's timer may have served another VM meanwhile.
        self.deadline = self.board.next_deadline();
        host.set_guest_timer(self.deadline);
        loop {
            if self.attention != Attention::None
                && let Some(served) = self.attend(host)
            {
                return served;
            }
            let handled = match self.vcpu.enter() {
                Some(exit) => self.handle(exit, host),
                None => self.handle_untold(host),
            };
            if let Err(stop) = handled
                && let Some(served) = self.stop(stop)
            {
                return served;
            }
        }
    }

    #[inline(never)]
    fn handle_untold(&mut self, host: &impl Host) -> Result<(), Stop> {
        self.vcpu.rare_exit().map_or(Ok(()), |exit| self.handle_rare(exit, host))
    }

    /// Does what is due between an exit and the next entry: obeys the guest's requests, lets it halt, queues what is
    /// pending, follows its timers.
    #[inline]
    fn attend(&mut self, host: &mut impl Host) -> Option<Served> {
        if let Some(profile) = &mut self.profile {
            profile.follow(&self.history);
        }
        if let Some(request) = self.board.take_request() {
            return Some(self.obey(request));
        }
        if self.lifecycle == Lifecycle::Halted && !self.has_wake_event() {
            return Some(Served::Halted { wake: self.wake_deadline() });
        }
        self.lifecycle = Lifecycle::Running;
        match (self.apic_keeper, self.processor_runs_apic()) {
            (ApicKeeper::Model, _) => self.write_task_priority(),
            (ApicKeeper::Processor, true) => self.pass_arrivals(),
            (ApicKeeper::Processor, false) => self.catch_up_apic(),
        }
        if let Some(page) = self.apic_page_to_change() {
            return Some(Served::ApicPage(page));
        }
        self.queue_event(host);
        if self.attention == Attention::EventsAndDeadline {
            self.follow_deadline(host);
        }
        let waits = self.window == Wanted::Yes
            || self.task_priority_exits == Wanted::Yes
            || self.board.fabric.local.nmi_pending
            || self.profile.is_some();
        self.attention = if waits { Attention::Waiting } else { Attention::None };
        if self.apic_keeper == ApicKeeper::Model {
            self.hand_over_apic();
        }
        None
    }

    /// What becomes of an instruction that was not completed.
    #[inline(never)]
    fn stop(&mut self, stop: Stop) -> Option<Served> {
        match stop {
            Stop::Retry => None,
            Stop::Raise(exception) => {
                self.vcpu.inject(Event::Exception(exception));
                None
            }
            Stop::Yield => Some(Served::HostInterrupt),
            Stop::Kicked => Some(Served::Kicked),
            Stop::End(ending) => Some(self.end(ending)),
        }
    }

    /// Whether serving the VM at `now` would do something: it runs, or it is halted and what it waits for is there or
    /// due, or it has to be loaded. Takes input that waits on the console.
    #[inline]
    pub fn wants_cpu(&mut self, now: Instant) -> bool {
        match self.lifecycle {
            Lifecycle::Created | Lifecycle::Running => true,
            Lifecycle::Ended(_) => false,
            Lifecycle::Halted => {
                self.board.advance(now);
                self.has_wake_event()
            }
        }
    }

    /// The board, for an access that happens now, but none to the local APIC. What it does may move the deadline.
    #[inline]
    pub(crate) fn board_at(&mut self, host: &impl Host) -> &mut Board {
        self.attention = Attention::EventsAndDeadline;
        self.board.fabric.local.now = host.now();
        &mut self.board
    }

    /// The local APIC and its surroundings, for an access that happens now. What it does may move the deadline.
    #[inline]
    pub(crate) fn apic_at(&mut self, host: &impl Host) -> &mut Fabric {
        self.catch_up_apic();
        &mut self.board_at(host).fabric
    }

    /// The local APIC and its surroundings, for an access that neither needs the time nor moves a deadline.
    #[inline]
    pub(crate) fn apic_now(&mut self) -> &mut Fabric {
        self.catch_up_apic();
        self.look_at_events();
        &mut self.board.fabric
    }

    /// Lets events be looked at before the next entry.
    #[inline]
    pub(crate) fn look_at_events(&mut self) {
        self.attention = self.attention.max(Attention::Events);
    }

    #[inline]
    fn follow_deadline(&mut self, host: &mut impl Host) {
        let deadline = self.board.next_deadline();
        if deadline != self.deadline {
            self.deadline = deadline;
            host.set_guest_timer(deadline);
        }
    }

    /// Counts `exit` and keeps it for a crash's report. Where the kind of exit is known, little remains of this.
    #[inline(always)]
    pub(crate) fn record(&mut self, exit: &Exit) {
        self.stats.count(exit);
        let gprs = self.vcpu.gprs();
        let detail = detail(exit, gprs.get(Gpr::Rax), gprs.get(Gpr::Rcx));
        self.history.push(Record { rip: self.vcpu.rip(), detail, kind: exit.kind() as u8 });
    }

    /// The guest writes CR8 without an exit as long as that lets no interrupt through.
    #[inline]
    pub(super) fn read_task_priority(&mut self) {
        let lapic = &mut self.board.fabric.local.lapic;
        let priority = self.vcpu.task_priority();
        if lapic.task_priority() != priority {
            lapic.set_task_priority(priority);
        }
    }

    /// The exit may have written the local APIC's TPR.
    #[inline]
    fn write_task_priority(&mut self) {
        let priority = self.board.fabric.local.lapic.task_priority();
        if self.vcpu.task_priority() != priority {
            self.vcpu.set_task_priority(priority);
        }
    }

    /// Whether something is there that ends HLT.
    #[inline]
    fn has_wake_event(&mut self) -> bool {
        let enabled = self.vcpu.interrupt_state().enabled;
        // An event is queued behind HLT only when the guest steps itself over it.
        self.board.fabric.local.nmi_pending
            || enabled && (self.board.fabric.ext_int_pending() || self.apic_interrupts())
            || self.vcpu.queued_event().is_some()
    }

    /// When a halted VM must be looked at again. With interrupts disabled no timer can wake it but by an NMI.
    fn wake_deadline(&self) -> Option<Instant> {
        let can_wake = self.vcpu.interrupt_state().enabled || self.board.fabric.devices_send_nmis();
        self.board.next_deadline().filter(|_| can_wake)
    }

    /// Queues what is pending for the next entry, or asks for an exit as soon as that is possible.
    #[inline]
    fn queue_event(&mut self, host: &mut impl Host) {
        if self.board.fabric.local.nmi_pending {
            self.queue_nmi(host);
        }
        if self.processor_runs_apic() {
            return self.queue_ext_int();
        }
        if !self.board.fabric.interrupt_pending() {
            self.watch_task_priority();
            return self.set_window(Wanted::No);
        }
        if !self.vcpu.interrupt_state().accepts_interrupt() {
            return self.set_window(Wanted::Yes);
        }
        if let Some(vector) = self.board.fabric.acknowledge() {
            self.vcpu.inject(Event::Interrupt(vector));
        }
        self.offer_quiet_end();
        let more = self.board.fabric.interrupt_pending();
        self.set_window(if more { Wanted::Yes } else { Wanted::No });
    }

    /// The 8259 pair's interrupts are injected even where the processor delivers the local APIC's. Its own wait behind a
    /// window, so that the pair goes first there too.
    fn queue_ext_int(&mut self) {
        if self.board.fabric.ext_int_pending() && self.vcpu.interrupt_state().accepts_interrupt() {
            let vector = self.board.fabric.acknowledge_ext_int();
            self.vcpu.inject(Event::Interrupt(vector));
        }
        let more = self.board.fabric.ext_int_pending();
        self.set_window(if more { Wanted::Yes } else { Wanted::No });
    }

    fn queue_nmi(&mut self, host: &mut impl Host) {
        let state = self.vcpu.interrupt_state();
        if state.accepts_nmi() {
            self.board.fabric.local.nmi_pending = false;
            return self.vcpu.inject(Event::Nmi);
        }
        self.vcpu.want_nmi_window(Wanted::Yes);
        // Just the delivery of another event, or one instruction, is in the way: no exit tells of its end, so that an
        // interrupt of the host has to.
        if !state.nmi_masked {
            host.interrupt_entry();
        }
    }

    /// An interrupt that only CR8 holds back is to be taken as soon as the guest lowers that.
    #[inline]
    fn watch_task_priority(&mut self) {
        let wanted = match self.board.fabric.local.lapic.is_held_back_by_task_priority() {
            true => Wanted::Yes,
            false => Wanted::No,
        };
        if self.task_priority_exits != wanted {
            self.task_priority_exits = wanted;
            self.vcpu.want_task_priority_exits(wanted);
        }
    }

    #[inline]
    fn set_window(&mut self, wanted: Wanted) {
        if self.window != wanted {
            self.window = wanted;
            self.vcpu.want_interrupt_window(wanted);
        }
    }

    fn obey(&mut self, request: Request) -> Served {
        match request {
            Request::PowerOff => self.end(Ending::PowerOff),
            Request::DebugExit(value) => self.end(Ending::DebugExit { value }),
            Request::Reset if self.settings.on_reset == OnReset::End => self.end(Ending::Reset),
            Request::Reset => {
                self.lifecycle = Lifecycle::Created;
                Served::LoadRequested
            }
        }
    }

    fn end(&mut self, ending: Ending) -> Served {
        self.lifecycle = Lifecycle::Ended(ending);
        Served::Ended(ending)
    }
}
