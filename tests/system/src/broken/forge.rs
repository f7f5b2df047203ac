//! Kernels made by hand: sound but for what a case makes of them.

/// Where forged kernels are linked to.
pub const ADDRESS: u64 = 0x10_0000;

/// What segments say of their alignment, which only matters to notes.
const ALIGNMENT: u64 = 4;

/// Program header types.
const LOAD: u32 = 1;
const NOTE: u32 = 4;

/// Machines by their number.
pub const X86_32: u16 = 3;
pub const X86_64: u16 = 62;
pub const AARCH64: u16 = 183;

/// An ELF file.
pub struct Elf {
    /// Its type: 1 is an object file, 2 a program.
    pub kind: u16,
    pub machine: u16,
    pub entry: u64,
    pub segments: Vec<Segment>,
}

/// A segment, and how its bytes are described.
pub struct Segment {
    pub kind: u32,
    pub address: u64,
    pub bytes: Vec<u8>,
    /// How many bytes the file is said to have of it.
    pub file_bytes: u64,
    pub memory_bytes: u64,
}

impl Segment {
    /// A page of HLT instructions.
    pub fn code(address: u64) -> Self {
        Self::new(LOAD, address, vec![0xf4; 0x1000])
    }

    /// A note of Xen's that tells the PVH entry (Xen, `include/public/elfnote.h`, XEN_ELFNOTE_PHYS32_ENTRY).
    pub fn pvh_note(entry: &[u8]) -> Self {
        let words = [4, entry.len() as u32, 18];
        let mut note: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        note.extend(b"Xen\0");
        note.extend(entry);
        note.resize(note.len().next_multiple_of(4), 0);
        Self::new(NOTE, 0, note)
    }

    fn new(kind: u32, address: u64, bytes: Vec<u8>) -> Self {
        let len_bytes = bytes.len() as u64;
        Self { kind, address, bytes, file_bytes: len_bytes, memory_bytes: len_bytes }
    }
}

impl Elf {
    /// A program of one segment, entered at its start.
    pub fn sound() -> Self {
        Self { kind: 2, machine: X86_64, entry: ADDRESS, segments: vec![Segment::code(ADDRESS)] }
    }

    /// Several segments instead.
    pub fn of(segments: impl IntoIterator<Item = Segment>) -> Self {
        Self { segments: segments.into_iter().collect(), ..Self::sound() }
    }

    /// The file, of 64 bits unless it is for a 32-bit machine (System V ABI, generic part, chapters 4 and 5).
    pub fn bytes(&self) -> Vec<u8> {
        let is_32_bit = self.machine == X86_32;
        let (header_bytes, entry_bytes) = if is_32_bit { (52, 32) } else { (64, 56) };
        let address = |value: u64| value.to_le_bytes()[..if is_32_bit { 4 } else { 8 }].to_vec();
        let mut file = b"\x7fELF".to_vec();
        file.extend([if is_32_bit { 1 } else { 2 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(self.kind.to_le_bytes());
        file.extend(self.machine.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend([address(self.entry), address(header_bytes), address(0)].concat());
        file.extend(0_u32.to_le_bytes());
        for half in [header_bytes as u16, entry_bytes as u16, self.segments.len() as u16, 0, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut offset = header_bytes + entry_bytes * self.segments.len() as u64;
        for segment in &self.segments {
            let flags = 5_u32.to_le_bytes();
            file.extend(segment.kind.to_le_bytes());
            if !is_32_bit {
                file.extend(flags);
            }
            file.extend([address(offset), address(segment.address), address(segment.address)].concat());
            file.extend([address(segment.file_bytes), address(segment.memory_bytes)].concat());
            if is_32_bit {
                file.extend(flags);
            }
            file.extend(address(ALIGNMENT));
            offset += segment.bytes.len() as u64;
        }
        self.segments.iter().for_each(|segment| file.extend(&segment.bytes));
        file
    }
}

/// A file of one page that begins with a Multiboot 1 header, with addresses if the flags say so; the page is to be
/// loaded to [`ADDRESS`] and entered behind the header (Multiboot Specification 0.6.96, section 3.1).
pub struct Multiboot {
    pub flags: u32,
    pub header: u32,
    pub load: u32,
    pub load_end: u32,
    pub bss_end: u32,
    pub entry: u32,
}

/// The header has addresses.
pub const MULTIBOOT_ADDRESSES: u32 = 1 << 16;

impl Multiboot {
    pub const fn sound() -> Self {
        let address = ADDRESS as u32;
        Self {
            flags: MULTIBOOT_ADDRESSES,
            header: address,
            load: address,
            load_end: address + 0x1000,
            bss_end: 0,
            entry: address + 32,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        const MAGIC: u32 = 0x1bad_b002;
        let checksum = 0_u32.wrapping_sub(MAGIC).wrapping_sub(self.flags);
        let words =
            [MAGIC, self.flags, checksum, self.header, self.load, self.load_end, self.bss_end, self.entry];
        let mut file: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        file.resize(0x1000, 0xf4);
        file
    }
}

/// A file that is for Multiboot 2 only (Multiboot2 Specification 2.0, section 3.1).
pub fn multiboot_2() -> Vec<u8> {
    const MAGIC: u32 = 0xe852_50d6;
    const LEN_BYTES: u32 = 24;
    let checksum = 0_u32.wrapping_sub(MAGIC).wrapping_sub(LEN_BYTES);
    let words = [MAGIC, 0, LEN_BYTES, checksum, 0, 8];
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// The first MiB of a bzImage, which is said to be all of it.
pub struct BzImage(pub Vec<u8>);

/// Fields of the setup header (Linux, `Documentation/arch/x86/boot.rst`).
pub const SYSSIZE: usize = 0x1f4;
pub const VERSION: usize = 0x206;
pub const CMDLINE_SIZE: usize = 0x238;
pub const PREF_ADDRESS: usize = 0x258;
pub const INIT_SIZE: usize = 0x260;

impl BzImage {
    pub fn first_mib_of(mut file: Vec<u8>) -> Self {
        file.truncate(1 << 20);
        // In paragraphs of 16 bytes; less than what is there does no harm.
        Self(file).with(SYSSIZE, &0x8000_u32.to_le_bytes())
    }

    pub fn with(mut self, field: usize, value: &[u8]) -> Self {
        self.0[field..field + value.len()].copy_from_slice(value);
        self
    }
}
