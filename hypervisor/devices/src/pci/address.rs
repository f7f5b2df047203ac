//! How a register of configuration space is addressed: by two ports or by a window of memory.

use crate::device::{Access, PortAccess, WindowAccess, WindowOffset};
use crate::platform::PCI_CONFIG_DATA;
use minicbor::{Decode, Encode};

/// The length of the ECAM window in bytes: the 4 KiB of 8 functions of 32 slots, for one bus.
pub const ECAM_LEN_BYTES: u32 = 1 << 20;

const ENABLE: u32 = 1 << 31;
/// Enable, bus, device, function and register: the bits of CONFIG_ADDRESS that are kept (PCI 3.2.2.3.2).
const ADDRESS_BITS: u32 = 0x80ff_fffc;

/// A place for a device on the bus: 0 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u8);

impl Slot {
    /// The number of slots.
    pub const COUNT: u8 = 32;
    /// The host bridge's.
    pub const HOST_BRIDGE: Self = Self(0);

    /// Slot `number`, if it exists.
    pub const fn new(number: u8) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// The slot of the low five bits of `number`.
    pub const fn from_low_bits(number: u8) -> Self {
        Self(number % Self::COUNT)
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// An access to a register of function 0 in a slot of bus 0. There are no other functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigAccess {
    /// The slot.
    pub slot: Slot,
    /// The register, as an offset in the function's configuration space, and the width.
    pub register: WindowAccess,
}

/// CONFIG_ADDRESS: the register that [`PCI_CONFIG_DATA`] leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub(super) struct ConfigAddress(u32);

impl ConfigAddress {
    pub(super) const fn new(value: u32) -> Self {
        Self(value & ADDRESS_BITS)
    }

    pub(super) const fn value(self) -> u32 {
        self.0
    }

    pub(super) const fn is_sound(self) -> bool {
        self.0 & !ADDRESS_BITS == 0
    }

    /// What an access to the data ports means.
    pub(super) fn target(self, access: PortAccess) -> Option<ConfigAccess> {
        if self.0 & ENABLE == 0 {
            return None;
        }
        let offset = u32::from(access.at.0.checked_sub(PCI_CONFIG_DATA.0)?);
        target(self.0 >> 16 & 0xff, self.0 >> 8 & 0xff, (self.0 & 0xfc).checked_add(offset)?, access)
    }
}

/// What an access at `access.at` in the ECAM window means.
pub fn ecam_target(access: WindowAccess) -> Option<ConfigAccess> {
    let WindowOffset(offset) = access.at;
    target(offset >> 20, offset >> 12 & 0xff, offset & 0xfff, access)
}

fn target<Address>(
    bus: u32,
    device_and_function: u32,
    offset: u32,
    access: Access<Address>,
) -> Option<ConfigAccess> {
    if bus != 0 || device_and_function & 7 != 0 {
        return None;
    }
    let slot = Slot::new((device_and_function >> 3) as u8)?;
    Some(ConfigAccess { slot, register: Access { at: WindowOffset(offset), width: access.width } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Width;
    use base::Port;

    fn by_ports(address: u32, port: u16) -> Option<(u8, u32)> {
        let access = Access { at: Port(port), width: Width::Byte };
        let found = ConfigAddress::new(address).target(access)?;
        Some((found.slot.number(), found.register.at.0))
    }

    fn by_ecam(offset: u32) -> Option<(u8, u32)> {
        let found = ecam_target(Access { at: WindowOffset(offset), width: Width::Dword })?;
        Some((found.slot.number(), found.register.at.0))
    }

    #[test]
    fn the_data_ports_lead_to_the_bytes_of_the_register_addressed() {
        assert_eq!(by_ports(0x8000_2840, 0xcfc), Some((5, 0x40)));
        assert_eq!(by_ports(0x8000_2840, 0xcff), Some((5, 0x43)));
        assert_eq!(by_ports(0x8000_f8fc, 0xcfd), Some((31, 0xfd)));
    }

    #[test]
    fn nothing_is_addressed_while_disabled_on_other_buses_and_in_other_functions() {
        assert_eq!(by_ports(0x0000_2840, 0xcfc), None);
        assert_eq!(by_ports(0x8001_2840, 0xcfc), None);
        assert_eq!(by_ports(0x8000_2940, 0xcfc), None);
    }

    #[test]
    fn the_window_has_4_kib_for_each_function() {
        assert_eq!(by_ecam(0x0_0000), Some((0, 0)));
        assert_eq!(by_ecam(0xf_8ffc), Some((31, 0xffc)));
        assert_eq!(by_ecam(0x0_1000), None, "function 1");
        assert_eq!(by_ecam(ECAM_LEN_BYTES), None, "bus 1");
    }
}
