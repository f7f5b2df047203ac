//! The devices that a VM can have on PCI, by value.

use crate::platform::Fabric;
use devices::pci::{Place, Slot};
use devices::virtio::blk::Blk;
use devices::virtio::net::Net;
use devices::virtio::{Transport, VirtioFunction};
use devices::{Access, Device};

/// A device as it is after power-on, before it has a place.
#[derive(Clone, Debug)]
pub enum Model {
    /// A disk.
    Disk(Blk),
    /// A network device.
    Net(Net),
}

/// A device in a slot.
pub enum PciDevice {
    Disk(VirtioFunction<Blk>),
    Net(VirtioFunction<Net>),
}

impl PciDevice {
    pub fn new(model: Model, slot: Slot) -> Self {
        match model {
            Model::Disk(disk) => Self::Disk(VirtioFunction::new(disk, slot)),
            Model::Net(net) => Self::Net(VirtioFunction::new(net, slot)),
        }
    }

    #[inline]
    pub const fn transport(&self) -> &Transport {
        match self {
            Self::Disk(function) => function.transport(),
            Self::Net(function) => function.transport(),
        }
    }

    pub const fn transport_mut(&mut self) -> &mut Transport {
        match self {
            Self::Disk(function) => function.parts_mut().0,
            Self::Net(function) => function.parts_mut().0,
        }
    }

    pub fn read(&mut self, fabric: &mut Fabric, access: Access<Place>) -> u32 {
        match self {
            Self::Disk(function) => function.read(fabric, access),
            Self::Net(function) => function.read(fabric, access),
        }
    }

    pub fn write(&mut self, fabric: &mut Fabric, access: Access<Place>, value: u32) {
        match self {
            Self::Disk(function) => function.write(fabric, access, value),
            Self::Net(function) => function.write(fabric, access, value),
        }
    }

    pub fn reset(&mut self, fabric: &mut Fabric) {
        match self {
            Self::Disk(function) => function.reset(fabric),
            Self::Net(function) => function.reset(fabric),
        }
    }
}
