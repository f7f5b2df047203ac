//! Network cards (section 5.1), without offloads.
//!
//! ```text
//! buffer   header 12 bytes, zero: no offload, no checksum left out │ the frame
//! ```
//! Each queue's descriptor `n` is buffer `n`, for ever. While the device has a buffer it is in the queue's list; a received
//! one that those above look at is not the device's.

use super::RESET_TIME;
use super::place::Place;
use super::queue::{Chain, Direction, Queue};
use super::transport::{Health, Transport};
use crate::error::DeviceError;
use crate::nic::{Link, MAX_FRAME_BYTES, MIN_FRAME_BYTES, Nic, NicCounters, Sent};
use crate::{Readiness, STATUS_INTERVAL, Signal};
use base::{Instant, MacAddress};
use seams::{DmaBuffer, DmaMemory, Registers};

/// Features (section 5.1.3).
const HAS_MAC: u64 = 1 << 5;
const HAS_STATUS: u64 = 1 << 16;
/// Offsets of the configuration (section 5.1.4).
const CONFIG_MAC: usize = 0;
const CONFIG_STATUS: usize = 6;
const LINK_UP: u16 = 1 << 0;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// Buffers of each queue, at most.
const BUFFERS: usize = 64;
const HEADER_BYTES: usize = 12;
const BUFFER_BYTES: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resetting { until: Instant },
    Running { status_due: Instant },
    Failed,
}

/// A card and its driver's state.
pub struct VirtioNet<R, M: DmaMemory> {
    transport: Transport<R>,
    memory: M,
    queues: Option<[Buffers<M>; 2]>,
    state: State,
    features: u64,
    mac: MacAddress,
    /// The received frame that is looked at: its buffer's number and its length.
    looked_at: Option<(u16, usize)>,
    counters: NicCounters,
    trouble: Option<DeviceError>,
}

/// A queue with a buffer for each descriptor.
struct Buffers<M: DmaMemory> {
    queue: Queue<M::Ring>,
    buffers: [Option<M::Buffer>; BUFFERS],
    /// Bit `n`: the driver has buffer `n`.
    ours: u64,
}

impl<M: DmaMemory> Buffers<M> {
    fn new(memory: &mut M, index: u16, size: u16) -> Option<Self> {
        let queue = Queue::new(memory, index, size)?;
        let mut buffers = [const { None }; BUFFERS];
        for place in buffers.iter_mut().take(size.into()) {
            *place = Some(memory.buffer(BUFFER_BYTES)?);
        }
        let ours = u64::MAX.checked_shr(64_u32.saturating_sub(size.into())).unwrap_or(0);
        Some(Self { queue, buffers, ours })
    }

    fn buffer_mut(&mut self, number: u16) -> Option<&mut M::Buffer> {
        self.buffers.get_mut(usize::from(number)).and_then(Option::as_mut)
    }

    /// Gives buffer `number`, `len_bytes` of it, to the device.
    fn give(&mut self, number: u16, len_bytes: usize, direction: Direction) {
        let Some(buffer) = self.buffers.get(usize::from(number)).and_then(Option::as_ref) else { return };
        self.queue.describe(number, buffer.bus_address(), len_bytes as u32, direction, Chain::Ends);
        self.ours &= !(1 << number);
        self.queue.offer(number);
    }

    /// Takes the next buffer that the device gives back: its number, and how many bytes it claims to have written.
    fn take(&mut self) -> Option<Result<(u16, usize), DeviceError>> {
        let used = self.queue.take()?;
        let number = u16::try_from(used.head).ok().filter(|number| *number < self.queue.size());
        let number = number.filter(|number| self.ours >> number & 1 == 0);
        let Some(number) = number else {
            return Some(Err(DeviceError::Nonsense("its giving back a buffer that it does not have")));
        };
        self.ours |= 1 << number;
        Some(Ok((number, used.len_bytes as usize)))
    }
}

impl<R: Registers, M: DmaMemory> VirtioNet<R, M> {
    /// Takes over the card whose structures are at `place` in `registers`. Poll until it is ready.
    #[cold]
    pub fn take_over(registers: R, place: Place, memory: M, signal: Signal, now: Instant) -> Self {
        let mut transport = Transport::new(registers, place, signal);
        transport.reset();
        Self {
            transport,
            memory,
            queues: None,
            state: State::Resetting { until: now.after(RESET_TIME) },
            features: 0,
            mac: MacAddress::default(),
            looked_at: None,
            counters: NicCounters::default(),
            trouble: None,
        }
    }

    /// The card has failed: its buffers stay where they are, since it may still write to them.
    #[cold]
    fn fail(&mut self, trouble: DeviceError) {
        self.transport.reset();
        self.trouble = Some(trouble);
        self.state = State::Failed;
        self.looked_at = None;
    }

    #[cold]
    fn start(&mut self) -> Result<(), DeviceError> {
        self.features = self.transport.negotiate(HAS_MAC | HAS_STATUS)?;
        if self.features & HAS_MAC == 0 {
            return Err(DeviceError::Unsupported("a card without an address"));
        }
        let mut mac = [0; 6];
        mac.iter_mut().zip(CONFIG_MAC..).for_each(|(byte, offset)| *byte = self.transport.config8(offset));
        self.mac = MacAddress(mac);
        if !self.mac.is_station() {
            return Err(DeviceError::Nonsense("its address"));
        }
        let receive = self.make_queue(RECEIVE)?;
        let transmit = self.make_queue(TRANSMIT)?;
        let [receive, _] = self.queues.insert([receive, transmit]);
        for number in 0..receive.queue.size() {
            receive.give(number, BUFFER_BYTES, Direction::FromDevice);
        }
        self.transport.start();
        if let Some([receive, _]) = &self.queues {
            self.transport.notify(&receive.queue);
        }
        Ok(())
    }

    #[cold]
    fn make_queue(&mut self, index: u16) -> Result<Buffers<M>, DeviceError> {
        let size = self.transport.queue_size(index).min(BUFFERS as u16);
        if !size.is_power_of_two() {
            return Err(DeviceError::Nonsense("the size of a queue"));
        }
        let mut buffers = Buffers::new(&mut self.memory, index, size).ok_or(DeviceError::OutOfMemory)?;
        self.transport.enable(&mut buffers.queue)?;
        Ok(buffers)
    }

    const fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Takes back what has been sent.
    fn reclaim(&mut self) {
        while let Some(taken) = self.queues.as_mut().and_then(|[_, transmit]| transmit.take()) {
            if let Err(error) = taken {
                return self.fail(error);
            }
        }
    }

    /// Takes the next frame that has come, and keeps its place in mind. A card that goes on giving damaged ones holds up
    /// nobody for longer than its queue is.
    fn look(&mut self) {
        for _ in 0..BUFFERS {
            if self.looked_at.is_some() {
                return;
            }
            let Some(taken) = self.queues.as_mut().and_then(|[receive, _]| receive.take()) else { return };
            let (number, written) = match taken {
                Ok(taken) => taken,
                Err(error) => return self.fail(error),
            };
            let len_bytes = written.saturating_sub(HEADER_BYTES);
            if (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&len_bytes) {
                self.looked_at = Some((number, len_bytes));
            } else {
                self.counters.receive_errors += 1;
                self.give_back(number);
            }
        }
    }

    /// Gives a receive buffer to the card again.
    fn give_back(&mut self, number: u16) {
        if let Some([receive, _]) = &mut self.queues {
            receive.give(number, BUFFER_BYTES, Direction::FromDevice);
            self.transport.notify(&receive.queue);
        }
    }
}

impl<R: Registers, M: DmaMemory> Nic for VirtioNet<R, M> {
    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn link(&self) -> Link {
        let is_up = self.is_running()
            && (self.features & HAS_STATUS == 0 || self.transport.config16(CONFIG_STATUS) & LINK_UP != 0);
        if is_up { Link::Up } else { Link::Down }
    }

    fn poll(&mut self, now: Instant) {
        match self.state {
            State::Resetting { .. } if self.transport.has_reset() => match self.start() {
                Ok(()) => self.state = State::Running { status_due: now.after(STATUS_INTERVAL) },
                Err(error) => self.fail(error),
            },
            State::Resetting { until } if now >= until => self.fail(DeviceError::TooSlow("resetting")),
            State::Running { status_due } if now >= status_due => match self.transport.health() {
                Health::Vanished => self.fail(DeviceError::Vanished),
                Health::NeedsReset => self.fail(DeviceError::Fatal),
                Health::Good => {
                    self.state = State::Running { status_due: now.after(STATUS_INTERVAL) };
                    self.reclaim();
                }
            },
            State::Running { .. } => self.reclaim(),
            State::Resetting { .. } | State::Failed => {}
        }
    }

    fn has_room(&self, frames: usize) -> bool {
        let Some([_, transmit]) = &self.queues else { return true };
        !self.is_running() || transmit.ours.count_ones() as usize >= frames.min(transmit.queue.size().into())
    }

    fn transmit_with(&mut self, len_bytes: usize, fill: impl FnOnce(&mut [u8])) -> Sent {
        if !self.is_running() || !(MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&len_bytes) {
            self.counters.send_errors += 1;
            return Sent::Dropped;
        }
        let Some([_, transmit]) = &mut self.queues else { return Sent::Dropped };
        if transmit.ours == 0 {
            return Sent::Full;
        }
        let number = transmit.ours.trailing_zeros() as u16;
        let Some(buffer) = transmit.buffer_mut(number) else { return Sent::Dropped };
        let Some((header, frame)) = buffer.bytes_mut().split_at_mut_checked(HEADER_BYTES) else {
            return Sent::Dropped;
        };
        header.fill(0);
        fill(frame.get_mut(..len_bytes).unwrap_or_default());
        transmit.give(number, HEADER_BYTES + len_bytes, Direction::ToDevice);
        self.transport.notify(&transmit.queue);
        self.counters.sent += 1;
        Sent::Accepted
    }

    fn peek(&mut self) -> Option<&[u8]> {
        if self.is_running() {
            self.look();
        }
        let (number, len_bytes) = self.looked_at?;
        let [receive, _] = self.queues.as_ref()?;
        let buffer = receive.buffers.get(usize::from(number))?.as_ref()?;
        buffer.bytes().get(HEADER_BYTES..HEADER_BYTES + len_bytes)
    }

    fn consume(&mut self) {
        if let Some((number, _)) = self.looked_at.take() {
            self.counters.received += 1;
            self.give_back(number);
        }
    }

    fn counters(&self) -> NicCounters {
        self.counters
    }

    fn readiness(&self) -> Readiness {
        match self.state {
            State::Resetting { .. } => Readiness::Pending,
            State::Running { .. } => Readiness::Ready,
            State::Failed => Readiness::Failed,
        }
    }

    fn take_trouble(&mut self) -> Option<DeviceError> {
        self.trouble.take()
    }
}
