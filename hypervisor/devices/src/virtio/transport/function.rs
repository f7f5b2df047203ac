//! A virtio device as a PCI function: the transport's registers joined with a device of some type.

use super::capabilities::{DEVICE, NOTIFY, NOTIFY_MULTIPLIER, WINDOW_DATA};
use super::{Effect, Traits, Transport};
use crate::cx::Cx;
use crate::device::{Access, Device, WindowAccess, WindowOffset};
use crate::pci::{ABSENT, MSIX_BAR, Place, Slot};
use crate::virtio::VirtioDevice;

/// The BAR with the transport's registers.
const REGISTERS_BAR: u8 = 0;
const MSIX_BAR_NUMBER: u8 = MSIX_BAR as u8;

/// A virtio device in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtioFunction<D> {
    pub(super) transport: Transport,
    pub(super) device: D,
}

impl<D: VirtioDevice> VirtioFunction<D> {
    /// The function of `device` in `slot` after power-on.
    pub fn new(device: D, slot: Slot) -> Self {
        let traits = Traits {
            device_id: D::DEVICE_ID,
            class: D::CLASS,
            queue_count: device.queue_count(),
            features: device.features(),
            dependencies: D::DEPENDENCIES,
            config_len: device.config_len(),
        };
        Self { transport: Transport::new(traits, slot), device }
    }

    /// The registers.
    pub const fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The registers, and the device behind them.
    pub const fn parts_mut(&mut self) -> (&mut Transport, &mut D) {
        (&mut self.transport, &mut self.device)
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Reset => self.device.reset(),
            Effect::Accepted(features) => self.device.features_accepted(features),
        }
    }

    fn read_registers(&mut self, access: WindowAccess) -> u32 {
        let WindowOffset(offset) = access.at;
        if !(DEVICE..NOTIFY).contains(&offset) {
            return self.transport.read_register(access);
        }
        let mut bytes = [0; 4];
        if let Some(bytes) = bytes.get_mut(..access.width.bytes().into()) {
            self.device.read_config(offset - DEVICE, bytes);
        }
        u32::from_le_bytes(bytes)
    }

    fn write_registers(&mut self, cx: &mut impl Cx, access: WindowAccess, value: u32) {
        let WindowOffset(offset) = access.at;
        if let Some(from_first) = offset.checked_sub(NOTIFY) {
            return self.transport.kick((from_first / NOTIFY_MULTIPLIER) as u16);
        }
        if offset >= DEVICE {
            let bytes = value.to_le_bytes();
            let bytes = bytes.get(..access.width.bytes().into()).unwrap_or_default();
            return self.device.write_config(offset - DEVICE, bytes);
        }
        let effect = self.transport.write_register(cx, access, value);
        self.carry_out(effect);
    }

    fn read_window(&mut self) -> u32 {
        self.transport.window.target().map_or(0, |access| self.read_bar(access))
    }

    fn write_window(&mut self, cx: &mut impl Cx, value: u32) {
        if let Some(access) = self.transport.window.target() {
            self.write_bar(cx, access, value);
        }
    }

    fn read_bar(&mut self, access: Access<Place>) -> u32 {
        let Access { at: Place::Bar(bar, at), width } = access else { return ABSENT };
        match bar {
            REGISTERS_BAR => self.read_registers(Access { at, width }),
            MSIX_BAR_NUMBER => self.transport.read_msix(Access { at, width }),
            _ => ABSENT,
        }
    }

    fn write_bar(&mut self, cx: &mut impl Cx, access: Access<Place>, value: u32) {
        let Access { at: Place::Bar(bar, at), width } = access else { return };
        match bar {
            REGISTERS_BAR => self.write_registers(cx, Access { at, width }, value),
            MSIX_BAR_NUMBER => self.transport.write_msix(cx, Access { at, width }, value),
            _ => {}
        }
    }
}

impl<D: VirtioDevice> Device for VirtioFunction<D> {
    type Address = Place;

    fn read(&mut self, _cx: &mut impl Cx, access: Access<Place>) -> u32 {
        match access.at {
            Place::Bar(..) => self.read_bar(access),
            Place::Config(at) if at.0 == WINDOW_DATA => self.read_window(),
            Place::Config(at) => self.transport.read_config(Access { at, width: access.width }),
        }
    }

    fn write(&mut self, cx: &mut impl Cx, access: Access<Place>, value: u32) {
        match access.at {
            Place::Bar(..) => self.write_bar(cx, access, value),
            Place::Config(at) if at.0 == WINDOW_DATA => self.write_window(cx, value),
            Place::Config(at) => {
                self.transport.write_config(cx, Access { at, width: access.width }, value);
            }
        }
    }

    fn reset(&mut self, _cx: &mut impl Cx) {
        self.transport.power_on();
        self.device.reset();
    }
}
