//! The disk, the console and the entropy device, driven by the `virtio-drivers` crate, which knows nothing of us.
//!
//! The disk is a file whose sector `n` is filled with the byte `n`, [`SECTORS`] long, and takes writes.

#![no_std]
#![no_main]

use core::fmt::Debug;
use guests::virtio::{Machine, functions, transport};
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
        && let Some(mut disk) = good(checks, "disk-starts", Disk::new(device))
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

/// The transport of the first device of a kind.
fn first(checks: &mut Checks, name: &str, kind: DeviceType) -> Option<PciTransport> {
    let function = functions(kind).next();
    checks.check(name, function.is_some(), format_args!("no such function on bus 0"));
    let transport = transport(function?);
    if let Err(error) = &transport {
        checks.check(name, false, format_args!("its transport: {error:?}"));
    }
    transport.ok()
}

/// What `result` has, if it is one.
fn good<T>(checks: &mut Checks, name: &str, result: Result<T, impl Debug>) -> Option<T> {
    match result {
        Ok(value) => {
            checks.check(name, true, format_args!(""));
            Some(value)
        }
        Err(error) => {
            checks.check(name, false, format_args!("{error:?}"));
            None
        }
    }
}

fn read(checks: &mut Checks, disk: &mut Disk) {
    checks.equal("disk-capacity", disk.capacity(), SECTORS);
    checks.equal("disk-takes-writes", disk.readonly().into(), 0);
    let mut sectors = [0; MANY * SECTOR_SIZE];
    good(checks, "disk-read", disk.read_blocks(3, &mut sectors));
    let wrong =
        (3..).zip(sectors.chunks(SECTOR_SIZE)).find(|(n, sector)| sector.iter().any(|byte| byte != n));
    checks.check("disk-contents", wrong.is_none(), format_args!("sector {:?}", wrong.map(|(n, _)| n)));
    let mut id = [0; 20];
    good(checks, "disk-id", disk.device_id(&mut id));
    checks.check("disk-has-an-id", id.iter().any(|byte| *byte != 0), format_args!("all of it is zero"));
}

fn write(checks: &mut Checks, disk: &mut Disk) {
    let written: [u8; MANY * SECTOR_SIZE] = core::array::from_fn(|index| (index * 7 + index / 256) as u8);
    good(checks, "disk-write", disk.write_blocks(30, &written));
    good(checks, "disk-flush", disk.flush());
    let mut sectors = [0; MANY * SECTOR_SIZE];
    good(checks, "disk-read-back", disk.read_blocks(30, &mut sectors));
    checks.check("disk-keeps-what-is-written", sectors == written, format_args!("other bytes came back"));
    let mut neighbour = [0; SECTOR_SIZE];
    good(checks, "disk-read-neighbour", disk.read_blocks(29, &mut neighbour));
    checks.check("disk-writes-nothing-else", neighbour == [29; SECTOR_SIZE], format_args!("{neighbour:?}"));
}

fn refuse(checks: &mut Checks, disk: &mut Disk) {
    let mut two = [0; 2 * SECTOR_SIZE];
    let past = disk.read_blocks(SECTORS as usize - 1, &mut two);
    checks.check("disk-refuses-what-is-past-its-end", past.is_err(), format_args!("it read"));
    let far = disk.write_blocks(usize::MAX / SECTOR_SIZE, &two);
    checks.check("disk-refuses-what-is-far-past-its-end", far.is_err(), format_args!("it wrote"));
    good(checks, "disk-goes-on-after-that", disk.read_blocks(0, &mut two));
}

/// The same device after a reset, which the driver's end has done.
fn start_again(checks: &mut Checks) {
    let Some(function) = functions(DeviceType::Block).next() else { return };
    let Ok(transport) = transport(function) else { return };
    let Some(mut disk) = good(checks, "disk-starts-again", Disk::new(transport)) else { return };
    let mut sector = [0; SECTOR_SIZE];
    good(checks, "disk-reads-again", disk.read_blocks(2, &mut sector));
    checks.check("disk-contents-again", sector == [2; SECTOR_SIZE], format_args!("{sector:?}"));
}

fn entropy(checks: &mut Checks, device: PciTransport) {
    let Some(mut source) = good(checks, "entropy-starts", VirtIORng::<Machine, _>::new(device)) else {
        return;
    };
    let (mut first, mut second) = ([0; 64], [0; 64]);
    for (name, bytes) in [("entropy-first", &mut first), ("entropy-second", &mut second)] {
        let got = good(checks, name, source.request_entropy(bytes));
        checks.check("entropy-comes", got.is_some_and(|len| len > 0), format_args!("{got:?} bytes"));
    }
    checks.check(
        "entropy-differs",
        first != second && first != [0; 64],
        format_args!("{first:?}, {second:?}"),
    );
}

fn console(checks: &mut Checks, device: PciTransport) {
    let Some(mut console) = good(checks, "console-starts", VirtIOConsole::<Machine, _>::new(device)) else {
        return;
    };
    // The scenario looks for this line.
    good(checks, "console-sends", console.send_bytes(b"guest: this came by the virtio console\r\n"));
    let key = console.recv(true);
    checks.check("console-has-no-key", matches!(key, Ok(None)), format_args!("{key:?}"));
}
