//! A virtio device as a PCI function: the transport's registers joined with a device of some type.

use super::{Effect, Found, Traits, Transport};
use crate::cx::Cx;
use crate::device::{Access, Device, WindowAccess, WindowOffset};
use crate::pci::{Place, Slot};
use crate::virtio::VirtioDevice;

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
            device_id: device.device_id(),
            class: device.class(),
            queue_count: device.queue_count(),
            features: device.features(),
            dependencies: device.dependencies(),
            config_len: device.config_len(),
        };
        Self { transport: Transport::new(traits, slot), device }
    }

    /// The registers.
    #[inline]
    pub const fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The registers, and the device behind them.
    pub const fn parts_mut(&mut self) -> (&mut Transport, &mut D) {
        (&mut self.transport, &mut self.device)
    }

    fn read_device_config(&self, access: WindowAccess) -> u32 {
        let WindowOffset(offset) = access.at;
        let mut bytes = [0; 4];
        if let Some(bytes) = bytes.get_mut(..access.width.bytes().into()) {
            self.device.read_config(offset, bytes);
        }
        u32::from_le_bytes(bytes)
    }

    #[cold]
    fn carry_out(&mut self, effect: Effect, value: u32) {
        match effect {
            Effect::None => {}
            Effect::Reset => self.device.reset(),
            Effect::Accepted(features) => self.device.features_accepted(features),
            Effect::DeviceConfig(Access { at: WindowOffset(offset), width }) => {
                let bytes = value.to_le_bytes();
                self.device.write_config(offset, bytes.get(..width.bytes().into()).unwrap_or_default());
            }
        }
    }
}

impl<D: VirtioDevice> Device for VirtioFunction<D> {
    type Address = Place;

    fn read(&mut self, _cx: &mut impl Cx, access: Access<Place>) -> u32 {
        match self.transport.read(access) {
            Found::Value(value) => value,
            Found::DeviceConfig(access) => self.read_device_config(access),
        }
    }

    #[inline]
    fn write(&mut self, cx: &mut impl Cx, access: Access<Place>, value: u32) {
        let effect = self.transport.write(cx, access, value);
        if effect != Effect::None {
            self.carry_out(effect, value);
        }
    }

    fn reset(&mut self, _cx: &mut impl Cx) {
        self.transport.power_on();
        self.device.reset();
    }
}
