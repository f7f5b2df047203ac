//! The one shape of all devices: register accesses in, effects out through [`Cx`], time by deadlines.

use crate::cx::Cx;
use base::{Instant, Port};

/// How many bytes an access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Width {
    /// One byte.
    Byte = 1,
    /// Two bytes.
    Word = 2,
    /// Four bytes.
    Dword = 4,
}

impl Width {
    /// The width of `bytes` bytes, or `None` when no port access is that wide.
    pub const fn from_bytes(bytes: u8) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Word),
            4 => Some(Self::Dword),
            _ => None,
        }
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u8 {
        self as u8
    }
}

/// An offset in bytes from the start of a device's memory window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowOffset(pub u32);

/// Where and how wide an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<Address> {
    /// The lowest byte that is accessed.
    pub at: Address,
    /// The number of bytes.
    pub width: Width,
}

/// An access to an I/O port.
pub type PortAccess = Access<Port>;

/// An access to a memory window.
pub type WindowAccess = Access<WindowOffset>;

/// A device behind registers. Its state is saved through [`base::state::SavedState`].
///
/// Every read computes from [`Cx::now`], so a late [`Device::advance`] delays interrupts and nothing else.
pub trait Device {
    /// What addresses a register: [`Port`] or [`WindowOffset`].
    type Address;

    /// What the guest reads, in the low bytes; bytes that are no register read as ones.
    fn read(&mut self, cx: &mut impl Cx, access: Access<Self::Address>) -> u32;

    /// Takes what the guest writes, in the low bytes of `value`.
    fn write(&mut self, cx: &mut impl Cx, access: Access<Self::Address>, value: u32);

    /// Returns to the state after power-on or a machine reset, its lines deasserted.
    fn reset(&mut self, cx: &mut impl Cx);

    /// When [`Device::advance`] must be called next; `None` when time alone changes nothing that others see.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Takes every step that is due at [`Cx::now`].
    fn advance(&mut self, _cx: &mut impl Cx) {}

    /// Brings the state up to [`Cx::now`], so that saving it loses nothing. What is behind registers only has no work in flight.
    fn quiesce(&mut self, cx: &mut impl Cx) {
        self.advance(cx);
    }
}

/// Reads `access` from an 8-bit device as the ISA bus does: byte by byte, upwards.
#[inline(always)]
pub(crate) fn read_bytewise(access: PortAccess, mut read: impl FnMut(Port) -> u8) -> u32 {
    let Port(first) = access.at;
    if access.width == Width::Byte {
        return read(Port(first)).into();
    }
    (0..access.width.bytes()).fold(0, |value, i| {
        let byte = read(Port(first.wrapping_add(u16::from(i))));
        value | u32::from(byte) << (8 * u32::from(i))
    })
}

/// Writes `access` to an 8-bit device as the ISA bus does: byte by byte, upwards.
#[inline(always)]
pub(crate) fn write_bytewise(access: PortAccess, value: u32, mut write: impl FnMut(Port, u8)) {
    let Port(first) = access.at;
    let bytes = value.to_le_bytes();
    if access.width == Width::Byte {
        let [low, ..] = bytes;
        return write(Port(first), low);
    }
    for (i, byte) in (0u16..access.width.bytes().into()).zip(bytes) {
        write(Port(first.wrapping_add(i)), byte);
    }
}
