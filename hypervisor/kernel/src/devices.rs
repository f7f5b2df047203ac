//! The host's disks and network cards, in use.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::ByteSize;
use drivers::disk::{Disk, DiskGeometry, Unit};
use drivers::nvme::{Nvme, Readiness};
use iommu::HostDma;
use log::warn;
use machine::Mmio;
use machine::pci::{Address, DeviceVector};
use seams::SECTOR_BYTES;

/// One device with disks, and its driver.
pub struct DiskDevice {
    /// What its disks' names begin with: `nvme0`.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// How it interrupts; without a vector it is polled.
    pub vector: Option<DeviceVector>,
    /// Its driver.
    pub driver: Box<Nvme<Mmio, HostDma>>,
}

impl DiskDevice {
    /// Whether it can be used.
    pub fn readiness(&self) -> Readiness {
        self.driver.readiness()
    }

    /// Its disks: name, unit and shape.
    pub fn disks(&self) -> impl Iterator<Item = (String, Unit, DiskGeometry)> {
        self.driver.namespaces().iter().zip(0..).map(|(namespace, unit)| {
            (format!("{}n{}", self.name, namespace.id), Unit(unit), namespace.geometry)
        })
    }
}

/// All that are driven.
#[derive(Default)]
pub struct HostDevices {
    /// Those with disks.
    pub disks: Vec<DiskDevice>,
}

impl HostDevices {
    /// Adds an NVMe controller.
    pub fn add_nvme(
        &mut self,
        address: Address,
        vector: Option<DeviceVector>,
        driver: Box<Nvme<Mmio, HostDma>>,
    ) {
        let name = format!("nvme{}", self.disks.len());
        self.disks.push(DiskDevice { name, address, vector, driver });
    }

    /// A line for each disk and each card.
    pub fn lines(&self) -> Vec<String> {
        let disks = self.disks.iter().flat_map(|device| {
            device.disks().map(|(name, _, geometry)| {
                let DiskGeometry { sectors, block_bytes, .. } = geometry;
                let size = ByteSize(sectors.saturating_mul(SECTOR_BYTES));
                let how = if device.vector.is_some() { "" } else { ", polled" };
                format!("disk {name}: {size}, blocks of {block_bytes} bytes, PCI {}{how}", device.address)
            })
        });
        disks.collect()
    }

    /// Tells the log what has gone wrong with devices since the last call.
    pub fn tell_trouble(&mut self) {
        for device in &mut self.disks {
            if let Some(trouble) = device.driver.take_trouble() {
                warn!("{} at PCI {}: {trouble}", device.name, device.address);
            }
        }
    }
}
