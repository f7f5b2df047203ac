//! The host's disks and network cards: found on PCI, given registers, memory and a vector, and started.
//!
//! ```text
//!   scan ─► a driver for it? ─► BARs mapped, a vector routed, bus mastering on ─► driver ─► ready, or told and left out
//! ```
//! All are started at once and waited for together, for [`READY_TIME`] at most: a broken device costs the boot that long and
//! nothing else. One that is left out may write to no memory any more.
//!
//! Unsafe because windows on device registers are made from what BARs and ACPI's tables say.

use super::board::Acpi;
use crate::devices::HostDevices;
use alloc::boxed::Box;
use alloc::vec::Vec;
use base::{ApicId, Instant, Nanoseconds, PhysRange};
use core::fmt;
use drivers::disk::Disk;
use drivers::error::DeviceError;
use drivers::nvme::{Nvme, Readiness, Signal};
use iommu::HostDma;
use log::{info, warn};
use machine::Mmio;
use machine::clock::HostClock;
use machine::pci::config::ecam_range;
use machine::pci::{
    Address, Class, Command, ConfigPorts, DeviceVector, Ecam, Function, HostConfig, Msi, Msix, PciError, bar,
    scan,
};
use memory::{HostMemoryError, SharedMemory};
use seams::Clock;

/// How long the devices may take to get ready, all together.
const READY_TIME: Nanoseconds = Nanoseconds::from_secs(30);
/// What is mapped of a BAR at most; no device that is driven here has registers further up.
const MAX_BAR_BYTES: u64 = 16 * base::MIB;

/// Why a device is left out.
enum LeftOut {
    Pci(PciError),
    Map(HostMemoryError),
    Device(DeviceError),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(error) => error.fmt(f),
            Self::Map(error) => write!(f, "its registers cannot be mapped: {error}"),
            Self::Device(error) => error.fmt(f),
        }
    }
}

impl From<PciError> for LeftOut {
    fn from(error: PciError) -> Self {
        Self::Pci(error)
    }
}

impl From<DeviceError> for LeftOut {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

/// Finds the host's devices and starts those that there are drivers for.
pub fn start(memory: &'static SharedMemory, acpi: &Acpi, apic: ApicId, clock: &HostClock) -> HostDevices {
    let mut finder = Finder { memory, config: config_space(memory, acpi), apic, next_vector: 0 };
    let mut functions = Vec::new();
    scan(&finder.config, |function| functions.push(function));
    info!("PCI: {} functions", functions.len());
    let mut devices = HostDevices::default();
    for function in functions {
        if let Err(why) = finder.take(&function, &mut devices, clock.now()) {
            finder.leave_out(&function.address, &why);
        }
    }
    finder.await_ready(&mut devices, clock);
    devices
}

/// Configuration space: by memory where ACPI's tables name it, else by ports.
fn config_space(memory: &'static SharedMemory, acpi: &Acpi) -> HostConfig {
    let mut ecam = Ecam::default();
    for window in acpi.config_windows() {
        match ecam_range(window).map(|range| map(memory, range)) {
            Some(Ok(registers)) => ecam.add(*window, registers),
            Some(Err(error)) => warn!("PCI: the configuration space at {} is left out: {error}", window.base),
            None => warn!("PCI: there is no memory at {} for configuration space", window.base),
        }
    }
    if !ecam.is_empty() {
        return HostConfig::Ecam(ecam);
    }
    // SAFETY: this is the one value, made once at boot; drivers name memory of `iommu::dma` alone to devices.
    HostConfig::Ports(unsafe { ConfigPorts::new() })
}

fn map(memory: &'static SharedMemory, range: PhysRange) -> Result<Mmio, HostMemoryError> {
    let window = memory.lock().map_device(range)?;
    // SAFETY: `map_device` maps no memory in use, uncached, for ever; each range gets one window. Drivers name memory of
    // `iommu::dma` alone to devices.
    Ok(unsafe { Mmio::new(window.address, window.len_bytes) })
}

struct Finder {
    memory: &'static SharedMemory,
    config: HostConfig,
    apic: ApicId,
    next_vector: u8,
}

/// A function that was given what it needs: a window on its registers, and its way to interrupt.
struct Granted {
    registers: Mmio,
    vector: Option<DeviceVector>,
}

impl Finder {
    /// Starts the driver of `function`, if there is one.
    fn take(&mut self, function: &Function, devices: &mut HostDevices, now: Instant) -> Result<(), LeftOut> {
        if !function.is_endpoint() || function.class != Class::NVME {
            return Ok(());
        }
        let at = function.address;
        let Granted { registers, vector } = self.grant(at, 0)?;
        let signal = if vector.is_some() { Signal::Interrupt } else { Signal::Polled };
        let driver = Nvme::take_over(registers, HostDma::new(self.memory), signal, now)?;
        devices.add_nvme(at, vector, Box::new(driver));
        Ok(())
    }

    /// Maps BAR `index` of the function at `at`, lets it reach memory, and gives it a vector. One without MSI and MSI-X is
    /// polled: its pin is switched off.
    fn grant(&mut self, at: Address, index: u8) -> Result<Granted, LeftOut> {
        let mut registers = self.map_bar(at, index)?;
        let command = Command::read(&self.config, at);
        (command | Command::MEMORY | Command::BUS_MASTER | Command::PIN_OFF).write(&mut self.config, at);
        let vector = self.route(at, index, &mut registers)?;
        Ok(Granted { registers, vector })
    }

    fn map_bar(&mut self, at: Address, index: u8) -> Result<Mmio, LeftOut> {
        let range = bar::memory(&mut self.config, at, index)?;
        let mapped = PhysRange::new(range.start(), range.len_bytes().min(MAX_BAR_BYTES));
        map(self.memory, mapped.map_err(|_| PciError::BadBar(index))?).map_err(LeftOut::Map)
    }

    /// Routes the function's first message to this CPU. `registers` shows BAR `index`, where the table may be.
    fn route(
        &mut self,
        at: Address,
        index: u8,
        registers: &mut Mmio,
    ) -> Result<Option<DeviceVector>, LeftOut> {
        let Some(vector) = DeviceVector::new(self.next_vector) else { return Ok(None) };
        if let Some(msix) = Msix::find(&self.config, at) {
            if msix.table_bar == index {
                msix.enable(&mut self.config, registers, vector, self.apic)?;
            } else {
                let mut table = self.map_bar(at, msix.table_bar)?;
                msix.enable(&mut self.config, &mut table, vector, self.apic)?;
            }
        } else if let Some(msi) = Msi::find(&self.config, at) {
            msi.enable(&mut self.config, vector, self.apic)?;
        } else {
            return Ok(None);
        }
        self.next_vector += 1;
        Ok(Some(vector))
    }

    /// Tells that a function is not driven, and takes its way to memory.
    fn leave_out(&mut self, at: &Address, why: &LeftOut) {
        warn!("PCI device {at} is not used: {why}");
        Command::read(&self.config, *at).difference(Command::BUS_MASTER).write(&mut self.config, *at);
    }

    /// Steps the drivers until each is ready or has failed, and leaves out what is not ready in time.
    fn await_ready(&mut self, devices: &mut HostDevices, clock: &HostClock) {
        let until = clock.now().after(READY_TIME);
        let mut pending = true;
        while pending && clock.now() < until {
            pending = false;
            for device in &mut devices.disks {
                // None has been given a command yet, so nothing completes.
                let _ = device.driver.poll(clock.now());
                pending |= device.readiness() == Readiness::Pending;
            }
        }
        devices.disks.retain_mut(|device| {
            if device.readiness() == Readiness::Ready {
                return true;
            }
            let trouble = device.driver.take_trouble().unwrap_or(DeviceError::TooSlow("starting"));
            self.leave_out(&device.address, &LeftOut::Device(trouble));
            false
        });
        devices.lines().iter().for_each(|line| info!("{line}"));
    }
}
