//! Guests' disks: files in memory, partitions of the host's disks, overlays; and what is refused.

use crate::linux::{command, config};
use crate::networks::{self, OTHER, on_other};
use crate::reference::{self, VIRTIO};
use crate::{BOOT, STEP, WORK, line, tiny_guests};
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use xtask::emulator::Emulator;
use xtask::guest::{self, Kernel};
use xtask::image::{Contents, Partition, write_disk};
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("virtio_devices_obey_the_virtio_drivers_crate", On::Both, other_driver),
    quick("debian_on_a_partition_of_an_nvme_disk_is_a_guests_root", On::Amd(NO_NVME), debian_root),
    quick("a_guest_that_sleeps_is_woken_by_the_end_of_its_large_requests", On::Amd(NO_NVME), sleeping),
    quick("guests_share_a_disk_behind_overlays", On::Both, overlays),
    quick("a_full_overlay_gives_io_errors_and_no_more", On::Both, full_overlay),
    quick(
        "disks_and_networks_that_cannot_be_had_are_refused_before_the_vm_starts",
        On::Amd(NO_NVME),
        refused,
    ),
];

const NO_NVME: &str = "Bochs has no NVMe controller";

const fn quick(name: &'static str, on: On, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on, run }
}

/// A disk of 64 sectors; sector `n` is filled with the byte `n`.
pub fn numbered_sectors() -> Vec<u8> {
    (0..64).flat_map(|n| [n; 512]).collect()
}

/// A driver that knows nothing of us drives the disk, the console and the entropy device.
fn other_driver(lab: &Lab) -> Result<()> {
    let config = tiny_guests::config("virtio") + "[[vm.disk]]\nsource = \"file:disk.img\"\n";
    let mut contents = lab.contents(&config)?;
    contents.add("guest", lab.guest("virtio")?);
    contents.add("disk.img", numbered_sectors());
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("guest: this came by the virtio console", BOOT)?;
    emulator.expect("vm virtio: ended: debug exit by the guest, status 1\r", BOOT)?;
    line::await_power_off(&mut emulator)?;
    let log = emulator.serial_log();
    let failed: Vec<_> = reference::checks(&log).into_iter().filter(|(_, outcome)| outcome != "ok").collect();
    ensure!(failed.is_empty(), "the guest reported: {failed:?}");
    reference::compare(lab, VIRTIO, &log)
}

/// A disk with the root file system on its second partition.
fn disk_with_root(lab: &Lab) -> Result<PathBuf> {
    let out = lab.folder().join("data.img");
    let root = std::fs::read(guest::rootfs()?)?;
    let partitions = [
        Partition { label: "other", contents: b"nothing of interest", size_mib: 4 },
        Partition { label: "web-root", contents: &root, size_mib: 256 },
        Partition { label: "scratch", contents: &vec![b'x'; 2 << 20], size_mib: 2 },
    ];
    write_disk(&partitions, &out)?;
    Ok(out)
}

/// Starts a host with an NVMe disk, the file `disk`, besides the one with `contents` that it boots from.
fn start_with_nvme(lab: &Lab, contents: &Contents, disk: &Path) -> Result<Emulator> {
    let drive = format!("if=none,id=data,format=raw,snapshot=on,file={}", disk.display());
    let machine = lab.machine(&lab.image(contents)?);
    lab.start(machine.qemu_args(["-drive", &drive, "-device", "nvme,drive=data,serial=data"]))
}

fn debian_root(lab: &Lab) -> Result<()> {
    let disk =
        "[[vm.disk]]\nsource = \"partition:web-root\"\n\n[[vm.disk]]\nsource = \"partition:scratch\"\n";
    let config = config("cmdline = \"console=ttyS0 root=/dev/vda\"") + disk;
    let mut contents = lab.contents(&config)?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", lab.initramfs()?);
    let mut emulator = start_with_nvme(lab, &contents, &disk_with_root(lab)?)?;
    emulator.expect("root:~# ", BOOT)?;
    let on_root = |emulator: &mut Emulator, line: &str| -> Result<String> {
        emulator.send(&format!("{line}\n"))?;
        emulator.expect("\n", STEP)?;
        Ok(emulator.expect("root:~# ", WORK)?)
    };
    let source = on_root(&mut emulator, "findmnt -n -o SOURCE,FSTYPE /")?;
    ensure!(source.contains("/dev/vda") && source.contains("ext4"), "the root is {source:?}");
    let version = on_root(&mut emulator, "cat /etc/debian_version")?;
    ensure!(version.starts_with("12."), "it is Debian {version:?}");
    on_root(&mut emulator, "cp -a /usr/bin /root/copy && sync && echo 3 >/proc/sys/vm/drop_caches")?;
    let differing = on_root(&mut emulator, "diff -r /usr/bin /root/copy | wc -l")?;
    ensure!(differing.trim() == "0", "{} files came back changed", differing.trim());
    // The device itself writes zeros, to the half in the middle.
    let most = on_root(&mut emulator, "cat /sys/block/vdb/queue/write_zeroes_max_bytes")?;
    ensure!(most.trim().parse::<u64>()? >= 1 << 20, "at most {most:?} are zeroed at once");
    on_root(&mut emulator, "blkdiscard -z -o 512k -l 1M /dev/vdb")?;
    let kept = on_root(
        &mut emulator,
        "for at in 0 3; do dd bs=512k skip=$at count=1 </dev/vdb 2>&- | tr -d '\\0' | wc -c; done",
    )?;
    let zeros = on_root(&mut emulator, "tr -d x </dev/vdb | wc -c")?;
    ensure!(kept.split_whitespace().eq(["524288"; 2]), "{kept:?} bytes are kept of 512 KiB");
    ensure!(zeros.trim() == "1048576", "{zeros:?} bytes are zeroed of 1 MiB");
    emulator.send("exit\n")?;
    emulator.expect("vm demo: ended: powered off", STEP)?;
    line::await_power_off(&mut emulator)
}

/// Requests that go to the drive in parts, of a guest that nothing but its disk wakes.
fn sleeping(lab: &Lab) -> Result<()> {
    let disk = lab.folder().join("data.img");
    std::fs::write(&disk, (0_u32..4096).flat_map(sector_with_number).collect::<Vec<_>>())?;
    let config = tiny_guests::config("sleeping-disk") + "[[vm.disk]]\nsource = \"disk:nvme0n1\"\n";
    let mut contents = lab.contents(&config)?;
    contents.add("guest", lab.guest("sleeping-disk")?);
    let mut emulator = start_with_nvme(lab, &contents, &disk)?;
    emulator.expect("guest: check disk-reads-while-the-guest-sleeps: ok", BOOT)?;
    emulator.expect("vm sleeping-disk: ended: debug exit by the guest, status 1\r", BOOT)?;
    line::await_power_off(&mut emulator)
}

/// A sector that begins with its number.
fn sector_with_number(number: u32) -> [u8; 512] {
    let mut sector = [0; 512];
    sector[..4].copy_from_slice(&number.to_le_bytes());
    sector
}

/// Two guests write to the same sectors, and each finds its own bytes; nobody's reach the file.
fn overlays(lab: &Lab) -> Result<()> {
    const DISK: &str = "[[vm.disk]]\nsource = \"file:disk.img\"\noverlay = \"1M\"\n";
    let config = config("cmdline = \"console=ttyS0\"") + DISK + OTHER + DISK;
    let mut contents = lab.contents(&config)?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", lab.initramfs()?);
    contents.add("disk.img", vec![b'x'; 2 << 20]);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("demo:~# ", BOOT)?;
    let write = |name: &str| format!("echo {name} | dd of=/dev/vda bs=512 seek=100 conv=sync,fsync 2>&-");
    // Linux forgets what it has of a disk when nobody has it open any more.
    const READ: &str = "dd if=/dev/vda of=sector bs=512 skip=100 count=1 2>&-";
    const SHOW: &str = "tr -d '\\0' <sector";
    command(&mut emulator, &write("demo"))?;
    networks::go_to(&mut emulator, "other")?;
    emulator.expect("other:~# ", BOOT)?;
    // Before it writes there itself.
    on_other(&mut emulator, READ)?;
    let of_file = on_other(&mut emulator, "wc -c <sector; tr -d x <sector | wc -c")?;
    ensure!(of_file.split_whitespace().eq(["512", "0"]), "what one has written is in the file: {of_file:?}");
    on_other(&mut emulator, &write("other"))?;
    on_other(&mut emulator, READ)?;
    let of_other = on_other(&mut emulator, SHOW)?;
    ensure!(of_other.trim() == "other", "the other VM reads {of_other:?}");
    networks::to_prompt(&mut emulator, "demo")?;
    command(&mut emulator, READ)?;
    let of_demo = command(&mut emulator, SHOW)?;
    ensure!(of_demo.trim() == "demo", "the first VM reads {of_demo:?}");
    Ok(())
}

/// More is written than the overlay holds: the guest gets an error, keeps what fitted, and goes on.
fn full_overlay(lab: &Lab) -> Result<()> {
    let disk = "[[vm.disk]]\nsource = \"file:disk.img\"\noverlay = \"1M\"\n";
    let mut contents = lab.contents(&(config("cmdline = \"console=ttyS0\"") + disk))?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", lab.initramfs()?);
    contents.add("disk.img", vec![b'x'; 4 << 20]);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("demo:~# ", BOOT)?;
    let zeros = "dd if=/dev/zero of=/dev/vda bs=4096 conv=fsync";
    let fits = command(&mut emulator, &format!("{zeros} count=64 2>/dev/null; echo status $?"))?;
    ensure!(fits.contains("status 0"), "256 KiB do not fit: {fits:?}");
    let full = command(&mut emulator, &format!("{zeros} seek=64 count=512 2>/dev/null; echo status $?"))?;
    ensure!(full.contains("status 1"), "2 MiB fitted: {full:?}");
    // Lines short enough to be echoed as one.
    command(&mut emulator, "dd if=/dev/vda of=kept bs=4096 count=64 iflag=direct")?;
    let all = command(&mut emulator, "wc -c <kept")?;
    ensure!(all.trim() == "262144", "{} bytes of 256 KiB can be read", all.trim());
    let others = command(&mut emulator, "tr -d '\\0' <kept | wc -c")?;
    ensure!(others.trim() == "0", "{} bytes of what fitted are not there", others.trim());
    line::power_off_guest(&mut emulator)
}

/// Each VM but the first cannot have its disk or its network, and says why before it starts.
fn refused(lab: &Lab) -> Result<()> {
    let vm = |name: &str, disk: &str| {
        format!(
            "[[vm]]\nname = \"{name}\"\nmemory = \"16M\"\nkernel = \"guest\"\non_reset = \"end\"\n\
             [[vm.disk]]\nsource = \"{disk}\"\n"
        )
    };
    let config = String::from("[host]\nwhen_idle = \"shell\"\n\n")
        + &vm("owner", "partition:web-root")
        + &vm("second", "partition:nvme0n1p2")
        + &vm("whole", "disk:nvme0n1")
        + &vm("lost", "partition:no-such")
        + &vm("absent", "disk:nvme7n1")
        + "[[vm]]\nname = \"offline\"\nmemory = \"16M\"\nkernel = \"guest\"\n[[vm.nic]]\nnetwork = \"lan0\"\n\n\
           [[network]]\nname = \"lan0\"\nuplink = \"eth7\"\n";
    let mut contents = lab.contents(&config)?;
    contents.add("guest", lab.guest("first-byte")?);
    let mut emulator = start_with_nvme(lab, &contents, &disk_with_root(lab)?)?;
    emulator.expect("hypervisor ready", BOOT)?;
    let log = emulator.serial_log();
    for (vm, word) in [
        ("second", "owner"),
        ("whole", "owner"),
        ("lost", "no-such"),
        ("absent", "nvme7n1"),
        ("offline", "eth7"),
    ] {
        let told =
            log.lines().any(|line| line.contains(&format!("vm {vm}: cannot start")) && line.contains(word));
        ensure!(told, "vm {vm}: nothing tells why it cannot start: {log}");
    }
    ensure!(!log.contains("vm owner: cannot start"), "the first VM has its disk");
    Ok(())
}
