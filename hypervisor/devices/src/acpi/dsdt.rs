//! The DSDT: devices that no bus enumerates, PCI's host bridge, and how to power off (5.2.11.1). It holds no method, only data.

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID, Platform, pci};
use crate::acpi_pm::SLEEP_TYPE_S5;
use crate::platform::{COM1, COM1_GSI, RTC, RTC_GSI};
use acpi_tables::aml::{Device, EISAName, IO, Name, Package, Path, ResourceTemplate, Scope, ZERO};
use acpi_tables::{Aml, AmlSink, sdt::Sdt};
use alloc::{format, vec, vec::Vec};
use base::{Gsi, Port};

/// Revision 2 and up: integers of 64 bits.
const REVISION: u8 = 2;
const HEADER_LEN_BYTES: u32 = 36;

/// The interrupt of an ISA device: edge-triggered, active high, not shared (IRQ descriptor without flags, 6.4.2.1).
struct IsaInterrupt(Gsi);

impl Aml for IsaInterrupt {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        const IRQ_NO_FLAGS: u8 = 0x22;
        sink.byte(IRQ_NO_FLAGS);
        sink.word(1u16.checked_shl(self.0.0).unwrap_or(0));
    }
}

/// An ISA device with `len` ports and one interrupt.
fn isa_device(sink: &mut dyn AmlSink, name: &str, hid: &str, Port(first): Port, len: u8, interrupt: Gsi) {
    let (ports, interrupt) = (IO::new(first, first, 0, len), IsaInterrupt(interrupt));
    let resources = ResourceTemplate::new(vec![&ports, &interrupt]);
    let hid = Name::new(Path::new("_HID"), &EISAName::new(hid));
    let uid = Name::new(Path::new("_UID"), &ZERO);
    let crs = Name::new(Path::new("_CRS"), &resources);
    Device::new(Path::new(name), vec![&hid, &uid, &crs]).to_aml_bytes(sink);
}

/// The processor whose local APIC has the UID `uid` in the MADT.
fn processor(sink: &mut dyn AmlSink, uid: u16) {
    // Names have four characters: C and three digits in base 16.
    let name = format!("C{:03X}", uid & 0xfff);
    let hid = Name::new(Path::new("_HID"), &"ACPI0007");
    let uid = Name::new(Path::new("_UID"), &uid);
    Device::new(Path::new(&name), vec![&hid, &uid]).to_aml_bytes(sink);
}

/// Bytes that are AML already.
struct Ready(Vec<u8>);

impl Aml for Ready {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// The whole table.
pub(super) fn build(platform: &Platform) -> Vec<u8> {
    let mut devices = Vec::new();
    for uid in 0..platform.vcpus {
        processor(&mut devices, uid);
    }
    isa_device(&mut devices, "COM1", "PNP0501", COM1, 8, COM1_GSI);
    isa_device(&mut devices, "RTC_", "PNP0B00", RTC, 2, RTC_GSI);
    pci::devices(&mut devices);
    // The sleep type for PM1a; there is no PM1b; two fields are reserved (7.4.2.6).
    let s5 = Name::new(Path::new("_S5_"), &Package::new(vec![&SLEEP_TYPE_S5, &ZERO, &ZERO, &ZERO]));
    let mut aml = Vec::new();
    s5.to_aml_bytes(&mut aml);
    Scope::new(Path::new("_SB_"), vec![&Ready(devices)]).to_aml_bytes(&mut aml);
    let mut dsdt = Sdt::new(*b"DSDT", HEADER_LEN_BYTES, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    dsdt.append_slice(&aml);
    dsdt.as_slice().to_vec()
}
