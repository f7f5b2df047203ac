//! RtcCmos.

use crate::cx::Cx;
use crate::device::{Access, Device};
use base::Port;

/// The register that holds the century.
pub const CENTURY: u8 = 0x32;

/// The device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RtcCmos {}

impl RtcCmos {
    /// The device after power-on.
    pub fn new() -> Self {
        Self {}
    }
}

impl Device for RtcCmos {
    type Address = Port;

    fn read(&mut self, _cx: &mut impl Cx, _access: Access<Port>) -> u32 {
        u32::MAX
    }

    fn write(&mut self, _cx: &mut impl Cx, _access: Access<Port>, _value: u32) {}

    fn reset(&mut self, _cx: &mut impl Cx) {}
}
