//! What controller and namespaces say of themselves.
//!
//! Every field is a claim: what cannot be is refused, and text is cut to what can be printed.
//! Sources: NVMe Base 2.0, figure 275 (controller); NVM Command Set 1.0, figures 97 and 98 (namespace) and section 4.1.5
//! (limits).

use super::command::PAGE_BYTES;
use crate::disk::{Abilities, DiskGeometry};
use crate::error::DeviceError;
use arrayvec::{ArrayString, ArrayVec};
use base::Nanoseconds;
use seams::{DmaRing, SECTOR_BYTES};

/// How many namespaces of a controller are used.
pub const MAX_NAMESPACES: usize = 16;
/// The most bytes of one read or write: what one slot's PRP list describes.
pub const MAX_TRANSFER_BYTES: u64 = 256 * 1024;
/// The most blocks of one command.
const MAX_BLOCKS: u64 = 1 << 16;

const SERIAL: (usize, usize) = (4, 20);
const MODEL: (usize, usize) = (24, 40);
/// The largest transfer, as a power of two of pages; 0 is no limit.
const MAX_TRANSFER: usize = 77;
/// How long a shutdown may take, in microseconds; 0 where that is not reported, as before 1.2.
const SHUTDOWN_TIME: usize = 88;
/// However little the controller claims to need, and however much; Linux waits no longer.
const SHUTDOWN_TIME_LEAST: Nanoseconds = Nanoseconds::from_secs(10);
const SHUTDOWN_TIME_MOST: Nanoseconds = Nanoseconds::from_secs(60);
const NAMESPACE_COUNT: usize = 516;
const OPTIONAL_COMMANDS: usize = 520;
const WRITE_CACHE: usize = 525;
const HAS_DISCARD: u32 = 1 << 2;
const HAS_WRITE_ZEROES: u32 = 1 << 3;

/// The most that one write-zeroes clears, as a power of two of pages; 0 is no limit.
const MAX_ZEROES: usize = 1;
/// The most blocks of one range of a discard, and of all its ranges; 0 is no limit.
const MAX_RANGE_BLOCKS: usize = 4;
const MAX_DISCARD_BLOCKS: usize = 8;

const FORMAT_INDEX: usize = 26;
/// Whether more than one controller may have the namespace.
const SHARING: usize = 30;
const MAY_BE_SHARED: u8 = 1 << 0;
const ATTRIBUTES: usize = 99;
const WRITE_PROTECTED: u8 = 1 << 0;
/// What is unique to it, 16 bytes and 8; zero where there is none.
const GLOBAL_ID: usize = 104;
const EXTENDED_ID: usize = 120;
const FORMATS: usize = 128;

/// The controller, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Its model, as printable text.
    pub model: ArrayString<40>,
    /// Its serial number, as printable text.
    pub serial: ArrayString<20>,
    pub(super) max_transfer_bytes: u64,
    /// How long it may take to bring its cache to the medium.
    pub(super) shutdown_time: Nanoseconds,
    pub(super) namespace_count: u32,
    optional_commands: u32,
    has_write_cache: bool,
    limits: Limits,
}

impl Controller {
    pub(super) fn parse(page: &impl DmaRing) -> Result<Self, DeviceError> {
        let max_transfer_bytes = match byte(page, MAX_TRANSFER) {
            0 => MAX_TRANSFER_BYTES,
            shift => PAGE_BYTES
                .checked_shl(shift.into())
                .filter(|bytes| *bytes >= PAGE_BYTES)
                .map_or(MAX_TRANSFER_BYTES, |bytes| bytes.min(MAX_TRANSFER_BYTES)),
        };
        let namespace_count = page.load32(NAMESPACE_COUNT);
        if namespace_count == 0 {
            return Err(DeviceError::Nonsense("its number of namespaces, 0,"));
        }
        let shutdown_time = Nanoseconds(1000 * u64::from(page.load32(SHUTDOWN_TIME)));
        Ok(Self {
            shutdown_time: shutdown_time.clamp(SHUTDOWN_TIME_LEAST, SHUTDOWN_TIME_MOST),
            model: text(page, MODEL),
            serial: text(page, SERIAL),
            max_transfer_bytes,
            namespace_count,
            optional_commands: page.load32(OPTIONAL_COMMANDS) & 0xffff,
            has_write_cache: byte(page, WRITE_CACHE) & 1 != 0,
            limits: Limits::default(),
        })
    }

    /// Takes over what the controller says of how much it clears at once.
    pub(super) fn limit(&mut self, page: &impl DmaRing) {
        let some = |most: u64| if most == 0 { u64::MAX } else { most };
        let zeroes_bytes = match byte(page, MAX_ZEROES) {
            0 => None,
            shift => PAGE_BYTES.checked_shl(shift.into()).filter(|bytes| *bytes >= PAGE_BYTES),
        };
        let range_blocks = some(page.load32(MAX_RANGE_BLOCKS).into());
        self.limits = Limits {
            zeroes_bytes: zeroes_bytes.unwrap_or(u64::MAX),
            discard_blocks: range_blocks.min(some(page.load64(MAX_DISCARD_BLOCKS))),
        };
    }
}

/// How much one command clears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    zeroes_bytes: u64,
    discard_blocks: u64,
}

impl Default for Limits {
    /// None but the commands' own.
    fn default() -> Self {
        Self { zeroes_bytes: u64::MAX, discard_blocks: u64::MAX }
    }
}

/// A namespace that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its id, from 1 on.
    pub id: u32,
    /// Its shape.
    pub geometry: DiskGeometry,
    /// A block's length as a power of two of sectors.
    pub(super) block_shift: u32,
}

impl Namespace {
    /// Namespace `id`; `None` when it is inactive, or has blocks that are not supported: with metadata, or other than
    /// 512 to 4096 bytes.
    pub(super) fn parse(page: &impl DmaRing, id: u32, controller: &Controller) -> Option<Self> {
        let index = byte(page, FORMAT_INDEX);
        // Bits 6..5 are the index's upper ones (since 2.0; zero before).
        let index = usize::from(index & 0xf) | usize::from(index >> 5 & 0b11) << 4;
        let format = page.load32(FORMATS + 4 * index);
        let (metadata_bytes, block_bits) = (format & 0xffff, format >> 16 & 0xff);
        if metadata_bytes != 0 || !(9..=12).contains(&block_bits) {
            return None;
        }
        let block_shift = block_bits - 9;
        let blocks = page.load64(0);
        let sectors = blocks.checked_mul(1 << block_shift).filter(|sectors| *sectors > 0)?;
        let sectors_of = |bytes: u64| u32::try_from(bytes / SECTOR_BYTES).unwrap_or(u32::MAX);
        let can = |command: u32| controller.optional_commands & command != 0;
        // One number for both: what is longer goes in several commands.
        let limits = &controller.limits;
        let zeroes_blocks = (limits.zeroes_bytes >> block_bits).max(1);
        let clear_blocks = MAX_BLOCKS.min(zeroes_blocks).min(limits.discard_blocks);
        let geometry = DiskGeometry {
            sectors,
            block_bytes: 1 << block_bits,
            max_transfer_sectors: sectors_of(controller.max_transfer_bytes),
            max_clear_sectors: sectors_of(clear_blocks << block_bits),
            abilities: Abilities {
                write: byte(page, ATTRIBUTES) & WRITE_PROTECTED == 0,
                discard: can(HAS_DISCARD),
                write_zeroes: can(HAS_WRITE_ZEROES),
                volatile_cache: controller.has_write_cache,
            },
            // Drives that are not shared have been seen with ids that others have, too.
            shared_as: (byte(page, SHARING) & MAY_BE_SHARED != 0).then(|| unique_id(page)).flatten(),
        };
        Some(Self { id, geometry, block_shift })
    }
}

/// What a namespace is known by everywhere, if it says so.
fn unique_id(page: &impl DmaRing) -> Option<u128> {
    let global = u128::from(page.load64(GLOBAL_ID)) | u128::from(page.load64(GLOBAL_ID + 8)) << 64;
    let extended = u128::from(page.load64(EXTENDED_ID));
    [global, extended].into_iter().find(|id| *id != 0)
}

/// The ids in a list of active namespaces, which a zero ends.
pub(super) fn active_namespaces(page: &impl DmaRing) -> ArrayVec<u32, MAX_NAMESPACES> {
    (0..MAX_NAMESPACES).map(|index| page.load32(4 * index)).take_while(|id| *id != 0).collect()
}

fn byte(page: &impl DmaRing, offset: usize) -> u8 {
    (page.load32(offset & !3) >> (8 * (offset & 3))) as u8
}

/// Printable text, without the blanks at its end; a byte that cannot be printed is shown as `?`.
fn text<const N: usize>(page: &impl DmaRing, (start, len): (usize, usize)) -> ArrayString<N> {
    let printable = |byte: u8| if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' };
    let mut text = ArrayString::new();
    for offset in start..start + len {
        // As many characters as the type holds.
        let _ = text.try_push(printable(byte(page, offset)));
    }
    let used = text.trim_end().len();
    text.truncate(used);
    text
}
