//! The vendor capabilities: where a virtio device's registers are, and a way to them through configuration space
//! (VIRTIO 4.1.4).
//!
//! | place | type | leads to, in BAR 0 |
//! |---|---|---|
//! | 0x4C | 1, common configuration | 0x0000 |
//! | 0x5C | 2, notifications; 4 bytes for each queue | 0x3000 |
//! | 0x70 | 3, ISR status | 0x1000 |
//! | 0x80 | 4, device configuration | 0x2000 |
//! | 0x90 | 5, PCI configuration access | wherever the driver says |

use crate::device::{Access, Width, WindowOffset};
use crate::pci::{Lanes, OWN_CAPABILITIES, Place};
use minicbor::{Decode, Encode};

/// Where each kind of register begins in BAR 0. Each has pages of its own, so that a kick can be told by its page.
pub(super) const COMMON: u32 = 0x0000;
pub(super) const ISR: u32 = 0x1000;
pub(super) const DEVICE: u32 = 0x2000;
pub(super) const NOTIFY: u32 = 0x3000;
/// The length of BAR 0 in bytes.
pub(super) const BAR_LEN_BYTES: u32 = 0x4000;

/// Bytes of the notification area for each queue.
pub(super) const NOTIFY_MULTIPLIER: u32 = 4;

/// The length of the common configuration: it ends with `queue_reset` (4.1.4.3).
const COMMON_LEN_BYTES: u32 = 0x3c;

const VENDOR_SPECIFIC: u32 = 0x09;
const TYPE_CONFIG_ACCESS: u8 = 5;
const CONFIG_ACCESS: u32 = 0x90;

/// A capability.
struct Capability {
    kind: u8,
    place: u32,
    len_bytes: u32,
    /// Where the next one is.
    next: u8,
    /// What it leads to.
    target: u32,
}

const LIST: [Capability; 5] = [
    Capability { kind: 1, place: OWN_CAPABILITIES, len_bytes: 16, next: 0x5c, target: COMMON },
    Capability { kind: 2, place: 0x5c, len_bytes: 20, next: 0x70, target: NOTIFY },
    Capability { kind: 3, place: 0x70, len_bytes: 16, next: 0x80, target: ISR },
    Capability { kind: 4, place: 0x80, len_bytes: 16, next: 0x90, target: DEVICE },
    Capability { kind: TYPE_CONFIG_ACCESS, place: CONFIG_ACCESS, len_bytes: 20, next: 0, target: 0 },
];

/// The window that the last capability opens: which bytes of a BAR its data register stands for (4.1.4.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct ConfigWindow {
    #[n(0)]
    bar: u8,
    #[n(1)]
    offset: u32,
    #[n(2)]
    len_bytes: u32,
}

/// The data register of [`ConfigWindow`].
pub(super) const WINDOW_DATA: u32 = CONFIG_ACCESS + 16;

impl ConfigWindow {
    /// As after reset: it leads nowhere.
    pub(super) const RESET: Self = Self { bar: 0, offset: 0, len_bytes: 0 };

    /// What an access to the data register means, if the driver has chosen something that can be accessed.
    pub(super) fn target(&self) -> Option<Access<Place>> {
        let width = u8::try_from(self.len_bytes).ok().and_then(Width::from_bytes)?;
        let at = Place::Bar(self.bar, WindowOffset(self.offset));
        Some(Access { at, width })
    }

    /// The register at `offset`, a multiple of 4, of any capability; `device_len_bytes` is the length of the device's
    /// configuration.
    pub(super) fn read(&self, offset: u32, device_len_bytes: u32) -> u32 {
        let found = LIST.iter().find(|it| (it.place..it.place + it.len_bytes).contains(&offset));
        let Some(capability) = found else { return 0 };
        let is_window = capability.kind == TYPE_CONFIG_ACCESS;
        match offset - capability.place {
            0 => {
                let kind = u32::from(capability.kind) << 24;
                kind | capability.len_bytes << 16 | u32::from(capability.next) << 8 | VENDOR_SPECIFIC
            }
            4 if is_window => self.bar.into(),
            8 if is_window => self.offset,
            12 if is_window => self.len_bytes,
            8 => capability.target,
            12 => capability.target_len_bytes(device_len_bytes),
            16 if capability.target == NOTIFY => NOTIFY_MULTIPLIER,
            _ => 0,
        }
    }

    /// Writes the bytes `lanes` of a capability's register: only the window can be written.
    pub(super) const fn write(&mut self, lanes: Lanes, value: u32) {
        match lanes.register.checked_sub(CONFIG_ACCESS) {
            Some(4) => self.bar = lanes.merge(self.bar as u32, value) as u8,
            Some(8) => self.offset = lanes.merge(self.offset, value),
            Some(12) => self.len_bytes = lanes.merge(self.len_bytes, value),
            _ => {}
        }
    }
}

impl Capability {
    const fn target_len_bytes(&self, device_len_bytes: u32) -> u32 {
        match self.target {
            COMMON => COMMON_LEN_BYTES,
            ISR => 1,
            // Linux refuses a capability without length, also of a device that has no configuration.
            DEVICE if device_len_bytes == 0 => 4,
            DEVICE => device_len_bytes,
            _ => BAR_LEN_BYTES - NOTIFY,
        }
    }
}
