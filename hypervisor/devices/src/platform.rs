//! Where a VM's devices answer and which lines they drive: one table for the devices, the ACPI tables and `vmm`.

use crate::pci::Slot;
use base::{Gsi, Port};

/// The first serial line: 8 ports.
pub const COM1: Port = Port(0x3f8);
/// The serial line's interrupt.
pub const COM1_GSI: Gsi = Gsi(4);
/// The 8254's output 0. On the 8259A pair it is IR0 (ACPI 6.5, section 5.2.12.5: an interrupt source override).
pub const TIMER_GSI: Gsi = Gsi(2);
/// The real-time clock: index and data.
pub const RTC: Port = Port(0x70);
/// The real-time clock's interrupt.
pub const RTC_GSI: Gsi = Gsi(8);
/// The system control interrupt of ACPI: level-triggered, active high.
pub const SCI_GSI: Gsi = Gsi(9);
/// ACPI's PM1a event block: status and enable, 4 ports. The control block and the PM timer follow.
pub const PM1A_EVENT: Port = Port(0x600);
/// ACPI's PM1a control register: 2 ports.
pub const PM1A_CONTROL: Port = Port(0x604);
/// ACPI's PM timer: 4 ports.
pub const PM_TIMER: Port = Port(0x608);
/// The chipset's reset control register.
pub const RESET_CONTROL: Port = Port(0xcf9);
/// The debug exit port, when the configuration asks for it.
pub const DEBUG_EXIT: Port = Port(0xf4);
/// Guest-physical address of the IOAPIC's window.
pub const IOAPIC_BASE: u32 = 0xfec0_0000;
/// Size of the IOAPIC's window in bytes.
pub const IOAPIC_LEN_BYTES: u32 = 0x1000;
/// Guest-physical address of the local APICs' window after reset.
pub const LAPIC_BASE: u32 = 0xfee0_0000;
/// PCI's CONFIG_ADDRESS: 32 bits. The byte behind its first is [`RESET_CONTROL`].
pub const PCI_CONFIG_ADDRESS: Port = Port(0xcf8);
/// PCI's CONFIG_DATA: 4 ports.
pub const PCI_CONFIG_DATA: Port = Port(0xcfc);
/// Guest-physical address of PCI's memory window, where BARs are: from the end of low RAM to the ECAM window.
pub const PCI_MEMORY_BASE: u32 = 0xc000_0000;
/// Size of PCI's memory window in bytes.
pub const PCI_MEMORY_LEN_BYTES: u32 = PCI_ECAM_BASE - PCI_MEMORY_BASE;
/// Guest-physical address of PCI's ECAM window: configuration space of bus 0.
pub const PCI_ECAM_BASE: u32 = 0xe000_0000;
/// Size of the ECAM window in bytes.
pub const PCI_ECAM_LEN_BYTES: u32 = crate::pci::ECAM_LEN_BYTES;
/// Where PCI's interrupt pins arrive, level-triggered: two inputs that the 8259A pair has too, so that one routing
/// serves guests with and without an IOAPIC.
pub const PCI_GSIS: [Gsi; 2] = [Gsi(10), Gsi(11)];

/// Where pin A of `slot` arrives.
pub const fn pci_gsi(slot: Slot) -> Gsi {
    let [even, odd] = PCI_GSIS;
    if slot.number().is_multiple_of(2) { even } else { odd }
}
