//! The host's disks and network cards: found on PCI, given registers, memory and a vector, and started.
//!
//! ```text
//!   scan ─► a driver for it? ─► BARs mapped, a vector routed ─► driver ─► bus mastering on ─► ready, or told and left out
//! ```
//! All are started at once and waited for together, for [`READY_TIME`] at most: a broken device costs the boot that long and
//! nothing else. One that is left out may write to no memory any more.
//!
//! What makes a driver is not inlined: each is some KiB, and the stack of bring-up is never left.
//!
//! Unsafe because windows on device registers are made from what BARs and ACPI's tables say.

use super::board::Acpi;
use crate::devices::{Driven, HostDevices, switch_off};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use base::{ApicId, Instant, Nanoseconds, PhysRange};
use core::fmt;
use drivers::any::{AnyDisk, AnyNic};
use drivers::disk::Disk;
use drivers::e1000e;
use drivers::error::DeviceError;
use drivers::nic::Nic;
use drivers::virtio;
use drivers::{Readiness, Signal};
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
#[inline(never)]
pub fn start(memory: &'static SharedMemory, acpi: &Acpi, apic: ApicId, clock: &HostClock) -> HostDevices {
    let mut devices = HostDevices::new(config_space(memory, acpi));
    let mut functions = Vec::new();
    scan(&devices.config, |function| functions.push(function));
    info!("PCI: {} functions", functions.len());
    let mut finder = Finder { memory, apic, next_vector: 0, found: Found::default(), devices: &mut devices };
    for function in functions {
        if let Err(why) = finder.take(&function, clock.now()) {
            leave_out(&mut finder.devices.config, function.address, &why);
        }
    }
    await_ready(&mut devices, clock);
    devices.disk_lines().iter().chain(&devices.card_lines()).for_each(|line| info!("{line}"));
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

struct Finder<'a> {
    memory: &'static SharedMemory,
    apic: ApicId,
    next_vector: u8,
    found: Found,
    /// Where devices are put whose drivers have been made.
    devices: &'a mut HostDevices,
}

/// How many functions of each kind have been found, driven or not: one that is broken leaves its name to nobody, or a VM would
/// get another's disk or wire.
#[derive(Default)]
struct Found {
    nvme: u16,
    virtio_disks: u16,
    cards: u16,
}

/// The number of one more.
const fn one_more(count: &mut u16) -> u16 {
    let number = *count;
    *count = number.saturating_add(1);
    number
}

/// A function that was given what it needs: a window on its registers, and its way to interrupt.
struct Granted {
    registers: Mmio,
    vector: Option<DeviceVector>,
}

impl Granted {
    const fn signal(&self) -> Signal {
        if self.vector.is_some() { Signal::Interrupt } else { Signal::Polled }
    }
}

/// Which messages a driver knows how to ask its device for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Messages {
    /// MSI-X, or MSI where there is none.
    Any,
    /// MSI alone.
    Msi,
}

impl Finder<'_> {
    /// Starts the driver of `function`, if there is one.
    fn take(&mut self, function: &Function, now: Instant) -> Result<(), LeftOut> {
        if !function.is_endpoint() {
            return Ok(());
        }
        if function.class == Class::NVME {
            let number = one_more(&mut self.found.nvme);
            return self.take_nvme(function.address, number, now);
        }
        if let Some(family) = e1000e::Family::of(function) {
            let number = one_more(&mut self.found.cards);
            return self.take_e1000e(function.address, number, family, now);
        }
        match virtio::Kind::of(function) {
            Some(virtio::Kind::Block) => {
                let number = one_more(&mut self.found.virtio_disks);
                self.take_virtio_blk(function, number, now)
            }
            Some(virtio::Kind::Network) => {
                let number = one_more(&mut self.found.cards);
                self.take_virtio_net(function, number, now)
            }
            None => Ok(()),
        }
    }

    #[inline(never)]
    fn take_nvme(&mut self, at: Address, number: u16, now: Instant) -> Result<(), LeftOut> {
        let granted = self.grant(at, 0, Messages::Any)?;
        let (signal, vector) = (granted.signal(), granted.vector);
        let driver = AnyDisk::nvme(granted.registers, self.dma(), signal, now)?;
        self.let_reach_memory(at);
        let (name, driver) = (format!("nvme{number}"), Box::new(driver));
        self.devices.disks.push(Driven { name, address: at, vector, driver });
        Ok(())
    }

    #[inline(never)]
    fn take_virtio_blk(&mut self, function: &Function, number: u16, now: Instant) -> Result<(), LeftOut> {
        let place = virtio::Place::find(&self.devices.config, function)?;
        let granted = self.grant(function.address, place.bar, Messages::Any)?;
        let (signal, vector) = (granted.signal(), granted.vector);
        let driver = AnyDisk::virtio(granted.registers, place, self.dma(), signal, now);
        // After the 26th they are numbered.
        let letter =
            u8::try_from(number).ok().filter(|number| *number < 26).map(|number| char::from(b'a' + number));
        let name = letter.map_or_else(|| format!("vd{number}"), |letter| format!("vd{letter}"));
        self.let_reach_memory(function.address);
        let driver = Box::new(driver);
        self.devices.disks.push(Driven { name, address: function.address, vector, driver });
        Ok(())
    }

    #[inline(never)]
    fn take_virtio_net(&mut self, function: &Function, number: u16, now: Instant) -> Result<(), LeftOut> {
        let place = virtio::Place::find(&self.devices.config, function)?;
        let granted = self.grant(function.address, place.bar, Messages::Any)?;
        let (signal, vector) = (granted.signal(), granted.vector);
        let driver = AnyNic::virtio(granted.registers, place, self.dma(), signal, now);
        self.let_reach_memory(function.address);
        add_card(self.devices, function.address, number, vector, driver);
        Ok(())
    }

    #[inline(never)]
    fn take_e1000e(
        &mut self,
        at: Address,
        number: u16,
        family: e1000e::Family,
        now: Instant,
    ) -> Result<(), LeftOut> {
        let granted = self.grant(at, 0, Messages::Msi)?;
        let (signal, vector) = (granted.signal(), granted.vector);
        let driver = AnyNic::e1000e(granted.registers, family, self.dma(), signal, now)?;
        self.let_reach_memory(at);
        add_card(self.devices, at, number, vector, driver);
        Ok(())
    }

    const fn dma(&self) -> HostDma {
        HostDma::new(self.memory)
    }

    /// Maps BAR `index` of the function at `at`, and gives it a vector. One without MSI and MSI-X is polled: its pin is
    /// switched off.
    #[inline(never)]
    fn grant(&mut self, at: Address, index: u8, messages: Messages) -> Result<Granted, LeftOut> {
        let mut registers = self.map_bar(at, index)?;
        let command = Command::read(&self.devices.config, at);
        (command | Command::MEMORY | Command::PIN_OFF).write(&mut self.devices.config, at);
        let vector = self.route(at, index, messages, &mut registers)?;
        Ok(Granted { registers, vector })
    }

    /// Lets the function at `at` reach memory. Its driver has told it to stop by then: what firmware has left it to do must not
    /// begin again.
    fn let_reach_memory(&mut self, at: Address) {
        let command = Command::read(&self.devices.config, at);
        (command | Command::BUS_MASTER).write(&mut self.devices.config, at);
    }

    fn map_bar(&mut self, at: Address, index: u8) -> Result<Mmio, LeftOut> {
        let range = bar::memory(&mut self.devices.config, at, index)?;
        let mapped = PhysRange::new(range.start(), range.len_bytes().min(MAX_BAR_BYTES));
        map(self.memory, mapped.map_err(|_| PciError::BadBar(index))?).map_err(LeftOut::Map)
    }

    /// Routes the function's first message to this CPU. `registers` shows BAR `index`, where the table may be.
    fn route(
        &mut self,
        at: Address,
        index: u8,
        messages: Messages,
        registers: &mut Mmio,
    ) -> Result<Option<DeviceVector>, LeftOut> {
        let Some(vector) = DeviceVector::new(self.next_vector) else { return Ok(None) };
        if let Some(msix) = Msix::find(&self.devices.config, at).filter(|_| messages == Messages::Any) {
            if msix.table_bar == index {
                msix.enable(&mut self.devices.config, registers, vector, self.apic)?;
            } else {
                let mut table = self.map_bar(at, msix.table_bar)?;
                msix.enable(&mut self.devices.config, &mut table, vector, self.apic)?;
            }
        } else if let Some(msi) = Msi::find(&self.devices.config, at) {
            msi.enable(&mut self.devices.config, vector, self.apic)?;
        } else {
            return Ok(None);
        }
        self.next_vector += 1;
        Ok(Some(vector))
    }
}

/// Tells that a function is not driven, and takes its way to memory.
fn leave_out(config: &mut HostConfig, at: Address, why: &LeftOut) {
    warn!("PCI device {at} is not used: {why}");
    switch_off(config, at);
}

/// Steps the drivers until each is ready or has failed, and leaves out what is not ready in time. The memory of what is left
/// out stays pinned.
#[inline(never)]
fn await_ready(devices: &mut HostDevices, clock: &HostClock) {
    let until = clock.now().after(READY_TIME);
    let mut pending = true;
    while pending && clock.now() < until {
        for device in &mut devices.disks {
            // None has been given a command yet, so nothing completes.
            let _ = device.driver.poll(clock.now());
        }
        devices.cards.iter_mut().for_each(|card| card.driver.poll(clock.now()));
        let disks = devices.disks.iter().map(|device| device.driver.readiness());
        let cards = devices.cards.iter().map(|card| card.driver.readiness());
        pending = disks.chain(cards).any(|readiness| readiness == Readiness::Pending);
    }
    let HostDevices { config, disks, cards } = devices;
    let mut leave_out = |at: Address, trouble: Option<DeviceError>| {
        let trouble = trouble.unwrap_or(DeviceError::TooSlow("starting"));
        leave_out(config, at, &LeftOut::Device(trouble));
        false
    };
    // The trouble of one that is ready after all is told with that of its running.
    let is_ready = |readiness: Readiness| readiness == Readiness::Ready;
    disks.retain_mut(|disk| {
        is_ready(disk.driver.readiness()) || leave_out(disk.address, disk.driver.take_trouble())
    });
    cards.retain_mut(|card| {
        is_ready(card.driver.readiness()) || leave_out(card.address, card.driver.take_trouble())
    });
}

fn add_card(
    devices: &mut HostDevices,
    address: Address,
    number: u16,
    vector: Option<DeviceVector>,
    driver: AnyNic,
) {
    let name = format!("eth{number}");
    devices.cards.push(Driven { name, address, vector, driver: Box::new(driver) });
}
