//! The console device with its one port: `hvc0` of a Linux guest (VIRTIO 5.3).
//!
//! Bytes pass between the guest's buffers and a [`ByteSource`] and [`ByteSink`]. What the sink refuses stays in the guest's
//! buffers, and what the guest has no buffer for stays in the source, but for the one byte that was taken to see that there
//! is any: nothing is lost on the way.

#[cfg(test)]
mod tests;

use super::queue::{Chain, Queue};
use super::{Broken, Cursor, Progress, VirtioDevice, read_config_bytes};
use base::state::{SavedState, StateError};
use minicbor::{Decode, Encode};
use seams::{ByteSink, ByteSource, GuestMemory};

/// The queue of buffers for what the guest receives.
pub const RECEIVE_QUEUE: u16 = 0;
/// The queue of what the guest transmits.
pub const TRANSMIT_QUEUE: u16 = 1;

/// The most bytes that a step moves in each direction.
pub const STEP_BYTES: u32 = 4096;
/// The most chains that a step takes in each direction.
pub const STEP_CHAINS: u32 = 64;

/// How many bytes are copied at once.
const PIECE_BYTES: usize = 64;

/// The configuration: columns, rows, ports and the emergency byte, none of them offered (5.3.4).
const CONFIG: [u8; 12] = [0; 12];

/// A console as saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ConsoleState {
    /// How much of the next chain to transmit has gone already.
    #[n(0)]
    transmitted_bytes: u32,
    /// A byte that the guest has no buffer for yet.
    #[n(1)]
    held: Option<u8>,
}

/// A console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Console {
    state: ConsoleState,
}

/// How far a step got in one direction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// There is nothing more, or no room for it.
    Done,
    /// The step's bound was reached.
    Bound,
}

impl Console {
    /// A console after power-on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does a bounded step in both directions: call it after a kick, when `source` has bytes, and when `sink` has room again.
    ///
    /// # Errors
    /// How the driver broke the rules.
    pub fn run(
        &mut self,
        receive: &mut Queue,
        transmit: &mut Queue,
        memory: &impl GuestMemory,
        source: &mut impl ByteSource,
        sink: &mut impl ByteSink,
    ) -> Result<Progress, Broken> {
        let mut chain = Chain::new();
        let transmitted = self.transmit(transmit, memory, &mut chain, sink)?;
        let received = self.receive(receive, memory, &mut chain, source)?;
        let is_done = transmitted == Ended::Done && received == Ended::Done;
        Ok(if is_done { Progress::Idle } else { Progress::More })
    }

    fn transmit(
        &mut self,
        queue: &mut Queue,
        memory: &impl GuestMemory,
        chain: &mut Chain,
        sink: &mut impl ByteSink,
    ) -> Result<Ended, Broken> {
        let mut left_bytes = STEP_BYTES;
        for _ in 0..STEP_CHAINS {
            let Some(head) = queue.next_chain(memory, chain)? else { return Ok(Ended::Done) };
            let wanted = chain.readable_bytes().saturating_sub(self.state.transmitted_bytes).min(left_bytes);
            let sent = send(memory, chain, self.state.transmitted_bytes, wanted, sink)?;
            left_bytes -= sent;
            self.state.transmitted_bytes = self.state.transmitted_bytes.saturating_add(sent);
            if self.state.transmitted_bytes < chain.readable_bytes() {
                queue.put_back(1);
                return Ok(if sent < wanted { Ended::Done } else { Ended::Bound });
            }
            self.state.transmitted_bytes = 0;
            queue.push_used(memory, head, 0)?;
        }
        Ok(Ended::Bound)
    }

    fn receive(
        &mut self,
        queue: &mut Queue,
        memory: &impl GuestMemory,
        chain: &mut Chain,
        source: &mut impl ByteSource,
    ) -> Result<Ended, Broken> {
        let mut left_bytes = STEP_BYTES;
        for _ in 0..STEP_CHAINS {
            self.state.held = self.state.held.or_else(|| source.take());
            if self.state.held.is_none() {
                return Ok(Ended::Done);
            }
            if left_bytes == 0 {
                break;
            }
            let Some(head) = queue.next_chain(memory, chain)? else { return Ok(Ended::Done) };
            if chain.writable_bytes() == 0 {
                return Err(Broken::Request("a console's receive buffer has no room"));
            }
            let wanted = chain.writable_bytes().min(left_bytes);
            let written_bytes = self.fill(memory, chain, wanted, source)?;
            left_bytes -= written_bytes;
            queue.push_used(memory, head, written_bytes)?;
        }
        Ok(Ended::Bound)
    }

    /// Fills up to `wanted` bytes of the buffers in `chain`: with the byte that is held, then from `source`.
    fn fill(
        &mut self,
        memory: &impl GuestMemory,
        chain: &Chain,
        wanted: u32,
        source: &mut impl ByteSource,
    ) -> Result<u32, Broken> {
        let mut cursor = Cursor::new(chain.writable());
        let mut written = 0;
        let mut piece = [0; PIECE_BYTES];
        loop {
            let room = piece.iter_mut().take((wanted - written) as usize);
            let filled = room.map_while(|place| {
                *place = self.state.held.take().or_else(|| source.take())?;
                Some(())
            });
            let len = filled.count();
            if len == 0 {
                return Ok(written);
            }
            cursor.write(memory, piece.get(..len).unwrap_or_default())?;
            written += len as u32;
        }
    }
}

/// Offers up to `wanted` bytes of what `chain` holds behind the first `behind_bytes`; tells how many were taken.
fn send(
    memory: &impl GuestMemory,
    chain: &Chain,
    behind_bytes: u32,
    wanted: u32,
    sink: &mut impl ByteSink,
) -> Result<u32, Broken> {
    let mut cursor = Cursor::new(chain.readable());
    cursor.skip(behind_bytes.into());
    let mut piece = [0; PIECE_BYTES];
    let mut sent = 0;
    while sent < wanted {
        let len = ((wanted - sent) as usize).min(PIECE_BYTES);
        let Some(bytes) = piece.get_mut(..len) else { break };
        cursor.read(memory, bytes)?;
        for byte in bytes {
            if sink.offer(*byte).is_err() {
                return Ok(sent);
            }
            sent += 1;
        }
    }
    Ok(sent)
}

impl VirtioDevice for Console {
    fn device_id(&self) -> u16 {
        3
    }

    /// Communication controller, of no kind that has a number.
    fn class(&self) -> u32 {
        0x07_8000
    }

    fn queue_count(&self) -> u16 {
        2
    }

    fn features(&self) -> u64 {
        0
    }

    fn config_len(&self) -> u32 {
        CONFIG.len() as u32
    }

    fn read_config(&self, offset: u32, bytes: &mut [u8]) {
        read_config_bytes(&CONFIG, offset, bytes);
    }

    fn features_accepted(&mut self, _features: u64) {}

    fn reset(&mut self) {
        *self = Self::new();
    }
}

impl SavedState for Console {
    const SECTION: &'static str = "virtio-console";
    const VERSION: u16 = 1;
    type Image = ConsoleState;

    fn save(&self) -> ConsoleState {
        self.state.clone()
    }

    /// Takes any state: one that does not fit the guest's buffers is one that the guest could have made by changing them.
    fn load(&mut self, image: ConsoleState) -> Result<(), StateError> {
        self.state = image;
        Ok(())
    }
}
