//! Large requests to a disk by a guest that has no timer: it sleeps until the disk's interrupt. What the hypervisor does not
//! hand on by itself, nothing else makes it look for.
//!
//! The disk is at least [`LARGE_BYTES`] long; each of its sectors begins with its number, 32 bits.
//!
//! Unsafe because it writes registers, and because the device has the request while the guest sleeps.

#![no_std]
#![no_main]

use core::cell::UnsafeCell;
use guests::interrupts::{self, APIC_VECTOR, Acknowledge, SPURIOUS_VECTOR};
use guests::virtio::{Machine, functions, transport};
use guests::{Checks, apic, cpu, guest};
use virtio_drivers::device::blk::{BlkReq, BlkResp, SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::PciTransport;

guest!("sleeping-disk", run);

/// No multiple of what the disk's model moves at once, 512 KiB: the last part is short.
const LARGE_BYTES: usize = 640 << 10;
const LARGE_READS: usize = 20;
/// A new host scrubs its memory whenever it has nothing else to do, and does not sleep meanwhile: in the time that these take it
/// comes to the end of that.
const SMALL_READS: usize = 1000;

const IOAPIC: u64 = 0xfec0_0000;
/// The low word of the entry of input 11, which pin A of odd slots has; the disk is in slot 1.
const ENTRY: u32 = 0x10 + 2 * 11;
const X2APIC_EOI: u32 = 0x80b;
const LEVEL_ACTIVE_LOW: u32 = 1 << 15 | 1 << 13;

#[repr(C, align(4096))]
struct Buffer(UnsafeCell<[u8; LARGE_BYTES]>);

// SAFETY: there is one CPU, and `read` alone uses it.
unsafe impl Sync for Buffer {}

static BUFFER: Buffer = Buffer(UnsafeCell::new([0; LARGE_BYTES]));

type Disk = VirtIOBlk<Machine, PciTransport>;

fn run(checks: &mut Checks) {
    apic::enable(SPURIOUS_VECTOR);
    // The disk lets go of its line first: the handler would be called again and again.
    interrupts::acknowledge(Acknowledge::ByCheck);
    // SAFETY: registers of the IOAPIC, which are mapped; the vector has a handler.
    unsafe {
        (IOAPIC as *mut u32).write_volatile(ENTRY);
        ((IOAPIC + 0x10) as *mut u32).write_volatile(LEVEL_ACTIVE_LOW | u32::from(APIC_VECTOR));
    }
    let disk = functions(DeviceType::Block).next().and_then(|function| transport(function).ok());
    let Some(mut disk) = disk.and_then(|transport| Disk::new(transport).ok()) else {
        return checks.check("disk-starts", false, format_args!("no disk that the driver takes"));
    };
    let small = core::iter::repeat_n(SECTOR_SIZE, SMALL_READS);
    let mut lens = small.chain(core::iter::repeat_n(LARGE_BYTES, LARGE_READS));
    let wrong = lens.find_map(|len_bytes| read(&mut disk, len_bytes).err());
    checks.check("disk-reads-while-the-guest-sleeps", wrong.is_none(), format_args!("{wrong:?}"));
}

/// Reads `len_bytes` from the start in one request.
fn read(disk: &mut Disk, len_bytes: usize) -> Result<(), &'static str> {
    // SAFETY: the one reference to it, as long as this function runs.
    let buffer = unsafe { &mut *BUFFER.0.get() };
    let buffer = buffer.get_mut(..len_bytes).ok_or("the buffer is shorter")?;
    buffer.chunks_mut(SECTOR_SIZE).for_each(|sector| sector[..4].fill(0xff));
    let (mut request, mut response) = (BlkReq::default(), BlkResp::default());
    // SAFETY: nothing touches them until the device has given them back.
    let token = unsafe { disk.read_blocks_nb(0, &mut request, buffer, &mut response) };
    let token = token.map_err(|_| "the queue takes no request")?;
    while disk.peek_used() != Some(token) {
        cpu::wait_for_interrupt();
        disk.ack_interrupt();
        interrupts::taken();
        // SAFETY: ends the interrupt in service, if one is.
        unsafe { cpu::wrmsr(X2APIC_EOI, 0) };
    }
    // SAFETY: they are those of the request.
    let read = unsafe { disk.complete_read_blocks(token, &request, buffer, &mut response) };
    read.map_err(|_| "the device fails it")?;
    let mut sectors = (0_u32..).zip(buffer.chunks(SECTOR_SIZE));
    let is_right = sectors.all(|(number, sector)| sector.starts_with(&number.to_le_bytes()));
    if is_right { Ok(()) } else { Err("other sectors come") }
}
