//! virtio devices: disk, network, console and entropy, as state machines over guest memory.
//!
//! ```text
//!   driver   ── registers ──>  transport       status, features, Queue registers, interrupts
//!            ── kick ───────>     │ run         a bit is set; the queue's task runs later, in bounded steps
//!                                 v
//!   rings   <── Queue ────────  device  ────>  backend: a disk, a switch port, a stream of bytes
//! ```
//! A device owns no queue and no memory: each step gets them as parameters, with what stands behind the device, and ends
//! with [`Progress`]. After a step its caller asks each queue that took part for the [`Signal`] ([`Queue::settle`]).
//! A driver that breaks the rules ends the step with [`Broken`]: the transport sets `DEVICE_NEEDS_RESET` then and runs no
//! queue of the device before it was reset.
//!
//! Each queue is run once after it was enabled, and after its state was loaded: a kick from before is not remembered here.
//!
//! Source of all of it: Virtual I/O Device (VIRTIO) version 1.3, OASIS Committee Specification 01, called "VIRTIO" here.

pub mod blk;
mod broken;
pub mod console;
pub mod cursor;
pub mod net;
pub mod queue;
pub mod rng;
pub mod transport;

pub use broken::Broken;
pub use cursor::Cursor;
pub use queue::{Area, Chain, Head, Queue, Segment, Signal};
pub use transport::{Transport, VirtioFunction};

/// The size that every queue is offered with, in descriptors.
pub const QUEUE_MAX: u16 = 256;

/// Feature bits that belong to no device type (VIRTIO 6).
pub mod feature {
    /// Descriptors may name a table of descriptors.
    pub const RING_INDIRECT_DESC: u64 = 1 << 28;
    /// Kicks and interrupts are asked for by index instead of by flag.
    pub const RING_EVENT_IDX: u64 = 1 << 29;
    /// The device is no legacy device. A driver that does not accept it is refused.
    pub const VERSION_1: u64 = 1 << 32;
}

/// What a device's step has left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing, until a kick or the backend brings more.
    Idle,
    /// More than one step may do: run it again.
    More,
}

/// What the transport needs to know of a device type, and tells it.
pub trait VirtioDevice {
    /// The device type (VIRTIO 5).
    fn device_id(&self) -> u16;

    /// The PCI class code of its function: base class, subclass and programming interface from the highest byte down.
    fn class(&self) -> u32;

    /// Features that need one of others, and these: a driver that chooses one without any of them is refused.
    fn dependencies(&self) -> &'static [(u64, u64)] {
        &[]
    }

    /// How many queues it has: [`transport::QUEUES_MAX`] at most.
    fn queue_count(&self) -> u16;

    /// The bits of its own type that it offers; those of [`feature`] are the transport's.
    fn features(&self) -> u64;

    /// The length of its configuration space in bytes.
    fn config_len(&self) -> u32;

    /// Reads its configuration space; bytes past the end read as zero.
    fn read_config(&self, offset: u32, bytes: &mut [u8]);

    /// Takes a write to its configuration space. Most fields are read-only, and a write to those does nothing.
    fn write_config(&mut self, _offset: u32, _bytes: &[u8]) {}

    /// The driver's choice of all offered features, now that `FEATURES_OK` is set. There is none before, nor after a reset.
    fn features_accepted(&mut self, features: u64);

    /// Returns to the state after power-on. Requests in flight are forgotten: their ends, when they come, change nothing.
    fn reset(&mut self);
}

/// Reads from `config`, a device's configuration space in the order of its bytes; past its end there are zeros.
fn read_config_bytes(config: &[u8], offset: u32, bytes: &mut [u8]) {
    let rest = usize::try_from(offset).ok().and_then(|offset| config.get(offset..)).unwrap_or_default();
    bytes.iter_mut().zip(rest.iter().copied().chain(core::iter::repeat(0))).for_each(|(to, from)| *to = from);
}
