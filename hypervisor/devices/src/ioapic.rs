//! Ioapic.

use crate::cx::Cx;
use crate::device::{Access, Device, WindowOffset};

/// The device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ioapic {}

impl Ioapic {
    /// The device after power-on.
    pub fn new() -> Self {
        Self {}
    }
}

impl Device for Ioapic {
    type Address = WindowOffset;

    fn read(&mut self, _cx: &mut impl Cx, _access: Access<WindowOffset>) -> u32 {
        u32::MAX
    }

    fn write(&mut self, _cx: &mut impl Cx, _access: Access<WindowOffset>, _value: u32) {}

    fn reset(&mut self, _cx: &mut impl Cx) {}
}
