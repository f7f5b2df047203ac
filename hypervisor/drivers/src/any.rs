//! One type for all disks and one for all cards of this host, chosen once at boot: those above are not built once for each
//! driver.
//!
//! This is where the drivers, which are generic so that tests can fake what is below, meet the real types: so they are built
//! in this crate, whose settings prefer small code (`Cargo.toml` of the workspace).

use crate::disk::{Command, Completion, Disk, DiskGeometry, Refused, Unit};
use crate::e1000e::{E1000e, Family};
use crate::error::DeviceError;
use crate::nic::{Link, Nic, NicCounters, Sent};
use crate::nvme::Nvme;
use crate::virtio::{Place, VirtioBlk, VirtioNet};
use crate::{Readiness, Signal};
use base::{Instant, MacAddress};
use iommu::{HostBuffer, HostDma};
use machine::Mmio;

/// A device with disks.
#[expect(clippy::large_enum_variant, reason = "whoever has one has it in a box")]
pub enum AnyDisk {
    /// An NVMe controller.
    Nvme(Nvme<Mmio, HostDma>),
    /// A virtio block device.
    Virtio(VirtioBlk<Mmio, HostDma>),
}

impl AnyDisk {
    /// As [`Nvme::take_over`].
    ///
    /// # Errors
    /// As it says.
    pub fn nvme(registers: Mmio, memory: HostDma, signal: Signal, now: Instant) -> Result<Self, DeviceError> {
        Nvme::take_over(registers, memory, signal, now).map(Self::Nvme)
    }

    /// As [`VirtioBlk::take_over`].
    pub fn virtio(registers: Mmio, place: Place, memory: HostDma, signal: Signal, now: Instant) -> Self {
        Self::Virtio(VirtioBlk::take_over(registers, place, memory, signal, now))
    }
}

/// `$call` on whichever it is.
macro_rules! each {
    ($any:expr, $one:ident, $($kind:path)|+ => $call:expr) => {
        match $any {
            $($kind($one) => $call,)+
        }
    };
}

impl Disk for AnyDisk {
    type Buffer = HostBuffer;

    fn geometry(&self, unit: Unit) -> Option<DiskGeometry> {
        each!(self, disk, Self::Nvme | Self::Virtio => disk.geometry(unit))
    }

    fn depth(&self) -> usize {
        each!(self, disk, Self::Nvme | Self::Virtio => disk.depth())
    }

    fn submit(&mut self, command: Command<HostBuffer>, now: Instant) -> Result<(), Refused<HostBuffer>> {
        each!(self, disk, Self::Nvme | Self::Virtio => disk.submit(command, now))
    }

    fn poll(&mut self, now: Instant) -> Option<Completion<HostBuffer>> {
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
pub enum AnyNic {
    /// A virtio network card.
    Virtio(VirtioNet<Mmio, HostDma>),
    /// One of Intel's.
    E1000e(E1000e<Mmio, HostDma>),
}

impl AnyNic {
    /// As [`VirtioNet::take_over`].
    pub fn virtio(registers: Mmio, place: Place, memory: HostDma, signal: Signal, now: Instant) -> Self {
        Self::Virtio(VirtioNet::take_over(registers, place, memory, signal, now))
    }

    /// As [`E1000e::take_over`].
    ///
    /// # Errors
    /// As it says.
    pub fn e1000e(
        registers: Mmio,
        family: Family,
        memory: HostDma,
        signal: Signal,
        now: Instant,
    ) -> Result<Self, DeviceError> {
        E1000e::take_over(registers, family, memory, signal, now).map(Self::E1000e)
    }
}

impl Nic for AnyNic {
    fn mac(&self) -> MacAddress {
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

    fn has_room(&self, frames: usize) -> bool {
        each!(self, card, Self::Virtio | Self::E1000e => card.has_room(frames))
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
