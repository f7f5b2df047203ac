//! I8259Pair.

use crate::cx::Cx;
use crate::device::{Access, Device};
use base::Port;

/// The device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct I8259Pair {}

impl I8259Pair {
    /// The device after power-on.
    pub fn new() -> Self {
        Self {}
    }
}

impl Device for I8259Pair {
    type Address = Port;

    fn read(&mut self, _cx: &mut impl Cx, _access: Access<Port>) -> u32 {
        u32::MAX
    }

    fn write(&mut self, _cx: &mut impl Cx, _access: Access<Port>, _value: u32) {}

    fn reset(&mut self, _cx: &mut impl Cx) {}
}
