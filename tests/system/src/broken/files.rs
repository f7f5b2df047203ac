//! Broken files on the ESP: those that the configuration names, and the hypervisor itself.

use super::chain::{self, Damage};
use super::{Case, GOOD, Round};
use anyhow::Result;
use xtask::image::Contents;
use xtask::scenario::Lab;

pub fn run(lab: &Lab) -> Result<()> {
    static ROUND: Round = Round::new();
    super::check(lab, CASES, &ROUND, chain::refusals)
}

const fn case(name: &'static str, change: fn(&mut Contents), promise: &'static str) -> Case<Damage> {
    Case { name, damage: Damage::Files(change), promise }
}

const HYPERVISOR: &str = "hypervisor.elf";

/// Changes the hypervisor.
fn hypervisor(contents: &mut Contents, change: impl FnOnce(&mut Vec<u8>)) {
    let mut file = contents.get(HYPERVISOR).unwrap_or_default().to_vec();
    change(&mut file);
    contents.add(HYPERVISOR, file);
}

/// Changes the program header of the hypervisor's last segment with these flags: 4 to be read, 5 to be executed, 6 to be
/// written.
fn segment(contents: &mut Contents, flags: u8, change: impl FnOnce(&mut [u8])) {
    hypervisor(contents, |file| {
        let headers = file[HEADER_BYTES..].chunks_exact_mut(PROGRAM_HEADER_BYTES).take(MOST_HEADERS);
        let loaded = headers.filter(|header| header[..4] == [1, 0, 0, 0] && header[P_FLAGS] == flags);
        if let Some(header) = loaded.last() {
            change(header);
        }
    });
}

/// The ELF header, and program headers behind it, of which the hypervisor has fewer than this.
const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const MOST_HEADERS: usize = 12;
/// Fields of the ELF header.
const CLASS: usize = 4;
const TYPE: usize = 16;
const MACHINE: usize = 18;
const ENTRY: usize = 24;
/// Fields of a program header.
const P_FLAGS: usize = 4;
const P_ADDRESS: usize = 16;
const P_MEMORY_BYTES: usize = 40;

pub const CASES: &[Case<Damage>] = &[
    case(
        "broken_kernel_missing",
        |files| files.remove("guest"),
        r"file not found: \cofferdam\guest (named at cofferdam.toml:7:10): copy it there, or correct its path",
    ),
    case(
        "broken_kernel_empty",
        |files| files.add("guest", Vec::new()),
        r"file is empty: \cofferdam\guest (named at cofferdam.toml:7:10): copy the file again",
    ),
    case(
        "broken_kernel_is_a_folder",
        |files| {
            files.remove("guest");
            files.add("guest/file", Vec::new());
        },
        r"directory instead of a file: \cofferdam\guest (named at cofferdam.toml:7:10): put a file there, or correct its path",
    ),
    Case {
        name: "broken_kernel_larger_than_the_hosts_memory",
        damage: Damage::KernelLength(0xf000_0000),
        promise: r"file of 4026531840 bytes does not fit into memory: \cofferdam\guest (named at cofferdam.toml:7:10): use a smaller file, or a machine with more memory",
    },
    Case {
        name: "broken_kernel_ends_before_its_length",
        damage: Damage::KernelLength(0x0100_0000),
        promise: r"* (named at cofferdam.toml:7:10): check the disk and copy the file again",
    },
    case(
        "broken_initrd_missing",
        |files| files.add("cofferdam.toml", format!("{GOOD}initrd = \"folder/disk\"\n").into_bytes()),
        r"file not found: \cofferdam\folder\disk (named at cofferdam.toml:8:10): copy it there, or correct its path",
    ),
    case(
        "broken_module_missing",
        |files| {
            files.add("cofferdam.toml", format!("{GOOD}modules = [\"guest\", \"more x\"]\n").into_bytes())
        },
        r"file not found: \cofferdam\more (named at cofferdam.toml:8:21): copy it there, or correct its path",
    ),
    case(
        "broken_overrides_no_text",
        |files| files.add("overrides", b"a=b\n\xff\n".to_vec()),
        "bad boot overrides: overrides:2: not printable ASCII; correct or delete the file",
    ),
    case(
        "broken_overrides_no_word",
        |files| files.add("overrides", b"quiet\n".to_vec()),
        "bad boot overrides: overrides:1: \"quiet\" is not of the form key=value; correct it",
    ),
    case(
        "broken_overrides_too_long",
        |files| files.add("overrides", b"a=b\n".repeat(300)),
        "bad boot overrides: overrides:1: more than 1024 bytes with the load options; shorten it",
    ),
    case(
        "broken_hypervisor_missing",
        |files| files.remove(HYPERVISOR),
        r"file not found: \cofferdam\hypervisor.elf: copy it there, or correct its path",
    ),
    case(
        "broken_hypervisor_empty",
        |files| files.add(HYPERVISOR, Vec::new()),
        r"file is empty: \cofferdam\hypervisor.elf: copy the file again",
    ),
    case(
        "broken_hypervisor_not_elf",
        |files| files.add(HYPERVISOR, b"MZ not an ELF".to_vec()),
        r"bad hypervisor: \cofferdam\hypervisor.elf: not an ELF file: write the ESP again with `cargo xtask image`",
    ),
    case(
        "broken_hypervisor_of_32_bits",
        |files| hypervisor(files, |file| file[CLASS] = 1),
        r"bad hypervisor: \cofferdam\hypervisor.elf: not a 64-bit ELF file: write the ESP again with `cargo xtask image`",
    ),
    case(
        "broken_hypervisor_for_another_machine",
        |files| hypervisor(files, |file| file[MACHINE] = 183),
        r"bad hypervisor: \cofferdam\hypervisor.elf: for machine 183, not 62 (x86-64): write the ESP again with `cargo xtask image`",
    ),
    case(
        "broken_hypervisor_not_position_independent",
        |files| hypervisor(files, |file| file[TYPE] = 2),
        r"bad hypervisor: \cofferdam\hypervisor.elf: of ELF type 2, not 3 (position-independent): write the ESP again with `cargo xtask image`",
    ),
    case(
        "broken_hypervisor_truncated",
        |files| hypervisor(files, |file| file.truncate(file.len() / 2)),
        r"bad hypervisor: \cofferdam\hypervisor.elf: truncated: write the ESP again with `cargo xtask image`",
    ),
    case(
        "broken_hypervisor_with_writable_code",
        |files| segment(files, 5, |header| header[P_FLAGS] = 7),
        r"bad hypervisor: \cofferdam\hypervisor.elf: the segment at 0x* is both writable and executable: write the ESP again with `cargo xtask image`",
    ),
    case(
        "broken_hypervisor_with_overlapping_segments",
        |files| segment(files, 5, |header| header[P_ADDRESS..P_ADDRESS + 8].fill(0)),
        r"bad hypervisor: \cofferdam\hypervisor.elf: the segment at 0x0 shares a page or is out of order: write the ESP again with `cargo xtask image`",
    ),
    case(
        "broken_hypervisor_larger_than_it_may_be",
        |files| segment(files, 6, |header| header[P_MEMORY_BYTES + 4] = 1),
        r"bad hypervisor: \cofferdam\hypervisor.elf: * bytes in memory, more than 67108864: write the ESP again with `cargo xtask image`",
    ),
    case(
        "broken_hypervisor_entered_in_data",
        |files| hypervisor(files, |file| file[ENTRY..ENTRY + 8].fill(0)),
        r"bad hypervisor: \cofferdam\hypervisor.elf: the entry 0x0 is not executable: write the ESP again with `cargo xtask image`",
    ),
];
