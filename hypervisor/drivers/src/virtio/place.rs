//! Which functions are virtio devices, and where in their BAR each structure is (section 4.1).

use crate::error::DeviceError;
use machine::pci::{Capability, ConfigSpace, Function, capabilities};

/// Which device a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A block device.
    Block,
    /// A network card.
    Network,
}

impl Kind {
    /// The kind of `function`, if it is a virtio device that there is a driver for. Transitional ones have both interfaces.
    pub fn of(function: &Function) -> Option<Self> {
        match (function.vendor, function.device) {
            (0x1af4, 0x1042 | 0x1001) => Some(Self::Block),
            (0x1af4, 0x1041 | 0x1000) => Some(Self::Network),
            _ => None,
        }
    }
}

/// Where a device's structures are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The BAR that holds them all.
    pub bar: u8,
    /// The common configuration.
    pub common: usize,
    /// The notification area.
    pub notify: usize,
    /// The bytes between two queues' places in it.
    pub notify_multiplier: usize,
    /// The device's own configuration.
    pub device: usize,
}

const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const DEVICE: u8 = 4;

impl Place {
    /// Follows the capabilities of `function`. Of several structures of a kind the first counts, as the specification has
    /// it.
    ///
    /// # Errors
    /// When one is missing, or they are spread over several BARs.
    pub fn find(config: &impl ConfigSpace, function: &Function) -> Result<Self, DeviceError> {
        let at = function.address;
        let structures = || {
            let own = capabilities(config, at).filter(|capability| capability.id == Capability::VENDOR);
            own.map(|capability| {
                let kind = config.read8(at, capability.offset + 3);
                let bar = config.read8(at, capability.offset + 4);
                let offset = config.read32(at, capability.offset + 8) as usize;
                (kind, bar, offset, capability.offset)
            })
        };
        let find = |wanted: u8| {
            let missing = DeviceError::Unsupported("a virtio device with the legacy interface alone");
            structures().find(|(kind, ..)| *kind == wanted).ok_or(missing)
        };
        let (_, bar, common, _) = find(COMMON)?;
        let (_, notify_bar, notify, capability) = find(NOTIFY)?;
        let (_, device_bar, device, _) = find(DEVICE)?;
        if (notify_bar, device_bar) != (bar, bar) {
            return Err(DeviceError::Unsupported("a virtio device with structures in several BARs"));
        }
        let notify_multiplier = config.read32(at, capability.saturating_add(16)) as usize;
        Ok(Self { bar, common, notify, notify_multiplier, device })
    }
}
