//! A split virtqueue: two rings and a table in guest memory, as the device sees them (VIRTIO 2.7).
//!
//! ```text
//!   descriptor table   16 bytes each: address u64 | length u32 | flags u16 | next u16
//!   available ring     flags u16 | index u16 | heads u16 × size               | used_event u16        driver writes
//!   used ring          flags u16 | index u16 | (head u32, length u32) × size  | available_event u16   device writes
//!
//!   used.index  <=  next_used  <=  next_available  <=  available_seen  <=  used.index + size          (modulo 2^16)
//!                pushed        in flight        seen, not taken
//! ```
//! - [`Queue::next_chain`] takes a chain. Only when it finds the ring empty does it ask for a kick, and then it looks once
//!   more: a chain that was added meanwhile is found, one that is added later brings a kick (2.7.10).
//! - [`Queue::push_used`] gives a chain back. The driver sees all that were pushed at once, at [`Queue::settle`], which also
//!   tells whether the driver wants an interrupt for them (2.7.7).
//!
//! Everything in guest memory is read once, checked and used from the copy. An error takes no chain and gives none back.

mod chain;
mod rings;
mod state;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use chain::{Chain, SEGMENTS_MAX, Segment};
pub use state::QueueState;

use super::{Broken, feature};
use chain::Indirect;
use core::sync::atomic::{Ordering, fence};
use rings::Rings;
use seams::GuestMemory;

/// The available ring's flag by which a driver wants no interrupts (2.7.6).
const AVAILABLE_NO_INTERRUPT: u16 = 1;
/// The used ring's flag by which a device wants no kicks (2.7.8).
const USED_NO_NOTIFY: u16 = 1;

/// The features that change how a queue works.
const RING_FEATURES: u64 = feature::RING_INDIRECT_DESC | feature::RING_EVENT_IDX;

/// What a chain is known by: the index of its first descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head(pub u16);

/// Whether the driver wants an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a driver that waits for an interrupt waits for ever without"]
pub enum Signal {
    /// It does.
    Needed,
    /// It does not.
    NotNeeded,
}

/// One of a queue's three areas in guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The descriptor table.
    Descriptors,
    /// The driver area: the available ring.
    Driver,
    /// The device area: the used ring.
    Device,
}

/// A queue: its registers, and how far the device has come in its rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The largest size that the driver may choose.
    size_max: u16,
    state: QueueState,
    /// The areas as checked; `None` until the queue is enabled.
    rings: Option<Rings>,
}

impl Queue {
    /// A queue after reset that may have up to `size_max` descriptors.
    pub const fn new(size_max: u16) -> Self {
        Self { size_max, state: QueueState::new(size_max), rings: None }
    }

    /// Returns to the state after reset.
    pub const fn reset(&mut self) {
        *self = Self::new(self.size_max);
    }

    /// The number of descriptors.
    pub const fn size(&self) -> u16 {
        self.state.size
    }

    /// Chooses the number of descriptors; without effect once the queue is enabled.
    pub const fn set_size(&mut self, size: u16) {
        if self.rings.is_none() {
            self.state.size = size;
        }
    }

    /// Where an area is.
    pub const fn address(&self, area: Area) -> u64 {
        match area {
            Area::Descriptors => self.state.descriptors,
            Area::Driver => self.state.available,
            Area::Device => self.state.used,
        }
    }

    /// Chooses where an area is; without effect once the queue is enabled.
    pub const fn set_address(&mut self, area: Area, at: u64) {
        if self.rings.is_some() {
            return;
        }
        match area {
            Area::Descriptors => self.state.descriptors = at,
            Area::Driver => self.state.available = at,
            Area::Device => self.state.used = at,
        }
    }

    /// Whether the queue is in use.
    pub const fn is_enabled(&self) -> bool {
        self.rings.is_some()
    }

    /// Begins to use the queue by the negotiated `features`; without effect when it is in use.
    ///
    /// # Errors
    /// What is wrong with its size or an address; the queue stays disabled.
    pub fn enable(&mut self, features: u64) -> Result<(), Broken> {
        if self.rings.is_some() {
            return Ok(());
        }
        self.rings = Some(Rings::new(&self.state, self.size_max)?);
        self.state.enabled = true;
        self.state.features = features & RING_FEATURES;
        Ok(())
    }

    /// Takes the next chain that the driver made available, into `chain`. `None` when there is none, or the queue is not in
    /// use: the driver will kick then.
    ///
    /// # Errors
    /// How the driver broke the rules; the queue is as it was, and `chain` holds nothing useful.
    pub fn next_chain(
        &mut self,
        memory: &impl GuestMemory,
        chain: &mut Chain,
    ) -> Result<Option<Head>, Broken> {
        let Some(rings) = self.rings else { return Ok(None) };
        if self.is_exhausted() {
            self.look(memory, &rings)?;
            if self.is_exhausted() {
                return Ok(None);
            }
        }
        let head = memory.read_u16(rings.available_entry(self.state.next_available))?;
        chain.collect(memory, &rings, self.indirect(), head)?;
        self.state.next_available = self.state.next_available.wrapping_add(1);
        Ok(Some(Head(head)))
    }

    /// Takes the next chain if it was seen before and is one buffer for the device to write, in the queue's own table: for
    /// who wants many of these. `None` says nothing of the next chain: [`Queue::next_chain`] tells what it is.
    #[inline]
    pub fn next_buffer(&mut self, memory: &impl GuestMemory) -> Option<(Head, Segment)> {
        let rings = self.rings.as_ref().filter(|_| !self.is_exhausted())?;
        let head = memory.read_u16(rings.available_entry(self.state.next_available)).ok()?;
        let buffer = Chain::only_buffer(memory, rings, head)?;
        self.state.next_available = self.state.next_available.wrapping_add(1);
        Some((Head(head), buffer))
    }

    /// Puts the last `chains` that were taken back as if they had never been: they are the next again.
    pub const fn put_back(&mut self, chains: u16) {
        let in_flight = self.state.next_available.wrapping_sub(self.state.next_used);
        let back = if chains < in_flight { chains } else { in_flight };
        self.state.next_available = self.state.next_available.wrapping_sub(back);
    }

    /// Gives the chain at `head` back, of whose writable buffers the first `written_bytes` were written. The driver sees it
    /// at the next [`Queue::settle`].
    ///
    /// # Errors
    /// When the used ring is not in usable memory.
    pub fn push_used(
        &mut self,
        memory: &impl GuestMemory,
        head: Head,
        written_bytes: u32,
    ) -> Result<(), Broken> {
        self.push_all_used(memory, &[(head, written_bytes)])
    }

    /// As [`Queue::push_used`] for each of `chains`: all of them or none.
    ///
    /// # Errors
    /// When the used ring is not in usable memory.
    #[inline]
    pub fn push_all_used(&mut self, memory: &impl GuestMemory, chains: &[(Head, u32)]) -> Result<(), Broken> {
        let Some(rings) = &self.rings else { return Ok(()) };
        let mut next = self.state.next_used;
        for (Head(index), written_bytes) in chains {
            let entry = u64::from(*index) | u64::from(*written_bytes) << 32;
            memory.write_u64(rings.used_entry(next), entry)?;
            next = next.wrapping_add(1);
        }
        self.state.next_used = next;
        Ok(())
    }

    /// Shows the driver all that was pushed, and tells whether it wants an interrupt for what it has not been told of.
    ///
    /// # Errors
    /// When a ring is not in usable memory.
    pub fn settle(&mut self, memory: &impl GuestMemory) -> Result<Signal, Broken> {
        let Some(rings) = self.rings else { return Ok(Signal::NotNeeded) };
        let (new, old) = (self.state.next_used, self.state.published_used);
        if new == old {
            return Ok(Signal::NotNeeded);
        }
        // Entries and data before the index that shows them.
        fence(Ordering::Release);
        memory.write_u16(rings.used_index(), new)?;
        self.state.published_used = new;
        // The index before the driver's wish: it writes its wish and then looks at the index (2.7.7.2).
        fence(Ordering::SeqCst);
        let wanted = if self.has(feature::RING_EVENT_IDX) {
            let event = memory.read_u16(rings.used_event())?;
            passed(event, old, new)
        } else {
            memory.read_u16(rings.available_flags())? & AVAILABLE_NO_INTERRUPT == 0
        };
        Ok(if wanted { Signal::Needed } else { Signal::NotNeeded })
    }

    const fn has(&self, feature: u64) -> bool {
        self.state.features & feature != 0
    }

    const fn indirect(&self) -> Indirect {
        if self.has(feature::RING_INDIRECT_DESC) { Indirect::Negotiated } else { Indirect::Refused }
    }

    /// Whether all that was seen of the available ring is taken.
    const fn is_exhausted(&self) -> bool {
        self.state.next_available == self.state.available_seen
    }

    /// Looks how far the driver has come; asks for a kick when it has not come further.
    fn look(&mut self, memory: &impl GuestMemory, rings: &Rings) -> Result<(), Broken> {
        self.read_available_index(memory, rings)?;
        if !self.is_exhausted() {
            return self.suppress_kicks(memory, rings);
        }
        if self.ask_for_kick(memory, rings)? == Asked::Before {
            return Ok(());
        }
        // The wish before the index: the driver writes the index and then looks at the wish (2.7.10).
        fence(Ordering::SeqCst);
        self.read_available_index(memory, rings)
    }

    fn read_available_index(&mut self, memory: &impl GuestMemory, rings: &Rings) -> Result<(), Broken> {
        let index = memory.read_u16(rings.available_index())?;
        let used = self.state.published_used;
        let (outstanding, taken) = (index.wrapping_sub(used), self.state.next_available.wrapping_sub(used));
        // Each chain has a descriptor of its own until the driver has it back; and an index never goes back.
        if outstanding > self.state.size || outstanding < taken {
            return Err(Broken::AvailableIndex(index, used));
        }
        self.state.available_seen = index;
        // The index before the entries and descriptors that it shows.
        fence(Ordering::Acquire);
        Ok(())
    }

    /// By event index the driver kicks only when it passes the index last asked for, which lies behind now; by flag it must
    /// be told.
    fn suppress_kicks(&mut self, memory: &impl GuestMemory, rings: &Rings) -> Result<(), Broken> {
        if self.has(feature::RING_EVENT_IDX) || self.state.kick_at.is_none() {
            return Ok(());
        }
        memory.write_u16(rings.used_flags(), USED_NO_NOTIFY)?;
        self.state.kick_at = None;
        Ok(())
    }

    fn ask_for_kick(&mut self, memory: &impl GuestMemory, rings: &Rings) -> Result<Asked, Broken> {
        let next = self.state.next_available;
        if self.has(feature::RING_EVENT_IDX) {
            if self.state.kick_at == Some(next) {
                return Ok(Asked::Before);
            }
            memory.write_u16(rings.available_event(), next)?;
        } else {
            if self.state.kick_at.is_some() {
                return Ok(Asked::Before);
            }
            memory.write_u16(rings.used_flags(), 0)?;
        }
        self.state.kick_at = Some(next);
        Ok(Asked::Now)
    }
}

/// When a kick was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Just now.
    Now,
    /// Earlier, and it holds.
    Before,
}

/// Whether an index that went from `old` to `new` has passed `event` (2.7.7.1, `vring_need_event`).
const fn passed(event: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}
