//! Linux's `boot_params`, the "zero page": one page that tells a kernel what it was given.
//!
//! Sources: Linux, `Documentation/arch/x86/zero-page.rst` and `boot.rst` ("The Real-Mode Kernel Header"); offsets are
//! from the page's start, which for the setup header equal those in a bzImage.

use crate::layout::RamLayout;
use crate::loader::{Extent, memory_map};
use base::{Gpa, PAGE_BYTES};

const BYTES: usize = PAGE_BYTES as usize;

/// Fields of the setup header.
pub(super) mod header {
    pub const START: usize = 0x1f1;
    pub const SETUP_SECTS: usize = 0x1f1;
    pub const SYSSIZE: usize = 0x1f4;
    pub const VID_MODE: usize = 0x1fa;
    pub const BOOT_FLAG: usize = 0x1fe;
    /// The displacement of the short jump over the header: it tells where the header ends.
    pub const JUMP: usize = 0x201;
    pub const AFTER_JUMP: usize = 0x202;
    pub const MAGIC: usize = 0x202;
    pub const VERSION: usize = 0x206;
    pub const TYPE_OF_LOADER: usize = 0x210;
    pub const LOADFLAGS: usize = 0x211;
    pub const CODE32_START: usize = 0x214;
    pub const RAMDISK_IMAGE: usize = 0x218;
    pub const RAMDISK_SIZE: usize = 0x21c;
    pub const CMD_LINE_PTR: usize = 0x228;
    pub const INITRD_ADDR_MAX: usize = 0x22c;
    pub const XLOADFLAGS: usize = 0x236;
    pub const CMDLINE_SIZE: usize = 0x238;
    pub const PREF_ADDRESS: usize = 0x258;
    pub const INIT_SIZE: usize = 0x260;
    /// What protocol 2.12 defines ends here.
    pub const LEAST_END: usize = 0x268;
    /// Where the zero page continues after the header.
    pub const MOST_END: usize = 0x290;
}

const ACPI_RSDP_ADDR: usize = 0x070;
const E820_ENTRIES: usize = 0x1e8;
const E820_TABLE: usize = 0x2d0;
const E820_ENTRY_BYTES: usize = 20;

/// A boot loader without a number of its own (`boot.rst`, `type_of_loader`).
const LOADER_UNDEFINED: u8 = 0xff;
/// `loadflags`: the kernel proper lies at 1 MiB or above.
const LOADED_HIGH: u8 = 1 << 0;
/// `vid_mode`: "normal".
const VID_MODE_NORMAL: u16 = 0xffff;

/// The zero page while it is put together.
pub(super) struct ZeroPage([u8; BYTES]);

impl ZeroPage {
    /// A page for a kernel that has no setup header of its own.
    pub fn for_elf() -> Self {
        let mut page = Self([0; BYTES]);
        page.put(header::BOOT_FLAG, &[0x55, 0xaa]);
        page.put(header::MAGIC, b"HdrS");
        page.put(header::VERSION, &0x020f_u16.to_le_bytes());
        page.set_loader();
        page
    }

    /// A page with the setup header of the bzImage `bytes`, or `None` when the file ends before it does.
    pub fn for_bzimage(bytes: &[u8]) -> Option<Self> {
        let jump = *bytes.get(header::JUMP)?;
        let end = (header::AFTER_JUMP + usize::from(jump)).clamp(header::LEAST_END, header::MOST_END);
        let mut page = Self([0; BYTES]);
        page.put(header::START, bytes.get(header::START..end)?);
        page.set_loader();
        Some(page)
    }

    fn set_loader(&mut self) {
        self.put(header::VID_MODE, &VID_MODE_NORMAL.to_le_bytes());
        self.put(header::TYPE_OF_LOADER, &[LOADER_UNDEFINED]);
        let flags = self.get_u8(header::LOADFLAGS) | LOADED_HIGH;
        self.put(header::LOADFLAGS, &[flags]);
    }

    /// Tells where the kernel proper is.
    pub fn set_code32_start(&mut self, address: u64) {
        self.put_low_half(header::CODE32_START, address);
    }

    /// Tells where the initial RAM disk is, below 4 GiB.
    pub fn set_initrd(&mut self, extent: Extent) {
        self.put_low_half(header::RAMDISK_IMAGE, extent.start);
        self.put_low_half(header::RAMDISK_SIZE, extent.len_bytes());
    }

    /// Tells where the command line is, below 4 GiB.
    pub fn set_command_line(&mut self, address: u64) {
        self.put_low_half(header::CMD_LINE_PTR, address);
    }

    /// Tells where ACPI's root pointer is.
    pub fn set_rsdp(&mut self, rsdp: Gpa) {
        self.put(ACPI_RSDP_ADDR, &rsdp.as_u64().to_le_bytes());
    }

    /// Tells what memory there is (`zero-page.rst`, `e820_table`).
    pub fn set_memory_map(&mut self, ram: RamLayout) {
        let mut count = 0;
        for entry in memory_map(ram) {
            let at = E820_TABLE + usize::from(count) * E820_ENTRY_BYTES;
            self.put(at, &entry.start.to_le_bytes());
            self.put(at + 8, &entry.len_bytes.to_le_bytes());
            self.put(at + 16, &(entry.usage as u32).to_le_bytes());
            count += 1;
        }
        self.put(E820_ENTRIES, &[count]);
    }

    /// The page's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// One byte at `offset`; fields are constants of this file, so that none lies outside.
    pub fn get_u8(&self, offset: usize) -> u8 {
        u8::from_le_bytes(self.get(offset))
    }

    /// Two bytes at `offset`.
    pub fn get_u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.get(offset))
    }

    /// Four bytes at `offset`.
    pub fn get_u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.get(offset))
    }

    /// Eight bytes at `offset`.
    pub fn get_u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.get(offset))
    }

    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.0.get(offset..offset + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(field) = self.0.get_mut(offset..offset + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }

    /// The low half of an address or size that is known to lie below 4 GiB.
    fn put_low_half(&mut self, offset: usize, value: u64) {
        let [a, b, c, d, ..] = value.to_le_bytes();
        self.put(offset, &[a, b, c, d]);
    }
}
