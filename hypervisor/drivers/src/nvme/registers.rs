//! The controller's registers (NVMe Base 2.0, section 3.1.3).

use crate::error::DeviceError;
use base::Nanoseconds;
use seams::Registers;

pub const CAPABILITIES: usize = 0x00;
const VERSION: usize = 0x08;
pub const CONFIGURATION: usize = 0x14;
pub const STATUS: usize = 0x1c;
/// Sizes of the admin queues, then where they are.
pub const ADMIN_ATTRIBUTES: usize = 0x24;
pub const ADMIN_SUBMISSIONS: usize = 0x28;
pub const ADMIN_COMPLETIONS: usize = 0x30;
const DOORBELLS: usize = 0x1000;

/// Configuration: enabled.
pub const ENABLE: u32 = 1 << 0;
/// Configuration: a shutdown is asked for.
pub const SHUTDOWN: u32 = 0b11 << 14;
/// Configuration: NVM commands, pages of 4 KiB, submissions of 2^6 and completions of 2^4 bytes.
pub const OUR_CONFIGURATION: u32 = 6 << 16 | 4 << 20;

/// Status: ready.
pub const READY: u32 = 1 << 0;
/// Status: a fatal error.
pub const FATAL: u32 = 1 << 1;
/// Configuration: a normal shutdown.
pub const SHUTDOWN_NORMAL: u32 = 0b01 << 14;
/// Status: how far a shutdown is, and that it is over.
pub const SHUTDOWN_STATUS: u32 = 0b11 << 2;
pub const SHUTDOWN_OVER: u32 = 0b10 << 2;
/// What a bus without an answer reads as; no status has all these bits.
pub const NO_ANSWER: u32 = u32::MAX;

/// Version 2.0: major number, then minor and tertiary.
const VERSION_2: u32 = 2 << 16;

/// However little the controller claims to need, and however much: no boot waits for longer.
const READY_TIME_LEAST: Nanoseconds = Nanoseconds::from_millis(500);
const READY_TIME_MOST: Nanoseconds = Nanoseconds::from_secs(20);

/// What the controller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The most entries of an I/O queue.
    pub max_entries: u32,
    /// How long it may take to get ready, and to stop.
    pub ready_time: Nanoseconds,
    /// It tells how much it clears at once: since 2.0.
    pub tells_limits: bool,
    /// Bytes between two doorbells.
    stride_bytes: usize,
}

impl Capabilities {
    /// Reads them.
    ///
    /// # Errors
    /// When the controller is not there, or cannot be driven as we do.
    pub fn read(registers: &impl Registers) -> Result<Self, DeviceError> {
        if registers.read32(STATUS) == NO_ANSWER {
            return Err(DeviceError::Vanished);
        }
        let capabilities = registers.read64(CAPABILITIES);
        let field = |low: u32, bits: u32| (capabilities >> low & ((1 << bits) - 1)) as u32;
        if field(48, 4) != 0 {
            return Err(DeviceError::Unsupported("a smallest page larger than 4 KiB"));
        }
        if field(37, 1) == 0 {
            return Err(DeviceError::Unsupported("a controller without the NVM command set"));
        }
        if field(0, 16) == 0 {
            return Err(DeviceError::Nonsense("its largest queue, of one entry,"));
        }
        let ready_time = Nanoseconds::from_millis(500 * u64::from(field(24, 8)));
        Ok(Self {
            max_entries: field(0, 16) + 1,
            ready_time: ready_time.clamp(READY_TIME_LEAST, READY_TIME_MOST),
            tells_limits: registers.read32(VERSION) >= VERSION_2,
            stride_bytes: 4 << field(32, 4),
        })
    }

    /// The doorbell of a queue's submissions.
    pub fn tail_doorbell(&self, queue: u16) -> usize {
        DOORBELLS + 2 * usize::from(queue) * self.stride_bytes
    }

    /// The doorbell of a queue's completions.
    pub fn head_doorbell(&self, queue: u16) -> usize {
        DOORBELLS + (2 * usize::from(queue) + 1) * self.stride_bytes
    }
}
