//! Whole disks of the host as guests' disks: what is written to one stays there, and a slow one keeps nobody waiting.

use crate::linux::{command, config};
use crate::networks::{OTHER, go_to, on_other, to_prompt};
use crate::{BOOT, WORK, line};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use xtask::emulator::Machine;
use xtask::guest::Kernel;
use xtask::image::{Partition, write_disk};
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("what_is_written_to_a_whole_virtio_disk_of_the_host_stays", whole_disk),
    quick("a_slow_drive_stalls_no_other_guest_and_no_other_drive", slow_drive),
];

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario {
        name,
        speed: Speed::Quick,
        on: On::Amd("Bochs has only disks that Cofferdam does not drive"),
        run,
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// What a guest finds on a disk: the beginning of what this prints. No two sectors are equal.
const NUMBERS: &str = "seq 9999999";

/// The same here.
fn numbers(len_bytes: usize) -> Vec<u8> {
    (1..).flat_map(|n| format!("{n}\n").into_bytes()).take(len_bytes).collect()
}

/// Adds a drive with the disk image `file`, which keeps what is written to it, behind a controller of QEMU's.
fn with_drive(machine: Machine, id: &str, file: &Path, options: &str, controller: &str) -> Machine {
    let drive = format!("if=none,id={id},format=raw,file={}{options}", file.display());
    machine.qemu_args(["-drive", &drive, "-device", &format!("{controller},drive={id}")])
}

/// A guest fills a disk, discards a part of it and may not write to another; after its restart, and behind the host's end,
/// the disks are as they should be. The host boots from `vda`.
fn whole_disk(lab: &Lab) -> Result<()> {
    const DISKS: &str = "on_reset = \"restart\"\n\n[[vm.disk]]\nsource = \"disk:vdb\"\n\n\
                         [[vm.disk]]\nsource = \"partition:facts\"\nread_only = true\n";
    let (empty, facts) = (lab.folder().join("empty.img"), lab.folder().join("facts.img"));
    std::fs::write(&empty, vec![0; MIB])?;
    write_disk(&[Partition { label: "facts", contents: &numbers(MIB), size_mib: 1 }], &facts)?;
    let facts_before = std::fs::read(&facts)?;
    let mut contents = lab.contents(&config(&format!("cmdline = \"console=ttyS0\"\n{DISKS}")))?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", lab.initramfs()?);
    let machine = lab.machine(&lab.image(&contents)?);
    let machine = with_drive(machine, "empty", &empty, ",discard=unmap", "virtio-blk-pci");
    let mut emulator = lab.start(with_drive(machine, "facts", &facts, "", "virtio-blk-pci"))?;
    emulator.expect("demo:~# ", BOOT)?;

    let serials = command(&mut emulator, "head /sys/block/vd[ab]/serial")?;
    ensure!(serials.contains("demo-0") && serials.contains("demo-1"), "the disks are {serials:?}");
    command(&mut emulator, &format!("{NUMBERS} | head -c 1m >numbers"))?;
    let filled = command(&mut emulator, "dd if=numbers of=/dev/vda bs=64k conv=fsync 2>&-; echo $?")?;
    ensure!(filled.trim() == "0", "filling a disk ends with {filled:?}");
    let is_read_only = command(&mut emulator, "cat /sys/block/vd[ab]/ro")?;
    ensure!(is_read_only.split_whitespace().eq(["0", "1"]), "which disks are read-only: {is_read_only:?}");
    let refused = command(&mut emulator, "dd if=/dev/zero of=/dev/vdb count=1 conv=fsync; echo $?")?;
    ensure!(refused.trim().ends_with('1'), "writing to a read-only disk ends with {refused:?}");

    emulator.send("reboot -f\n")?;
    emulator.expect("Linux version 6.12", BOOT)?;
    emulator.expect("demo:~# ", BOOT)?;
    command(&mut emulator, &format!("{NUMBERS} | head -c 1m >numbers"))?;
    for disk in ["vda", "vdb"] {
        let compared = command(&mut emulator, &format!("cmp numbers /dev/{disk} && echo equal"))?;
        ensure!(compared.trim() == "equal", "{disk} after a restart: {compared:?}");
    }
    let discarded = command(&mut emulator, "blkdiscard -o 262144 -l 262144 /dev/vda; echo $?")?;
    ensure!(discarded.trim() == "0", "blkdiscard ends with {discarded:?}");
    line::power_off_guest(&mut emulator)?;

    let mut rest = numbers(MIB);
    rest[256 * KIB..512 * KIB].fill(0);
    let is_discarded = std::fs::read(&empty)? == rest;
    ensure!(is_discarded, "{}: not what was written, less what was discarded", empty.display());
    ensure!(std::fs::read(&facts)? == facts_before, "{}: a read-only disk has changed", facts.display());
    Ok(())
}

/// The length of both drives. The slow one takes two seconds for each request that [`READ_AHEAD`] makes, and two minutes for
/// all.
const DISK_BYTES: usize = 4 * MIB;
const SLOWLY: &str = ",throttling.bps-total=32768";
const READ_AHEAD: &str = "echo 64 >/sys/block/vda/queue/read_ahead_kb";

/// While one guest waits for a slow drive, the other reads all of another drive, and answers.
fn slow_drive(lab: &Lab) -> Result<()> {
    let disk = |name: &str| format!("[[vm.disk]]\nsource = \"disk:{name}\"\n");
    let config = config("cmdline = \"console=ttyS0\"") + &disk("nvme0n1") + OTHER + &disk("vdb");
    let mut contents = lab.contents(&config)?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", lab.initramfs()?);
    let (slow, fast) = (lab.folder().join("slow.img"), lab.folder().join("fast.img"));
    std::fs::write(&slow, numbers(DISK_BYTES))?;
    std::fs::write(&fast, numbers(DISK_BYTES))?;
    let machine = lab.machine(&lab.image(&contents)?);
    let machine = with_drive(machine, "slow", &slow, SLOWLY, "nvme,serial=slow");
    let mut emulator = lab.start(with_drive(machine, "fast", &fast, "", "virtio-blk-pci"))?;
    emulator.expect("demo:~# ", BOOT)?;
    command(&mut emulator, READ_AHEAD)?;
    go_to(&mut emulator, "other")?;
    emulator.expect("other:~# ", BOOT)?;

    to_prompt(&mut emulator, "demo")?;
    command(&mut emulator, "dd if=/dev/vda of=got bs=64k 2>&- &")?;
    let before = copied(&command(&mut emulator, "wc -c <got; jobs")?)?;
    // Seconds of work: were a CPU to wait for the slow drive, this guest would get a slice of it for each request there.
    to_prompt(&mut emulator, "other")?;
    on_other(&mut emulator, "echo 0 >/sys/block/vda/queue/read_ahead_kb")?;
    on_other(&mut emulator, "dd if=/dev/vda of=got bs=4k 2>&-")?;
    on_other(&mut emulator, &format!("{NUMBERS} | head -c 4m >numbers"))?;
    let compared = on_other(&mut emulator, "cmp numbers got && echo equal")?;
    ensure!(compared.trim() == "equal", "from the other drive: {compared:?}");
    to_prompt(&mut emulator, "demo")?;
    copied(&command(&mut emulator, "wc -c <got; jobs")?)?;

    // It goes on, and nothing that was copied is wrong.
    emulator.send(&format!("until [ $(wc -c <got) -gt {before} ]; do sleep 1; done; kill %1; wait\n"))?;
    emulator.expect("demo:~# ", WORK)?;
    let compared =
        command(&mut emulator, &format!("{NUMBERS} | head -c $(wc -c <got) | cmp - got && echo equal"))?;
    ensure!(compared.trim() == "equal", "from the slow drive: {compared:?}");
    Ok(())
}

/// How many bytes a copy that still runs has copied.
fn copied(told: &str) -> Result<usize> {
    ensure!(told.contains("Running"), "the copy from the slow drive runs no more: {told:?}");
    let bytes = told.lines().find_map(|line| line.trim().parse().ok());
    bytes.with_context(|| format!("nothing tells how much is copied: {told:?}"))
}
