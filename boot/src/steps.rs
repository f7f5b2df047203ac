//! The steps, in order; each is a function that returns what the later ones need.

use crate::firmware::console::Console;
use crate::firmware::esp::EspSource;
use crate::firmware::leave::{Departure, leave_and_jump};
use crate::firmware::pages::{Allocations, Claim, as_tables};
use crate::firmware::{cpu, heap, machine};
use alloc::{string::String, vec, vec::Vec};
use base::{ByteSize, PAGE_BYTES};
use boot::elf::Image as Elf;
use boot::entropy::Entropy;
use boot::failure::{CpuProblem, FileProblem};
use boot::page_tables::{Layout, PageSize, Tables, identity_end, image_start};
use boot::source::{FileSource, SourceError};
use boot::{BOOT_STACK_BYTES, Failure, HYPERVISOR_FILE, OVERRIDES_FILE, memory_map, overrides, place_on_esp};
use config::{Config, Position};
use core::convert::Infallible;
use core::time::Duration;
use handoff::{File, Handoff, Image, MAX_TOTAL_BYTES, RegionKind};
use sha2::{Digest, Sha256};
use uefi::Status;

/// How long a failure stays on the screen before firmware goes on, which may clear it.
const READING_TIME: Duration = Duration::from_secs(2);

/// What becomes of memory that nothing but boot needs: it is free when firmware's is.
const ONLY_FOR_BOOT: RegionKind = RegionKind::BootServices;

/// Firmware's entry.
#[uefi::entry]
fn efi_main() -> Status {
    let tsc_at_start = cpu::time_stamp();
    heap::init();
    let mut console = Console::new();
    console.line(format_args!("cofferdam boot {}", boot::BUILD_ID));
    let Err(failure) = run(&mut console, tsc_at_start);
    console.line(format_args!("{failure}"));
    uefi::boot::stall(READING_TIME);
    Status::LOAD_ERROR
}

fn run(console: &mut Console, tsc_at_start: u64) -> Result<Infallible, Failure> {
    check_cpu()?;
    let memory = Allocations::default();
    let load_options = machine::load_options();
    let mut source = EspSource::of_this_image()?;

    let (config_file, config) = read_config(console, &mut source, &memory)?;
    let mut files = vec![config_file];
    read_named_files(console, &mut source, &memory, &config, &mut files)?;
    let overrides = overrides::collect(&read_overrides(&mut source, &memory)?, &load_options)?;

    let entropy = machine::entropy(console);
    let (image, entry) = load_hypervisor(&mut source, &memory, &entropy)?;
    drop(source);

    let stack = memory.claim("the boot stack", BOOT_STACK_BYTES, RegionKind::BootStack)?;
    let tables = build_tables(&memory, &image)?;
    let block = memory.claim("the handoff", MAX_TOTAL_BYTES as u64, RegionKind::Handoff)?;
    let handoff = Handoff {
        memory_map: memory_map::build(&machine::memory_map()?, &memory.claims()),
        rsdp: machine::rsdp(),
        smbios: machine::smbios(),
        entropy: entropy.for_kernel(),
        entropy_source: entropy.source(),
        wall_clock_s: machine::wall_clock_s(),
        files,
        boot_build_id: String::from(boot::BUILD_ID),
        image,
        boot_stack: stack.range,
        boot_tables: tables.range,
        overrides,
        preserved: Vec::new(),
        tsc_at_start,
        tsc_at_exit: cpu::time_stamp(),
    };
    // A rehearsal: what it finds wrong can still be told.
    handoff::encode(&handoff)?;

    console.line(format_args!("cofferdam: boot: entering hypervisor at {entry:#x}"));
    leave_and_jump(Departure { handoff, memory: &memory, block, entry })
}

/// Checks that the CPU can be handed over.
fn check_cpu() -> Result<(), Failure> {
    if cpu::has_five_level_paging_active() {
        return Err(Failure::Cpu(CpuProblem::FiveLevelPaging));
    }
    if !cpu::has_no_execute() {
        return Err(Failure::Cpu(CpuProblem::NoExecuteDisable));
    }
    Ok(())
}

/// The configuration, as file 0 of the handoff and as what it says; the console moves to the port that it names.
fn read_config(
    console: &mut Console,
    source: &mut impl FileSource,
    memory: &Allocations,
) -> Result<(File, Config), Failure> {
    let file = read_file(source, memory, config::FILE_NAME, None, RegionKind::Files)?;
    let config = config::parse_bytes(file.bytes)?;
    console.move_to(config.host.console.port());
    Ok((describe(console, config::FILE_NAME, &file), config))
}

/// Every file that the configuration names, once each.
fn read_named_files(
    console: &mut Console,
    source: &mut impl FileSource,
    memory: &Allocations,
    config: &Config,
    files: &mut Vec<File>,
) -> Result<(), Failure> {
    for (path, position) in config.files() {
        let path = path.as_str();
        if files.iter().any(|file| file.path == path) {
            continue;
        }
        let file = read_file(source, memory, path, Some(position), RegionKind::Files)?;
        files.push(describe(console, path, &file));
    }
    Ok(())
}

/// Reads the file at `path`, relative to Cofferdam's directory, into memory of its own, which is to be handed over as
/// `kind`.
fn read_file<'a>(
    source: &mut impl FileSource,
    memory: &'a Allocations,
    path: &str,
    named_at: Option<Position>,
    kind: RegionKind,
) -> Result<Claim<'a>, Failure> {
    let place = place_on_esp(path);
    let failed = |problem| Failure::File { place: place.clone(), named_at, problem };
    let len_bytes = source.len_bytes(&place).map_err(|error| failed(FileProblem::Source(error)))?;
    if len_bytes == 0 {
        return Err(failed(FileProblem::Empty));
    }
    let claim = memory.claim("a file", len_bytes, kind);
    let claim = claim.map_err(|_| failed(FileProblem::TooLarge(len_bytes)))?;
    source.read(&place, claim.bytes).map_err(|error| failed(FileProblem::Source(error)))?;
    Ok(claim)
}

/// The entry of the handoff for `file`; says that it is there.
fn describe(console: &mut Console, path: &str, file: &Claim<'_>) -> File {
    let size = ByteSize(file.range.len_bytes());
    console.line(format_args!("cofferdam: boot: read {path}: {size}"));
    File { path: path.into(), range: file.range, sha256: Sha256::digest(&*file.bytes).into() }
}

/// The file of overrides; empty if there is none.
fn read_overrides(source: &mut impl FileSource, memory: &Allocations) -> Result<Vec<u8>, Failure> {
    match read_file(source, memory, OVERRIDES_FILE, None, ONLY_FOR_BOOT) {
        Ok(file) => Ok(file.bytes.to_vec()),
        Err(Failure::File {
            problem: FileProblem::Source(SourceError::NotFound) | FileProblem::Empty,
            ..
        }) => Ok(Vec::new()),
        Err(failure) => Err(failure),
    }
}

/// Loads the hypervisor to a random place; also its entry's virtual address.
fn load_hypervisor(
    source: &mut impl FileSource,
    memory: &Allocations,
    entropy: &Entropy,
) -> Result<(Image, u64), Failure> {
    let file = read_file(source, memory, HYPERVISOR_FILE, None, ONLY_FOR_BOOT)?;
    let elf = Elf::parse(file.bytes)?;
    let claim = memory.claim("the hypervisor", elf.len_bytes(), RegionKind::HypervisorImage)?;
    let virtual_start = image_start(claim.range, entropy.for_image_start());
    elf.load(claim.bytes, virtual_start)?;
    let image = Image {
        range: claim.range,
        virtual_start,
        segments: elf.segments(),
        sha256: Sha256::digest(&*file.bytes).into(),
    };
    Ok((image, virtual_start.wrapping_add(elf.entry_offset_bytes())))
}

/// The page tables at entry.
fn build_tables<'a>(memory: &'a Allocations, image: &Image) -> Result<Claim<'a>, Failure> {
    let largest = if cpu::has_huge_pages() { PageSize::Huge } else { PageSize::Large };
    let identity_end = identity_end(memory_map::ram_end(&machine::memory_map()?));
    let layout = Layout { image, identity_end, largest, jump_page: cpu::jump_page() };
    let claim = memory.claim("page tables", layout.tables_needed() * PAGE_BYTES, RegionKind::BootTables)?;
    Tables::build(as_tables(claim.bytes), claim.range.start(), &layout)?;
    Ok(claim)
}
