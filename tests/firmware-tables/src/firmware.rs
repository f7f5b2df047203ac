//! The program's half that talks to firmware and hardware. Unsafe: see the program's root.

use alloc::vec::Vec;
use firmware_tables::{HPET, IOAPIC, Machine, tables};
use uefi::fs::FileSystem;
use uefi::proto::acpi::AcpiTable;
use uefi::proto::pi::mp::MpServices;
use uefi::{Result, Status, boot, cstr16, println};
use x86_64::registers::model_specific::Msr;

/// IA32_FEATURE_CONTROL (Intel SDM 325462, volume 3, section 24.7) and its bit that locks it.
const FEATURE_CONTROL: u32 = 0x3a;
const LOCKED: u64 = 1;

#[uefi::entry]
fn main() -> Status {
    match complete() {
        Ok(()) => println!("firmware-tables: the ACPI tables are installed"),
        Err(error) => println!("firmware-tables: failed: {}", error.status()),
    }
    // Any failure makes firmware go on with its next boot entry.
    Status::NOT_FOUND
}

fn complete() -> Result {
    let protocol = boot::open_protocol_exclusive::<AcpiTable>(boot::get_handle_for_protocol::<AcpiTable>()?)?;
    for table in tables(&machine()?) {
        // SAFETY: the table is complete, and firmware copies it (EDK II, `AcpiTableProtocol.c`, `AddTableToList`).
        unsafe { protocol.install_acpi_table(table.as_ptr().cast(), table.len())? };
    }
    if is_virtualization_off()? {
        // SAFETY: every processor that is asked for this has the register, unlocked after reset; the lock changes
        // nothing but that VMXON is refused.
        unsafe { Msr::new(FEATURE_CONTROL).write(LOCKED) };
        println!("firmware-tables: VT-x is switched off and locked");
    }
    Ok(())
}

fn machine() -> Result<Machine> {
    let mp = boot::open_protocol_exclusive::<MpServices>(boot::get_handle_for_protocol::<MpServices>()?)?;
    let count = mp.get_number_of_processors()?.total;
    let processors: Result<Vec<u8>> =
        (0..count).map(|number| Ok(mp.get_processor_info(number)?.processor_id as u8)).collect();
    // The id is register 0, bits 27 to 24; the index register at the base selects it (82093AA datasheet, 3.2.1).
    write_register(IOAPIC, 0);
    let ioapic_id = (read_register(IOAPIC + 0x10) >> 24) as u8 & 0xf;
    Ok(Machine { processors: processors?, ioapic_id, hpet_id: read_register(HPET) })
}

fn is_virtualization_off() -> Result<bool> {
    let mut files = FileSystem::new(boot::get_image_file_system(boot::image_handle())?);
    files.try_exists(cstr16!("\\LOCKVMX")).map_err(|_| Status::DEVICE_ERROR.into())
}

fn read_register(address: u32) -> u32 {
    // SAFETY: the caller names a register of a device that Bochs always has, which firmware maps at its own address.
    unsafe { (address as usize as *const u32).read_volatile() }
}

fn write_register(address: u32, value: u32) {
    // SAFETY: as for reading; the only register written is an index, which is used by nobody else meanwhile.
    unsafe { (address as usize as *mut u32).write_volatile(value) }
}
