//! A ring of bytes between one producer and one consumer: an interrupt handler and a task, or two CPUs.
//!
//! ```text
//! taken <= put, put - taken <= N        both only grow, and wrap with usize
//!
//!          taken                put
//!            v                   v
//!   . . . . [a][b][c][d][e][f][g] . . . . .      slot of position p: p mod N
//! ```
//! Only the producer moves `put`, only the consumer moves `taken`. Slots are atomics, so that even a wrong use (two
//! producers) loses bytes at worst.

use crate::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// A ring of `N` bytes; `N` is a power of two. What does not fit is dropped and counted.
#[derive(Debug)]
pub struct ByteRing<const N: usize> {
    slots: [AtomicU8; N],
    put: AtomicUsize,
    taken: AtomicUsize,
    dropped: AtomicU64,
}

impl<const N: usize> ByteRing<N> {
    const MASK: usize = {
        assert!(N.is_power_of_two(), "a ring's capacity is a power of two");
        N - 1
    };

    /// An empty ring.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            slots: [const { AtomicU8::new(0) }; N],
            put: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// An empty ring.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            slots: core::array::from_fn(|_| AtomicU8::new(0)),
            put: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Producer: puts `byte` in, or drops it, counts that, and gives it back when the ring is full.
    ///
    /// # Errors
    /// The byte itself.
    pub fn put(&self, byte: u8) -> Result<(), u8> {
        let put = self.put.load(Ordering::Relaxed);
        // Acquire: the consumer has read the slot before it is written again.
        let used = put.wrapping_sub(self.taken.load(Ordering::Acquire));
        let slot = self.slots.get(put & Self::MASK);
        let (true, Some(slot)) = (used < N, slot) else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Err(byte);
        };
        slot.store(byte, Ordering::Relaxed);
        // Release: a consumer that sees the new position sees the byte.
        self.put.store(put.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Consumer: takes the oldest byte.
    #[inline]
    pub fn take(&self) -> Option<u8> {
        let taken = self.taken.load(Ordering::Relaxed);
        // Acquire: pairs with the producer's Release.
        if taken == self.put.load(Ordering::Acquire) {
            return None;
        }
        let byte = self.slots.get(taken & Self::MASK)?.load(Ordering::Relaxed);
        // Release: the slot was read before the producer may have it again.
        self.taken.store(taken.wrapping_add(1), Ordering::Release);
        Some(byte)
    }

    /// How many bytes wait. A snapshot: only a lower bound for the consumer, an upper bound for the producer.
    pub fn len(&self) -> usize {
        let taken = self.taken.load(Ordering::Acquire);
        self.put.load(Ordering::Acquire).wrapping_sub(taken).min(N)
    }

    /// Whether no byte waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.taken.load(Ordering::Acquire) == self.put.load(Ordering::Acquire)
    }

    /// How many bytes have been dropped since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

impl<const N: usize> Default for ByteRing<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_the_order_in_which_they_went_in() {
        let ring = ByteRing::<4>::new();
        for round in 0..10_u8 {
            ring.put(round).unwrap();
            ring.put(round + 100).unwrap();
            assert_eq!((ring.take(), ring.take(), ring.take()), (Some(round), Some(round + 100), None));
        }
    }

    #[test]
    fn a_full_ring_gives_the_byte_back_and_counts_it_once() {
        let ring = ByteRing::<2>::new();
        assert_eq!([ring.put(1), ring.put(2), ring.put(3)], [Ok(()), Ok(()), Err(3)]);
        assert_eq!((ring.take_dropped(), ring.take_dropped()), (1, 0));
        assert_eq!(ring.len(), 2);
        assert_eq!(ring.take(), Some(1));
        assert_eq!(ring.put(4), Ok(()));
        assert_eq!((ring.take(), ring.take(), ring.is_empty()), (Some(2), Some(4), true));
    }
}

#[cfg(all(test, loom))]
mod interleavings {
    use super::*;
    use loom::{sync::Arc, thread};

    #[test]
    fn what_was_put_is_taken_once_and_in_order_or_counted() {
        loom::model(|| {
            let ring = Arc::new(ByteRing::<2>::new());
            let producer = {
                let ring = Arc::clone(&ring);
                thread::spawn(move || (1..=3).filter(|&b| ring.put(b).is_ok()).count())
            };
            let mut last = 0;
            let mut got = 0;
            for _ in 0..2 {
                if let Some(byte) = ring.take() {
                    assert!(byte > last, "{byte} after {last}");
                    last = byte;
                    got += 1;
                }
            }
            let accepted = producer.join().unwrap();
            while let Some(byte) = ring.take() {
                assert!(byte > last, "{byte} after {last}");
                last = byte;
                got += 1;
            }
            assert_eq!(accepted, got);
            assert_eq!(ring.take_dropped() as usize, 3 - accepted);
        });
    }
}
