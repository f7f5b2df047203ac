//! NVMe controllers: their namespaces as disks.
//!
//! ```text
//!            ┌──────────────── a command has no answer, a fatal status, nonsense ─────────────────┐
//!            ▼                                                                                    │
//!        Stopping ──not ready──► Starting ──ready──► SettingUp(identify, queues) ──► Running ─────┘
//!            └────────────┬─────────┴─────────────────────┴────── too slow, too often ───► Failed
//!                                                                    shut_down ──► ShuttingDown ──► Off
//! ```
//! One pair of queues for I/O, [`DEPTH`] commands in flight. A command that has no answer at its deadline makes the driver
//! reset the controller: when that has stopped, nothing of it is in flight any more, and what was is sent once more or, the
//! second time, failed. A controller that does not stop keeps the buffers that it has: they are lost, and never reused.
//!
//! After a reset the controller is set up and identified as the first time. If it has become another, it has failed: blocks
//! elsewhere than those that were written are worse than none.
//!
//! Everything that the controller writes is input; only its data are passed on. Source: NVM Express Base Specification 2.0
//! (what is used is as in 1.2) and NVM Command Set Specification 1.0.

mod command;
mod identify;
mod queue;
mod registers;
mod transfer;

pub use identify::{Controller, MAX_NAMESPACES, MAX_TRANSFER_BYTES, Namespace};

use crate::disk::{Command, Completion, Disk, DiskError, DiskGeometry, Refusal, Refused, Unit};
use crate::error::DeviceError;
use crate::flight::{DEPTH, Flight, MAX_RESETS};
use crate::{Readiness, STATUS_INTERVAL, Signal};
use arrayvec::ArrayVec;
use base::{Instant, Nanoseconds};
use command::{PAGE_BYTES, Subject};
use queue::QueuePair;
use registers::{
    ADMIN_ATTRIBUTES, ADMIN_COMPLETIONS, ADMIN_SUBMISSIONS, CONFIGURATION, Capabilities, ENABLE, FATAL,
    NO_ANSWER, OUR_CONFIGURATION, READY, SHUTDOWN, SHUTDOWN_NORMAL, SHUTDOWN_OVER, SHUTDOWN_STATUS, STATUS,
};
use seams::{DmaMemory, DmaRing, Registers};
use transfer::Lists;

/// Entries of the admin queues: one command is in flight at a time.
const ADMIN_ENTRIES: u16 = 8;
/// Entries of the I/O queues: with all slots in flight they are not full.
const IO_ENTRIES: u16 = 2 * DEPTH as u16;
/// How long an admin command may take.
const ADMIN_TIME: Nanoseconds = Nanoseconds::from_secs(5);

/// What is being set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setup {
    Controller,
    Limits,
    QueueCount,
    ActiveNamespaces,
    /// The namespace with this index among the active ones.
    Namespace(usize),
    Completions,
    Submissions,
}

impl Setup {
    const fn name(self) -> &'static str {
        match self {
            Self::Controller => "Identify Controller",
            Self::Limits => "Identify (limits)",
            Self::QueueCount => "Set Features (Number of Queues)",
            Self::ActiveNamespaces => "Identify (active namespaces)",
            Self::Namespace(_) => "Identify Namespace",
            Self::Completions => "Create I/O Completion Queue",
            Self::Submissions => "Create I/O Submission Queue",
        }
    }

    /// Whether the set-up goes on without it: not every controller has limits to tell, one of version 1.0 knows no list, and
    /// of several namespaces one may be broken.
    const fn may_be_refused(self) -> bool {
        matches!(self, Self::Limits | Self::ActiveNamespaces | Self::Namespace(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stopping { until: Instant },
    Starting { until: Instant },
    SettingUp { step: Setup, until: Instant },
    Running { status_due: Instant },
    ShuttingDown { until: Instant },
    Off,
    Failed,
}

/// What the controller said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Identity {
    controller: Option<Controller>,
    namespaces: ArrayVec<Namespace, MAX_NAMESPACES>,
}

/// A controller and its driver's state.
pub struct Nvme<R, M: DmaMemory> {
    registers: R,
    layout: Capabilities,
    signal: Signal,
    admin: QueuePair<M::Ring>,
    io: QueuePair<M::Ring>,
    /// Where answers to Identify go.
    page: M::Ring,
    lists: Lists<M::Ring>,
    slots: Flight<M::Buffer>,
    state: State,
    /// The active namespaces' ids, during set-up.
    active: ArrayVec<u32, MAX_NAMESPACES>,
    /// What this set-up has found.
    found: Identity,
    /// What the first set-up found; later ones must find the same.
    identity: Option<Identity>,
    resets: u8,
    trouble: Option<DeviceError>,
}

impl<R: Registers, M: DmaMemory> Nvme<R, M> {
    /// Takes over the controller behind `registers`, and stops it if it runs. Poll until it is ready; [`Signal::Interrupt`]
    /// says that its first vector is routed.
    ///
    /// # Errors
    /// When it cannot be driven, or there is no memory.
    #[cold]
    pub fn take_over(registers: R, mut memory: M, signal: Signal, now: Instant) -> Result<Self, DeviceError> {
        let layout = Capabilities::read(&registers)?;
        let entries = u16::try_from(layout.max_entries).map_or(IO_ENTRIES, |most| most.min(IO_ENTRIES));
        // One entry stays free, so that a full ring differs from an empty one.
        let depth = DEPTH.min(usize::from(entries).saturating_sub(1));
        let admin = QueuePair::new(&mut memory, 0, ADMIN_ENTRIES);
        let io = QueuePair::new(&mut memory, 1, entries);
        let page = memory.ring(PAGE_BYTES as usize);
        let lists = Lists::new(&mut memory);
        let mut nvme = Self {
            registers,
            layout,
            signal,
            admin: admin.ok_or(DeviceError::OutOfMemory)?,
            io: io.ok_or(DeviceError::OutOfMemory)?,
            page: page.ok_or(DeviceError::OutOfMemory)?,
            lists: lists.ok_or(DeviceError::OutOfMemory)?,
            slots: Flight::new(depth),
            state: State::Failed,
            active: ArrayVec::new(),
            found: Identity::default(),
            identity: None,
            resets: 0,
            trouble: None,
        };
        nvme.stop(now);
        Ok(nvme)
    }

    /// What it says of itself, once it was ready.
    pub fn controller(&self) -> Option<&Controller> {
        self.identity.as_ref().and_then(|identity| identity.controller.as_ref())
    }

    /// Its namespaces that can be used; [`Unit`] `n` is the `n`th.
    pub fn namespaces(&self) -> &[Namespace] {
        self.identity.as_ref().map_or(&[], |identity| identity.namespaces.as_slice())
    }

    fn namespace(&self, unit: Unit) -> Option<Namespace> {
        self.namespaces().get(usize::from(unit.0)).copied()
    }

    /// Tells the controller to stop.
    #[cold]
    fn stop(&mut self, now: Instant) {
        let configuration = self.registers.read32(CONFIGURATION) & !(ENABLE | SHUTDOWN);
        self.registers.write32(CONFIGURATION, configuration);
        self.state = State::Stopping { until: now.after(self.layout.ready_time) };
    }

    /// Begins anew because of `trouble`, unless that has been tried too often.
    #[cold]
    fn reset(&mut self, trouble: DeviceError, now: Instant) {
        self.trouble = Some(trouble);
        self.resets = self.resets.saturating_add(1);
        if self.resets > MAX_RESETS {
            return self.fail(DeviceError::Hopeless);
        }
        self.stop(now);
    }

    #[cold]
    fn fail(&mut self, trouble: DeviceError) {
        // Told to stop in any case, so that it writes to no more memory than it must.
        self.registers.write32(CONFIGURATION, 0);
        self.give_up(trouble);
    }

    /// The controller has failed, and is left as it is.
    #[cold]
    fn give_up(&mut self, trouble: DeviceError) {
        self.trouble = Some(trouble);
        self.state = State::Failed;
        self.slots.fail_all();
    }

    /// One transition, if one is due.
    fn step(&mut self, now: Instant) {
        match self.state {
            State::Stopping { until } => self.await_stop(until, now),
            State::Starting { until } => self.await_start(until, now),
            State::SettingUp { step, until } => self.set_up(step, until, now),
            State::Running { status_due } => self.look_after(status_due, now),
            State::ShuttingDown { until } => self.await_shutdown(until, now),
            State::Off | State::Failed => {}
        }
    }

    /// A controller that takes too long is not told to stop: that would be a reset while it still brings its cache to the
    /// medium.
    #[cold]
    fn await_shutdown(&mut self, until: Instant, now: Instant) {
        match self.registers.read32(STATUS) {
            NO_ANSWER => self.give_up(DeviceError::Vanished),
            status if status & SHUTDOWN_STATUS == SHUTDOWN_OVER => self.state = State::Off,
            _ if now >= until => self.give_up(DeviceError::TooSlow("shutting down")),
            _ => {}
        }
    }

    #[cold]
    fn await_stop(&mut self, until: Instant, now: Instant) {
        match self.registers.read32(STATUS) {
            NO_ANSWER => self.fail(DeviceError::Vanished),
            status if status & READY == 0 => self.start(now),
            _ if now >= until => self.fail(DeviceError::TooSlow("stopping")),
            _ => {}
        }
    }

    /// Starts the stopped controller with empty queues.
    #[cold]
    fn start(&mut self, now: Instant) {
        self.slots.take_back();
        self.admin.reset();
        self.io.reset();
        let last = self.admin.last_entry();
        let [submissions, completions] = self.admin.addresses();
        self.registers.write32(ADMIN_ATTRIBUTES, last << 16 | last);
        self.registers.write64(ADMIN_SUBMISSIONS, submissions.0);
        self.registers.write64(ADMIN_COMPLETIONS, completions.0);
        self.registers.write32(CONFIGURATION, OUR_CONFIGURATION | ENABLE);
        self.state = State::Starting { until: now.after(self.layout.ready_time) };
    }

    #[cold]
    fn await_start(&mut self, until: Instant, now: Instant) {
        match self.registers.read32(STATUS) {
            NO_ANSWER => self.fail(DeviceError::Vanished),
            status if status & FATAL != 0 => self.reset(DeviceError::Fatal, now),
            status if status & READY != 0 => {
                self.found = Identity::default();
                self.active.clear();
                self.begin(Setup::Controller, now);
            }
            _ if now >= until => self.fail(DeviceError::TooSlow("starting")),
            _ => {}
        }
    }

    /// Sends the admin command of `step`.
    #[cold]
    fn begin(&mut self, step: Setup, now: Instant) {
        let page = self.page.bus_address();
        let [submissions, completions] = self.io.addresses();
        let entry = match step {
            Setup::Controller => command::identify(Subject::Controller, page),
            Setup::Limits => command::identify(Subject::Limits, page),
            Setup::QueueCount => command::set_queue_count(),
            Setup::ActiveNamespaces => command::identify(Subject::ActiveNamespaces, page),
            Setup::Namespace(index) => {
                let id = self.active.get(index).copied().unwrap_or_default();
                command::identify(Subject::Namespace(id), page)
            }
            Setup::Completions => command::create_completions(completions, self.io.last_entry(), self.signal),
            Setup::Submissions => command::create_submissions(submissions, self.io.last_entry()),
        };
        self.admin.submit(&entry, 0, &mut self.registers, &self.layout);
        self.state = State::SettingUp { step, until: now.after(ADMIN_TIME) };
    }

    /// Waits for the answer to `step`, and goes on to the next.
    #[cold]
    fn set_up(&mut self, step: Setup, until: Instant, now: Instant) {
        let Some(answer) = self.admin.take(&mut self.registers, &self.layout) else {
            if now >= until {
                self.reset(DeviceError::TooSlow(step.name()), now);
            }
            return;
        };
        if answer.id != 0 {
            return self.reset(DeviceError::Nonsense("the answer to a command that it was not given"), now);
        }
        let is_done = command::result_of(answer.status).is_ok();
        let refusal = DeviceError::Refused { what: step.name(), code: answer.status };
        if !is_done && !step.may_be_refused() {
            return self.fail(refusal);
        }
        match step {
            Setup::Controller => match Controller::parse(&self.page) {
                Ok(controller) => {
                    self.found.controller = Some(controller);
                    let next = if self.layout.tells_limits { Setup::Limits } else { Setup::QueueCount };
                    self.begin(next, now);
                }
                Err(error) => self.fail(error),
            },
            Setup::Limits => {
                if let Some(controller) = self.found.controller.as_mut().filter(|_| is_done) {
                    controller.limit(&self.page);
                }
                self.begin(Setup::QueueCount, now);
            }
            Setup::QueueCount => self.begin(Setup::ActiveNamespaces, now),
            Setup::ActiveNamespaces => {
                self.active =
                    if is_done { identify::active_namespaces(&self.page) } else { self.all_namespaces() };
                self.begin_namespace(0, now);
            }
            Setup::Namespace(index) if !is_done => {
                self.trouble = Some(refusal);
                self.begin_namespace(index + 1, now);
            }
            Setup::Namespace(index) => {
                let id = self.active.get(index).copied().unwrap_or_default();
                let controller = self.found.controller.as_ref();
                let namespace =
                    controller.and_then(|controller| Namespace::parse(&self.page, id, controller));
                self.found.namespaces.extend(namespace);
                self.begin_namespace(index + 1, now);
            }
            Setup::Completions => self.begin(Setup::Submissions, now),
            Setup::Submissions => self.run(now),
        }
    }

    /// What a controller of version 1.0 has, which does not know the list: all up to their number.
    fn all_namespaces(&self) -> ArrayVec<u32, MAX_NAMESPACES> {
        let count = self.found.controller.as_ref().map_or(0, |controller| controller.namespace_count);
        (1..=count).take(MAX_NAMESPACES).collect()
    }

    fn begin_namespace(&mut self, index: usize, now: Instant) {
        let step = if index < self.active.len() { Setup::Namespace(index) } else { Setup::Completions };
        self.begin(step, now);
    }

    /// The controller is set up: what waits is sent.
    #[cold]
    fn run(&mut self, now: Instant) {
        let found = core::mem::take(&mut self.found);
        match &self.identity {
            Some(identity) if *identity != found => {
                return self.fail(DeviceError::Nonsense("its being another after a reset"));
            }
            Some(_) => {}
            None => self.identity = Some(found),
        }
        self.state = State::Running { status_due: now.after(STATUS_INTERVAL) };
        while let Some(id) = self.slots.waiting() {
            self.send(id, now);
        }
    }

    /// Hands the command in slot `id` to the controller.
    fn send(&mut self, id: u16, now: Instant) {
        let command = self.slots.command(id);
        let with_namespace = command.and_then(|command| Some((command, self.namespace(command.unit)?)));
        let Some((command, namespace)) = with_namespace else {
            return self.slots.end(id, Err(DiskError::Gone));
        };
        let entry = self.lists.entry(id, command, &namespace);
        self.io.submit(&entry, id, &mut self.registers, &self.layout);
        self.slots.note_sent(id, now);
    }

    /// Sees to a running controller's deadlines.
    #[cold]
    fn look_after(&mut self, status_due: Instant, now: Instant) {
        if self.slots.deadline() <= now {
            return self.reset(DeviceError::TooSlow("a command"), now);
        }
        if status_due > now || self.slots.deadline() == Instant::FAR_FUTURE {
            return;
        }
        match self.registers.read32(STATUS) {
            NO_ANSWER => self.fail(DeviceError::Vanished),
            status if status & FATAL != 0 => self.reset(DeviceError::Fatal, now),
            _ => self.state = State::Running { status_due: now.after(STATUS_INTERVAL) },
        }
    }

    /// Takes one answer of a running controller.
    fn take_answer(&mut self, now: Instant) {
        if !matches!(self.state, State::Running { .. }) {
            return;
        }
        let Some(answer) = self.io.take(&mut self.registers, &self.layout) else { return };
        if command::may_succeed_later(answer.status) && self.slots.wait_again(answer.id) {
            return self.send(answer.id, now);
        }
        match self.slots.finish(answer.id, command::result_of(answer.status)) {
            Ok(()) => self.resets = 0,
            Err(error) => self.reset(error, now),
        }
    }
}

impl<R: Registers, M: DmaMemory> Disk for Nvme<R, M> {
    type Buffer = M::Buffer;

    fn geometry(&self, unit: Unit) -> Option<DiskGeometry> {
        self.namespace(unit).map(|namespace| namespace.geometry)
    }

    fn depth(&self) -> usize {
        self.slots.depth()
    }

    fn submit(&mut self, command: Command<M::Buffer>, now: Instant) -> Result<(), Refused<M::Buffer>> {
        if matches!(self.state, State::ShuttingDown { .. } | State::Off | State::Failed) {
            return Err(Refused { command, reason: Refusal::Gone });
        }
        let geometry = self.geometry(command.unit);
        let id = self.slots.admit(command, geometry)?;
        // During a reset it waits for the end of that.
        if matches!(self.state, State::Running { .. }) {
            self.send(id, now);
        }
        Ok(())
    }

    fn poll(&mut self, now: Instant) -> Option<Completion<M::Buffer>> {
        self.take_answer(now);
        let completion = self.slots.take_over();
        if completion.is_none() {
            self.step(now);
            return self.slots.take_over();
        }
        completion
    }

    fn next_deadline(&self) -> Instant {
        match self.state {
            // No interrupt tells the end of these.
            State::Stopping { .. }
            | State::Starting { .. }
            | State::SettingUp { .. }
            | State::ShuttingDown { .. } => Instant(0),
            State::Running { status_due } => self.slots.next_deadline(status_due),
            State::Off | State::Failed => self.slots.next_deadline(Instant::FAR_FUTURE),
        }
    }

    fn shut_down(&mut self, now: Instant) {
        match self.state {
            State::Running { .. } => {
                self.slots.fail_all();
                self.registers.write32(CONFIGURATION, OUR_CONFIGURATION | ENABLE | SHUTDOWN_NORMAL);
                let time = self.controller().map_or(Nanoseconds(0), |controller| controller.shutdown_time);
                self.state = State::ShuttingDown { until: now.after(time) };
            }
            State::Stopping { .. } | State::Starting { .. } | State::SettingUp { .. } => {
                self.fail(DeviceError::TooSlow("a reset"));
            }
            State::ShuttingDown { .. } | State::Off | State::Failed => {}
        }
    }

    fn readiness(&self) -> Readiness {
        match self.state {
            State::Failed => Readiness::Failed,
            State::Off => Readiness::Off,
            State::ShuttingDown { .. } => Readiness::Pending,
            _ if self.identity.is_some() => Readiness::Ready,
            _ => Readiness::Pending,
        }
    }

    fn take_trouble(&mut self) -> Option<DeviceError> {
        self.trouble.take()
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
