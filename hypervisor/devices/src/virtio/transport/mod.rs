//! The PCI transport of virtio: the registers by which a driver finds, configures and kicks a device (VIRTIO 4.1).
//!
//! | BAR 0 | registers |
//! |---|---|
//! | 0x0000 | common configuration: features, status, queues |
//! | 0x1000 | ISR status: a read clears it |
//! | 0x2000 | the device's own configuration |
//! | 0x3000 + 4n | a write kicks queue n, whatever is written |
//!
//! BAR 1 is MSI-X's. Vectors: as the driver assigns them, one for changes of configuration and one for each queue.
//!
//! A kick sets a bit, which the VM's loop sees; the queue's task runs later. [`Transport`] knows no device type;
//! [`VirtioFunction`] joins it with a device and tells that of resets and features.
//!
//! Invariants: a queue is enabled only after the features are agreed upon; only the device's own queues have bits in
//! `kicked`, addresses, or vectors.

mod access;
mod capabilities;
mod common;
mod function;
mod saved;
mod status;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use function::VirtioFunction;
pub use saved::TransportState;
pub use status::{Phase, Status};

use super::{Broken, Queue, Signal, feature};
use crate::cx::Cx;
use crate::device::{Width, WindowAccess};
use crate::pci::{Cause, Function, Identity, InterruptPin, Layout, MSIX_CAPABILITY, NO_VECTOR, Slot};
use crate::platform::{PCI_MEMORY_BASE, pci_gsi};
use access::Found;
use capabilities::{BAR_LEN_BYTES, ConfigWindow};
use seams::{GuestMemory, Level};

/// The most queues that a device has.
pub const QUEUES_MAX: usize = 4;

/// The features that every device offers.
const TRANSPORT_FEATURES: u64 = feature::VERSION_1 | feature::RING_INDIRECT_DESC | feature::RING_EVENT_IDX;

/// ISR status: a queue has used buffers.
const ISR_QUEUE: u8 = 1;
/// ISR status: the device's configuration has changed, or the device needs a reset.
const ISR_CONFIGURATION: u8 = 2;

/// Where each slot's BARs are after reset: this far from those of the slot before.
const SLOT_STRIDE_BYTES: u32 = 2 * BAR_LEN_BYTES;

/// What a device type is to the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// The device type (VIRTIO 5).
    pub device_id: u16,
    /// The PCI class of its function.
    pub class: u32,
    /// How many queues it has: [`QUEUES_MAX`] at most.
    pub queue_count: u16,
    /// The features of its own type that it offers.
    pub features: u64,
    /// Features that need one of others: (feature, one of these).
    pub dependencies: &'static [(u64, u64)],
    /// The length of its configuration in bytes.
    pub config_len: u32,
}

/// A queue and its interrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct QueueAndVector {
    queue: Queue,
    vector: u16,
}

impl QueueAndVector {
    const fn new() -> Self {
        Self { queue: Queue::new(super::QUEUE_MAX), vector: NO_VECTOR }
    }
}

/// Why the device came to need a reset, until the log was told. This is no state of the machine: transports that differ
/// in it alone are equal.
#[derive(Clone, Debug)]
struct Untold(Option<Broken>);

impl PartialEq for Untold {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Untold {}

/// What a write to a register means for the device behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Nothing.
    None,
    /// It is reset.
    Reset,
    /// The driver may have these features.
    Accepted(u64),
    /// It is a write to the device's own configuration.
    DeviceConfig(WindowAccess),
}

/// The registers of a virtio device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    traits: Traits,
    function: Function,
    status: Status,
    /// Which 32 of the offered features are shown.
    offered_select: u32,
    /// Which 32 of the accepted features are written.
    accepted_select: u32,
    /// The features that the driver chooses.
    accepted: u64,
    /// The driver chose a feature past the 64 that can be offered.
    accepted_beyond: bool,
    config_vector: u16,
    config_generation: u8,
    queue_select: u16,
    queues: [QueueAndVector; QUEUES_MAX],
    isr: u8,
    /// Bit n: queue n is to be run.
    kicked: u8,
    window: ConfigWindow,
    untold: Untold,
}

impl Transport {
    /// The registers after power-on of a device in `slot`.
    pub const fn new(traits: Traits, slot: Slot) -> Self {
        assert!(traits.queue_count as usize <= QUEUES_MAX);
        let identity = Identity {
            vendor: 0x1af4,
            // Devices that are no transitional ones (4.1.2.1).
            device: 0x1040 + traits.device_id,
            revision: 1,
            class: traits.class,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
            pin: InterruptPin::A,
            capabilities: MSIX_CAPABILITY as u8,
        };
        let function = Function::new(Layout {
            identity,
            address: PCI_MEMORY_BASE + slot.number() as u32 * SLOT_STRIDE_BYTES,
            bar_len_bytes: BAR_LEN_BYTES,
            vectors: traits.queue_count + 1,
            interrupt_line: pci_gsi(slot).0 as u8,
        });
        Self::with(traits, function, 0)
    }

    /// The registers after a reset by the driver, which changes nothing of `function`.
    const fn with(traits: Traits, function: Function, config_generation: u8) -> Self {
        Self {
            traits,
            function,
            status: Status::RESET,
            offered_select: 0,
            accepted_select: 0,
            accepted: 0,
            accepted_beyond: false,
            config_vector: NO_VECTOR,
            config_generation,
            queue_select: 0,
            queues: [const { QueueAndVector::new() }; QUEUES_MAX],
            isr: 0,
            kicked: 0,
            window: ConfigWindow::RESET,
            untold: Untold(None),
        }
    }

    /// The function that the registers are in.
    pub const fn function(&self) -> &Function {
        &self.function
    }

    /// The status.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The queues, to be run.
    pub fn queues_mut(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.queues.iter_mut().take(self.traits.queue_count.into()).map(|it| &mut it.queue)
    }

    fn slot(&self, n: u16) -> Option<&QueueAndVector> {
        self.queues.get(usize::from(n)).filter(|_| n < self.traits.queue_count)
    }

    fn slot_mut(&mut self, n: u16) -> Option<&mut QueueAndVector> {
        let count = self.traits.queue_count;
        self.queues.get_mut(usize::from(n)).filter(|_| n < count)
    }

    /// Whether the device may work: the driver wants it to, it is not broken, and it may reach memory.
    pub fn is_running(&self) -> bool {
        let working = self.status.phase() == Phase::DriverOk && !self.status.needs_reset();
        working && self.function.is_bus_master()
    }

    /// Bit n is set if queue n is to be run.
    pub fn kicked(&self) -> u8 {
        if self.is_running() { self.kicked } else { 0 }
    }

    /// As [`Transport::kicked`]; the queues count as run then.
    pub fn take_kicked(&mut self) -> u8 {
        let kicked = self.kicked();
        self.kicked &= !kicked;
        kicked
    }

    /// Lets queue `n` be run (again), by a kick or because its last step has left something to do.
    #[inline]
    pub fn kick(&mut self, n: u16) {
        if n < self.traits.queue_count {
            self.kicked |= 1_u8.checked_shl(n.into()).unwrap_or(0);
        }
    }

    /// Lets every queue be run: what was made available before anybody looked is found.
    pub fn kick_all(&mut self) {
        (0..self.traits.queue_count).for_each(|n| self.kick(n));
    }

    /// Shows the driver what the queues gave back, and interrupts it where it wants that. To be called after each step of
    /// the device's task; what breaks the rules ends the device's work as if the step had.
    pub fn settle(&mut self, cx: &mut impl Cx, memory: &impl GuestMemory) {
        for n in 0..self.traits.queue_count {
            let Some(it) = self.slot_mut(n) else { return };
            let vector = it.vector;
            match it.queue.settle(memory) {
                Ok(Signal::NotNeeded) => {}
                Ok(Signal::Needed) => self.interrupt(cx, vector, ISR_QUEUE),
                Err(broken) => return self.fail(cx, broken),
            }
        }
    }

    /// The device's configuration has changed.
    pub fn config_changed(&mut self, cx: &mut impl Cx) {
        self.config_generation = self.config_generation.wrapping_add(1);
        if self.status.phase() == Phase::DriverOk {
            self.interrupt(cx, self.config_vector, ISR_CONFIGURATION);
        }
    }

    /// The driver broke the rules: the device works no more until it is reset (2.1.2).
    pub fn fail(&mut self, cx: &mut impl Cx, broken: Broken) {
        if self.status.needs_reset() {
            return;
        }
        self.status.ask_for_reset();
        self.untold = Untold(Some(broken));
        if self.status.phase() == Phase::DriverOk {
            self.interrupt(cx, self.config_vector, ISR_CONFIGURATION);
        }
    }

    /// Why the device came to need a reset, if that was not told yet.
    pub const fn take_broken(&mut self) -> Option<Broken> {
        self.untold.0.take()
    }

    /// Tells the driver by message or by ISR status. A change of configuration is in the ISR status in any case
    /// (4.1.4.5.1).
    fn interrupt(&mut self, cx: &mut impl Cx, vector: u16, cause: u8) {
        if !self.function.uses_messages() {
            self.isr |= cause;
            return;
        }
        self.isr |= cause & ISR_CONFIGURATION;
        self.function.signal(cx, vector);
    }

    const fn cause(&self) -> Cause {
        if self.isr == 0 { Cause::Absent } else { Cause::Present }
    }

    /// The level of the interrupt pin. To be looked at after whatever was done here.
    pub fn pin(&self) -> Level {
        self.function.pin(self.cause())
    }

    /// Reads the ISR status, which clears it.
    const fn take_isr(&mut self) -> u8 {
        core::mem::replace(&mut self.isr, 0)
    }

    /// Returns to the state after power-on.
    fn power_on(&mut self) {
        self.function.reset();
        *self = Self::with(self.traits, self.function.clone(), 0);
    }

    /// The driver resets the device. MSI-X stays as it is set up, but what was signalled before is not sent after (2.4.1).
    fn reset(&mut self) {
        self.function.forget_signals();
        let untold = self.untold.clone();
        *self = Self::with(self.traits, self.function.clone(), self.config_generation);
        self.untold = untold;
    }
}
