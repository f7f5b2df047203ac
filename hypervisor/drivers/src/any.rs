//! One type for all disks and one for all cards, chosen once at boot: those above are not built once for each driver.

use crate::Readiness;
use crate::disk::{Command, Completion, Disk, DiskGeometry, Refused, Unit};
use crate::e1000e::E1000e;
use crate::error::DeviceError;
use crate::nic::{Link, Mac, Nic, NicCounters, Sent};
use crate::nvme::Nvme;
use crate::virtio::{VirtioBlk, VirtioNet};
use base::Instant;
use seams::{DmaMemory, Registers};

/// A device with disks.
#[expect(clippy::large_enum_variant, reason = "whoever has one has it in a box")]
pub enum AnyDisk<R, M: DmaMemory> {
    /// An NVMe controller.
    Nvme(Nvme<R, M>),
    /// A virtio block device.
    Virtio(VirtioBlk<R, M>),
}

/// `$call` on whichever it is.
macro_rules! each {
    ($any:expr, $one:ident, $($kind:path)|+ => $call:expr) => {
        match $any {
            $($kind($one) => $call,)+
        }
    };
}

impl<R: Registers, M: DmaMemory> Disk for AnyDisk<R, M> {
    type Buffer = M::Buffer;

    fn geometry(&self, unit: Unit) -> Option<DiskGeometry> {
        each!(self, disk, Self::Nvme | Self::Virtio => disk.geometry(unit))
    }

    fn depth(&self) -> usize {
        each!(self, disk, Self::Nvme | Self::Virtio => disk.depth())
    }

    fn submit(&mut self, command: Command<M::Buffer>, now: Instant) -> Result<(), Refused<M::Buffer>> {
        each!(self, disk, Self::Nvme | Self::Virtio => disk.submit(command, now))
    }

    fn poll(&mut self, now: Instant) -> Option<Completion<M::Buffer>> {
        each!(self, disk, Self::Nvme | Self::Virtio => disk.poll(now))
    }

    fn next_deadline(&self) -> Instant {
        each!(self, disk, Self::Nvme | Self::Virtio => disk.next_deadline())
    }

    fn shut_down(&mut self, now: Instant) {
        each!(self, disk, Self::Nvme | Self::Virtio => disk.shut_down(now));
    }

    fn readiness(&self) -> Readiness {
        each!(self, disk, Self::Nvme | Self::Virtio => disk.readiness())
    }

    fn take_trouble(&mut self) -> Option<DeviceError> {
        each!(self, disk, Self::Nvme | Self::Virtio => disk.take_trouble())
    }
}

/// A network card.
pub enum AnyNic<R, M: DmaMemory> {
    /// A virtio network card.
    Virtio(VirtioNet<R, M>),
    /// One of Intel's.
    E1000e(E1000e<R, M>),
}

impl<R: Registers, M: DmaMemory> Nic for AnyNic<R, M> {
    fn mac(&self) -> Mac {
        each!(self, card, Self::Virtio | Self::E1000e => card.mac())
    }

    fn link(&self) -> Link {
        each!(self, card, Self::Virtio | Self::E1000e => card.link())
    }

    fn poll(&mut self, now: Instant) {
        each!(self, card, Self::Virtio | Self::E1000e => card.poll(now));
    }

    fn readiness(&self) -> Readiness {
        each!(self, card, Self::Virtio | Self::E1000e => card.readiness())
    }

    fn take_trouble(&mut self) -> Option<DeviceError> {
        each!(self, card, Self::Virtio | Self::E1000e => card.take_trouble())
    }

    fn transmit_with(&mut self, len_bytes: usize, fill: impl FnOnce(&mut [u8])) -> Sent {
        each!(self, card, Self::Virtio | Self::E1000e => card.transmit_with(len_bytes, fill))
    }

    fn peek(&mut self) -> Option<&[u8]> {
        each!(self, card, Self::Virtio | Self::E1000e => card.peek())
    }

    fn consume(&mut self) {
        each!(self, card, Self::Virtio | Self::E1000e => card.consume());
    }

    fn counters(&self) -> NicCounters {
        each!(self, card, Self::Virtio | Self::E1000e => card.counters())
    }
}
