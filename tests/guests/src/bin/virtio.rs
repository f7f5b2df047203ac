//! The disk, the console and the entropy device, driven by the `virtio-drivers` crate, which knows nothing of us.
//!
//! The disk is a file whose sector `n` is filled with the byte `n`, [`SECTORS`] long, and takes writes.

#![no_std]
#![no_main]

use guests::virtio::{Machine, first, functions, transport};
use guests::{Checks, guest};
use virtio_drivers::device::blk::{SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::PciTransport;

guest!("virtio", run);

/// How long the disk is.
const SECTORS: u64 = 64;
/// More than one page, at no multiple of a sector in memory.
const MANY: usize = 20;

type Disk = VirtIOBlk<Machine, PciTransport>;

fn run(checks: &mut Checks) {
    if let Some(device) = first(checks, "disk", DeviceType::Block)
        && let Some(mut disk) = checks.good("disk-starts", Disk::new(device))
    {
        read(checks, &mut disk);
        write(checks, &mut disk);
        refuse(checks, &mut disk);
        drop(disk);
        start_again(checks);
    }
    if let Some(device) = first(checks, "entropy", DeviceType::EntropySource) {
        entropy(checks, device);
    }
    if let Some(device) = first(checks, "console", DeviceType::Console) {
        console(checks, device);
    }
}

fn read(checks: &mut Checks, disk: &mut Disk) {
    checks.equal("disk-capacity", disk.capacity(), SECTORS);
    checks.equal("disk-takes-writes", disk.readonly().into(), 0);
    let mut sectors = [0; MANY * SECTOR_SIZE];
    checks.good("disk-read", disk.read_blocks(3, &mut sectors));
    let wrong =
        (3..).zip(sectors.chunks(SECTOR_SIZE)).find(|(n, sector)| sector.iter().any(|byte| byte != n));
    checks.check("disk-contents", wrong.is_none(), format_args!("sector {:?}", wrong.map(|(n, _)| n)));
    let mut id = [0; 20];
    checks.good("disk-id", disk.device_id(&mut id));
    checks.check("disk-has-an-id", id.iter().any(|byte| *byte != 0), format_args!("all of it is zero"));
}

fn write(checks: &mut Checks, disk: &mut Disk) {
    let written: [u8; MANY * SECTOR_SIZE] = core::array::from_fn(|index| (index * 7 + index / 256) as u8);
    checks.good("disk-write", disk.write_blocks(30, &written));
    checks.good("disk-flush", disk.flush());
    let mut sectors = [0; MANY * SECTOR_SIZE];
    checks.good("disk-read-back", disk.read_blocks(30, &mut sectors));
    checks.check("disk-keeps-what-is-written", sectors == written, format_args!("other bytes came back"));
    let mut neighbour = [0; SECTOR_SIZE];
    checks.good("disk-read-neighbour", disk.read_blocks(29, &mut neighbour));
    checks.check("disk-writes-nothing-else", neighbour == [29; SECTOR_SIZE], format_args!("{neighbour:?}"));
}

fn refuse(checks: &mut Checks, disk: &mut Disk) {
    let mut two = [0; 2 * SECTOR_SIZE];
    let past = disk.read_blocks(SECTORS as usize - 1, &mut two);
    checks.check("disk-refuses-what-is-past-its-end", past.is_err(), format_args!("it read"));
    let far = disk.write_blocks(usize::MAX / SECTOR_SIZE, &two);
    checks.check("disk-refuses-what-is-far-past-its-end", far.is_err(), format_args!("it wrote"));
    checks.good("disk-goes-on-after-that", disk.read_blocks(0, &mut two));
}

/// The same device after a reset, which the driver's end has done.
fn start_again(checks: &mut Checks) {
    let Some(function) = functions(DeviceType::Block).next() else { return };
    let Ok(transport) = transport(function) else { return };
    let Some(mut disk) = checks.good("disk-starts-again", Disk::new(transport)) else { return };
    let mut sector = [0; SECTOR_SIZE];
    checks.good("disk-reads-again", disk.read_blocks(2, &mut sector));
    checks.check("disk-contents-again", sector == [2; SECTOR_SIZE], format_args!("{sector:?}"));
}

fn entropy(checks: &mut Checks, device: PciTransport) {
    let Some(mut source) = checks.good("entropy-starts", VirtIORng::<Machine, _>::new(device)) else {
        return;
    };
    let (mut first, mut second) = ([0; 64], [0; 64]);
    for (name, bytes) in [("entropy-first", &mut first), ("entropy-second", &mut second)] {
        let got = checks.good(name, source.request_entropy(bytes));
        checks.check("entropy-comes", got.is_some_and(|len| len > 0), format_args!("{got:?} bytes"));
    }
    checks.check(
        "entropy-differs",
        first != second && first != [0; 64],
        format_args!("{first:?}, {second:?}"),
    );
}

fn console(checks: &mut Checks, device: PciTransport) {
    let Some(mut console) = checks.good("console-starts", VirtIOConsole::<Machine, _>::new(device)) else {
        return;
    };
    // The scenario looks for this line.
    checks.good("console-sends", console.send_bytes(b"guest: this came by the virtio console\r\n"));
    let key = console.recv(true);
    checks.check("console-has-no-key", matches!(key, Ok(None)), format_args!("{key:?}"));
}
