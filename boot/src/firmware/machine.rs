//! What firmware knows about the machine. `unsafe` only to look at protocols that others have open.

use super::console::Console;
use super::cpu;
use alloc::vec::Vec;
use base::Hpa;
use boot::Failure;
use boot::entropy::{Entropy, Pool};
use boot::memory_map::Descriptor;
use boot::wall_clock::CalendarTime;
use handoff::EntropySource;
use uefi::Guid;
use uefi::boot::MemoryType;
use uefi::mem::memory_map::MemoryMap;
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::rng::Rng;
use uefi::table::cfg::ConfigTableEntry;

/// Random bytes asked of each source.
const ENTROPY_BYTES: usize = 64;

/// The load options of the boot entry, empty if there are none.
pub(crate) fn load_options() -> Vec<u8> {
    let image = uefi::boot::open_protocol_exclusive::<LoadedImage>(uefi::boot::image_handle());
    let options = image.ok().and_then(|image| image.load_options_as_bytes().map(<[u8]>::to_vec));
    options.unwrap_or_default()
}

/// ACPI's RSDP; the one of ACPI 2.0 and later if there is a choice.
pub(crate) fn rsdp() -> Option<Hpa> {
    table(&ConfigTableEntry::ACPI2_GUID).or_else(|| table(&ConfigTableEntry::ACPI_GUID))
}

/// The SMBIOS entry point; the 64-bit one if there is a choice.
pub(crate) fn smbios() -> Option<Hpa> {
    table(&ConfigTableEntry::SMBIOS3_GUID).or_else(|| table(&ConfigTableEntry::SMBIOS_GUID))
}

fn table(guid: &Guid) -> Option<Hpa> {
    uefi::system::with_config_table(|entries| {
        let entry = entries.iter().find(|entry| entry.guid == *guid)?;
        Hpa::new(entry.address as u64).ok().filter(|address| *address != Hpa::ZERO)
    })
}

/// Firmware's clock, if it works.
pub(crate) fn wall_clock_s() -> Option<u64> {
    let time = uefi::runtime::get_time().ok()?;
    let calendar = CalendarTime {
        year: time.year(),
        month: time.month(),
        day: time.day(),
        hour: time.hour(),
        minute: time.minute(),
        second: time.second(),
        zone_minutes: time.time_zone(),
    };
    calendar.unix_seconds()
}

/// Randomness from all sources; says so when there is no good one.
pub(crate) fn entropy(console: &mut Console) -> Entropy {
    let mut pool = Pool::default();
    pool.add(EntropySource::Timing, &cpu::time_stamp().to_le_bytes());
    pool.add(EntropySource::Timing, &wall_clock_s().unwrap_or(0).to_le_bytes());
    let mut bytes = [0; ENTROPY_BYTES];
    if firmware_random(&mut bytes).is_some() {
        pool.add(EntropySource::Firmware, &bytes);
    }
    if cpu::hardware_random(&mut bytes).is_some() {
        pool.add(EntropySource::Rdrand, &bytes);
    }
    pool.add(EntropySource::Timing, &cpu::time_stamp().to_le_bytes());
    let entropy = pool.finish();
    if entropy.source() == EntropySource::Timing {
        console.line(format_args!(
            "cofferdam: boot: weak entropy: neither EFI_RNG_PROTOCOL nor RDRAND: \
             switch one on in the firmware's setup"
        ));
    }
    entropy
}

fn firmware_random(bytes: &mut [u8]) -> Option<()> {
    let handle = uefi::boot::get_handle_for_protocol::<Rng>().ok()?;
    let mut rng = uefi::boot::open_protocol_exclusive::<Rng>(handle).ok()?;
    rng.get_rng(None, bytes).ok()
}

/// The memory map as it is now.
///
/// # Errors
/// [`Failure::Memory`] when firmware has no room for it.
pub(crate) fn memory_map() -> Result<Vec<Descriptor>, Failure> {
    let map = uefi::boot::memory_map(MemoryType::LOADER_DATA);
    let map = map.map_err(|_| Failure::Memory { what: "the memory map", len_bytes: 0 })?;
    Ok(descriptors(&map))
}

/// The entries of `map`.
pub(super) fn descriptors(map: &impl MemoryMap) -> Vec<Descriptor> {
    let descriptor = |d: &uefi::boot::MemoryDescriptor| Descriptor {
        kind: d.ty.0,
        start: d.phys_start,
        pages: d.page_count,
        attributes: d.att.bits(),
    };
    map.entries().map(descriptor).collect()
}
