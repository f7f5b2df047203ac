//! PCI for operating systems: the MCFG, and the DSDT's host bridge with its windows and its interrupt routing.
//!
//! Sources: PCI Firmware Specification 3.3, section 4.1.2 (MCFG); ACPI 6.5, section 6.2.13 (_PRT); PCI Firmware
//! Specification, section 4.1.3 (the ECAM window is a motherboard resource).

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::pci::Slot;
use crate::platform::{
    PCI_CONFIG_ADDRESS, PCI_ECAM_BASE, PCI_ECAM_LEN_BYTES, PCI_MEMORY_BASE, PCI_MEMORY_LEN_BYTES, pci_gsi,
};
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Memory32Fixed, Name, Package, PackageBuilder,
    Path, ResourceTemplate, ZERO,
};
use acpi_tables::{Aml, AmlSink, mcfg::MCFG};
use alloc::vec;

/// The only segment group and the only bus.
const SEGMENT: u16 = 0;
const BUS: u8 = 0;

/// CONFIG_ADDRESS and CONFIG_DATA.
const CONFIG_PORTS: u8 = 8;

/// Pin A in a routing entry.
const PIN_A: u8 = 0;
/// A routing entry's address: all functions of the slot in the high word.
const ALL_FUNCTIONS: u32 = 0xffff;

/// The MCFG: where configuration space is in memory.
pub(super) fn mcfg() -> MCFG {
    let mut mcfg = MCFG::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    mcfg.add_ecam(PCI_ECAM_BASE.into(), SEGMENT, BUS, BUS);
    mcfg
}

/// The host bridge, and the reservation of the ECAM window.
pub(super) fn devices(sink: &mut dyn AmlSink) {
    let express = Name::new(Path::new("_HID"), &EISAName::new("PNP0A08"));
    let conventional = Name::new(Path::new("_CID"), &EISAName::new("PNP0A03"));
    let zero = |name| Name::new(Path::new(name), &ZERO);
    let (uid, segment, bus) = (zero("_UID"), zero("_SEG"), zero("_BBN"));

    let buses = AddressSpace::new_bus_number(u16::from(BUS), u16::from(BUS));
    let ports = IO::new(PCI_CONFIG_ADDRESS.0, PCI_CONFIG_ADDRESS.0, 1, CONFIG_PORTS);
    let memory_end = PCI_MEMORY_BASE + (PCI_MEMORY_LEN_BYTES - 1);
    let memory = AddressSpace::new_memory(
        AddressSpaceCacheable::NotCacheable,
        true,
        PCI_MEMORY_BASE,
        memory_end,
        None,
    );
    let windows = ResourceTemplate::new(vec![&buses, &ports, &memory]);
    let windows = Name::new(Path::new("_CRS"), &windows);
    let routing = Name::new(Path::new("_PRT"), &routing());
    let children: [&dyn Aml; 7] = [&express, &conventional, &uid, &segment, &bus, &windows, &routing];
    Device::new(Path::new("PCI0"), children.to_vec()).to_aml_bytes(sink);

    let reserved = Name::new(Path::new("_HID"), &EISAName::new("PNP0C02"));
    let ecam = Memory32Fixed::new(true, PCI_ECAM_BASE, PCI_ECAM_LEN_BYTES);
    let ecam = Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&ecam]));
    Device::new(Path::new("ECAM"), vec![&reserved, &uid, &ecam]).to_aml_bytes(sink);
}

/// Where each slot's pin A arrives. No source is named: the index is a GSI, level-triggered and active low.
fn routing() -> PackageBuilder {
    let mut routing = PackageBuilder::new();
    for slot in (1..Slot::COUNT).filter_map(Slot::new) {
        let address = u32::from(slot.number()) << 16 | ALL_FUNCTIONS;
        let gsi = pci_gsi(slot).0;
        routing.add_element(&Package::new(vec![&address, &PIN_A, &ZERO, &gsi]));
    }
    routing
}
