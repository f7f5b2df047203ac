//! Which register an access means: in configuration space, in BAR 0, in MSI-X's table.

use super::capabilities::{COMMON, ISR};
use super::{Effect, Transport};
use crate::cx::Cx;
use crate::device::{WindowAccess, WindowOffset};
use crate::pci::{ABSENT, CONFIG_END, Lanes, OWN_CAPABILITIES};

/// Where the first capability of virtio's is.
const FIRST_CAPABILITY: u8 = OWN_CAPABILITIES as u8;

impl Transport {
    /// Reads configuration space.
    pub(super) fn read_config(&self, access: WindowAccess) -> u32 {
        let Some(lanes) = Lanes::of(access) else { return ABSENT };
        let register = match lanes.register {
            offset @ OWN_CAPABILITIES..CONFIG_END => self.window.read(offset, self.traits.config_len),
            offset => self.function.read_config(offset, self.cause(), FIRST_CAPABILITY),
        };
        lanes.take(register)
    }

    /// Writes configuration space.
    pub(super) fn write_config(&mut self, cx: &mut impl Cx, access: WindowAccess, value: u32) {
        let Some(lanes) = Lanes::of(access) else { return };
        match lanes.register {
            OWN_CAPABILITIES..CONFIG_END => self.window.write(lanes, value),
            _ => self.function.write_config(cx, lanes, value),
        }
    }

    /// Reads BAR 0, but for the device's own configuration.
    pub(super) fn read_register(&mut self, access: WindowAccess) -> u32 {
        let Some(lanes) = Lanes::of(access) else { return ABSENT };
        match lanes.register {
            COMMON..ISR => lanes.take(self.read_common(lanes.register - COMMON)),
            ISR if lanes.touches(0) => self.take_isr().into(),
            _ => 0,
        }
    }

    /// Writes BAR 0, but for kicks and the device's own configuration.
    pub(super) fn write_register(&mut self, cx: &mut impl Cx, access: WindowAccess, value: u32) -> Effect {
        match access.at {
            WindowOffset(offset @ COMMON..ISR) => self.write_common(cx, offset - COMMON, access.width, value),
            _ => Effect::None,
        }
    }

    /// Reads MSI-X's BAR.
    pub(super) fn read_msix(&self, access: WindowAccess) -> u32 {
        Lanes::of(access).map_or(ABSENT, |lanes| lanes.take(self.function.read_msix(lanes.register)))
    }

    /// Writes MSI-X's BAR, which takes whole registers.
    pub(super) fn write_msix(&mut self, cx: &mut impl Cx, access: WindowAccess, value: u32) {
        if let Some(lanes) = Lanes::of(access).filter(|lanes| lanes.is_whole()) {
            self.function.write_msix(cx, lanes.register, value);
        }
    }
}
