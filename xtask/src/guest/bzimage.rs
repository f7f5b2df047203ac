//! Unpacks the kernel that a bzImage carries.
//!
//! ```text
//! 0          0x1f1            0x248 0x24c      (setup_sects + 1) * 512     + payload_offset
//! +----------+----------------+-----+-----+----+---------------------------+---------+-----
//! | boot     | setup_sects …  | payload_  | …  | protected-mode code:      | payload | …
//! | sector   | "HdrS" version | offset/len|    | the decompressor          |         |
//! +----------+----------------+-----+-----+----+---------------------------+---------+-----
//! ```
//! The payload is the compressed `vmlinux`, an ELF. Reference: Linux, `Documentation/arch/x86/boot.rst`
//! (`payload_offset`, `payload_length`: protocol 2.08 and later).

use std::io::Read;

/// Offsets in the file of the setup header's fields.
const SETUP_SECTS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The first protocol version that tells where the payload is.
const FIRST_VERSION_WITH_PAYLOAD: u16 = 0x0208;
/// What a `setup_sects` of 0 means, for the sake of the oldest kernels.
const DEFAULT_SETUP_SECTS: usize = 4;
const SECTOR_BYTES: usize = 512;
/// Every chunk of an LZ4 legacy frame but the last unpacks to this much.
const LZ4_CHUNK_BYTES: usize = 8 << 20;
const LZ4_LEGACY_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// More than any kernel: a bound on what a hostile file can make of itself.
const MOST_UNPACKED_BYTES: u64 = 1 << 30;

/// Why a kernel could not be unpacked.
#[derive(Debug)]
pub enum Error {
    /// Not a bzImage at all.
    NotBzImage,
    /// The header does not say where the payload is.
    TooOld {
        /// The boot protocol's version, major in the high byte.
        version: u16,
    },
    /// The header points outside of the file.
    Truncated,
    /// Compressed by a method that is not known here.
    UnknownCompression {
        /// The first bytes of the payload.
        magic: [u8; 4],
    },
    /// The payload does not unpack.
    Corrupt {
        /// What the decompressor said.
        what: String,
    },
    /// What came out is no ELF.
    NotElf,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotBzImage => f.write_str("not a bzImage (no \"HdrS\" at 0x202)"),
            Self::TooOld { version } => {
                write!(f, "boot protocol {}.{:02} is older than 2.08", version >> 8, version & 0xff)
            }
            Self::Truncated => f.write_str("the bzImage is cut off"),
            Self::UnknownCompression { magic } => {
                write!(f, "its payload begins with {magic:02x?}: not LZ4, zstd, gzip or xz")
            }
            Self::Corrupt { what } => write!(f, "its payload does not unpack: {what}"),
            Self::NotElf => f.write_str("its payload is not an ELF file"),
        }
    }
}

impl std::error::Error for Error {}

/// Whether `file` is a bzImage.
#[must_use]
pub fn is_bzimage(file: &[u8]) -> bool {
    file.get(MAGIC..MAGIC + 4) == Some(b"HdrS")
}

/// The `vmlinux` ELF that a bzImage carries.
///
/// # Errors
/// When there is none, or it cannot be unpacked here; the bzImage itself may still be a good kernel.
pub fn unpack(file: &[u8]) -> Result<Vec<u8>, Error> {
    let payload = payload(file)?;
    let magic: [u8; 4] = bytes_at(payload, 0)?;
    let vmlinux = match magic {
        LZ4_LEGACY_MAGIC => lz4_legacy(payload.get(4..).unwrap_or_default())?,
        [0x28, 0xb5, 0x2f, 0xfd] => {
            read_all(ruzstd::decoding::StreamingDecoder::new(payload).map_err(corrupt)?)?
        }
        [0x1f, 0x8b, ..] => read_all(flate2::read::GzDecoder::new(payload))?,
        [0xfd, b'7', b'z', b'X'] => read_all(lzma_rust2::XzReader::new(payload, false))?,
        magic => return Err(Error::UnknownCompression { magic }),
    };
    if !vmlinux.starts_with(b"\x7fELF") {
        return Err(Error::NotElf);
    }
    Ok(vmlinux)
}

/// The compressed kernel inside of a bzImage.
fn payload(file: &[u8]) -> Result<&[u8], Error> {
    if !is_bzimage(file) {
        return Err(Error::NotBzImage);
    }
    let version = u16::from_le_bytes(bytes_at(file, VERSION)?);
    if version < FIRST_VERSION_WITH_PAYLOAD {
        return Err(Error::TooOld { version });
    }
    let [setup_sects] = bytes_at(file, SETUP_SECTS)?;
    let setup_sects = if setup_sects == 0 { DEFAULT_SETUP_SECTS } else { usize::from(setup_sects) };
    let offset = u32::from_le_bytes(bytes_at(file, PAYLOAD_OFFSET)?) as usize;
    let length = u32::from_le_bytes(bytes_at(file, PAYLOAD_LENGTH)?) as usize;
    let start = (setup_sects + 1) * SECTOR_BYTES + offset;
    file.get(start..start + length).ok_or(Error::Truncated)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Error> {
    bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).ok_or(Error::Truncated)
}

fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::Corrupt { what: error.to_string() }
}

/// All that a decompressor gives. Bytes after the compressed stream (its unpacked length) are not touched.
fn read_all(decoder: impl Read) -> Result<Vec<u8>, Error> {
    let mut unpacked = Vec::new();
    decoder.take(MOST_UNPACKED_BYTES).read_to_end(&mut unpacked).map_err(corrupt)?;
    Ok(unpacked)
}

/// The legacy frame of `lz4 -l`: chunks of a length and a block. The payload's last four bytes are the kernel's
/// unpacked length, which no chunk header can be: it would reach beyond the end.
fn lz4_legacy(mut chunks: &[u8]) -> Result<Vec<u8>, Error> {
    let mut unpacked = Vec::new();
    while let Some((length, rest)) = chunks.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((block, rest)) = rest.split_at_checked(length) else { break };
        unpacked.extend(lz4_flex::block::decompress(block, LZ4_CHUNK_BYTES).map_err(corrupt)?);
        chunks = rest;
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const KERNEL: &[u8] = b"\x7fELF and the rest of a kernel, kernel, kernel";

    /// A bzImage of protocol 2.15 with one setup sector and `payload` 0x10 bytes into its second part.
    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 2 * SECTOR_BYTES + 0x10];
        file[SETUP_SECTS] = 1;
        file[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        file[VERSION..VERSION + 2].copy_from_slice(&0x020f_u16.to_le_bytes());
        file[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&0x10_u32.to_le_bytes());
        file[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        file.extend(payload);
        file
    }

    fn lz4_payload(kernel: &[u8]) -> Vec<u8> {
        let block = lz4_flex::block::compress(kernel);
        let mut payload = LZ4_LEGACY_MAGIC.to_vec();
        payload.extend((block.len() as u32).to_le_bytes());
        payload.extend(block);
        payload.extend((kernel.len() as u32).to_le_bytes());
        payload
    }

    #[test]
    fn an_lz4_payload_unpacks_and_its_trailing_length_is_left_alone() {
        assert_eq!(unpack(&bzimage(&lz4_payload(KERNEL))).unwrap(), KERNEL);
    }

    #[test]
    fn a_gzip_payload_unpacks() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(KERNEL).unwrap();
        let mut payload = gz.finish().unwrap();
        payload.extend((KERNEL.len() as u32).to_le_bytes());
        assert_eq!(unpack(&bzimage(&payload)).unwrap(), KERNEL);
    }

    #[test]
    fn a_payload_that_is_no_elf_is_refused() {
        assert!(matches!(unpack(&bzimage(&lz4_payload(b"something else"))), Err(Error::NotElf)));
    }

    #[test]
    fn an_unknown_compression_is_named() {
        let error = unpack(&bzimage(b"BZh9 and so on")).unwrap_err();
        assert!(matches!(error, Error::UnknownCompression { magic: [b'B', b'Z', b'h', b'9'] }));
    }

    #[test]
    fn a_header_that_points_outside_is_refused() {
        let whole = bzimage(&lz4_payload(KERNEL));
        assert!(matches!(unpack(&whole[..whole.len() - 1]), Err(Error::Truncated)));
        let mut far = whole;
        far[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(unpack(&far), Err(Error::Truncated)));
    }

    #[test]
    fn any_prefix_is_refused_without_a_panic() {
        let whole = bzimage(&lz4_payload(KERNEL));
        for length in 0..whole.len() {
            assert!(unpack(&whole[..length]).is_err(), "a prefix of {length} bytes");
        }
    }

    #[test]
    fn an_elf_is_not_a_bzimage() {
        assert!(!is_bzimage(KERNEL));
        assert!(matches!(unpack(KERNEL), Err(Error::NotBzImage)));
    }

    #[test]
    fn an_old_protocol_is_named() {
        let mut file = bzimage(b"");
        file[VERSION..VERSION + 2].copy_from_slice(&0x0204_u16.to_le_bytes());
        assert!(unpack(&file).unwrap_err().to_string().contains("2.04"));
    }
}
