//! The host's disks and network cards, in use.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::ByteSize;
use drivers::Readiness;
use drivers::any::{AnyDisk, AnyNic};
use drivers::disk::{Disk, DiskGeometry, Unit};
use drivers::error::DeviceError;
use drivers::nic::{Link, Nic};
use log::warn;
use machine::pci::{Address, Command, DeviceVector, HostConfig};
use seams::{Clock, SECTOR_BYTES};

/// A device's driver, and what the host knows of the device.
pub struct Driven<D> {
    /// Its name: `nvme0`, `vda`, `eth0`.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// How it interrupts; without a vector it is polled.
    pub vector: Option<DeviceVector>,
    /// Its driver.
    pub driver: Box<D>,
}

/// A device with disks.
pub type DiskDevice = Driven<AnyDisk>;
/// A network card.
pub type Card = Driven<AnyNic>;

impl DiskDevice {
    /// Its disks: name, unit and shape.
    pub fn disks(&self) -> Vec<(String, Unit, DiskGeometry)> {
        match &*self.driver {
            AnyDisk::Nvme(nvme) => {
                let namespaces = nvme.namespaces().iter().zip(0..);
                let named = namespaces.map(|(namespace, unit)| {
                    (format!("{}n{}", self.name, namespace.id), Unit(unit), namespace.geometry)
                });
                named.collect()
            }
            AnyDisk::Virtio(disk) => {
                let geometry = disk.geometry(Unit(0));
                geometry.into_iter().map(|geometry| (self.name.clone(), Unit(0), geometry)).collect()
            }
        }
    }
}

/// All that are driven, in the order of their places on PCI.
pub struct HostDevices {
    /// Where they can be switched off.
    pub config: HostConfig,
    /// Those with disks.
    pub disks: Vec<DiskDevice>,
    /// Network cards.
    pub cards: Vec<Card>,
}

impl HostDevices {
    /// None as yet.
    pub const fn new(config: HostConfig) -> Self {
        Self { config, disks: Vec::new(), cards: Vec::new() }
    }

    /// A line for each disk: name, size, place.
    pub fn disk_lines(&self) -> Vec<String> {
        let disks = self.disks.iter().flat_map(|device| {
            device.disks().into_iter().map(move |(name, _, geometry)| {
                let DiskGeometry { sectors, block_bytes, .. } = geometry;
                let size = ByteSize(sectors.saturating_mul(SECTOR_BYTES));
                format!("disk {name}: {size}, blocks of {block_bytes} bytes, {}", place(device))
            })
        });
        disks.collect()
    }

    /// A line for each card: name, address, link, place.
    pub fn card_lines(&self) -> Vec<String> {
        let cards = self.cards.iter().map(|card| {
            let link = match card.driver.link() {
                Link::Up => "up",
                Link::Down => "down",
            };
            format!("nic {}: {}, link {link}, {}", card.name, card.driver.mac(), place(card))
        });
        cards.collect()
    }

    /// Shuts the disks down before the power goes. Each says in time that it is off, or fails.
    #[cold]
    pub fn shut_down(&mut self, clock: &impl Clock) {
        for device in &mut self.disks {
            device.driver.shut_down(clock.now());
            while device.driver.readiness() == Readiness::Pending {
                // What was in flight ends here, and nobody waits for it.
                let _ = device.driver.poll(clock.now());
            }
        }
        self.tell_trouble();
    }

    /// Tells the log what has gone wrong with devices since the last call. One that has failed for good loses its way to
    /// memory: nobody knows what it still does.
    pub fn tell_trouble(&mut self) {
        for device in &mut self.disks {
            let trouble = device.driver.take_trouble();
            tell(device, trouble, device.driver.readiness(), &mut self.config);
        }
        for card in &mut self.cards {
            let trouble = card.driver.take_trouble();
            tell(card, trouble, card.driver.readiness(), &mut self.config);
        }
    }
}

#[inline(never)]
fn tell<D>(device: &Driven<D>, trouble: Option<DeviceError>, readiness: Readiness, config: &mut HostConfig) {
    let Some(trouble) = trouble else { return };
    warn!("{} at PCI {}: {trouble}", device.name, device.address);
    if readiness == Readiness::Failed {
        switch_off(config, device.address);
    }
}

/// Takes a function's way to memory.
pub fn switch_off(config: &mut HostConfig, at: Address) {
    Command::read(config, at).difference(Command::BUS_MASTER).write(config, at);
}

fn place<D>(device: &Driven<D>) -> String {
    let how = if device.vector.is_some() { "" } else { ", polled" };
    format!("PCI {}{how}", device.address)
}
