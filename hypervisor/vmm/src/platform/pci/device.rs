//! The devices that a VM can have on PCI, by value.

use devices::virtio::blk::Blk;
use devices::virtio::console::Console;
use devices::virtio::net::Net;
use devices::virtio::rng::Rng;
use devices::virtio::{VirtioDevice, VirtioFunction};

/// A device of one of the types.
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
pub type PciDevice = VirtioFunction<Model>;

impl VirtioDevice for Model {
    fn device_id(&self) -> u16 {
        match self {
            Self::Disk(device) => device.device_id(),
            Self::Net(device) => device.device_id(),
            Self::Console(device) => device.device_id(),
            Self::Entropy(device) => device.device_id(),
        }
    }

    fn class(&self) -> u32 {
        match self {
            Self::Disk(device) => device.class(),
            Self::Net(device) => device.class(),
            Self::Console(device) => device.class(),
            Self::Entropy(device) => device.class(),
        }
    }

    fn dependencies(&self) -> &'static [(u64, u64)] {
        match self {
            Self::Disk(device) => device.dependencies(),
            Self::Net(device) => device.dependencies(),
            Self::Console(device) => device.dependencies(),
            Self::Entropy(device) => device.dependencies(),
        }
    }

    fn queue_count(&self) -> u16 {
        match self {
            Self::Disk(device) => device.queue_count(),
            Self::Net(device) => device.queue_count(),
            Self::Console(device) => device.queue_count(),
            Self::Entropy(device) => device.queue_count(),
        }
    }

    fn features(&self) -> u64 {
        match self {
            Self::Disk(device) => device.features(),
            Self::Net(device) => device.features(),
            Self::Console(device) => device.features(),
            Self::Entropy(device) => device.features(),
        }
    }

    fn config_len(&self) -> u32 {
        match self {
            Self::Disk(device) => device.config_len(),
            Self::Net(device) => device.config_len(),
            Self::Console(device) => device.config_len(),
            Self::Entropy(device) => device.config_len(),
        }
    }

    fn read_config(&self, offset: u32, bytes: &mut [u8]) {
        match self {
            Self::Disk(device) => device.read_config(offset, bytes),
            Self::Net(device) => device.read_config(offset, bytes),
            Self::Console(device) => device.read_config(offset, bytes),
            Self::Entropy(device) => device.read_config(offset, bytes),
        }
    }

    fn write_config(&mut self, offset: u32, bytes: &[u8]) {
        match self {
            Self::Disk(device) => device.write_config(offset, bytes),
            Self::Net(device) => device.write_config(offset, bytes),
            Self::Console(device) => device.write_config(offset, bytes),
            Self::Entropy(device) => device.write_config(offset, bytes),
        }
    }

    fn features_accepted(&mut self, features: u64) {
        match self {
            Self::Disk(device) => device.features_accepted(features),
            Self::Net(device) => device.features_accepted(features),
            Self::Console(device) => device.features_accepted(features),
            Self::Entropy(device) => device.features_accepted(features),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Disk(device) => device.reset(),
            Self::Net(device) => device.reset(),
            Self::Console(device) => device.reset(),
            Self::Entropy(device) => device.reset(),
        }
    }
}
