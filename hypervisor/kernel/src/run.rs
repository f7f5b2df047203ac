//! The CPU's loop: the host's own tasks, then whoever is next, again and again.
//!
//! ```text
//!   tasks: the line, the log ──► next VM ──► serve ──► what became of it
//!      ▲                          │ none                       │
//!      │                          ▼                            │
//!      └── take interrupts ◄── scrub or sleep ◄────────────────┘
//! ```
//!
//! Interrupts are masked all the way but for the window and the sleep.

use crate::entropy::HostEntropy;
#[cfg(feature = "seeded-faults")]
use crate::faults::{self, Fault};
use crate::guests::Guest;
use crate::guests::pci::Media;
use crate::line::Line;
use crate::meter::{self, Meter};
use crate::operator::Desk;
use crate::power::Power;
use crate::storage::Done;
use crate::strays::Strays;
use alloc::{boxed::Box, format, string::String};
use base::{Instant, Nanoseconds, VmId};
use config::WhenIdle;
use console::Terminal;
use log::{error, info};
use machine::clock::HostClock;
use machine::interrupts;
use memory::SharedMemory;
use sched::{RunQueue, Turn};
use seams::Clock;
use serving::{Alarm, Serving};
use vmm::{PageInMap, Served};

/// What the CPU's loop works with.
pub struct Host {
    pub clock: &'static HostClock,
    pub alarm: Alarm,
    pub engine: virt::Engine,
    pub memory: &'static SharedMemory,
    pub queue: RunQueue,
    pub desk: Desk,
    pub terminal: Terminal,
    pub line: Line,
    pub power: Power,
    pub when_idle: WhenIdle,
    pub strays: Strays,
    pub entropy: HostEntropy,
    /// How long a step of scrubbing is expected to take: as long as the last.
    pub scrub_took: Nanoseconds,
    /// The end of sleep before which no further step is begun.
    pub no_scrub_before: Instant,
}

/// What a turn of the loop takes besides a step of scrubbing, generously: what wakes a VM must not come in it.
const LOOP_TIME: Nanoseconds = Nanoseconds(100_000);

/// How the tasks of all devices have left things.
#[derive(Clone, Copy)]
struct TasksLeft {
    now: Instant,
    /// Whether a device of the host has more to do, of which no interrupt tells.
    is_owed: bool,
}

/// Runs the host until it is powered off.
pub fn for_ever(mut host: Box<Host>) -> ! {
    info!("hypervisor ready: {} VMs", host.desk.guests.len());
    host.start_guests();
    #[cfg(feature = "seeded-faults")]
    faults::die_if_chosen();
    loop {
        // The window first: what comes after the line was polled must find the CPU before it sleeps, not be handled
        // and forgotten.
        interrupts::window();
        host.strays.tell_new();
        host.line.poll(&mut host.terminal, &mut host.desk);
        if host.desk.start_wanted.is_some() {
            host.start_wanted();
        }
        if host.desk.power_off_wanted {
            host.power_off();
        }
        let tasks = host.run_devices();
        host.step(tasks);
    }
}

impl Host {
    /// Every VM that could be made wants the CPU, to be loaded first.
    fn start_guests(&mut self) {
        for (vm, guest) in self.desk.guests.iter_mut() {
            if guest.present().is_some() {
                self.queue.add(vm);
            }
        }
    }

    /// The tasks of all devices: the host's drives, and what VMs have of them, who pay for it.
    #[inline]
    fn run_devices(&mut self) -> TasksLeft {
        let Desk { guests, backing, devices, .. } = &mut self.desk;
        let has_kicked =
            |guest: &mut Guest| guest.present().is_some_and(|present| present.vm.has_kicked_queues());
        let uses_devices = backing.uses_devices();
        let is_awaited = uses_devices || backing.next_try() != Instant::FAR_FUTURE;
        let now = self.clock.now();
        if !is_awaited && !guests.iter_mut().any(|(_, guest)| has_kicked(guest)) {
            return TasksLeft { now, is_owed: false };
        }
        let mut meter = Meter::new(self.clock, &mut self.queue, now);
        let mut media = Media::Idle;
        if uses_devices {
            if backing.storage.collect(devices, now) == Done::Something {
                media = Media::Busy;
            }
            meter.skip();
        }
        for (vm, guest) in guests.iter_mut() {
            let Some(present) = guest.present() else { continue };
            if media == Media::Busy || present.vm.has_kicked_queues() {
                present.run_devices(now, &mut self.entropy, media);
                meter.charge(vm, guest);
            }
        }
        backing.networks.run(guests, devices, now, &mut meter);
        if !uses_devices {
            return TasksLeft { now: meter.since(), is_owed: false };
        }
        // What the disks' steps have begun must be on its way before the CPU runs a guest or sleeps.
        backing.storage.submit(devices, meter.since());
        devices.tell_trouble();
        meter.skip();
        let now = meter.since();
        let is_owed = backing.storage.has_ended_something()
            || backing.next_deadline(devices) <= now
            || backing.networks.has_frames(devices);
        TasksLeft { now, is_owed }
    }

    /// Whether a device's task has more to do, or a device that does not interrupt is to be asked.
    #[inline]
    fn devices_have_work(&mut self) -> bool {
        let Desk { guests, backing, devices, .. } = &mut self.desk;
        let mut present = guests.iter_mut().filter_map(|(_, guest)| guest.present());
        present.any(|present| present.vm.has_kicked_queues())
            || backing.storage.has_ended_something()
            || backing.needs_polling(devices)
            || backing.networks.has_frames(devices)
    }

    /// One turn of the loop: somebody is served, or the CPU rests.
    #[inline]
    fn step(&mut self, tasks: TasksLeft) {
        let TasksLeft { now, mut is_owed } = tasks;
        for (vm, guest) in self.desk.guests.iter_mut() {
            let Some(present) = guest.present() else { continue };
            if present.vm.wants_cpu(now) {
                self.queue.wake(vm);
            }
            is_owed |= present.vm.has_kicked_queues();
        }
        match self.queue.pick(now) {
            Some(Turn { vm, slice }) => {
                // A device whose step was not its last goes on soon, also while its guest sleeps.
                let slice = if is_owed { slice.min(sched::STEP_SLICE) } else { slice };
                self.serve(Turn { vm, slice }, now);
            }
            None if self.queue.is_empty() && self.when_idle == WhenIdle::PowerOff => {
                info!("no VM is left: powering off");
                self.desk.power_off_wanted = true;
            }
            None => self.rest(),
        }
    }

    #[inline]
    fn serve(&mut self, turn: Turn, now: Instant) {
        let Turn { vm, slice } = turn;
        let Some(present) = self.desk.guests.switch_to(vm, &mut self.engine) else {
            return self.queue.remove(vm);
        };
        // What is polled waits for the end of the slice, which is long while nobody else wants the CPU.
        let is_polled = self.line.needs_polling() || self.desk.backing.needs_polling(&self.desk.devices);
        let slice = if is_polled { slice.min(sched::SLICE) } else { slice };
        // Who sleeps until some time is not to wait for the end of another's slice.
        let next = self.desk.backing.next_try().min(self.queue.next_wake());
        let served = present.vm.serve(&mut Serving::new(&self.alarm, now.after(slice).min(next)));
        self.charge(vm, now);
        #[cfg(feature = "seeded-faults")]
        self.remap_if_asked(vm);
        match served {
            // The tasks of its devices are taken in the loop, as after an interrupt.
            Served::HostInterrupt | Served::Kicked => {}
            Served::ApicPage(wanted) => self.show_apic_page(vm, wanted),
            Served::Halted { wake } => self.queue.sleep(vm, wake.unwrap_or(Instant::FAR_FUTURE)),
            Served::LoadRequested => {
                let now = self.clock.now();
                self.load(vm);
                // A guest that resets itself for ever takes no more than its share.
                self.charge(vm, now);
            }
            Served::Ended(_) => self.end(vm),
        }
    }

    #[cfg(feature = "seeded-faults")]
    fn remap_if_asked(&mut self, vm: VmId) {
        if let Some(present) = self.desk.guests.get_mut(vm).and_then(|guest| guest.present()) {
            faults::remap_if_asked(&mut present.vm);
        }
    }

    /// Lets a VM's nested tables show or hide its local APIC's page.
    #[cold]
    fn show_apic_page(&mut self, vm: VmId, wanted: PageInMap) {
        let frame = self.engine.apic_page();
        if let Some(present) = self.desk.guests.get_mut(vm).and_then(Guest::present) {
            present.vm.show_apic_page(wanted, frame);
        }
    }

    /// Accounts the time since `began` to a VM.
    #[inline]
    fn charge(&mut self, vm: VmId, began: Instant) {
        let took = self.clock.now().since(began);
        if let Some(guest) = self.desk.guests.get_mut(vm) {
            meter::charge(&mut self.queue, vm, guest, took);
        }
    }

    /// Loads a VM's kernel: it is new, or its guest reset it.
    fn load(&mut self, vm: VmId) {
        let serving = Serving::new(&self.alarm, Instant::FAR_FUTURE);
        if let Some(Err(reason)) = self.desk.guests.load(vm, &serving) {
            self.refuse(vm, &reason);
        }
    }

    /// Makes a VM that is not there, on the operator's word.
    #[cold]
    fn start_wanted(&mut self) {
        let Some(name) = self.desk.start_wanted.take() else { return };
        let guests = &mut self.desk.guests;
        let Some(vm) = guests.iter().find(|(_, guest)| guest.config.name == name).map(|(vm, _)| vm) else {
            return;
        };
        match guests.create(vm, &self.engine, &mut self.desk.backing) {
            Ok(()) => self.queue.add(vm),
            Err(reason) => error!("vm {name}: cannot start: {reason}"),
        }
    }

    fn refuse(&mut self, vm: VmId, reason: &str) {
        let Some(guest) = self.desk.guests.get_mut(vm) else { return };
        error!("vm {}: cannot start: {reason}", guest.config.name);
        self.forget(vm, format!("cannot start: {reason}"));
    }

    /// Tells how a VM ended, after all that its guest has written.
    fn end(&mut self, vm: VmId) {
        let now = self.clock.now();
        let Some(guest) = self.desk.guests.get_mut(vm) else { return };
        self.line.show_rest(&mut self.terminal, guest);
        let last_words = guest.present().map(|present| present.tell_ending(now));
        self.forget(vm, last_words.unwrap_or_default());
        #[cfg(feature = "seeded-faults")]
        if faults::is_chosen(Fault::ContagiousEnd) {
            for other in (0..self.desk.guests.len()).filter_map(|index| u16::try_from(index).ok()) {
                self.forget(VmId(other), String::from("ended with another"));
            }
        }
    }

    /// Takes a VM that will not run again out of the queue, gives back what it has, and takes the terminal from it.
    fn forget(&mut self, vm: VmId, last_words: String) {
        self.queue.remove(vm);
        self.desk.guests.release(vm, last_words);
        let Some(guest) = self.desk.guests.get_mut(vm) else { return };
        self.desk.backing.release(vm, guest.config.name);
        self.line.show_log(&mut self.terminal);
        if self.terminal.attached() == Some(guest.config.name) {
            self.terminal.show_shell();
        }
    }

    /// Nobody wants the CPU: memory is scrubbed step by step, and when that is done, the CPU sleeps. Interrupts have been
    /// masked since the line was polled, so one that has come since then ends the sleep at once.
    #[inline]
    fn rest(&mut self) {
        // Scrubbing keeps the CPU awake, which then needs no timer: it would hide the fault for a while.
        #[cfg(feature = "seeded-faults")]
        if faults::is_chosen(Fault::DeafTimer) {
            return interrupts::enable_and_halt();
        }
        if self.devices_have_work() {
            return;
        }
        let wake = self.queue.next_wake().min(self.line.next_poll(self.clock.now()));
        let wake = wake.min(self.desk.backing.next_deadline(&self.desk.devices));
        if self.line.has_work(&self.terminal) || self.scrub_before(wake) {
            return;
        }
        self.alarm.set(wake);
        #[cfg(feature = "exit-shares")]
        return machine::shares::sleeping(interrupts::enable_and_halt);
        #[cfg(not(feature = "exit-shares"))]
        interrupts::enable_and_halt();
    }

    /// Scrubs a little, unless that could last beyond `wake`: a VM's timer is worth more. `false` when nothing was done.
    fn scrub_before(&mut self, wake: Instant) -> bool {
        let begin = self.clock.now();
        if wake == self.no_scrub_before {
            return false;
        }
        if wake.since(begin) < Nanoseconds(self.scrub_took.0.saturating_add(LOOP_TIME.0)) {
            // One step that was held up must not keep all others from happening; but what wakes the CPU early must not
            // make it begin a step that lasts too long.
            self.scrub_took = Nanoseconds(self.scrub_took.0 / 2);
            self.no_scrub_before = wake;
            return false;
        }
        let scrubbed = self.memory.lock().scrub_step();
        self.scrub_took = self.clock.now().since(begin);
        scrubbed
    }

    fn power_off(&mut self) -> ! {
        for (_, guest) in self.desk.guests.iter_mut() {
            let name = guest.config.name;
            if guest.present().is_some() {
                info!("vm {name}: ended: the host is powered off");
            }
        }
        info!("powering off");
        self.desk.devices.shut_down(self.clock);
        self.line.flush(&mut self.terminal);
        self.power.off(self.clock)
    }
}
