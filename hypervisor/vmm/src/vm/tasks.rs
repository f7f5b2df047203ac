//! The tasks of a VM's devices on PCI: steps that the CPU's loop takes, between turns of the vCPU.
//!
//! ```text
//!   guest ──kick──> Served::Kicked ──> the CPU's loop: for each of kicked_devices
//!                                        run_disk(slot, medium), run_net(slot, |step| ...), ...
//!                                      also when a backend has something, without a kick
//! ```
//! A step is bounded by its device. What it leaves to do keeps the device among those kicked. After each, the driver is
//! shown what was done, and interrupted if it wants to be. A driver that breaks the rules stops its own device.

use crate::platform::pci::{Model, PciDevice, Slots};
use crate::platform::{Fabric, InputTo};
use crate::vm::Vm;
use crate::vm::serve::Attention;
use base::{Instant, Nanoseconds};
use config::VmConsole;
use core::fmt;
use devices::pci::Slot;
use devices::virtio::net::{Link, Net};
use devices::virtio::rng::Entropy;
use devices::virtio::transport::Phase;
use devices::virtio::{Broken, Progress, QUEUE_MAX, Queue, Transport};
use seams::{Block, GuestMemory};
use vcpu::Vcpu;

/// Every device has it.
const FIRST_QUEUE: u16 = 0;

/// How long nothing is told of broken rules once something was.
const BROKEN_PAUSE: Nanoseconds = Nanoseconds::from_secs(10);

/// A device whose driver broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenDevice {
    /// Where it is.
    pub slot: Slot,
    /// How they were broken.
    pub reason: Broken,
}

impl fmt::Display for BrokenDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, reason } = self;
        write!(f, "the device in PCI slot {} has stopped until its driver resets it: {reason}", slot.number())
    }
}

/// What a step of a network device works with.
pub struct NetStep<'a, M> {
    /// The device.
    pub net: &'a mut Net,
    /// Its queue for frames to the guest.
    pub receive: &'a mut Queue,
    /// Its queue of frames from the guest.
    pub transmit: &'a mut Queue,
    /// The guest's memory.
    pub memory: &'a M,
}

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// Whether a device has queues to be run.
    #[inline]
    pub const fn has_kicked_queues(&self) -> bool {
        self.board.pci.is_kicked()
    }

    /// The devices that have queues to be run.
    #[inline]
    pub const fn kicked_devices(&self) -> Slots {
        self.board.pci.kicked()
    }

    /// Takes a step of the network device in `slot`, at `now`, after a kick of either queue: `step` moves frames from the
    /// guest. `None` if there is no such device, if its driver does not want it to work, or if it broke the rules in this step.
    pub fn run_net<T>(
        &mut self,
        slot: Slot,
        now: Instant,
        step: impl FnOnce(NetStep<'_, M>) -> Result<(Progress, T), Broken>,
    ) -> Option<T> {
        self.net_step(slot, now, Kicks::Taken, step)
    }

    /// As [`Vm::run_net`], but for who brings a frame to the guest: that it has one to send as well is not forgotten.
    pub fn with_net<T>(
        &mut self,
        slot: Slot,
        now: Instant,
        step: impl FnOnce(NetStep<'_, M>) -> Result<(Progress, T), Broken>,
    ) -> Option<T> {
        self.net_step(slot, now, Kicks::Kept, step)
    }

    #[inline]
    fn net_step<T>(
        &mut self,
        slot: Slot,
        now: Instant,
        kicks: Kicks,
        step: impl FnOnce(NetStep<'_, M>) -> Result<(Progress, T), Broken>,
    ) -> Option<T> {
        self.step(slot, now, |device, fabric, memory| {
            let (transport, Model::Net(net)) = device.parts_mut() else { return None };
            if !transport.is_running() {
                return None;
            }
            if kicks == Kicks::Taken {
                transport.take_kicked();
            }
            let mut queues = transport.queues_mut();
            let (receive, transmit) = (queues.next()?, queues.next()?);
            let done = step(NetStep { net, receive, transmit, memory });
            drop(queues);
            finish(transport, fabric, memory, done)
        })
    }

    /// Takes a step of the disk in `slot` over `medium`, at `now`: after a kick, and when the medium has finished something.
    /// Without effect if there is no such disk, or while it has a driver but may not work: what `medium` has finished stays
    /// there until it may again, of which a kick tells, or until a reset.
    pub fn run_disk(&mut self, slot: Slot, now: Instant, medium: &mut impl Block) {
        self.step(slot, now, |device, fabric, memory| {
            let (transport, Model::Disk(disk)) = device.parts_mut() else { return None };
            let is_running = transport.is_running();
            // The data of a request that the driver still waits for may not be written now.
            if !is_running && transport.status().phase() == Phase::DriverOk {
                return None;
            }
            // What a reset abandoned ends without it: with a queue in which nothing is.
            let mut idle = Queue::new(QUEUE_MAX);
            transport.take_kicked();
            let queue = transport.queues_mut().next().filter(|_| is_running).unwrap_or(&mut idle);
            let done = disk.run(queue, memory, medium).map(|progress| (progress, ()));
            finish(transport, fabric, memory, done)
        });
    }

    /// Takes a step of the console in `slot`, at `now`: the VM's own. From the first one on, what is typed is for it if
    /// [`Settings::console`](crate::Settings::console) says so: a driver kicks once it has buffers to be filled.
    pub fn run_console(&mut self, slot: Slot, now: Instant) {
        let done = self.step(slot, now, |device, fabric, memory| {
            let (transport, Model::Console(console)) = device.parts_mut() else { return None };
            if !transport.is_running() {
                return None;
            }
            transport.take_kicked();
            let (mut input, mut output) = fabric.local.console.guest_ends();
            let mut queues = transport.queues_mut();
            let (receive, transmit) = (queues.next()?, queues.next()?);
            let done = console.run(receive, transmit, memory, &mut input, &mut output);
            drop(queues);
            finish(transport, fabric, memory, done.map(|progress| (progress, ())))
        });
        if done.is_none() || self.settings.console == VmConsole::Serial {
            return;
        }
        let is_full = self.board.fabric.local.console.has_input() && !self.has_kicked_queues();
        self.board.input = if is_full { InputTo::VirtioFull(slot) } else { InputTo::Virtio(slot) };
    }

    /// Takes a step of the source of random bytes in `slot`, at `now`: it gives what `entropy` does.
    pub fn run_entropy(&mut self, slot: Slot, now: Instant, entropy: &mut impl Entropy) {
        self.step(slot, now, |device, fabric, memory| {
            let (transport, Model::Entropy(rng)) = device.parts_mut() else { return None };
            if !transport.is_running() {
                return None;
            }
            transport.take_kicked();
            let done = rng.run(transport.queues_mut().next()?, memory, entropy);
            finish(transport, fabric, memory, done.map(|progress| (progress, ())))
        });
    }

    /// Gives the network device in `slot` the link `link`, at `now`; its driver is told if that is new to it.
    pub fn set_link(&mut self, slot: Slot, now: Instant, link: Link) {
        self.attention = Attention::EventsAndDeadline;
        self.board.fabric.local.now = now;
        self.board.pci.set_link(&mut self.board.fabric, slot, link);
    }

    /// What to tell of a driver that broke the rules, at `now`: nothing of one that does so again and again, but now and
    /// then.
    pub fn take_broken(&mut self, now: Instant) -> Option<BrokenDevice> {
        let (slot, reason) = self.board.pci.take_broken()?;
        if self.broken_told.is_some_and(|told| now.since(told) < BROKEN_PAUSE) {
            return None;
        }
        self.broken_told = Some(now);
        Some(BrokenDevice { slot, reason })
    }

    fn step<T>(
        &mut self,
        slot: Slot,
        now: Instant,
        step: impl FnOnce(&mut PciDevice, &mut Fabric, &M) -> Option<T>,
    ) -> Option<T> {
        self.attention = Attention::EventsAndDeadline;
        self.board.fabric.local.now = now;
        let memory = &self.memory;
        let act = |device: &mut PciDevice, fabric: &mut Fabric| step(device, fabric, memory);
        self.board.pci.with_device(&mut self.board.fabric, slot, act).flatten()
    }
}

/// What becomes of the kicks of a device that takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kicks {
    /// The step is the answer to them.
    Taken,
    /// They stay for another step.
    Kept,
}

/// Ends a step: shows the driver what was done and keeps in mind what was not, or stops the device of a driver that broke
/// the rules.
fn finish<T>(
    transport: &mut Transport,
    fabric: &mut Fabric,
    memory: &impl GuestMemory,
    done: Result<(Progress, T), Broken>,
) -> Option<T> {
    match done {
        Ok((progress, done)) => {
            transport.settle(fabric, memory);
            if progress == Progress::More {
                // Whatever the device left: its step looks at all queues.
                transport.kick(FIRST_QUEUE);
            }
            Some(done)
        }
        Err(broken) => {
            transport.fail(fabric, broken);
            None
        }
    }
}

#[cfg(test)]
mod tests;
