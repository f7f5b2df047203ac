//! Memory for DMA in tests of drivers, and the device's side of it.
//!
//! Unsafe because driver and device reach the same bytes, each in its turn, as [`crate::dma`] has it.

extern crate alloc;

use crate::dma::Window;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use base::PAGE_BYTES;
use core::cell::{RefCell, UnsafeCell};
use core::ptr::NonNull;
use seams::{BusAddress, DmaBuffer, DmaMemory, DmaRing};

/// Where the first allocation is on the fake bus: above 4 GiB, so that a driver that loses upper halves is found out.
const FIRST: u64 = 0x7_0000_0000;

/// An access of a device outside all memory that was ever named to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Astray(pub BusAddress);

struct Allocation {
    start: u64,
    words: Box<[UnsafeCell<u64>]>,
}

impl Allocation {
    fn len_bytes(&self) -> usize {
        self.words.len() * 8
    }

    fn window(&self) -> Window {
        let start = NonNull::from(&*self.words).cast::<u8>();
        // SAFETY: the words are initialized and aligned; who holds the window holds the allocation too. They are cells,
        // and all is on one thread: driver and device take turns.
        unsafe { Window::new(start, self.len_bytes()) }
    }
}

/// A bus with memory that both sides know. Clones are the same bus.
#[derive(Clone, Default)]
pub struct FakeDma {
    allocations: Rc<RefCell<Vec<Rc<Allocation>>>>,
    /// How many bytes may still be had; `None` for any number.
    left_bytes: Rc<RefCell<Option<usize>>>,
}

impl FakeDma {
    /// A bus with memory without end.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on only `len_bytes` can be had.
    pub fn limit(&self, len_bytes: usize) {
        *self.left_bytes.borrow_mut() = Some(len_bytes);
    }

    /// The device reads from `at` on.
    ///
    /// # Errors
    /// [`Astray`]; nothing has been copied then.
    pub fn read(&self, at: BusAddress, bytes: &mut [u8]) -> Result<(), Astray> {
        let (window, offset) = self.find(at, bytes.len())?;
        bytes.copy_from_slice(window.bytes().get(offset..offset + bytes.len()).unwrap_or_default());
        Ok(())
    }

    /// The device writes from `at` on.
    ///
    /// # Errors
    /// [`Astray`]; nothing has been copied then.
    pub fn write(&self, at: BusAddress, bytes: &[u8]) -> Result<(), Astray> {
        let (mut window, offset) = self.find(at, bytes.len())?;
        let place = window.bytes_mut().get_mut(offset..offset + bytes.len()).unwrap_or_default();
        place.copy_from_slice(bytes);
        Ok(())
    }

    /// The device reads a word of `N` bytes.
    ///
    /// # Errors
    /// [`Astray`].
    pub fn array<const N: usize>(&self, at: BusAddress) -> Result<[u8; N], Astray> {
        let mut bytes = [0; N];
        self.read(at, &mut bytes)?;
        Ok(bytes)
    }

    fn find(&self, at: BusAddress, len: usize) -> Result<(Window, usize), Astray> {
        let allocations = self.allocations.borrow();
        // In the order of their addresses.
        let after = allocations.partition_point(|allocation| allocation.start <= at.0);
        let found = after.checked_sub(1).and_then(|last| allocations.get(last)).and_then(|allocation| {
            let offset = usize::try_from(at.0 - allocation.start).ok()?;
            (offset.checked_add(len)? <= allocation.len_bytes()).then(|| (allocation.window(), offset))
        });
        found.ok_or(Astray(at))
    }

    fn allocate(&self, len_bytes: usize) -> Option<FakePiece> {
        let len_bytes = len_bytes.max(1).next_multiple_of(PAGE_BYTES as usize);
        if let Some(left) = self.left_bytes.borrow_mut().as_mut() {
            *left = left.checked_sub(len_bytes)?;
        }
        let mut allocations = self.allocations.borrow_mut();
        // A page between two, so that running past the end is found out.
        let end = allocations.last().map_or(FIRST, |last| last.start + last.len_bytes() as u64 + PAGE_BYTES);
        let words = (0..len_bytes / 8).map(|_| UnsafeCell::new(0)).collect();
        let allocation = Rc::new(Allocation { start: end, words });
        allocations.push(Rc::clone(&allocation));
        Some(FakePiece { window: allocation.window(), allocation })
    }
}

impl DmaMemory for FakeDma {
    type Buffer = FakePiece;
    type Ring = FakePiece;

    fn buffer(&mut self, len_bytes: usize) -> Option<FakePiece> {
        self.allocate(len_bytes)
    }

    fn ring(&mut self, len_bytes: usize) -> Option<FakePiece> {
        self.allocate(len_bytes)
    }
}

/// A buffer or a ring.
pub struct FakePiece {
    window: Window,
    allocation: Rc<Allocation>,
}

impl core::fmt::Debug for FakePiece {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes at bus address {:#x}", self.allocation.len_bytes(), self.allocation.start)
    }
}

impl DmaBuffer for FakePiece {
    fn bus_address(&self) -> BusAddress {
        BusAddress(self.allocation.start)
    }

    fn bytes(&self) -> &[u8] {
        self.window.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.window.bytes_mut()
    }
}

impl DmaRing for FakePiece {
    fn bus_address(&self) -> BusAddress {
        BusAddress(self.allocation.start)
    }

    fn load32(&self, offset: usize) -> u32 {
        self.window.load(offset).unwrap_or(0)
    }

    fn store32(&mut self, offset: usize, value: u32) {
        self.window.store(offset, value);
    }

    fn load64(&self, offset: usize) -> u64 {
        self.window.load(offset).unwrap_or(0)
    }

    fn store64(&mut self, offset: usize, value: u64) {
        self.window.store(offset, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_what_the_other_wrote_and_a_device_astray_is_found_out() {
        let mut bus = FakeDma::new();
        let mut buffer = bus.buffer(5000).unwrap();
        assert_eq!(buffer.bytes().len(), 8192);
        let at = DmaBuffer::bus_address(&buffer);
        bus.write(BusAddress(at.0 + 8190), &[1, 2]).unwrap();
        assert_eq!(buffer.bytes()[8190..], [1, 2]);
        buffer.bytes_mut()[0] = 7;
        assert_eq!(bus.array::<2>(at), Ok([7, 0]));
        let past = BusAddress(at.0 + 8191);
        assert_eq!(bus.write(past, &[1, 2]), Err(Astray(past)));
    }

    #[test]
    fn memory_can_run_out() {
        let mut bus = FakeDma::new();
        bus.limit(8192);
        assert!(bus.ring(4097).is_some());
        assert!(bus.ring(1).is_none());
    }
}
