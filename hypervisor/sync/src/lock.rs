//! Spin locks with ranks.
//!
//! A CPU may take a lock only when its rank is higher than that of every lock that the CPU holds. Then no cycle of
//! CPUs that wait for each other can exist. Which locks a CPU holds is a bit set in that CPU's own data; who may ask
//! for it is named by the type parameter, so that this crate needs to know nothing of CPUs.
//!
//! Hypervisor code runs with interrupts masked and interrupt handlers take no lock, so a lock need not mask anything.

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};
use spin::mutex::{SpinMutex, SpinMutexGuard};

/// The ranks, from the outermost to the innermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rank {
    /// The list of VMs and their lifecycle.
    Vms,
    /// One device of a VM.
    Device,
    /// The requests that wait between one VM's disk and the owner of the drive behind it.
    Port,
    /// Who runs next.
    Scheduler,
    /// A VM's guest-physical map.
    GuestMap,
    /// The host's own address space.
    HostMap,
    /// The heap.
    Heap,
    /// The frame allocator.
    Frames,
    /// The console's line.
    Console,
    /// The log: anything may log, whatever it holds.
    Log,
}

impl Rank {
    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// The ranks of the locks that one CPU holds.
#[derive(Debug, Default)]
pub struct HeldRanks(AtomicU32);

impl HeldRanks {
    /// No lock held.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Whether a lock of this or a higher rank is held, so that `rank` must not be taken.
    fn forbids(&self, rank: Rank) -> bool {
        self.0.load(Ordering::Relaxed) >= rank.bit()
    }

    fn enter(&self, rank: Rank) {
        self.0.fetch_or(rank.bit(), Ordering::Relaxed);
    }

    fn leave(&self, rank: Rank) {
        self.0.fetch_and(!rank.bit(), Ordering::Relaxed);
    }
}

/// How a lock finds what the CPU that runs now holds.
pub trait ThisCpu {
    /// The ranks that this CPU holds; `None` where nobody keeps account (before the CPU's data exist, and on a host).
    fn held_ranks() -> Option<&'static HeldRanks>;
}

/// A spin lock around a `T`. `C` names the CPU that takes it.
pub struct Lock<T, C: ThisCpu> {
    rank: Rank,
    inner: SpinMutex<T>,
    cpu: core::marker::PhantomData<fn() -> C>,
}

impl<T, C: ThisCpu> Lock<T, C> {
    /// An unlocked lock of `rank`.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self { rank, inner: SpinMutex::new(value), cpu: core::marker::PhantomData }
    }

    /// Takes the lock, waiting for another CPU if need be.
    ///
    /// # Panics
    /// When this CPU holds a lock of the same or a higher rank: an error in the hypervisor, which would sooner or
    /// later be a deadlock.
    pub fn lock(&self) -> Guard<'_, T> {
        let held = C::held_ranks();
        assert!(!held.is_some_and(|h| h.forbids(self.rank)), "lock {:?} taken out of rank", self.rank);
        self.guard(self.inner.lock(), held)
    }

    /// Takes the lock if it is free and its turn by rank; never waits, never panics.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let held = C::held_ranks();
        if held.is_some_and(|h| h.forbids(self.rank)) {
            return None;
        }
        self.inner.try_lock().map(|inner| self.guard(inner, held))
    }

    /// The value, without locking: nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }

    fn guard<'a>(&self, inner: SpinMutexGuard<'a, T>, held: Option<&'static HeldRanks>) -> Guard<'a, T> {
        if let Some(held) = held {
            held.enter(self.rank);
        }
        Guard { inner, rank: self.rank, held }
    }
}

impl<T, C: ThisCpu> fmt::Debug for Lock<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("rank", &self.rank).finish_non_exhaustive()
    }
}

/// The lock is held as long as this lives.
pub struct Guard<'a, T> {
    inner: SpinMutexGuard<'a, T>,
    rank: Rank,
    held: Option<&'static HeldRanks>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        if let Some(held) = self.held {
            held.leave(self.rank);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A CPU of a test's own: tests run side by side.
    macro_rules! cpu {
        ($name:ident) => {
            struct $name;
            impl ThisCpu for $name {
                fn held_ranks() -> Option<&'static HeldRanks> {
                    static HELD: HeldRanks = HeldRanks::new();
                    Some(&HELD)
                }
            }
        };
    }

    #[test]
    fn locks_nest_in_rising_rank_and_may_be_dropped_in_any_order() {
        cpu!(Cpu);
        let (outer, inner) = (Lock::<_, Cpu>::new(Rank::Vms, 1), Lock::<_, Cpu>::new(Rank::Heap, 2));
        let a = outer.lock();
        let b = inner.lock();
        assert_eq!(*a + *b, 3);
        drop(a);
        drop(b);
        *outer.lock() += 1;
        assert_eq!(*outer.lock(), 2);
    }

    #[test]
    #[should_panic(expected = "lock Vms taken out of rank")]
    fn a_lower_rank_after_a_higher_one_is_refused() {
        cpu!(Cpu);
        let (outer, inner) = (Lock::<_, Cpu>::new(Rank::Vms, ()), Lock::<_, Cpu>::new(Rank::Heap, ()));
        let _inner = inner.lock();
        let _outer = outer.lock();
    }

    #[test]
    fn the_same_rank_twice_is_out_of_rank_for_try_lock_too() {
        cpu!(Cpu);
        let (a, b) = (Lock::<_, Cpu>::new(Rank::Device, ()), Lock::<_, Cpu>::new(Rank::Device, ()));
        let held = a.lock();
        assert!(b.try_lock().is_none());
        drop(held);
        assert!(b.try_lock().is_some());
    }

    #[test]
    fn without_an_account_the_lock_still_excludes() {
        struct Nowhere;
        impl ThisCpu for Nowhere {
            fn held_ranks() -> Option<&'static HeldRanks> {
                None
            }
        }
        let lock = Lock::<_, Nowhere>::new(Rank::Log, 5);
        let held = lock.lock();
        assert!(lock.try_lock().is_none());
        assert_eq!(*held, 5);
    }
}
