//! The reset control register of a PC's chipset, at port 0xCF9.
//!
//! Source: Intel 82801 (ICH9) datasheet (316972), section 13.7.5.

use crate::cx::{Cx, Request};
use crate::device::{Access, Device, read_bytewise, write_bytewise};
use crate::platform::RESET_CONTROL;
use base::Port;
use base::state::{SavedState, StateError};
use minicbor::{Decode, Encode};

/// Resets when it changes from 0 to 1.
const RESET_CPU: u8 = 1 << 2;
/// System reset, reset and full reset: which of them is asked for makes no difference here.
const WRITABLE: u8 = 0x0e;

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ResetControlState {
    #[n(0)]
    value: u8,
}

/// The register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetControl {
    state: ResetControlState,
}

impl Default for ResetControl {
    fn default() -> Self {
        Self::new()
    }
}

impl ResetControl {
    /// What a write to this register, as the FADT's reset register is written, resets the machine with.
    pub const RESET_VALUE: u8 = 0x06;

    /// The register after power-on.
    pub const fn new() -> Self {
        Self { state: ResetControlState { value: 0 } }
    }

    fn write_byte(&mut self, cx: &mut impl Cx, value: u8) {
        let old = core::mem::replace(&mut self.state.value, value & WRITABLE);
        if self.state.value & !old & RESET_CPU != 0 {
            cx.request(Request::Reset);
        }
    }
}

impl Device for ResetControl {
    type Address = Port;

    fn read(&mut self, _cx: &mut impl Cx, access: Access<Port>) -> u32 {
        read_bytewise(access, |port| if port == RESET_CONTROL { self.state.value } else { 0xff })
    }

    fn write(&mut self, cx: &mut impl Cx, access: Access<Port>, value: u32) {
        write_bytewise(access, value, |port, byte| {
            if port == RESET_CONTROL {
                self.write_byte(cx, byte);
            }
        });
    }

    fn reset(&mut self, _cx: &mut impl Cx) {
        *self = Self::new();
    }
}

impl SavedState for ResetControl {
    const SECTION: &'static str = "reset-control";
    const VERSION: u16 = 1;
    type Image = ResetControlState;

    fn save(&self) -> ResetControlState {
        self.state.clone()
    }

    fn load(&mut self, image: ResetControlState) -> Result<(), StateError> {
        if image.value & !WRITABLE != 0 {
            return Err(StateError::OutOfRange { section: Self::SECTION, field: "value" });
        }
        self.state = image;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, FakeCx, inb, outb};
    use proptest::prelude::*;

    #[test]
    fn the_rise_of_the_reset_bit_resets_the_machine() {
        let (mut register, mut cx) = (ResetControl::new(), FakeCx::new());
        outb(&mut register, &mut cx, 0xcf9, 0x02);
        assert!(cx.requests.is_empty());
        outb(&mut register, &mut cx, 0xcf9, ResetControl::RESET_VALUE);
        outb(&mut register, &mut cx, 0xcf9, ResetControl::RESET_VALUE);
        assert_eq!(cx.requests, [Request::Reset]);
        assert_eq!(inb(&mut register, &mut cx, 0xcf9), 0x06);
    }

    #[test]
    fn the_neighbouring_pci_ports_are_not_this_register() {
        let (mut register, mut cx) = (ResetControl::new(), FakeCx::new());
        outb(&mut register, &mut cx, 0xcf8, 0xff);
        assert!(cx.requests.is_empty());
        assert_eq!(inb(&mut register, &mut cx, 0xcf8), 0xff);
    }

    proptest! {
        #[test]
        fn a_hostile_driver_breaks_nothing(acts in testing::acts(0xcf0..0xd00u32)) {
            testing::survive(ResetControl::new(), ResetControl::new(), &acts, |_, _, _| {});
        }
    }
}
