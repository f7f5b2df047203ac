//! Linux as a bzImage, entered by the boot protocol of 64 or, where the kernel has no such entry, 32 bits (Linux,
//! `Documentation/arch/x86/boot.rst`).
//!
//! ```text
//! 0       512           (setup_sects + 1) * 512         + syssize * 16
//! | sector | 16-bit setup code | the kernel proper       | signature, if any
//!      ^ 0x1f1: the setup header, copied to the zero page
//! ```
//!
//! The kernel proper unpacks itself at `pref_address`: it is put there at once, and `init_size` bytes of RAM from
//! there on are its own until it has its memory map.

use crate::layout::RamLayout;
use crate::loader::zero_page::{ZeroPage, header};
use crate::loader::{Kernel, Mode, Part, Problem, Protocol, check_in_ram};
use alloc::boxed::Box;
use base::Gpa;
use seams::GuestMemory;

const SECTOR_BYTES: u64 = 512;

/// The unit of `syssize`.
const PARAGRAPH_BYTES: u64 = 16;

/// The first boot protocol that tells whether there is a 64-bit entry.
const PROTOCOL_2_12: u16 = 0x020c;

/// `xloadflags`: there is a 64-bit entry, 0x200 after the load address.
const XLF_KERNEL_64: u16 = 1 << 0;

const ENTRY_64_OFFSET: u64 = 0x200;

/// Loads the bzImage `bytes`.
pub(super) fn load(bytes: &[u8], ram: RamLayout, memory: &impl GuestMemory) -> Result<Kernel, Problem> {
    let found_bytes = bytes.len() as u64;
    let zero_page = ZeroPage::for_bzimage(bytes).ok_or(Problem::Truncated {
        part: Part::Header,
        needed_bytes: header::LEAST_END as u64,
        found_bytes,
    })?;
    let version = zero_page.get_u16(header::VERSION);
    if version < PROTOCOL_2_12 {
        return Err(Problem::OldProtocol { version });
    }
    // The 32-bit entry is at the load address.
    let (mode, entry_offset) = match zero_page.get_u16(header::XLOADFLAGS) & XLF_KERNEL_64 {
        0 => (Mode::Protected, 0),
        _ => (Mode::Long, ENTRY_64_OFFSET),
    };

    let proper = kernel_proper(bytes, &zero_page)?;
    let start = zero_page.get_u64(header::PREF_ADDRESS);
    // A hostile `init_size` may be smaller than the file.
    let len_bytes = u64::from(zero_page.get_u32(header::INIT_SIZE)).max(proper.len() as u64);
    let extent = check_in_ram(Part::Kernel, start, len_bytes, ram)?;
    memory.write(Gpa::from_low_bits(start), proper)?;

    let mut zero_page = zero_page;
    zero_page.set_code32_start(start);
    Ok(Kernel {
        entry: start + entry_offset,
        extent,
        cmdline_max_bytes: zero_page.get_u32(header::CMDLINE_SIZE).into(),
        files_last: zero_page.get_u32(header::INITRD_ADDR_MAX).into(),
        protocol: Protocol::Linux(mode, Box::new(zero_page)),
    })
}

/// The part of the file that runs in 64-bit mode.
fn kernel_proper<'a>(bytes: &'a [u8], zero_page: &ZeroPage) -> Result<&'a [u8], Problem> {
    let found_bytes = bytes.len() as u64;
    // 0 means 4, for the sake of very old kernels (`boot.rst`, `setup_sects`).
    let setup_sectors = match zero_page.get_u8(header::SETUP_SECTS) {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let start = (setup_sectors + 1) * SECTOR_BYTES;
    let needed_bytes = start + u64::from(zero_page.get_u32(header::SYSSIZE)) * PARAGRAPH_BYTES;
    let truncated = Problem::Truncated { part: Part::Kernel, needed_bytes, found_bytes };
    // `syssize` is rounded up to a paragraph, the file not always.
    if needed_bytes >= found_bytes + PARAGRAPH_BYTES {
        return Err(truncated);
    }
    let end = needed_bytes.min(found_bytes);
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    let proper = range.and_then(|(start, end)| bytes.get(start..end)).ok_or(truncated)?;
    if proper.len() as u64 <= ENTRY_64_OFFSET {
        return Err(Problem::Empty);
    }
    Ok(proper)
}
