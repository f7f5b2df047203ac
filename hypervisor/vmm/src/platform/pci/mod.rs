//! The PCI bus: which function answers which access, and where its interrupt pin arrives.
//!
//! Slot 0 is the host bridge; devices are in slots 1 and up, in the order of [`crate::Settings::devices`].
//!
//! Invariants: `windows` is what the functions decode, and within `decoded`; `doorbells` are pages in it; a line is asserted
//! while the pin of a function on it is.

mod device;
mod doorbells;
#[cfg(test)]
mod tests;

pub use device::{Model, PciDevice};

use crate::platform::{Claim, Fabric};
use alloc::vec::Vec;
use base::Gpa;
use core::ops::Range;
use devices::pci::{ABSENT, BARS, ConfigAccess, HostBridge, Place, Slot, ecam_target};
use devices::virtio::net::{ConfigChange, Link};
use devices::virtio::{Broken, Transport};
use devices::{Access, Cx, Device, PortAccess, Width, WindowAccess, WindowOffset, platform as place};
use doorbells::Doorbells;
use seams::Level;
use vcpu::Wanted;

/// The most devices that a VM can have on PCI.
pub const DEVICES_MAX: usize = Slot::COUNT as usize - 1;

/// A BAR that is decoded.
#[derive(Clone, Copy, Debug)]
struct Window {
    address: u32,
    len_bytes: u32,
    slot: Slot,
    bar: u8,
}

/// A register in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// In the ECAM window.
    Ecam(WindowOffset),
    /// In a device's BAR: its slot, the BAR's number and the offset in it.
    Bar(Slot, u8, WindowOffset),
}

/// A set of slots, as an iterator over them: a bit for each that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots(u32);

impl Slots {
    /// Whether `slot` is one of them.
    #[inline]
    pub const fn has(self, slot: Slot) -> bool {
        self.0 & bit(slot) != 0
    }
}

impl Iterator for Slots {
    type Item = Slot;

    #[inline]
    fn next(&mut self) -> Option<Slot> {
        let first = Slot::new(self.0.trailing_zeros() as u8)?;
        self.0 &= !bit(first);
        Some(first)
    }
}

/// The bus.
#[derive(Default)]
pub struct PciBus {
    bridge: HostBridge,
    /// The device in slot n + 1.
    devices: Vec<PciDevice>,
    windows: Vec<Window>,
    /// From the first of them to the end of the last.
    decoded: Range<u32>,
    doorbells: Doorbells,
    /// Bit n: the device in slot n has queues to be run.
    kicked: u32,
}

impl PciBus {
    /// The bus after power-on; of `models` the first [`DEVICES_MAX`] have a slot.
    pub fn new(models: Vec<Model>) -> Self {
        let mut bus = Self::default();
        bus.devices.reserve_exact(models.len());
        // All the room that is ever needed: nothing is allocated when a guest moves BARs.
        bus.windows.reserve_exact(models.len() * BARS);
        for (n, model) in models.into_iter().take(DEVICES_MAX).enumerate() {
            bus.devices.push(PciDevice::new(model, slot_of(n)));
        }
        bus.follow_bars();
        bus
    }

    /// Returns to the state after power-on.
    pub fn reset(&mut self, fabric: &mut Fabric) {
        self.bridge.reset(fabric);
        for device in &mut self.devices {
            device.reset(fabric);
        }
        self.kicked = 0;
        self.follow_bars();
        self.drive_lines(fabric);
    }

    /// Whether any device has queues to be run.
    #[inline]
    pub const fn is_kicked(&self) -> bool {
        self.kicked != 0
    }

    /// The devices that have queues to be run.
    #[inline]
    pub const fn kicked(&self) -> Slots {
        Slots(self.kicked)
    }

    /// What has a register at `gpa`.
    #[inline]
    pub fn target(&self, gpa: Gpa) -> Option<Target> {
        let address = u32::try_from(gpa.as_u64()).ok()?;
        if let Some(offset) = address.checked_sub(place::PCI_ECAM_BASE) {
            return (offset < place::PCI_ECAM_LEN_BYTES).then_some(Target::Ecam(WindowOffset(offset)));
        }
        if !self.decoded.contains(&address) {
            return None;
        }
        self.windows.iter().find_map(|window| {
            let offset = address.checked_sub(window.address).filter(|offset| *offset < window.len_bytes)?;
            Some(Target::Bar(window.slot, window.bar, WindowOffset(offset)))
        })
    }

    /// Takes a write of one register at `gpa`, if it is a kick: what drivers do most, and all that they do when all is set up.
    /// That drives no pin and takes no time.
    #[inline]
    pub fn ring(&mut self, gpa: Gpa) -> Claim {
        let Some((slot, offset)) = self.doorbells.find(gpa) else { return Claim::Unclaimed };
        let device = usize::from(slot.number()).checked_sub(1).and_then(|n| self.devices.get_mut(n));
        let Some(device) = device else { return Claim::Unclaimed };
        let (transport, _) = device.parts_mut();
        transport.ring(offset);
        if transport.kicked() != 0 {
            self.kicked |= bit(slot);
        }
        Claim::Claimed
    }

    /// Reads 1, 2, 4 or 8 bytes; eight are two registers of four, the lower one first.
    pub fn read_memory(&mut self, fabric: &mut Fabric, target: Target, size_bytes: u8) -> u64 {
        match Width::from_bytes(size_bytes) {
            Some(width) => self.read(fabric, target, width).into(),
            None => {
                let low = self.read(fabric, target, Width::Dword);
                u64::from(low) | u64::from(self.read(fabric, target.next(), Width::Dword)) << 32
            }
        }
    }

    /// Writes 1, 2, 4 or 8 bytes; eight are two registers of four, the lower one first.
    #[inline]
    pub fn write_memory(&mut self, fabric: &mut Fabric, target: Target, size_bytes: u8, value: u64) {
        match Width::from_bytes(size_bytes) {
            Some(width) => self.write(fabric, target, width, value as u32),
            None => {
                self.write(fabric, target, Width::Dword, value as u32);
                self.write(fabric, target.next(), Width::Dword, (value >> 32) as u32);
            }
        }
    }

    fn read(&mut self, fabric: &mut Fabric, target: Target, width: Width) -> u32 {
        match target {
            Target::Ecam(at) => self.read_config(fabric, ecam_target(Access { at, width })),
            Target::Bar(slot, bar, at) => {
                self.read_device(fabric, slot, Access { at: Place::Bar(bar, at), width })
            }
        }
    }

    fn write(&mut self, fabric: &mut Fabric, target: Target, width: Width, value: u32) {
        match target {
            Target::Ecam(at) => self.write_config(fabric, ecam_target(Access { at, width }), value),
            Target::Bar(slot, bar, at) => {
                self.write_device(fabric, slot, Access { at: Place::Bar(bar, at), width }, value);
            }
        }
    }

    /// Reads CONFIG_ADDRESS or CONFIG_DATA.
    pub fn read_port(&mut self, fabric: &mut Fabric, access: PortAccess) -> u32 {
        if access.at < place::PCI_CONFIG_DATA {
            return self.bridge.read_address(access);
        }
        self.read_config(fabric, self.bridge.target(access))
    }

    /// Writes CONFIG_ADDRESS or CONFIG_DATA.
    pub fn write_port(&mut self, fabric: &mut Fabric, access: PortAccess, value: u32) {
        if access.at < place::PCI_CONFIG_DATA {
            return self.bridge.write_address(access, value);
        }
        self.write_config(fabric, self.bridge.target(access), value);
    }

    fn read_config(&mut self, fabric: &mut Fabric, access: Option<ConfigAccess>) -> u32 {
        match access {
            None => ABSENT,
            Some(ConfigAccess { slot: Slot::HOST_BRIDGE, register }) => self.bridge.read(fabric, register),
            Some(ConfigAccess { slot, register }) => self.read_device(fabric, slot, in_config(register)),
        }
    }

    fn write_config(&mut self, fabric: &mut Fabric, access: Option<ConfigAccess>, value: u32) {
        match access {
            None => {}
            Some(ConfigAccess { slot: Slot::HOST_BRIDGE, register }) => {
                self.bridge.write(fabric, register, value)
            }
            Some(ConfigAccess { slot, register }) => {
                self.write_device(fabric, slot, in_config(register), value);
                self.follow_bars();
            }
        }
    }

    fn read_device(&mut self, fabric: &mut Fabric, slot: Slot, access: Access<Place>) -> u32 {
        self.with_device(fabric, slot, |device, fabric| device.read(fabric, access)).unwrap_or(ABSENT)
    }

    fn write_device(&mut self, fabric: &mut Fabric, slot: Slot, access: Access<Place>, value: u32) {
        self.with_device(fabric, slot, |device, fabric| device.write(fabric, access, value));
    }

    /// Lets the device in `slot` do something, and follows what that changes: its kicks and its pin.
    #[inline]
    pub fn with_device<T>(
        &mut self,
        fabric: &mut Fabric,
        slot: Slot,
        act: impl FnOnce(&mut PciDevice, &mut Fabric) -> T,
    ) -> Option<T> {
        let device = self.devices.get_mut(usize::from(slot.number()).checked_sub(1)?)?;
        let before = device.transport().pin();
        let done = act(device, fabric);
        if device.transport().kicked() == 0 {
            self.kicked &= !bit(slot);
        } else {
            self.kicked |= bit(slot);
        }
        if device.transport().pin() != before {
            self.drive_lines(fabric);
        }
        Some(done)
    }

    /// Lets the queues of the device in `slot` be run if its driver wants it to work; tells whether it does.
    pub fn kick(&mut self, fabric: &mut Fabric, slot: Slot) -> Wanted {
        self.with_device(fabric, slot, |device, _| device.parts_mut().0.kick(0));
        self.wants(slot)
    }

    /// Whether there is a device in `slot` whose driver wants it to work.
    pub fn wants(&self, slot: Slot) -> Wanted {
        let device = usize::from(slot.number()).checked_sub(1).and_then(|n| self.devices.get(n));
        let is_running = device.is_some_and(|device| device.transport().is_running());
        if is_running { Wanted::Yes } else { Wanted::No }
    }

    /// Gives the network device in `slot` the link `link`, and tells its driver if that is new to it.
    #[cold]
    pub fn set_link(&mut self, fabric: &mut Fabric, slot: Slot, link: Link) {
        self.with_device(fabric, slot, |device, fabric| {
            if let (transport, Model::Net(net)) = device.parts_mut()
                && net.set_link(link) == ConfigChange::Changed
            {
                transport.config_changed(fabric);
            }
        });
    }

    /// Why a device came to need a reset, if that was not told yet.
    pub fn take_broken(&mut self) -> Option<(Slot, Broken)> {
        for (n, device) in self.devices.iter_mut().enumerate() {
            if let Some(broken) = device.parts_mut().0.take_broken() {
                return Some((slot_of(n), broken));
            }
        }
        None
    }

    /// Drives each line as the pins on it stand.
    #[cold]
    fn drive_lines(&self, fabric: &mut Fabric) {
        for gsi in place::PCI_GSIS {
            let mut pins = self.devices.iter().enumerate();
            let asserted = pins.any(|(n, device)| {
                place::pci_gsi(slot_of(n)) == gsi && device.transport().pin() == Level::Asserted
            });
            fabric.set_line(gsi, if asserted { Level::Asserted } else { Level::Deasserted });
        }
    }

    /// Learns what the functions decode. The first one wins where two decode the same.
    fn follow_bars(&mut self) {
        self.windows.clear();
        self.decoded = Range::default();
        for (n, device) in self.devices.iter().enumerate() {
            let function = device.transport().function();
            for number in 0..BARS {
                let Some(bar) = function.decoded(number) else { continue };
                let (address, len_bytes) = (bar.address(), bar.len_bytes());
                // The host bridge passes nothing on but its own window.
                let is_inside = address >= place::PCI_MEMORY_BASE
                    && u64::from(address) + u64::from(len_bytes) <= u64::from(place::PCI_ECAM_BASE);
                if is_inside {
                    let end = address.saturating_add(len_bytes);
                    let Range { start, end: last } = self.decoded.clone();
                    self.decoded =
                        if start == last { address..end } else { start.min(address)..last.max(end) };
                    self.windows.push(Window { address, len_bytes, slot: slot_of(n), bar: number as u8 });
                }
            }
        }
        self.doorbells = Doorbells::default();
        for window in &self.windows {
            let Some(WindowOffset(offset)) = Transport::doorbells(window.bar) else { continue };
            let page = Gpa::from_low_bits(u64::from(window.address) + u64::from(offset));
            let target = Target::Bar(window.slot, window.bar, WindowOffset(offset));
            if self.target(page) == Some(target) {
                self.doorbells.put(page, window.slot);
            }
        }
    }
}

impl Target {
    /// The register behind this one, of four bytes.
    const fn next(self) -> Self {
        match self {
            Self::Ecam(WindowOffset(offset)) => Self::Ecam(WindowOffset(offset.wrapping_add(4))),
            Self::Bar(slot, bar, WindowOffset(offset)) => {
                Self::Bar(slot, bar, WindowOffset(offset.wrapping_add(4)))
            }
        }
    }
}

/// The slot of device `n`.
const fn slot_of(n: usize) -> Slot {
    Slot::from_low_bits((n as u8).wrapping_add(1))
}

const fn bit(slot: Slot) -> u32 {
    1 << (slot.number() & 31)
}

const fn in_config(register: WindowAccess) -> Access<Place> {
    Access { at: Place::Config(register.at), width: register.width }
}
