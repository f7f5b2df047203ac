//! Frames that a guest receives (VIRTIO 5.1.6.3 and 5.1.6.4).

use super::super::queue::{Chain, Head, Queue, SEGMENTS_MAX, Segment};
use super::super::{Broken, Cursor};
use super::header::{Checksum, HEADER_BYTES, NetHeader};
use super::{FRAME_BYTES_MAX, Net, feature};
use arrayvec::ArrayVec;
use seams::{GuestMemory, MemoryError};

/// The most buffers that a frame is spread over: the longest frame in buffers of 1,024 bytes, which no driver goes below.
const BUFFERS_MAX: usize = 65;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The driver sees it when the queue is settled.
    Delivered,
    /// The driver has not enough buffers now, and will kick when it adds some. The queue is as it was.
    NoRoom,
    /// The frame is longer than any, or than the driver's buffers are made for. The queue is as it was.
    TooLong,
    /// The copy failed. The queue is as it was.
    NotCopied(MemoryError),
}

/// The buffers that a frame goes to.
struct Room {
    /// By what each chain is known, and how much of it is written.
    chains: ArrayVec<(Head, u32), BUFFERS_MAX>,
    segments: ArrayVec<Segment, SEGMENTS_MAX>,
    /// How many bytes still need a place.
    missing_bytes: u32,
}

/// What came of a search for room.
enum Found {
    Room,
    NoRoom,
    TooLong,
}

impl Room {
    const fn for_bytes(len_bytes: u32) -> Self {
        Self { chains: ArrayVec::new_const(), segments: ArrayVec::new_const(), missing_bytes: len_bytes }
    }

    /// Takes chains from `receive` until there is room, of which there may be `chains_max`.
    fn take(
        &mut self,
        receive: &mut Queue,
        memory: &impl GuestMemory,
        chain: &mut Chain,
        chains_max: usize,
    ) -> Result<Found, Broken> {
        let near = memory.near();
        while self.missing_bytes != 0 {
            if self.chains.len() == chains_max {
                return Ok(Found::TooLong);
            }
            let (head, room_bytes, all) = match receive.next_buffer(&near) {
                Some((head, buffer)) => (head, buffer.len_bytes, self.segments.try_push(buffer).is_ok()),
                None => {
                    let Some(head) = receive.next_chain(memory, chain)? else { return Ok(Found::NoRoom) };
                    let all = self.segments.try_extend_from_slice(chain.writable()).is_ok();
                    (head, chain.writable_bytes(), all)
                }
            };
            if room_bytes < HEADER_BYTES as u32 {
                return Err(Broken::Request("a receive buffer has no room for a header"));
            }
            let written_bytes = room_bytes.min(self.missing_bytes);
            self.missing_bytes -= written_bytes;
            if self.chains.try_push((head, written_bytes)).is_err() || !all {
                return Ok(Found::TooLong);
            }
        }
        Ok(Found::Room)
    }
}

impl Net {
    /// Gives the guest a frame of `len_bytes` with `header`, which it accepts as it is ([`Net::acceptance`]).
    ///
    /// `copy` is called once, when there is room for all, with the place in the guest's memory where the frame begins.
    ///
    /// # Errors
    /// How the driver broke the rules.
    pub fn receive(
        &mut self,
        receive: &mut Queue,
        memory: &impl GuestMemory,
        header: &NetHeader,
        len_bytes: u32,
        copy: impl FnOnce(Cursor<'_>) -> Result<(), MemoryError>,
    ) -> Result<Received, Broken> {
        if len_bytes > FRAME_BYTES_MAX {
            return Ok(Received::TooLong);
        }
        let mut chain = Chain::new();
        let mut room = Room::for_bytes(len_bytes + HEADER_BYTES as u32);
        let chains_max = if self.has(feature::MRG_RXBUF) { BUFFERS_MAX } else { 1 };
        let found = room.take(receive, memory, &mut chain, chains_max)?;
        let taken = room.chains.len() as u16;
        let outcome = match found {
            Found::Room => self.fill(memory, &room, header, copy)?,
            Found::NoRoom => Received::NoRoom,
            Found::TooLong => Received::TooLong,
        };
        if outcome != Received::Delivered {
            receive.put_back(taken);
            return Ok(outcome);
        }
        receive.push_all_used(&memory.near(), &room.chains)?;
        Ok(outcome)
    }

    /// Writes the header and the frame to the room that was found.
    fn fill(
        &self,
        memory: &impl GuestMemory,
        room: &Room,
        header: &NetHeader,
        copy: impl FnOnce(Cursor<'_>) -> Result<(), MemoryError>,
    ) -> Result<Received, Broken> {
        let mut cursor = Cursor::new(&room.segments);
        cursor.write(memory, &self.told(header).to_bytes(room.chains.len() as u16))?;
        Ok(copy(cursor).map_or_else(Received::NotCopied, |()| Received::Delivered))
    }

    /// What the driver is told of `header`: without `VIRTIO_NET_F_GUEST_CSUM` nothing of checksums (5.1.6.4.1).
    const fn told(&self, header: &NetHeader) -> NetHeader {
        let checksum = match header.checksum {
            Checksum::Valid if !self.has(feature::GUEST_CSUM) => Checksum::Complete,
            checksum => checksum,
        };
        NetHeader { checksum, segmentation: header.segmentation }
    }
}
