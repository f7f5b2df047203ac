//! The host bridge: the function in slot 0, and the ports that lead to every function's configuration space.
//!
//! | port | register |
//! |---|---|
//! | 0xCF8 | CONFIG_ADDRESS, only as 32 bits: enable 31, bus 23:16, device 15:11, function 10:8, register 7:2 |
//! | 0xCFC-0xCFF | CONFIG_DATA: the bytes of that register |
//!
//! Byte 0xCF9 is the chipset's reset control register, as on a PC. The bridge's identity is QEMU's generic PCI Express
//! host bridge, which no driver binds to and no quirk knows.
//!
//! Source: PCI 3.2.2.3.2.

use super::address::ConfigAddress;
use super::{
    ABSENT, BARS, Bar, CONFIG_END, Cause, ConfigAccess, Header, HeaderState, Identity, InterruptPin, Lanes,
};
use crate::cx::Cx;
use crate::device::{Access, Device, PortAccess, Width, WindowOffset};
use crate::platform::PCI_CONFIG_ADDRESS;
use base::state::{SavedState, StateError};
use minicbor::{Decode, Encode};

const IDENTITY: Identity = Identity {
    vendor: 0x1b36,
    device: 0x0008,
    revision: 0,
    class: 0x06_0000,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
    pin: InterruptPin::None,
    capabilities: 0,
};

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HostBridgeState {
    #[n(0)]
    address: ConfigAddress,
    #[n(1)]
    header: HeaderState,
}

/// The host bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostBridge {
    address: ConfigAddress,
    header: Header,
}

impl Default for HostBridge {
    fn default() -> Self {
        Self::new()
    }
}

impl HostBridge {
    /// The bridge after power-on.
    pub const fn new() -> Self {
        Self { address: ConfigAddress::new(0), header: Header::new(IDENTITY, [Bar::ABSENT; BARS], 0) }
    }

    /// Reads CONFIG_ADDRESS.
    pub fn read_address(&self, access: PortAccess) -> u32 {
        if is_address(access) { self.address.value() } else { ABSENT }
    }

    /// Writes CONFIG_ADDRESS.
    pub fn write_address(&mut self, access: PortAccess, value: u32) {
        if is_address(access) {
            self.address = ConfigAddress::new(value);
        }
    }

    /// What an access to CONFIG_DATA means.
    pub fn target(&self, access: PortAccess) -> Option<ConfigAccess> {
        self.address.target(access)
    }
}

/// The registers of its own configuration space.
impl Device for HostBridge {
    type Address = WindowOffset;

    fn read(&mut self, _cx: &mut impl Cx, register: Access<WindowOffset>) -> u32 {
        Lanes::of(register).map_or(ABSENT, |lanes| match lanes.register {
            0..CONFIG_END => lanes.take(self.header.read(lanes.register, Cause::Absent)),
            _ => lanes.take(ABSENT),
        })
    }

    fn write(&mut self, _cx: &mut impl Cx, register: Access<WindowOffset>, value: u32) {
        if let Some(lanes) = Lanes::of(register) {
            let old = self.header.read(lanes.register, Cause::Absent);
            self.header.write(lanes.register, lanes.merge(old, value));
        }
    }

    fn reset(&mut self, _cx: &mut impl Cx) {
        *self = Self::new();
    }
}

fn is_address(access: PortAccess) -> bool {
    access.at == PCI_CONFIG_ADDRESS && access.width == Width::Dword
}

impl SavedState for HostBridge {
    const SECTION: &'static str = "pci-host-bridge";
    const VERSION: u16 = 1;
    type Image = HostBridgeState;

    fn save(&self) -> HostBridgeState {
        HostBridgeState { address: self.address, header: self.header.save() }
    }

    fn load(&mut self, image: HostBridgeState) -> Result<(), StateError> {
        if !image.address.is_sound() {
            return Err(StateError::OutOfRange { section: Self::SECTION, field: "address" });
        }
        self.header = self.header.loaded(&image.header, Self::SECTION)?;
        self.address = image.address;
        Ok(())
    }
}
