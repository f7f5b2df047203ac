//! A computer with a disk for each case and a sound one at its end: what boot refuses, and that firmware goes on.

use super::{Case, GOOD, Lines};
use crate::{BOOT, STEP, line};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use xtask::emulator::Time;
use xtask::image::Contents;
use xtask::scenario::{Lab, On};

/// Why the computer is QEMU's. Boot is the same program for both vendors.
pub const MANY_DISKS: On = On::Amd("every case is a disk of its own, and Bochs has places for four");

/// What is done to a disk that would boot.
pub enum Damage {
    /// Another configuration.
    Config(fn() -> Vec<u8>),
    /// Other files.
    Files(fn(&mut Contents)),
    /// The directory claims another length of the kernel's file, in bytes.
    KernelLength(u32),
}

/// What precedes every line of boot.
const PREFIX: &str = "cofferdam: boot: ";

/// The line of each case by its name, from one run of a computer with all of their disks.
pub fn refusals(lab: &Lab, cases: &[Case<Damage>]) -> Result<Lines> {
    let mut disks = cases.iter().map(|case| disk(lab, &case.damage)).collect::<Result<Vec<_>>>()?;
    disks.push(lab.image(&good(lab)?)?);
    let (first, others) = disks.split_first().context("there is no disk")?;
    let more = others.iter().enumerate().flat_map(|(number, disk)| attach(number, disk));
    // Boot waits a little after each refusal, for a person to read it: let that be emulated time.
    let machine = lab.machine(first).time(Time::Instructions).qemu_args(more);
    let mut emulator = lab.start(machine)?;
    let mut lines = Lines::new();
    for case in cases {
        emulator.expect("cofferdam boot ", BOOT)?;
        let line = loop {
            emulator.expect(PREFIX, STEP)?;
            let line = emulator.expect("\n", STEP)?;
            // Its progress is told in the same form.
            if !line.starts_with("read ") {
                break line;
            }
        };
        let is_refused = !line.starts_with("entering hypervisor");
        lines.insert(case.name, line);
        if !is_refused {
            // No disk that follows is tried.
            return Ok(lines);
        }
    }
    emulator.expect("vm good: ended: debug exit by the guest", BOOT)?;
    line::await_power_off(&mut emulator)?;
    Ok(lines)
}

/// A disk that boots.
fn good(lab: &Lab) -> Result<Contents> {
    let mut contents = lab.contents(&format!("{GOOD}debug_exit = true\n"))?;
    contents.add("guest", lab.guest("port-io")?);
    Ok(contents)
}

fn disk(lab: &Lab, damage: &Damage) -> Result<PathBuf> {
    let mut contents = good(lab)?;
    match damage {
        Damage::Config(config) => contents.add("cofferdam.toml", config()),
        Damage::Files(change) => change(&mut contents),
        Damage::KernelLength(_) => {}
    }
    let disk = lab.image(&contents)?;
    if let Damage::KernelLength(len_bytes) = damage {
        claim_length(&disk, *len_bytes)?;
    }
    Ok(disk)
}

/// QEMU's arguments for one more disk. Firmware tries disks in the order of their slots, which is that of the arguments.
fn attach(number: usize, disk: &Path) -> [String; 4] {
    [
        "-drive".into(),
        format!("if=none,id=more{number},format=raw,snapshot=on,file={}", disk.display()),
        "-device".into(),
        format!("virtio-blk-pci,drive=more{number}"),
    ]
}

/// Makes the directory entry of the file "guest" claim a length (Microsoft, "FAT: General Overview of On-Disk Format",
/// 1.03, "FAT 32 Byte Directory Entry Structure").
fn claim_length(disk: &Path, len_bytes: u32) -> Result<()> {
    const ENTRY_BYTES: usize = 32;
    const LENGTH_OFFSET: usize = 28;
    let mut bytes = std::fs::read(disk)?;
    let index = bytes.chunks_exact(ENTRY_BYTES).position(|entry| entry.starts_with(b"GUEST      "));
    let at = index.context("the disk has no file \"guest\"")? * ENTRY_BYTES + LENGTH_OFFSET;
    bytes[at..at + 4].copy_from_slice(&len_bytes.to_le_bytes());
    Ok(std::fs::write(disk, bytes)?)
}
