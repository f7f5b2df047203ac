//! FADT: the registers of power management, reset and the PM timer.
//!
//! Each register is given twice: as a port number, and from ACPI 2.0 on as a generic address, which counts when it is
//! not zero. Source: ACPI 6.5, section 5.2.9 (table 5.9) and 5.2.3.2 (generic address structure).

use super::table::{AcpiError, Signature, Table, u8_at, u16_at, u32_at, u64_at};
use base::{Hpa, Port};

/// The length of the first version, which every later one contains.
const V1_BYTES: usize = 116;

/// Offsets in the table.
mod offset {
    pub const DSDT: usize = 40;
    pub const SMI_COMMAND: usize = 48;
    pub const ACPI_ENABLE: usize = 52;
    pub const PM1A_CONTROL: usize = 64;
    pub const PM1B_CONTROL: usize = 68;
    pub const PM_TIMER: usize = 76;
    pub const BOOT_ARCHITECTURE: usize = 109;
    pub const FLAGS: usize = 112;
    pub const RESET_REGISTER: usize = 116;
    pub const RESET_VALUE: usize = 128;
    pub const X_DSDT: usize = 140;
    pub const X_PM1A_CONTROL: usize = 172;
    pub const X_PM1B_CONTROL: usize = 184;
    pub const X_PM_TIMER: usize = 208;
}

const FLAG_PM_TIMER_32_BITS: u32 = 1 << 8;
const FLAG_RESET_REGISTER: u32 = 1 << 10;
const FLAG_HARDWARE_REDUCED: u32 = 1 << 20;
const BOOT_HAS_8042: u16 = 1 << 1;
/// The revision from which the boot-architecture flags mean something.
const REVISION_2: u8 = 2;

/// Where a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterSpace {
    /// In physical memory.
    Memory(Hpa),
    /// At a port.
    Port(Port),
    /// In the configuration space of a device on PCI bus 0.
    PciConfig {
        /// The device.
        device: u8,
        /// Its function.
        function: u8,
        /// The register's offset.
        offset: u16,
    },
}

impl RegisterSpace {
    /// Reads a generic address structure: space, width, offset, access size, address.
    pub(super) fn generic(bytes: &[u8], at: usize) -> Option<Self> {
        let address = u64_at(bytes, at.checked_add(4)?)?;
        if address == 0 {
            return None;
        }
        match u8_at(bytes, at)? {
            0 => Hpa::new(address).ok().map(Self::Memory),
            1 => u16::try_from(address).ok().map(|port| Self::Port(Port(port))),
            2 => {
                let byte = |shift: u32| u16::try_from(address >> shift & 0xffff).unwrap_or_default();
                let (device, function) = (u8::try_from(byte(32)).ok()?, u8::try_from(byte(16)).ok()?);
                Some(Self::PciConfig { device, function, offset: byte(0) })
            }
            _ => None,
        }
    }

    /// The port, if it is one.
    pub const fn port(self) -> Option<Port> {
        match self {
            Self::Port(port) => Some(port),
            Self::Memory(_) | Self::PciConfig { .. } => None,
        }
    }
}

/// How wide the PM timer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PmTimerWidth {
    /// 24 bits: it wraps every 4.7 s.
    Bits24,
    /// 32 bits.
    Bits32,
}

/// A port at which a byte switches the board from legacy to ACPI mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcpiEnable {
    /// The SMI command port.
    pub port: Port,
    /// What to write.
    pub value: u8,
}

/// What the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fadt {
    /// Where the DSDT is.
    pub dsdt: Hpa,
    /// How ACPI mode is entered; `None` when the board knows no other.
    pub enable: Option<AcpiEnable>,
    /// PM1a control: takes the sleep type.
    pub pm1a_control: Option<Port>,
    /// PM1b control, where the chipset has two.
    pub pm1b_control: Option<Port>,
    /// The PM timer.
    pub pm_timer: Option<(Port, PmTimerWidth)>,
    /// The register and the byte that reset the machine.
    pub reset: Option<(RegisterSpace, u8)>,
    /// Whether there is a keyboard controller.
    pub has_8042: bool,
    /// Whether the fixed registers are absent by design.
    pub hardware_reduced: bool,
}

impl Fadt {
    /// Reads the table.
    ///
    /// # Errors
    /// When it is shorter than its first version, or its DSDT lies outside the address space.
    pub fn parse(table: Table<'_>) -> Result<Self, AcpiError> {
        let bytes = table.bytes();
        if bytes.len() < V1_BYTES {
            return Err(AcpiError::TooShort(Signature::FADT));
        }
        let flags = u32_at(bytes, offset::FLAGS).unwrap_or(0);
        let revision = u8_at(bytes, 8).unwrap_or(0);
        let boot = u16_at(bytes, offset::BOOT_ARCHITECTURE).unwrap_or(0);
        let long_dsdt = u64_at(bytes, offset::X_DSDT).filter(|&address| address != 0);
        let short_dsdt = u32_at(bytes, offset::DSDT).unwrap_or(0);
        let width =
            if flags & FLAG_PM_TIMER_32_BITS == 0 { PmTimerWidth::Bits24 } else { PmTimerWidth::Bits32 };
        Ok(Self {
            dsdt: super::table::address(long_dsdt.unwrap_or(short_dsdt.into()))?,
            enable: acpi_enable(bytes),
            pm1a_control: port(bytes, offset::PM1A_CONTROL, offset::X_PM1A_CONTROL),
            pm1b_control: port(bytes, offset::PM1B_CONTROL, offset::X_PM1B_CONTROL),
            pm_timer: port(bytes, offset::PM_TIMER, offset::X_PM_TIMER).map(|port| (port, width)),
            reset: reset(bytes).filter(|_| flags & FLAG_RESET_REGISTER != 0),
            has_8042: revision < REVISION_2 || boot & BOOT_HAS_8042 != 0,
            hardware_reduced: flags & FLAG_HARDWARE_REDUCED != 0,
        })
    }
}

/// A register that is a port, in its extended form if that is given, else in the short one.
fn port(bytes: &[u8], short: usize, extended: usize) -> Option<Port> {
    let extended = RegisterSpace::generic(bytes, extended).and_then(RegisterSpace::port);
    let short = u32_at(bytes, short).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0);
    extended.or(short.map(Port))
}

fn acpi_enable(bytes: &[u8]) -> Option<AcpiEnable> {
    let port = u16::try_from(u32_at(bytes, offset::SMI_COMMAND)?).ok()?;
    let value = u8_at(bytes, offset::ACPI_ENABLE)?;
    (port != 0 && value != 0).then_some(AcpiEnable { port: Port(port), value })
}

fn reset(bytes: &[u8]) -> Option<(RegisterSpace, u8)> {
    let register = RegisterSpace::generic(bytes, offset::RESET_REGISTER)?;
    Some((register, u8_at(bytes, offset::RESET_VALUE)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi::tests::table;
    use proptest::prelude::*;

    /// A FADT of `len` bytes with `fields` written at their offsets.
    fn fadt(len: usize, fields: &[(usize, &[u8])]) -> Result<Fadt, AcpiError> {
        let mut bytes = table(b"FACP", &std::vec![0; len - 36]);
        fields.iter().for_each(|&(at, value)| bytes[at..][..value.len()].copy_from_slice(value));
        Fadt::parse(Table::unchecked(&bytes))
    }

    #[test]
    fn the_first_version_gives_ports_in_short_form() {
        let fadt = fadt(
            116,
            &[
                (40, &[0, 0, 0x10, 0]),
                (48, &[0xb2, 0, 0, 0, 0xf1]),
                (64, &[0x04, 0xb0, 0, 0]),
                (76, &[0x08, 0xb0, 0, 0]),
            ],
        );
        let fadt = fadt.unwrap();
        assert_eq!(fadt.dsdt.as_u64(), 0x10_0000);
        assert_eq!(fadt.enable, Some(AcpiEnable { port: Port(0xb2), value: 0xf1 }));
        assert_eq!((fadt.pm1a_control, fadt.pm1b_control), (Some(Port(0xb004)), None));
        assert_eq!(fadt.pm_timer, Some((Port(0xb008), PmTimerWidth::Bits24)));
        assert!(fadt.has_8042 && fadt.reset.is_none());
    }

    #[test]
    fn extended_addresses_win_and_flags_say_what_they_are_good_for() {
        let fadt = fadt(
            276,
            &[
                (8, &[6]),
                (64, &[0x04, 0xb0, 0, 0]),
                (112, &[0, 0x05, 0, 0]),
                (116, &[1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0, 0x0f]),
                (140, &[0, 0, 0, 0, 1, 0, 0, 0]),
                (172, &[1, 16, 0, 2, 0x04, 0x06, 0, 0, 0, 0, 0, 0]),
                (208, &[1, 32, 0, 3, 0x08, 0x06, 0, 0, 0, 0, 0, 0]),
            ],
        );
        let fadt = fadt.unwrap();
        assert_eq!(fadt.dsdt.as_u64(), 1 << 32);
        assert_eq!(fadt.pm1a_control, Some(Port(0x604)));
        assert_eq!(fadt.pm_timer, Some((Port(0x608), PmTimerWidth::Bits32)));
        assert_eq!(fadt.reset, Some((RegisterSpace::Port(Port(0xcf9)), 0x0f)));
        assert!(!fadt.has_8042);
    }

    #[test]
    fn a_reset_register_without_its_flag_does_not_count() {
        let fadt = fadt(132, &[(116, &[1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0, 6])]);
        assert_eq!(fadt.unwrap().reset, None);
    }

    #[test]
    fn a_pci_register_names_its_device() {
        let bytes = [2, 8, 0, 0, 0x44, 0, 3, 0, 0x1f, 0, 0, 0];
        let register = RegisterSpace::generic(&bytes, 0);
        assert_eq!(register, Some(RegisterSpace::PciConfig { device: 0x1f, function: 3, offset: 0x44 }));
    }

    #[test]
    fn a_short_table_is_refused_by_name() {
        assert_eq!(fadt(115, &[]), Err(AcpiError::TooShort(Signature::FADT)));
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Fadt::parse(Table::unchecked(&bytes));
        }
    }
}
