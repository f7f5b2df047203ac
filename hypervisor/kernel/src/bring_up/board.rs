//! The host's board: what its ACPI tables say, its interrupt controllers, and the line of its serial console.
//!
//! Unsafe because windows on device registers are made from what the tables say.

use alloc::vec::Vec;
use base::{ApicId, Hpa, PhysRange, Port};
use config::Console;
use core::fmt;
use drivers::power::PowerRegisters;
use handoff::Handoff;
use iommu::Units;
use log::{info, warn};
use machine::acpi::madt::Line as InterruptLine;
use machine::acpi::mcfg::ConfigWindow;
use machine::acpi::spcr::SerialInterrupt;
use machine::acpi::{AcpiError, Fadt, Madt, Mcfg, Spcr, Tables};
use machine::apic::LocalApic;
use machine::clock::PmTimerPort;
use machine::cpu::Cpu;
use machine::ioapic::IoApic;
use machine::serial::COM_PORTS;
use machine::{GrantedPorts, Mmio, PerCpu, PortRange, pic, vectors};
use memory::{HostMemoryError, SharedMemory, Views};

use crate::line::Line;

/// The 8259s' ports.
const PIC_PORTS: [PortRange; 2] = [PortRange::new(Port(0x20), 2), PortRange::new(Port(0xa0), 2)];
/// The registers of a local APIC or an IOAPIC, in bytes.
const APIC_WINDOW_BYTES: u64 = base::PAGE_BYTES;

/// What the kernel wants to know of ACPI's tables. A table that is missing or broken is told, and done without.
pub struct Acpi {
    madt: Result<Madt, AcpiError>,
    fadt: Result<Fadt, AcpiError>,
    spcr: Result<Spcr, AcpiError>,
    power: PowerRegisters,
    iommus: Units,
    mcfg: Option<Mcfg>,
}

impl Acpi {
    /// Reads the tables that the handoff's RSDP leads to.
    pub fn read(memory: &'static SharedMemory, handoff: &Handoff) -> Self {
        let views = Views::new(memory);
        let sight = |address: Hpa, len: usize| views.bytes(address, len);
        let tables = match handoff
            .rsdp
            .ok_or(AcpiError::NoRsdp(Hpa::ZERO))
            .and_then(|rsdp| Tables::find(rsdp, &sight))
        {
            Ok(tables) => tables,
            Err(error) => return Self::without(error),
        };
        let fadt = tables.fadt();
        let power =
            fadt.map(|fadt| PowerRegisters::from_acpi(&fadt, tables.sleep_types_s5(&fadt, &sight).ok()));
        Self {
            madt: tables.madt(),
            fadt,
            spcr: tables.spcr(),
            power: power.unwrap_or_default(),
            iommus: Units::discover(&tables),
            mcfg: tables.mcfg().ok(),
        }
    }

    fn without(error: AcpiError) -> Self {
        Self {
            madt: Err(error),
            fadt: Err(error),
            spcr: Err(error),
            power: PowerRegisters::default(),
            iommus: Units::default(),
            mcfg: None,
        }
    }

    /// Tells the log what the tables say.
    pub fn report(&self) {
        match &self.madt {
            Ok(madt) => info!("ACPI: {} CPUs (one is used), {} IOAPICs", madt.cpus.len(), madt.ioapics.len()),
            Err(error) => warn!("ACPI: {error}"),
        }
        if let Err(error) = &self.fadt {
            warn!("ACPI: {error}");
        }
    }

    /// Tells the log which IOMMUs there are.
    pub fn report_iommus(&self) {
        info!("IOMMU: {}", self.iommus);
        self.iommus.found.iter().for_each(|unit| info!("IOMMU: {unit}"));
    }

    /// Where configuration space is in memory; nowhere on a host without MCFG.
    pub fn config_windows(&self) -> &[ConfigWindow] {
        self.mcfg.as_ref().map_or(&[], |mcfg| mcfg.windows.as_slice())
    }

    /// Where the PM timer is.
    pub fn pm_timer(&self) -> Option<PmTimerPort> {
        self.fadt.ok().and_then(|fadt| fadt.pm_timer).map(PmTimerPort::from)
    }

    /// The registers of the power switch.
    pub fn power(&self) -> PowerRegisters {
        self.power
    }

    fn isa_line(&self, irq: u8) -> Option<InterruptLine> {
        self.madt.as_ref().ok().map(|madt| madt.isa_line(irq))
    }

    /// How the console's UART raises its interrupt.
    fn console_line(&self, console: Console) -> Option<InterruptLine> {
        match (console.port(), self.spcr) {
            (Some(port), _) => {
                let (_, irq) = COM_PORTS.into_iter().find(|(com, _)| *com == port)?;
                self.isa_line(irq)
            }
            (None, Ok(spcr)) => match spcr.interrupt {
                SerialInterrupt::Isa(irq) => self.isa_line(irq),
                // On ISA a line is edge triggered and active high; SPCR knows nothing else of a GSI.
                SerialInterrupt::Gsi(gsi) => u8::try_from(gsi.0).ok().and_then(|irq| self.isa_line(irq)),
                SerialInterrupt::None => None,
            },
            (None, Err(_)) => None,
        }
    }
}

/// The port of the console's UART.
pub fn console_port(console: Console, acpi: &Acpi) -> Option<Port> {
    let by_spcr = || {
        let spcr = acpi.spcr.ok().filter(|spcr| spcr.is_16550);
        spcr.and_then(|spcr| spcr.address).and_then(|address| address.port())
    };
    console.port().or_else(by_spcr)
}

/// Why the board cannot be driven.
#[derive(Debug)]
pub enum BoardError {
    /// A window on registers could not be mapped.
    Window(&'static str, HostMemoryError),
    /// The local APIC is in a mode that CPUID does not show.
    HiddenX2Apic,
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window(what, error) => write!(f, "the registers of the {what} cannot be mapped: {error}"),
            Self::HiddenX2Apic => f.write_str(
                "the local APIC is in x2APIC mode, which this CPU does not show: enable x2APIC in the firmware's setup",
            ),
        }
    }
}

/// The interrupt controllers, ours.
pub struct Board {
    pub apic: &'static LocalApic,
    ioapics: Vec<IoApic>,
}

impl Board {
    /// Silences the 8259s and takes over local APIC and IOAPICs.
    pub fn take_over(memory: &'static SharedMemory, cpu: &Cpu, acpi: &Acpi) -> Result<Self, BoardError> {
        pic::disable(&mut GrantedPorts::new(PIC_PORTS));
        let local = match LocalApic::x2apic(cpu) {
            Some(apic) => apic,
            None => {
                let base = LocalApic::xapic_base().ok_or(BoardError::HiddenX2Apic)?;
                LocalApic::xapic(window(memory, "local APIC", base)?)
            }
        };
        let apic = PerCpu::boot_cpu().apic.call_once(|| local);
        info!("local APIC: id {}, {}", apic.id().0, if apic.is_x2apic() { "x2APIC" } else { "xAPIC" });
        let entries = acpi.madt.as_ref().map(|madt| madt.ioapics.as_slice()).unwrap_or_default();
        let ioapics = entries
            .iter()
            .map(|entry| Ok(IoApic::take_over(window(memory, "IOAPIC", entry.base)?, entry.first)))
            .collect::<Result<_, BoardError>>()?;
        Ok(Self { apic, ioapics })
    }

    /// Lets the console's UART interrupt this CPU. Without a line that can be routed the line is polled by the loop.
    pub fn route_console(&mut self, console: Console, acpi: &Acpi, line: &mut Line) {
        let id: ApicId = self.apic.id();
        let routed = acpi.console_line(console).and_then(|interrupt| {
            let ioapic = self.ioapics.iter_mut().find(|ioapic| ioapic.serves(interrupt.gsi))?;
            ioapic.route(interrupt, vectors::SERIAL, id).ok()
        });
        match routed {
            Some(()) => line.serial.enable_interrupts(),
            None => warn!("console: no interrupt for its UART is known; it is polled"),
        }
    }
}

fn window(memory: &'static SharedMemory, what: &'static str, base: Hpa) -> Result<Mmio, BoardError> {
    let too_wide = |_| BoardError::Window(what, HostMemoryError::OutOfAddresses);
    let range = PhysRange::new(base, APIC_WINDOW_BYTES).map_err(too_wide)?;
    let mapped = memory.lock().map_device(range).map_err(|error| BoardError::Window(what, error))?;
    // SAFETY: `map_device` maps no memory in use, uncached, for ever; each controller gets one window.
    Ok(unsafe { Mmio::new(mapped.address, mapped.len_bytes) })
}
