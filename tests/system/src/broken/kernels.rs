//! Broken kernels, initial RAM disks and sizes of memory: the VM does not start, all others do.

use super::forge::{self, AARCH64, ADDRESS, BzImage, Elf, MULTIBOOT_ADDRESSES, Multiboot, Segment, X86_32};
use super::{Case, Lines, Round};
use crate::{BOOT, line};
use anyhow::{Context, Result};
use xtask::guest::Kernel;
use xtask::scenario::Lab;

pub fn run(lab: &Lab) -> Result<()> {
    static ROUND: Round = Round::new();
    super::check(lab, CASES, &ROUND, refusals)
}

/// What is special about a VM.
pub struct Vm {
    memory: &'static str,
    /// More lines of its table.
    extra: &'static str,
    kernel: fn(&Lab) -> Result<Vec<u8>>,
}

/// The host's memory: the sound VM takes a part of it that the last case would need too.
const HOST_MIB: u32 = 768;

/// Runs a host with a VM for each case and a sound one; what it says of each VM that cannot start.
fn refusals(lab: &Lab, cases: &[Case<Vm>]) -> Result<Lines> {
    let mut config = String::from(
        "[host]\nwhen_idle = \"poweroff\"\n\n[[vm]]\nname = \"sound\"\nmemory = \"256M\"\nkernel = \"sound\"\n",
    );
    config += "debug_exit = true\n";
    for Case { name, damage: Vm { memory, extra, .. }, .. } in cases {
        let name = vm_name(name);
        config += &format!(
            "[[vm]]\nname = \"{name}\"\nmemory = \"{memory}\"\nkernel = \"kernels/{name}\"\n{extra}\n"
        );
    }
    let mut contents = lab.contents(&config)?;
    contents.add("sound", lab.guest("port-io")?);
    contents.add("large", vec![0x5a; 8 << 20]);
    for case in cases {
        contents.add(&format!("kernels/{}", vm_name(case.name)), (case.damage.kernel)(lab)?);
    }
    let machine = lab.machine(&lab.image(&contents)?).memory_mib(HOST_MIB);
    let mut emulator = lab.start(machine)?;
    emulator.expect("vm sound: ended: debug exit by the guest, status 1", BOOT)?;
    line::await_power_off(&mut emulator)?;
    let log = emulator.serial_log();
    let line = |case: &Case<Vm>| {
        let begin = format!("vm {}: cannot start: ", vm_name(case.name));
        let line = log.lines().find_map(|line| Some(line.split_once(&begin)?.1));
        let line = line.with_context(|| format!("nothing is said of {}", case.name))?;
        Ok((case.name, line.to_string()))
    };
    cases.iter().map(line).collect()
}

/// The name of a case's VM.
fn vm_name(case: &str) -> String {
    case.trim_start_matches("broken_").replace('_', "-")
}

/// A kernel in a VM of 4 MiB.
const fn case(name: &'static str, kernel: fn(&Lab) -> Result<Vec<u8>>, promise: &'static str) -> Case<Vm> {
    Case { name, damage: Vm { memory: "4M", extra: "", kernel }, promise }
}

fn bzimage(lab: &Lab) -> Result<BzImage> {
    Ok(BzImage::first_mib_of(lab.bzimage(Kernel::V6_12)?))
}

pub const CASES: &[Case<Vm>] = &[
    // Not a kernel.
    case(
        "broken_kernel_text",
        |_| Ok(b"#!/bin/sh\n".repeat(400)),
        "*: this is text; give a Linux vmlinux or bzImage, or a PVH or Multiboot 1 kernel",
    ),
    case(
        "broken_kernel_zeros",
        |_| Ok(vec![0; 4096]),
        "*: this is an unknown format (first bytes 00000000); give a Linux vmlinux or bzImage, or a PVH or Multiboot 1 \
         kernel",
    ),
    case(
        "broken_kernel_gzip",
        |_| Ok([b"\x1f\x8b\x08".as_slice(), &[0; 100]].concat()),
        "*: this is a gzip file, to be unpacked first; give a Linux vmlinux or bzImage, or a PVH or Multiboot 1 kernel",
    ),
    case(
        "broken_kernel_pe",
        |lab| lab.contents("").map(|contents| contents.files["EFI/BOOT/BOOTX64.EFI"].clone()),
        "*: this is a PE program without a Linux setup header; give a Linux vmlinux or bzImage, or a PVH or Multiboot 1 \
         kernel",
    ),
    // ELF.
    case(
        "broken_elf_header_cut",
        |_| Ok(Elf::sound().bytes()[..40].to_vec()),
        "kernels/elf-header-cut: the file is truncated: the header needs 64 bytes, the file has 40; copy it again",
    ),
    case(
        "broken_elf_program_headers_cut",
        |_| Ok(Elf::sound().bytes()[..100].to_vec()),
        "kernels/elf-program-headers-cut: the file is truncated: the header needs 120 bytes, the file has 100; copy it again",
    ),
    case(
        "broken_elf_big_endian",
        |_| {
            let mut file = Elf::sound().bytes();
            file[5] = 2;
            Ok(file)
        },
        "*: this is a big-endian ELF file; give a Linux vmlinux or bzImage, or a PVH or Multiboot 1 kernel",
    ),
    case(
        "broken_elf_for_another_machine",
        |_| Ok(Elf { machine: AARCH64, ..Elf::sound() }.bytes()),
        "*: ELF file for machine 183; give one for x86 (machine 62, or 3 if 32-bit)",
    ),
    case(
        "broken_elf_object_file",
        |_| Ok(Elf { kind: 1, ..Elf::sound() }.bytes()),
        "*: damaged kernel: it is an object file, not a linked program; build or copy it again",
    ),
    case(
        "broken_elf_without_segments",
        |_| Ok(Elf::of([]).bytes()),
        "*: no segment is to be loaded; give a linked kernel",
    ),
    case(
        "broken_elf_with_too_many_segments",
        |_| Ok(Elf::of((0..33).map(|n| Segment::code(ADDRESS + n * 0x1000))).bytes()),
        "*: damaged kernel: it has more than 32 segments; build or copy it again",
    ),
    case(
        "broken_elf_segments_overlap",
        |_| Ok(Elf::of([Segment::code(ADDRESS), Segment::code(ADDRESS + 0x800)]).bytes()),
        "*: segments 0 and 1 both claim 0x100800; link it anew",
    ),
    case(
        "broken_elf_segment_beyond_memory",
        |_| Ok(Elf::of([Segment::code(0x100_0000)]).bytes()),
        "*: segment 0 wants memory 0x1000000..0x1001000, the VM has 0x100000..0x400000; give the VM at least 17M of memory, \
         or link it lower",
    ),
    case(
        "broken_elf_segment_below_1_mib",
        |_| Ok(Elf::of([Segment::code(0x8000)]).bytes()),
        "*: segment 0 wants memory 0x8000..0x9000, the VM has 0x100000..0x400000; link it at 0x100000 or above",
    ),
    case(
        "broken_elf_segment_wraps_around",
        |_| Ok(Elf::of([Segment { memory_bytes: u64::MAX, ..Segment::code(ADDRESS) }]).bytes()),
        "*: segment 0 wants memory 0x100000..0xffffffffffffffff, the VM has 0x100000..0x400000; give the VM at least * of \
         memory, or link it lower",
    ),
    case(
        "broken_elf_segment_cut",
        |_| {
            Ok(Elf::of([Segment { file_bytes: 0x2000, memory_bytes: 0x2000, ..Segment::code(ADDRESS) }])
                .bytes())
        },
        "*: the file is truncated: segment 0 needs 8312 bytes, the file has 4216; copy it again",
    ),
    case(
        "broken_elf_segment_larger_in_the_file",
        |_| Ok(Elf::of([Segment { memory_bytes: 0x800, ..Segment::code(ADDRESS) }]).bytes()),
        "*: damaged kernel: a segment is larger in the file than in memory; build or copy it again",
    ),
    case(
        "broken_elf_entry_outside",
        |_| Ok(Elf { entry: 0xffff_ffff_8100_0000, ..Elf::sound() }.bytes()),
        "*: the entry 0xffffffff81000000 lies in no loaded segment; it must be a physical address",
    ),
    case(
        "broken_elf_32_without_a_note",
        |_| Ok(Elf { machine: X86_32, ..Elf::sound() }.bytes()),
        "*: this is a 32-bit ELF file without PVH note or Multiboot header; give a Linux vmlinux or bzImage, or a PVH or \
         Multiboot 1 kernel",
    ),
    // PVH.
    case(
        "broken_pvh_note_without_an_address",
        |_| Ok(Elf::of([Segment::code(ADDRESS), Segment::pvh_note(&[1, 2, 3])]).bytes()),
        "*: damaged kernel: its PVH note holds no address; build or copy it again",
    ),
    case(
        "broken_pvh_entry_outside",
        |_| Ok(Elf::of([Segment::code(ADDRESS), Segment::pvh_note(&[0, 0, 0x20, 0])]).bytes()),
        "*: the entry 0x200000 lies in no loaded segment; it must be a physical address",
    ),
    // Linux.
    case(
        "broken_vmlinux_cut",
        |lab| Ok(lab.vmlinux(Kernel::V6_12)?[..1 << 20].to_vec()),
        "*: the file is truncated: the header needs * bytes, the file has 1048576; copy it again",
    ),
    case(
        "broken_bzimage_header_cut",
        |lab| Ok(bzimage(lab)?.0[..0x240].to_vec()),
        "*: the file is truncated: the header needs 616 bytes, the file has 576; copy it again",
    ),
    case(
        "broken_bzimage_cut",
        |lab| Ok(lab.bzimage(Kernel::V6_12)?[..1 << 20].to_vec()),
        "*: the file is truncated: the kernel proper needs * bytes, the file has 1048576; copy it again",
    ),
    case(
        "broken_bzimage_of_an_old_protocol",
        |lab| Ok(bzimage(lab)?.with(forge::VERSION, &[0x0b, 0x02]).0),
        "*: bzImage of boot protocol 2.11; 2.12 is needed (Linux 3.8 or newer)",
    ),
    case(
        "broken_bzimage_in_too_little_memory",
        |lab| Ok(bzimage(lab)?.0),
        "*: the kernel proper wants memory 0x1000000..0x*, the VM has 0x100000..0x400000; give the VM at least *M of memory, \
         or link it lower",
    ),
    Case {
        name: "broken_command_line_too_long",
        damage: Vm {
            memory: "8M",
            extra: "cmdline = \"longer than ten bytes\"",
            kernel: |lab| {
                let file = bzimage(lab)?.with(forge::PREF_ADDRESS, &ADDRESS.to_le_bytes());
                let file = file.with(forge::INIT_SIZE, &0x10_0000_u32.to_le_bytes());
                Ok(file.with(forge::CMDLINE_SIZE, &10_u32.to_le_bytes()).0)
            },
        },
        promise: "*: cmdline has 21 bytes, this kernel takes 10; shorten it",
    },
    // Multiboot.
    case(
        "broken_multiboot_2_only",
        |_| Ok(forge::multiboot_2()),
        "*: this is a kernel for Multiboot 2 only; give a Linux vmlinux or bzImage, or a PVH or Multiboot 1 kernel",
    ),
    case(
        "broken_multiboot_flags",
        |_| Ok(Multiboot { flags: MULTIBOOT_ADDRESSES | 0x48, ..Multiboot::sound() }.bytes()),
        "*: its Multiboot header requires what is unknown here (flags 0x48); build it without",
    ),
    case(
        "broken_multiboot_without_addresses",
        |_| Ok(Multiboot { flags: 0, ..Multiboot::sound() }.bytes()),
        "*: damaged kernel: it is no ELF file, and its Multiboot header tells no addresses; build or copy it again",
    ),
    case(
        "broken_multiboot_header_cut",
        |_| Ok(Multiboot::sound().bytes()[..20].to_vec()),
        "*: the file is truncated: the Multiboot header needs 32 bytes, the file has 20; copy it again",
    ),
    case(
        "broken_multiboot_image_cut",
        |_| Ok(Multiboot { load_end: 0x10_2000, ..Multiboot::sound() }.bytes()),
        "*: the file is truncated: the Multiboot image needs 8192 bytes, the file has 4096; copy it again",
    ),
    case(
        "broken_multiboot_load_before_the_file",
        |_| Ok(Multiboot { load: 0x10_0000 - 0x1000, ..Multiboot::sound() }.bytes()),
        "*: damaged kernel: its Multiboot load address lies before the file's first byte; build or copy it again",
    ),
    case(
        "broken_multiboot_ends_before_load",
        |_| Ok(Multiboot { load_end: 0x10_0000 - 1, ..Multiboot::sound() }.bytes()),
        "*: damaged kernel: its Multiboot load_end_addr is too low; build or copy it again",
    ),
    case(
        "broken_multiboot_bss_in_the_image",
        |_| Ok(Multiboot { bss_end: 0x10_0800, ..Multiboot::sound() }.bytes()),
        "*: damaged kernel: its Multiboot bss_end_addr is too low; build or copy it again",
    ),
    case(
        "broken_multiboot_entry_outside",
        |_| Ok(Multiboot { entry: 0x10_1000, ..Multiboot::sound() }.bytes()),
        "*: the entry 0x101000 lies in no loaded segment; it must be a physical address",
    ),
    // What does not fit.
    Case {
        name: "broken_initrd_too_large",
        damage: Vm { memory: "4M", extra: "initrd = \"large\"", kernel: |_| Ok(Elf::sound().bytes()) },
        promise: "large: 8M do not fit beside the kernel, there is room for 3068K; give the VM more memory",
    },
    Case {
        name: "broken_modules_for_a_linux_kernel",
        damage: Vm { memory: "4M", extra: "modules = [\"large x\"]", kernel: |_| Ok(Elf::sound().bytes()) },
        promise: "large: a kernel of the kind Linux ELF takes no modules; remove it, or give it as initrd",
    },
    Case {
        name: "broken_memory_larger_than_the_host",
        damage: Vm { memory: "64G", extra: "", kernel: |_| Ok(Elf::sound().bytes()) },
        promise: "64G of memory are wanted and * are free: give the VM less or end another",
    },
    Case {
        name: "broken_memory_of_all_vms_together",
        damage: Vm { memory: "448M", extra: "", kernel: |_| Ok(Elf::sound().bytes()) },
        promise: "448M of memory are wanted and * are free: give the VM less or end another",
    },
];
