//! Interrupts of functions: messages that write a vector to a local APIC.
//!
//! ```text
//! MSI-X   +0 id, next, control: 15 enable, 14 mask all, 10..0 entries - 1   +4 table: offset, 2..0 BAR   +8 pending bits
//!         table entry: address, upper address, data, control (bit 0 masked)
//! MSI     +0 id, next, control: 7 64-bit, 0 enable   +4 address   (+8 upper address)   +8 or +12 data
//! message address 0xFEE00000 | APIC id << 12, data: vector (fixed, edge)
//! ```
//! Each device that is driven gets one vector. Its handler does nothing: it has woken the CPU, whose loop
//! asks each device that is in use.
//!
//! Sources: PCI Local Bus 3.0, section 6.8; Intel SDM, volume 3, section 11.11.

use super::{Address, Capability, Command, ConfigSpace, PciError, capabilities};
use crate::vectors::{DEVICES, FIRST_DEVICE};
use base::{ApicId, Vector};
use seams::Registers;

const MSIX_ENABLE: u32 = 1 << 31;
const MSIX_MASK_ALL: u32 = 1 << 30;
const ENTRY_BYTES: usize = 16;
const MSI_ENABLE: u32 = 1 << 16;
const MSI_64: u32 = 1 << 23;
/// How many of the messages that it could send the function may: one.
const MSI_MULTIPLE: u32 = 0b111 << 20;
const MESSAGE_ADDRESS: u32 = 0xfee0_0000;

/// One of the vectors for devices, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceVector(u8);

impl DeviceVector {
    /// The `index`th; `None` when there are not so many.
    pub const fn new(index: u8) -> Option<Self> {
        if index < DEVICES { Some(Self(index)) } else { None }
    }

    const fn vector(self) -> Vector {
        Vector(FIRST_DEVICE.0 + self.0)
    }

    /// The device vector that `vector` is.
    pub(crate) const fn of(vector: Vector) -> Option<Self> {
        match vector.0.checked_sub(FIRST_DEVICE.0) {
            Some(index) => Self::new(index),
            None => None,
        }
    }
}

fn message_address(destination: ApicId) -> Result<u32, PciError> {
    let id = u8::try_from(destination.0).map_err(|_| PciError::DestinationTooWide(destination))?;
    Ok(MESSAGE_ADDRESS | u32::from(id) << 12)
}

fn turn_pin_off(config: &mut impl ConfigSpace, at: Address) {
    (Command::read(config, at) | Command::PIN_OFF).write(config, at);
}

fn find(config: &impl ConfigSpace, at: Address, id: u8) -> Option<u16> {
    capabilities(config, at).find(|capability| capability.id == id).map(|capability| capability.offset)
}

/// MSI-X of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    at: Address,
    capability: u16,
    /// How many entries the table has.
    pub entries: u16,
    /// The BAR that the table is in.
    pub table_bar: u8,
    table_offset: usize,
}

impl Msix {
    /// That of the function at `at`, if it has MSI-X.
    pub fn find(config: &impl ConfigSpace, at: Address) -> Option<Self> {
        let capability = find(config, at, Capability::MSIX)?;
        let table = config.read32(at, capability + 4);
        let entries = (config.read16(at, capability + 2) & 0x7ff) + 1;
        Some(Self {
            at,
            capability,
            entries,
            table_bar: (table & 7) as u8,
            table_offset: (table & !7) as usize,
        })
    }

    /// Lets entry 0 raise `vector` on the CPU with APIC id `destination`, and masks all others. `table` is the window on
    /// [`Msix::table_bar`].
    ///
    /// # Errors
    /// When the table does not keep what is written, or the CPU is out of reach.
    pub fn enable(
        &self,
        config: &mut impl ConfigSpace,
        table: &mut impl Registers,
        vector: DeviceVector,
        destination: ApicId,
    ) -> Result<(), PciError> {
        let address = message_address(destination)?;
        // Enabled but masked: some functions take writes to the table only then.
        let control = config.read32(self.at, self.capability) & !(MSIX_ENABLE | MSIX_MASK_ALL);
        config.write32(self.at, self.capability, control | MSIX_ENABLE | MSIX_MASK_ALL);
        for entry in 1..usize::from(self.entries) {
            table.write32(self.table_offset + entry * ENTRY_BYTES + 12, 1);
        }
        let entry = [address, 0, vector.vector().0.into(), 0];
        for (word, value) in entry.into_iter().enumerate() {
            table.write32(self.table_offset + word * 4, value);
        }
        if table.read32(self.table_offset) != address {
            config.write32(self.at, self.capability, control);
            return Err(PciError::BadTable);
        }
        config.write32(self.at, self.capability, control | MSIX_ENABLE);
        turn_pin_off(config, self.at);
        Ok(())
    }
}

/// MSI of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    at: Address,
    capability: u16,
}

impl Msi {
    /// That of the function at `at`, if it has MSI.
    pub fn find(config: &impl ConfigSpace, at: Address) -> Option<Self> {
        find(config, at, Capability::MSI).map(|capability| Self { at, capability })
    }

    /// Lets the function raise `vector` on the CPU with APIC id `destination`.
    ///
    /// # Errors
    /// When the CPU is out of reach.
    pub fn enable(
        &self,
        config: &mut impl ConfigSpace,
        vector: DeviceVector,
        destination: ApicId,
    ) -> Result<(), PciError> {
        let address = message_address(destination)?;
        let control = config.read32(self.at, self.capability) & !(MSI_ENABLE | MSI_MULTIPLE);
        config.write32(self.at, self.capability + 4, address);
        let data = if control & MSI_64 != 0 {
            config.write32(self.at, self.capability + 8, 0);
            self.capability + 12
        } else {
            self.capability + 8
        };
        config.write32(self.at, data, vector.vector().0.into());
        config.write32(self.at, self.capability, control | MSI_ENABLE);
        turn_pin_off(config, self.at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mmio;
    use crate::pci::testing::FakeConfig;

    const AT: Address = Address::new(0, 0, 4, 0);

    fn config(capability: &[u32]) -> FakeConfig {
        let mut config = FakeConfig::default();
        config.put(AT, 0, &[0x1234_8086, 0x0010_0006]);
        config.put(AT, 0x34, &[0x40]);
        config.put(AT, 0x40, capability);
        config
    }

    #[test]
    fn the_first_entry_of_the_table_gets_the_vector_and_the_others_are_masked() {
        let mut config = config(&[0x0002_0011, 0x10, 0]);
        let msix = Msix::find(&config, AT).unwrap();
        assert_eq!((msix.entries, msix.table_bar), (3, 0));
        let mut memory = [0_u32; 32];
        // SAFETY: an array that outlives the window stands in for registers.
        let mut table = unsafe { Mmio::new(memory.as_mut_ptr().expose_provenance(), 128) };
        msix.enable(&mut config, &mut table, DeviceVector::new(2).unwrap(), ApicId(3)).unwrap();
        let entry = [0, 4, 8, 12].map(|word| table.read32(0x10 + word));
        assert_eq!(entry, [0xfee0_3000, 0, 0x52, 0]);
        assert_eq!([1, 2].map(|entry| table.read32(0x10 + entry * 16 + 12)), [1, 1]);
        assert_eq!(config.read32(AT, 0x40), 0x8002_0011);
        assert!(Command::read(&config, AT).contains(Command::PIN_OFF | Command::BUS_MASTER));
    }

    #[test]
    fn a_table_outside_of_its_bar_is_refused_and_msix_left_off() {
        let mut config = config(&[0x0000_0011, 0xffff_fff8, 0]);
        let msix = Msix::find(&config, AT).unwrap();
        // SAFETY: a window without registers.
        let mut table = unsafe { Mmio::new(0x1000, 0) };
        let vector = DeviceVector::new(0).unwrap();
        assert_eq!(msix.enable(&mut config, &mut table, vector, ApicId(0)), Err(PciError::BadTable));
        assert_eq!(config.read32(AT, 0x40), 0x0000_0011);
        assert_eq!(
            msix.enable(&mut config, &mut table, vector, ApicId(256)),
            Err(PciError::DestinationTooWide(ApicId(256)))
        );
    }

    #[test]
    fn msi_has_its_data_behind_an_address_of_either_width() {
        for (control, data) in [(0x0000_0005, 0x48), (0x0080_0005, 0x4c)] {
            let mut config = config(&[control, 0, 0, 0]);
            let msi = Msi::find(&config, AT).unwrap();
            msi.enable(&mut config, DeviceVector::new(1).unwrap(), ApicId(0)).unwrap();
            assert_eq!((config.read32(AT, 0x44), config.read32(AT, data)), (0xfee0_0000, 0x51));
            assert_eq!(config.read32(AT, 0x40), control | MSI_ENABLE);
        }
    }

    #[test]
    fn devices_have_64_vectors() {
        let devices = [0x4f, 0x50, 0x8f, 0x90].map(|vector| DeviceVector::of(Vector(vector)).is_some());
        assert_eq!(devices, [false, true, true, false]);
    }
}
