//! What a kernel is given beside itself: a command line, an initial RAM disk, modules.
//!
//! Files go as high as they may, page aligned, each below the one before: a kernel grows upwards from where it is. Text
//! goes to low memory.

use crate::layout::RamLayout;
use crate::loader::{Extent, File, Image, Kernel, Kind, LoadError, Problem, low};
use alloc::{string::String, vec::Vec};
use base::{Gpa, PAGE_BYTES};
use seams::GuestMemory;

/// The most modules of a kernel, so that the list of them has a limit.
pub const MODULES_MAX: usize = 64;
/// They, and the initial RAM disk.
pub(super) const FILES_MAX: usize = MODULES_MAX + 1;

/// The longest command line in bytes, without its final NUL.
pub(super) const COMMAND_LINE_MAX_BYTES: u64 = 0xffff;

/// A file in the VM's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub extent: Extent,
    /// The address of the text that belongs to it, which ends with a NUL.
    pub arguments: u64,
}

/// What has been given.
#[derive(Debug)]
pub(super) struct Given {
    /// The address of the command line, which ends with a NUL.
    pub command_line: u64,
    pub initrd: Option<Placed>,
    pub modules: Vec<Placed>,
    /// Where more text can go.
    pub strings: Strings,
}

impl Given {
    /// Places all that `image` has beside its kernel.
    pub fn place(
        image: &Image<'_>,
        kernel: &Kernel,
        ram: RamLayout,
        memory: &impl GuestMemory,
    ) -> Result<Self, LoadError> {
        let mut strings = Strings { next: low::STRINGS };
        let command_line = place_command_line(image.cmdline, kernel, &mut strings, memory)
            .map_err(|problem| refused(&image.kernel, problem))?;
        let mut room = Room::beside(kernel, ram);
        let mut place = |file: &File<'_>, arguments: &str| {
            let extent = room.place(file.bytes, memory)?;
            Ok(Placed { extent, arguments: strings.place(arguments, memory)? })
        };
        let initrd = image.initrd.as_ref();
        let initrd =
            initrd.map(|file| place(file, "").map_err(|problem| refused(file, problem))).transpose()?;
        let modules = image.modules.iter();
        let modules = modules
            .map(|module| {
                place(&module.file, module.arguments).map_err(|problem| refused(&module.file, problem))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { command_line, initrd, modules, strings })
    }

    /// The files as a list of modules: the initial RAM disk is the first of them.
    pub fn files(&self) -> impl Iterator<Item = &Placed> {
        self.initrd.iter().chain(&self.modules)
    }
}

/// Refuses modules that a kernel of this kind cannot take.
pub(super) fn check_modules(image: &Image<'_>, kind: Kind) -> Result<(), LoadError> {
    let Some(first) = image.modules.first() else { return Ok(()) };
    if matches!(kind, Kind::LinuxElf | Kind::BzImage) {
        return Err(refused(&first.file, Problem::NoModulesTaken(kind)));
    }
    match image.modules.get(MODULES_MAX) {
        Some(module) => Err(refused(&module.file, Problem::TooManyModules)),
        None => Ok(()),
    }
}

fn refused(file: &File<'_>, problem: Problem) -> LoadError {
    LoadError { file: String::from(file.name), problem }
}

fn place_command_line(
    text: &str,
    kernel: &Kernel,
    strings: &mut Strings,
    memory: &impl GuestMemory,
) -> Result<u64, Problem> {
    let len_bytes = text.len() as u64;
    let max_bytes = kernel.cmdline_max_bytes.min(COMMAND_LINE_MAX_BYTES);
    if len_bytes > max_bytes {
        return Err(Problem::CommandLineTooLong { len_bytes, max_bytes });
    }
    if let Some(at) = text.bytes().position(|byte| byte == 0) {
        return Err(Problem::CommandLineHasNul { at });
    }
    strings.place(text, memory)
}

/// The free part of RAM above the kernel, which shrinks from its top.
struct Room {
    bottom: u64,
    top: u64,
}

impl Room {
    fn beside(kernel: &Kernel, ram: RamLayout) -> Self {
        let bottom = kernel.extent.end.next_multiple_of(PAGE_BYTES);
        Self { bottom, top: ram.low_end().min(kernel.files_last.saturating_add(1)) }
    }

    fn place(&mut self, bytes: &[u8], memory: &impl GuestMemory) -> Result<Extent, Problem> {
        let file_bytes = bytes.len() as u64;
        let room_bytes = self.top.saturating_sub(self.bottom);
        // Page aligned, so that the kernel can free its pages.
        match self.top.checked_sub(file_bytes).map(|start| start & !(PAGE_BYTES - 1)) {
            Some(start) if start >= self.bottom => {
                memory.write(Gpa::from_low_bits(start), bytes)?;
                self.top = start;
                Ok(Extent { start, end: start + file_bytes })
            }
            _ => Err(Problem::NoRoom { file_bytes, room_bytes }),
        }
    }
}

/// The room for text, which shrinks from its bottom.
#[derive(Debug)]
pub(super) struct Strings {
    next: u64,
}

impl Strings {
    /// Places `text` and a NUL, and tells where.
    pub fn place(&mut self, text: &str, memory: &impl GuestMemory) -> Result<u64, Problem> {
        let start = self.next;
        let (len_bytes, room_bytes) = (text.len() as u64, low::STRINGS_END - start);
        if len_bytes >= room_bytes {
            return Err(Problem::ArgumentsTooLong { len_bytes, room_bytes });
        }
        memory.write(Gpa::from_low_bits(start), text.as_bytes())?;
        memory.fill(Gpa::from_low_bits(start + len_bytes), 1, 0)?;
        self.next = start + len_bytes + 1;
        Ok(start)
    }
}
