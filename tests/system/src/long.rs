//! What is too slow for every run: sweeps over computers, and soaks. Only with `--long`.

use crate::{BOOT, STEP, line, linux};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::time::Duration;
use xtask::emulator::{Disk, Ending, Machine, Model, Vendor};
use xtask::guest::Kernel;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    long("linux_boots_on_every_processor_with_svm", On::Amd("the processors are QEMU's"), processors),
    long("linux_boots_on_every_processor_with_vt_x", On::Intel("the processors are Bochs'"), models),
    long(
        "linux_boots_on_computers_of_many_sizes",
        On::Amd("Bochs has no NVMe, and is slow with many CPUs"),
        sizes,
    ),
    long("a_vm_that_resets_itself_thirty_times_comes_up_each_time", On::Both, resets),
    long("two_vms_keep_their_memory_and_time_under_load", On::Both, load),
];

const fn long(name: &'static str, on: On, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Long, on, run }
}

/// How often the guest of [`resets`] comes up.
const RESETS: u32 = 30;
/// How often each guest of [`load`] fills memory, copies it and compares the copies: fewer times where the emulator
/// interprets each instruction.
const fn rounds(vendor: Vendor) -> u32 {
    match vendor {
        Vendor::Amd => 150,
        Vendor::Intel => 15,
    }
}
/// How long a round may take, with another VM and another emulator beside, and the first with the boot.
const ROUND: Duration = Duration::from_secs(240);

/// Boots Linux on `machine` to its shell, has it compute, and powers off.
fn boots(lab: &Lab, machine: Machine) -> Result<()> {
    let mut emulator = lab.start(machine)?;
    emulator.expect("demo:~# ", BOOT)?;
    let sum = linux::command(&mut emulator, "echo $((6 * 7))")?;
    ensure!(sum.trim() == "42", "the shell computes {sum:?}");
    line::power_off_guest(&mut emulator)
}

/// An image whose one VM is Linux.
fn image(lab: &Lab, extra: &str) -> Result<PathBuf> {
    let mut contents = lab.contents(&linux::config(extra))?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", lab.initramfs()?);
    lab.image(&contents)
}

fn processors(lab: &Lab) -> Result<()> {
    let image = image(lab, "cmdline = \"console=ttyS0\"")?;
    let models = [
        "EPYC,+svm",
        "EPYC,+svm,+x2apic",
        "EPYC-Rome,+svm",
        "EPYC-Milan,+svm",
        "EPYC-Genoa,+svm",
        "max,-x2apic",
        "max,-la57",
        "max,-smep,-smap,-umip",
        "max,-pdpe1gb",
        "max,-avx,-avx2",
        "max,-xsave",
    ];
    for model in models {
        boots(lab, lab.machine(&image).qemu_args(["-cpu", model]))
            .with_context(|| format!("-cpu {model}"))?;
    }
    Ok(())
}

fn models(lab: &Lab) -> Result<()> {
    let image = image(lab, "cmdline = \"console=ttyS0\"")?;
    for model in [Model::SkylakeX, Model::Haswell, Model::IvyBridge] {
        boots(lab, lab.machine(&image).model(model)).with_context(|| format!("{model:?}"))?;
    }
    Ok(())
}

fn sizes(lab: &Lab) -> Result<()> {
    let image = image(lab, "cmdline = \"console=ttyS0\"")?;
    for (memory_mib, cpus, disk) in [
        (512, 1, Disk::Virtio),
        (1024, 2, Disk::Nvme),
        (2048, 4, Disk::Virtio),
        (3072, 1, Disk::Nvme),
        // Some of it lies above 4 GiB.
        (6144, 3, Disk::Virtio),
    ] {
        boots(lab, lab.machine(&image).memory_mib(memory_mib).cpus(cpus).disk(disk))
            .with_context(|| format!("{memory_mib} MiB, {cpus} CPUs, {disk:?}"))?;
    }
    Ok(())
}

fn resets(lab: &Lab) -> Result<()> {
    let extra = "cmdline = \"console=ttyS0 run=\\\"reboot -f\\\"\"\non_reset = \"restart\"";
    let mut emulator = lab.start(lab.machine(&image(lab, extra)?))?;
    for time in 1..=RESETS {
        emulator.expect("Linux version 6.12", BOOT).with_context(|| format!("start {time}"))?;
        emulator.expect("reboot: Restarting system", BOOT).with_context(|| format!("start {time}"))?;
    }
    line::to_shell(&mut emulator)?;
    line::power_off_host(&mut emulator)
}

/// The work of one guest: copies of random bytes stay equal, time goes forward, and sleep wakes.
fn work(hostname: &str, rounds: u32) -> String {
    let script = format!(
        "i=0; t=0; while [ $i -lt {rounds} ]; do \
         dd if=/dev/urandom of=/a bs=1M count=8 2>/dev/null && cp /a /b && cmp /a /b && sleep 0.02 || break; \
         n=$(cut -d. -f1 /proc/uptime); [ $n -ge $t ] || break; t=$n; i=$((i + 1)); echo round $i; \
         done; echo {hostname} did $i rounds; poweroff -f"
    );
    format!("cmdline = 'console=ttyS0 quiet hostname={hostname} run=\"{script}\"'\n")
}

fn load(lab: &Lab) -> Result<()> {
    let rounds = rounds(lab.vendor());
    let second =
        "[[vm]]\nname = \"other\"\nmemory = \"192M\"\nkernel = \"kernel\"\ninitrd = \"initramfs.cpio\"\n";
    let config = linux::config(&work("demo", rounds)) + second + &work("other", rounds);
    let mut contents = lab.contents(&config)?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", lab.initramfs()?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    // The console shows the first; the other must have ended by its own will, which is after all its rounds.
    for round in 1..=rounds {
        emulator.expect(&format!("round {round}\r"), ROUND).with_context(|| format!("round {round}"))?;
    }
    emulator.expect(&format!("demo did {rounds} rounds"), STEP)?;
    ensure!(emulator.wait_exit(ROUND * rounds)? == Ending::PoweredOff);
    let log = emulator.serial_log();
    for name in ["demo", "other"] {
        ensure!(log.contains(&format!("vm {name}: ended: powered off")), "{name} did not power off");
    }
    Ok(())
}
