//! Frames that a guest transmits (VIRTIO 5.1.6.2).

use super::super::queue::{Chain, Head, Queue};
use super::super::{Broken, Cursor};
use super::header::{HEADER_BYTES, NetHeader};
use super::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, Net};
use seams::{GuestMemory, MemoryError};

/// How much of a frame is read at once: enough for Ethernet, a VLAN tag, IPv6 and TCP with options.
pub const HEAD_BYTES: usize = 128;

/// What there was to transmit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// A frame.
    Frame,
    /// Something that is no frame: it was counted, and the driver has it back.
    Malformed,
    /// Nothing: the driver will kick when it adds more.
    Nothing,
}

/// A frame in its sender's memory. Large: it is made once and used again and again.
#[derive(Clone, Debug)]
pub struct Frame {
    chain: Chain,
    head: Head,
    /// What the header said.
    header: NetHeader,
    len_bytes: u32,
    /// The header and the frame's first bytes, as they were when they were read.
    first: [u8; HEADER_BYTES + HEAD_BYTES],
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

impl Frame {
    /// Room for a frame.
    pub const fn new() -> Self {
        let first = [0; HEADER_BYTES + HEAD_BYTES];
        Self { chain: Chain::new(), head: Head(0), header: NetHeader::PLAIN, len_bytes: 0, first }
    }

    /// What its sender has left to others.
    pub const fn header(&self) -> &NetHeader {
        &self.header
    }

    /// Its length, from the destination address on.
    pub const fn len_bytes(&self) -> u32 {
        self.len_bytes
    }

    /// Its first [`HEAD_BYTES`], or all of it. Whoever gets the frame gets these, whatever the sender does meanwhile: what
    /// was checked here is what arrives.
    #[inline]
    pub fn first_bytes(&self) -> &[u8] {
        let end = HEADER_BYTES + HEAD_BYTES.min(self.len_bytes as usize);
        self.first.get(HEADER_BYTES..end).unwrap_or_default()
    }

    /// All of it from the front, out of its sender's `memory`.
    #[inline]
    pub fn reader<'a, M: GuestMemory>(&'a self, memory: &'a M) -> FrameReader<'a, M> {
        let mut rest = Cursor::new(self.chain.readable());
        rest.skip((HEADER_BYTES + HEAD_BYTES) as u64);
        FrameReader { first: self.first_bytes(), rest, memory }
    }
}

/// Goes through a frame's bytes once. Past its end there is nothing to copy.
#[derive(Debug)]
pub struct FrameReader<'a, M> {
    first: &'a [u8],
    rest: Cursor<'a>,
    memory: &'a M,
}

impl<M: GuestMemory> FrameReader<'_, M> {
    /// Copies all that is left to `room` in `to`, another guest's memory, as far as there is room.
    ///
    /// # Errors
    /// The first address of either that refused.
    #[inline]
    pub fn copy_to(self, to: &M, mut room: Cursor<'_>) -> Result<(), MemoryError> {
        room.write(to, self.first)?;
        self.rest.copy_to(self.memory, to, room)
    }

    /// Copies the next bytes to `bytes`; tells how many there were.
    ///
    /// # Errors
    /// The sender's address that refused.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<usize, MemoryError> {
        let first = self.take_first(bytes.len());
        let Some((to, rest)) = bytes.split_at_mut_checked(first.len()) else { return Ok(0) };
        to.copy_from_slice(first);
        Ok(first.len() + self.rest.read(self.memory, rest)?)
    }

    /// Fills `bytes` from the frame's front. Where that cannot be read, zeros are put: nothing stays that was in `bytes`.
    pub fn fill(mut self, bytes: &mut [u8]) {
        let first = self.first.len();
        if self.read(bytes) != Ok(bytes.len())
            && let Some(rest) = bytes.get_mut(first..)
        {
            rest.fill(0);
        }
    }

    fn take_first(&mut self, len: usize) -> &[u8] {
        let (taken, rest) = self.first.split_at_checked(len).unwrap_or((self.first, &[]));
        self.first = rest;
        taken
    }
}

impl Net {
    /// Takes the next frame that the guest transmits. [`Net::sent`] gives its buffers back; until then it may be read.
    ///
    /// # Errors
    /// How the driver broke the rules.
    pub fn next_frame(
        &mut self,
        transmit: &mut Queue,
        memory: &impl GuestMemory,
        frame: &mut Frame,
    ) -> Result<Fetched, Broken> {
        let Some(head) = transmit.next_chain(memory, &mut frame.chain)? else { return Ok(Fetched::Nothing) };
        frame.head = head;
        if self.describe(memory, frame)?.is_some() {
            return Ok(Fetched::Frame);
        }
        self.state.malformed_frames = self.state.malformed_frames.saturating_add(1);
        transmit.push_used(memory, head, 0)?;
        Ok(Fetched::Malformed)
    }

    /// Gives the buffers of `frame` back to the driver, which sees them when the queue is settled.
    ///
    /// # Errors
    /// When the used ring is not in usable memory.
    pub fn sent(
        &mut self,
        transmit: &mut Queue,
        memory: &impl GuestMemory,
        frame: &Frame,
    ) -> Result<(), Broken> {
        transmit.push_used(memory, frame.head, 0)
    }

    /// Reads what stands before a frame and its first bytes; `None` when it is none.
    fn describe(&self, memory: &impl GuestMemory, frame: &mut Frame) -> Result<Option<()>, Broken> {
        let len_bytes = frame.chain.readable_bytes().saturating_sub(HEADER_BYTES as u32);
        if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&len_bytes) {
            return Ok(None);
        }
        Cursor::new(frame.chain.readable()).read(memory, &mut frame.first)?;
        let Some(bytes) = frame.first.first_chunk() else { return Ok(None) };
        let Some(header) = NetHeader::parse(*bytes, len_bytes, self.state.features) else { return Ok(None) };
        (frame.header, frame.len_bytes) = (header, len_bytes);
        Ok(Some(()))
    }
}
