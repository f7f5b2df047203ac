//! What the `virtio-drivers` crate asks of the machine: memory, and where devices are.
//!
//! Physical and linear addresses are the same, and nothing is ever given back: a guest lives for a second.
//!
//! Why unsafe: the crate's seam hands memory to devices.

use crate::{Checks, pci};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{Command, DeviceFunction};
use virtio_drivers::transport::pci::{PciTransport, virtio_device_type};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

const POOL_BYTES: usize = 2 << 20;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[u8; POOL_BYTES]>);

// SAFETY: each byte is handed out once, by `take`.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool(UnsafeCell::new([0; POOL_BYTES]));
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// `bytes` of zeros that nobody has, at a multiple of `align`; null when there are none left.
fn take(bytes: usize, align: usize) -> *mut u8 {
    let start = TAKEN.load(Relaxed).next_multiple_of(align);
    if bytes > POOL_BYTES || start > POOL_BYTES - bytes {
        return null_mut();
    }
    TAKEN.store(start + bytes, Relaxed);
    // SAFETY: within the pool, by the check above.
    unsafe { POOL.0.get().cast::<u8>().add(start) }
}

/// The crate keeps its queues' state on the heap.
struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

// SAFETY: `take` never hands memory out twice, and the pool is aligned to a page.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size(), layout.align())
    }

    unsafe fn dealloc(&self, _memory: *mut u8, _layout: Layout) {}
}

/// The machine, for the crate.
pub struct Machine;

// SAFETY: pages are the pool's, each handed out once; registers are identity-mapped; so is all memory.
unsafe impl Hal for Machine {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let memory = NonNull::new(take(pages * PAGE_SIZE, PAGE_SIZE)).expect("the pool is large enough");
        (memory.as_ptr() as PhysAddr, memory)
    }

    unsafe fn dma_dealloc(_paddr: PhysAddr, _vaddr: NonNull<u8>, _pages: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        NonNull::new(paddr as *mut u8).expect("no BAR is at 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>() as PhysAddr
    }

    unsafe fn unshare(_paddr: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

/// The functions of bus 0 that are virtio devices of type `wanted`, in the order of their slots.
pub fn functions(wanted: DeviceType) -> impl Iterator<Item = DeviceFunction> {
    let root = pci::root();
    let all = root.enumerate_bus(0);
    all.filter(move |(_, info)| virtio_device_type(info) == Some(wanted)).map(|(function, _)| function)
}

/// The transport of the device at `function`.
///
/// # Errors
/// What the crate has to say against it.
pub fn transport(function: DeviceFunction) -> Result<PciTransport, impl core::fmt::Debug> {
    let mut root = pci::root();
    root.set_command(function, Command::MEMORY_SPACE | Command::BUS_MASTER);
    PciTransport::new::<Machine, _>(&mut root, function)
}

/// Checks that there is a device of type `kind`, and returns the transport of the first one.
pub fn first(checks: &mut Checks, name: &str, kind: DeviceType) -> Option<PciTransport> {
    let function = functions(kind).next();
    checks.check(name, function.is_some(), format_args!("no such function on bus 0"));
    let transport = transport(function?);
    if let Err(error) = &transport {
        checks.check(name, false, format_args!("its transport: {error:?}"));
    }
    transport.ok()
}
