//! Which register an access means: in configuration space, in BAR 0, in MSI-X's table.

use super::capabilities::{COMMON, DEVICE, ISR, NOTIFY, NOTIFY_MULTIPLIER, WINDOW_DATA};
use super::{Effect, Transport};
use crate::cx::Cx;
use crate::device::{Access, WindowAccess, WindowOffset};
use crate::pci::{ABSENT, CONFIG_END, Lanes, MSIX_BAR, OWN_CAPABILITIES, Place};

/// Where the first capability of virtio's is.
const FIRST_CAPABILITY: u8 = OWN_CAPABILITIES as u8;

/// The BAR with the transport's registers.
const REGISTERS_BAR: u8 = 0;
const MSIX_BAR_NUMBER: u8 = MSIX_BAR as u8;

/// What a read finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A register of the transport with this value.
    Value(u32),
    /// The device's own configuration there.
    DeviceConfig(WindowAccess),
}

impl Transport {
    /// Where in a page-aligned BAR of this number queues are kicked, if they are: a page of nothing else.
    pub const fn doorbells(bar: u8) -> Option<WindowOffset> {
        if bar == REGISTERS_BAR { Some(WindowOffset(NOTIFY)) } else { None }
    }

    /// Takes a write at `offset` in the page of [`Transport::doorbells`], whatever is written.
    #[inline]
    pub fn ring(&mut self, WindowOffset(offset): WindowOffset) {
        self.kick((offset / NOTIFY_MULTIPLIER) as u16);
    }

    /// Reads what `access` means.
    #[inline(never)]
    pub(super) fn read(&mut self, access: Access<Place>) -> Found {
        let Some(Access { at, width }) = self.resolve(access) else { return Found::Value(0) };
        Found::Value(match at {
            Place::Config(at) => self.read_config(Access { at, width }),
            Place::Bar(REGISTERS_BAR, WindowOffset(offset @ DEVICE..NOTIFY)) => {
                return Found::DeviceConfig(Access { at: WindowOffset(offset - DEVICE), width });
            }
            Place::Bar(REGISTERS_BAR, at) => self.read_register(Access { at, width }),
            Place::Bar(MSIX_BAR_NUMBER, at) => self.read_msix(Access { at, width }),
            Place::Bar(..) => ABSENT,
        })
    }

    /// Writes to what `access` means.
    #[inline(never)]
    pub(super) fn write(&mut self, cx: &mut impl Cx, access: Access<Place>, value: u32) -> Effect {
        let Some(Access { at, width }) = self.resolve(access) else { return Effect::None };
        match at {
            Place::Config(at) => self.write_config(cx, Access { at, width }, value),
            Place::Bar(REGISTERS_BAR, WindowOffset(offset)) => match offset {
                COMMON..ISR => return self.write_common(cx, offset - COMMON, width, value),
                ISR..DEVICE => {}
                DEVICE..NOTIFY => {
                    return Effect::DeviceConfig(Access { at: WindowOffset(offset - DEVICE), width });
                }
                NOTIFY.. => self.ring(WindowOffset(offset - NOTIFY)),
            },
            Place::Bar(MSIX_BAR_NUMBER, at) => self.write_msix(cx, Access { at, width }, value),
            Place::Bar(..) => {}
        }
        Effect::None
    }

    /// `access`, or where the window of the last capability leads if it is to that; `None` if that leads nowhere.
    fn resolve(&self, access: Access<Place>) -> Option<Access<Place>> {
        match access.at {
            Place::Config(WindowOffset(WINDOW_DATA)) => self.window.target(),
            _ => Some(access),
        }
    }

    fn read_config(&self, access: WindowAccess) -> u32 {
        let Some(lanes) = Lanes::of(access) else { return ABSENT };
        let register = match lanes.register {
            offset @ OWN_CAPABILITIES..CONFIG_END => self.window.read(offset, self.traits.config_len),
            offset => self.function.read_config(offset, self.cause(), FIRST_CAPABILITY),
        };
        lanes.take(register)
    }

    fn write_config(&mut self, cx: &mut impl Cx, access: WindowAccess, value: u32) {
        let Some(lanes) = Lanes::of(access) else { return };
        match lanes.register {
            OWN_CAPABILITIES..CONFIG_END => self.window.write(lanes, value),
            _ => self.write_function(cx, lanes, value),
        }
    }

    fn write_function(&mut self, cx: &mut impl Cx, lanes: Lanes, value: u32) {
        let was_running = self.is_running();
        self.function.write_config(cx, lanes, value);
        // What was put off while it might not reach memory goes on, and nobody kicks for that.
        if !was_running && self.is_running() {
            self.kick_all();
        }
    }

    /// Reads BAR 0, but for the device's own configuration.
    fn read_register(&mut self, access: WindowAccess) -> u32 {
        let Some(lanes) = Lanes::of(access) else { return ABSENT };
        match lanes.register {
            COMMON..ISR => lanes.take(self.read_common(lanes.register - COMMON)),
            ISR if lanes.touches(0) => self.take_isr().into(),
            _ => 0,
        }
    }

    fn read_msix(&self, access: WindowAccess) -> u32 {
        Lanes::of(access).map_or(ABSENT, |lanes| lanes.take(self.function.read_msix(lanes.register)))
    }

    /// Writes MSI-X's BAR, which takes whole registers.
    fn write_msix(&mut self, cx: &mut impl Cx, access: WindowAccess, value: u32) {
        if let Some(lanes) = Lanes::of(access).filter(|lanes| lanes.is_whole()) {
            self.function.write_msix(cx, lanes.register, value);
        }
    }
}
