//! A program that Bochs starts at power-on, without firmware and disk: Bochs puts its memory in place, and a ROM of ours
//! enters it in 32-bit mode without paging, as the PVH protocol does (Xen, `docs/misc/pvh.pandoc`), but for the start info,
//! which there is none of.

use elf::ElfBytes;
use elf::abi::{PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::note::Note;

use super::Error;

/// Where the memory image begins.
pub const ADDRESS: u64 = 1 << 20;

/// Bytes of the ROM, which ends at 4 GiB.
const ROM_LEN_BYTES: usize = 64 << 10;
/// Where the processor begins: 16 bytes below the end (Intel SDM 325462, volume 3, section 11.1.4).
const RESET_OFFSET: usize = ROM_LEN_BYTES - 16;
/// Where the ROM's code and data are, within it.
const CODE_OFFSET: usize = ROM_LEN_BYTES - 0x200;
const GDT_OFFSET: usize = ROM_LEN_BYTES - 0x40;

/// The type of the note that tells a PVH entry (Xen, `include/public/elfnote.h`, XEN_ELFNOTE_PHYS32_ENTRY).
const PHYS32_ENTRY: u64 = 18;

/// A program in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bare {
    /// Its memory from `ADDRESS` on.
    pub memory: Vec<u8>,
    /// Where it begins.
    entry: u32,
}

impl Bare {
    /// The program in an ELF file that has a note with a PVH entry.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when it cannot be started so.
    pub fn from_elf(file: &[u8]) -> Result<Self, Error> {
        Self::parse(file).ok_or_else(|| Error::Unsupported {
            what:
                "the program is no 64-bit ELF file at 1 MiB with a PVH entry: link it as the tiny guests are"
                    .into(),
        })
    }

    fn parse(file: &[u8]) -> Option<Self> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).ok()?;
        let (mut memory, mut entry) = (Vec::new(), None);
        for segment in elf.segments()? {
            if segment.p_type == PT_LOAD {
                let start = usize::try_from(segment.p_paddr.checked_sub(ADDRESS)?).ok()?;
                let bytes = elf.segment_data(&segment).ok()?;
                let end = start.checked_add(usize::try_from(segment.p_memsz).ok()?.max(bytes.len()))?;
                memory.resize(memory.len().max(end), 0);
                memory.get_mut(start..start + bytes.len())?.copy_from_slice(bytes);
            }
            if segment.p_type == PT_NOTE {
                entry = elf.segment_data_as_notes(&segment).ok()?.find_map(pvh_entry).or(entry);
            }
        }
        Some(Self { memory, entry: entry? })
    }

    /// The ROM that enters it.
    pub fn rom(&self) -> Vec<u8> {
        let mut rom = vec![0; ROM_LEN_BYTES];
        let mut put = |offset: usize, bytes: &[u8]| rom[offset..offset + bytes.len()].copy_from_slice(bytes);
        let gdt = physical(GDT_OFFSET).to_le_bytes();
        // jmp near to the code: relative to the next instruction.
        let distance = (CODE_OFFSET as i32 - (RESET_OFFSET as i32 + 3)) as i16;
        put(RESET_OFFSET, &[&[0xe9][..], &distance.to_le_bytes()].concat());
        let pointer = (GDT_OFFSET as u16 + 24).to_le_bytes();
        let protected = physical(CODE_OFFSET + PROTECTED).to_le_bytes();
        #[rustfmt::skip]
        let code: [&[u8]; 10] = [
            &[0xfa],                                     // cli
            &[0x2e, 0x66, 0x0f, 0x01, 0x16], &pointer,   // lgdt cs:[pointer]
            &[0x0f, 0x20, 0xc0],                         // mov eax, cr0
            &[0x66, 0x25, 0xff, 0xff, 0xff, 0x9f],       // and eax, ~(CD | NW)
            &[0x0c, 0x01],                               // or al, 1
            &[0x0f, 0x22, 0xc0],                         // mov cr0, eax
            &[0x66, 0xea], &protected, &[0x08, 0x00],    // jmp 8:protected
        ];
        put(CODE_OFFSET, &code.concat());
        let entry = self.entry.to_le_bytes();
        #[rustfmt::skip]
        let code: [&[u8]; 10] = [
            &[0xb8, 0x10, 0, 0, 0],                      // mov eax, 16
            &[0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0],       // mov ds, eax; mov es, eax; mov ss, eax
            &output(LINE_CONTROL, 0x83), &output(DIVISOR, 1), &output(DIVISOR + 1, 0), &output(LINE_CONTROL, 3),
            &[0x31, 0xdb],                               // xor ebx, ebx
            &[0xb9], &entry,                             // mov ecx, entry
            &[0xff, 0xe1],                               // jmp ecx
        ];
        put(CODE_OFFSET + PROTECTED, &code.concat());
        // Nothing, code and data: flat, 32 bits, accessed, so that the processor need not write to the ROM.
        let descriptors = [0_u64, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
        put(GDT_OFFSET, &descriptors.map(u64::to_le_bytes).concat());
        put(GDT_OFFSET + 24, &[&23_u16.to_le_bytes()[..], &gdt].concat());
        rom
    }
}

/// Registers of COM1, which a program expects at 115200 8N1, as firmware leaves it.
const DIVISOR: u16 = 0x3f8;
const LINE_CONTROL: u16 = 0x3fb;

/// `mov edx, port; mov al, value; out dx, al`.
fn output(port: u16, value: u8) -> [u8; 8] {
    let [low, high] = port.to_le_bytes();
    [0xba, low, high, 0, 0, 0xb0, value, 0xee]
}

/// Where the 32-bit code begins, behind the 16-bit code.
const PROTECTED: usize = 0x40;

/// The address of a place in the ROM.
fn physical(offset: usize) -> u32 {
    (offset as u32).wrapping_sub(ROM_LEN_BYTES as u32)
}

/// The entry that a note tells.
fn pvh_entry(note: Note<'_>) -> Option<u32> {
    let Note::Unknown(note) = note else { return None };
    let is_entry = note.n_type == PHYS32_ENTRY && note.name.starts_with(b"Xen");
    let bytes = note.desc.first_chunk::<4>().filter(|_| is_entry)?;
    Some(u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reset_vector_leads_to_the_code_and_the_code_to_the_program() {
        let rom = Bare { memory: Vec::new(), entry: 0x1234_5678 }.rom();
        assert_eq!(rom.len(), ROM_LEN_BYTES);
        let distance = i16::from_le_bytes([rom[RESET_OFFSET + 1], rom[RESET_OFFSET + 2]]);
        assert_eq!(RESET_OFFSET as i32 + 3 + i32::from(distance), CODE_OFFSET as i32);
        let code = &rom[CODE_OFFSET..RESET_OFFSET];
        assert!(code.windows(5).any(|bytes| bytes == [0xb9, 0x78, 0x56, 0x34, 0x12]));
        let far_jump = physical(CODE_OFFSET + PROTECTED).to_le_bytes();
        assert!(code.windows(4).any(|bytes| bytes == far_jump));
    }

    #[test]
    fn what_is_no_such_program_is_refused() {
        for file in [&b""[..], b"\x7fELF", &[0; 200]] {
            assert!(Bare::from_elf(file).is_err());
        }
    }
}
