//! The fixed header of the block; its layout stands in the crate's documentation.

use crate::error::HandoffError;
use crc::{CRC_32_ISO_HDLC, Crc};

/// The length of the header.
pub const HEADER_BYTES: usize = 32;

/// The longest block, header included.
pub const MAX_TOTAL_BYTES: usize = 1024 * 1024;

/// The version that this build writes and reads.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"COFRDAM\x1A";
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// A header that was checked: how long the payload is, and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    payload_len_bytes: u32,
    payload_crc: u32,
}

impl Header {
    /// Checks the header in `bytes`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HandoffError> {
        let mut rest = bytes.as_slice();
        let magic = take(&mut rest);
        if magic != MAGIC {
            return Err(HandoffError::BadMagic(magic));
        }
        let version = u16::from_le_bytes(take(&mut rest));
        if version != VERSION {
            return Err(HandoffError::UnknownVersion(version));
        }
        let header_len = u16::from_le_bytes(take(&mut rest));
        let payload_len_bytes = u32::from_le_bytes(take(&mut rest));
        let reserved = u64::from_le_bytes(take(&mut rest));
        let payload_crc = u32::from_le_bytes(take(&mut rest));
        let header = Self { payload_len_bytes, payload_crc };
        let written = u32::from_le_bytes(take(&mut rest));
        let computed = CRC.checksum(&header.fields());
        if written != computed || usize::from(header_len) != HEADER_BYTES || reserved != 0 {
            return Err(HandoffError::HeaderDamaged { written, computed });
        }
        header.check_length()?;
        Ok(header)
    }

    /// The length of the whole block.
    pub const fn total_bytes(&self) -> usize {
        // Both are at most 1 MiB once `check_length` has passed.
        HEADER_BYTES.saturating_add(self.payload_len_bytes as usize)
    }

    /// The header for `payload`.
    pub(crate) fn for_payload(payload: &[u8]) -> Result<Self, HandoffError> {
        let payload_len_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let header = Self { payload_len_bytes, payload_crc: CRC.checksum(payload) };
        header.check_length()?;
        Ok(header)
    }

    /// The header as it is written.
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let fields = self.fields();
        let mut bytes = [0; HEADER_BYTES];
        let all = fields.iter().copied().chain(CRC.checksum(&fields).to_le_bytes());
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Checks `payload` against the checksum.
    pub(crate) fn check_payload(&self, payload: &[u8]) -> Result<(), HandoffError> {
        let computed = CRC.checksum(payload);
        if computed != self.payload_crc {
            return Err(HandoffError::PayloadDamaged { written: self.payload_crc, computed });
        }
        Ok(())
    }

    fn check_length(&self) -> Result<(), HandoffError> {
        if self.total_bytes() > MAX_TOTAL_BYTES {
            return Err(HandoffError::TooLong { len_bytes: self.total_bytes() });
        }
        Ok(())
    }

    /// Everything but the header's own checksum.
    fn fields(&self) -> [u8; HEADER_BYTES - 4] {
        let mut bytes = [0; HEADER_BYTES - 4];
        let fields = MAGIC
            .into_iter()
            .chain(VERSION.to_le_bytes())
            .chain((HEADER_BYTES as u16).to_le_bytes())
            .chain(self.payload_len_bytes.to_le_bytes())
            .chain(0_u64.to_le_bytes())
            .chain(self.payload_crc.to_le_bytes());
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        bytes
    }
}

/// The first `N` bytes of `rest`, which moves past them. Past the end it gives zeros; the header is longer than what
/// is taken from it.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk() {
        Some((chunk, tail)) => {
            *rest = tail;
            *chunk
        }
        None => [0; N],
    }
}
