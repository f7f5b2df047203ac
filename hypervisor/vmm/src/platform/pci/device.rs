//! The devices that a VM can have on PCI, by value.

use crate::platform::Fabric;
use devices::pci::{Place, Slot};
use devices::virtio::blk::Blk;
use devices::virtio::console::Console;
use devices::virtio::net::Net;
use devices::virtio::rng::Rng;
use devices::virtio::{Transport, VirtioFunction};
use devices::{Access, Device};

/// A device as it is after power-on, before it has a place.
#[derive(Clone, Debug)]
pub enum Model {
    /// A disk.
    Disk(Blk),
    /// A network device.
    Net(Net),
    /// A console, which is the VM's own beside its serial line.
    Console(Console),
    /// A source of random bytes.
    Entropy(Rng),
}

/// A device in a slot.
pub enum PciDevice {
    Disk(VirtioFunction<Blk>),
    Net(VirtioFunction<Net>),
    Console(VirtioFunction<Console>),
    Entropy(VirtioFunction<Rng>),
}

impl PciDevice {
    pub fn new(model: Model, slot: Slot) -> Self {
        match model {
            Model::Disk(device) => Self::Disk(VirtioFunction::new(device, slot)),
            Model::Net(device) => Self::Net(VirtioFunction::new(device, slot)),
            Model::Console(device) => Self::Console(VirtioFunction::new(device, slot)),
            Model::Entropy(device) => Self::Entropy(VirtioFunction::new(device, slot)),
        }
    }

    #[inline]
    pub const fn transport(&self) -> &Transport {
        match self {
            Self::Disk(function) => function.transport(),
            Self::Net(function) => function.transport(),
            Self::Console(function) => function.transport(),
            Self::Entropy(function) => function.transport(),
        }
    }

    pub const fn transport_mut(&mut self) -> &mut Transport {
        match self {
            Self::Disk(function) => function.parts_mut().0,
            Self::Net(function) => function.parts_mut().0,
            Self::Console(function) => function.parts_mut().0,
            Self::Entropy(function) => function.parts_mut().0,
        }
    }

    pub fn read(&mut self, fabric: &mut Fabric, access: Access<Place>) -> u32 {
        match self {
            Self::Disk(function) => function.read(fabric, access),
            Self::Net(function) => function.read(fabric, access),
            Self::Console(function) => function.read(fabric, access),
            Self::Entropy(function) => function.read(fabric, access),
        }
    }

    pub fn write(&mut self, fabric: &mut Fabric, access: Access<Place>, value: u32) {
        match self {
            Self::Disk(function) => function.write(fabric, access, value),
            Self::Net(function) => function.write(fabric, access, value),
            Self::Console(function) => function.write(fabric, access, value),
            Self::Entropy(function) => function.write(fabric, access, value),
        }
    }

    pub fn reset(&mut self, fabric: &mut Fabric) {
        match self {
            Self::Disk(function) => function.reset(fabric),
            Self::Net(function) => function.reset(fabric),
            Self::Console(function) => function.reset(fabric),
            Self::Entropy(function) => function.reset(fabric),
        }
    }
}
