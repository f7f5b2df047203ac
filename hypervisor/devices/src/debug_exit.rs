//! The debug exit port: what a guest writes to it ends its VM. Tests are told by it how a guest fared.

use crate::cx::{Cx, Request};
use crate::device::{Access, Device, Width};
use base::Port;

/// The port; it has no state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugExit;

impl DebugExit {
    /// The status that a VM which wrote `value` ends with: odd, so that it is never success, `2 * value + 1`.
    pub const fn status(value: u32) -> u64 {
        2 * value as u64 + 1
    }
}

impl Device for DebugExit {
    type Address = Port;

    fn read(&mut self, _cx: &mut impl Cx, _access: Access<Port>) -> u32 {
        u32::MAX
    }

    fn write(&mut self, cx: &mut impl Cx, access: Access<Port>, value: u32) {
        let value = match access.width {
            Width::Byte => value & 0xff,
            Width::Word => value & 0xffff,
            Width::Dword => value,
        };
        cx.request(Request::DebugExit(value));
    }

    fn reset(&mut self, _cx: &mut impl Cx) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeCx;

    #[test]
    fn a_write_of_any_width_ends_the_vm_with_its_value() {
        let mut cx = FakeCx::new();
        for width in [Width::Byte, Width::Word, Width::Dword] {
            DebugExit.write(&mut cx, Access { at: Port(0xf4), width }, 0x1234_5678);
        }
        let expected = [0x78, 0x5678, 0x1234_5678].map(Request::DebugExit);
        assert_eq!(cx.requests, expected);
    }

    #[test]
    fn no_status_is_success_or_overflows() {
        assert_eq!(DebugExit::status(0), 1);
        assert_eq!(DebugExit::status(u32::MAX), 0x1_ffff_ffff);
    }
}
