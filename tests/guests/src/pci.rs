//! PCI by configuration mechanism #1 (PCI Local Bus 3.0, section 3.2.2.3.2): what is on bus 0.

use crate::cpu;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction, PciRoot};

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

/// The two ports.
#[derive(Debug)]
pub struct Ports;

impl Ports {
    fn select(device_function: DeviceFunction, register_offset: u8) {
        let DeviceFunction { bus, device, function } = device_function;
        let place = u32::from(bus) << 16 | u32::from(device) << 11 | u32::from(function) << 8;
        cpu::outl(ADDRESS, ENABLE | place | u32::from(register_offset & !3));
    }
}

impl ConfigurationAccess for Ports {
    fn read_word(&self, device_function: DeviceFunction, register_offset: u8) -> u32 {
        Self::select(device_function, register_offset);
        cpu::inl(DATA)
    }

    fn write_word(&mut self, device_function: DeviceFunction, register_offset: u8, data: u32) {
        Self::select(device_function, register_offset);
        cpu::outl(DATA, data);
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self
    }
}

/// The bus behind the ports.
pub fn root() -> PciRoot<Ports> {
    PciRoot::new(Ports)
}
