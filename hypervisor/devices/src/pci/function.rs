//! A device's function: its header and its interrupts, by MSI-X or by the pin.
//!
//! | configuration space | |
//! |---|---|
//! | 0x00-0x3F | header ([`Header`]) |
//! | 0x40-0x4B | MSI-X capability ([`Msix`]) |
//! | 0x4C-0xFF | the device's own capabilities |
//! | 0x100-0xFFF | ones: a function of conventional PCI ends at 256 bytes |
//!
//! BAR 0 is the device's; BAR 1 is MSI-X's. A message is sent only by a bus master: until the guest makes the function
//! one, vectors stay pending.

use super::header::HEADER_END;
use super::msix::{self, CAPABILITY_LEN_BYTES};
use super::{ABSENT, BARS, Bar, Cause, Header, HeaderState, Identity, Lanes, Msix, MsixState};
use crate::cx::Cx;
use crate::device::WindowOffset;
use base::state::StateError;
use minicbor::{Decode, Encode};
use seams::Level;

/// Where the MSI-X capability is: the first of the list.
pub(crate) const MSIX_CAPABILITY: u32 = HEADER_END;
/// Where the device's own capabilities begin.
pub(crate) const OWN_CAPABILITIES: u32 = MSIX_CAPABILITY + CAPABILITY_LEN_BYTES;
/// One past the last register.
pub(crate) const CONFIG_END: u32 = 0x100;

/// The BAR with MSI-X's table and pending bits.
pub(crate) const MSIX_BAR: usize = 1;

/// What an access to a function addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A register of configuration space.
    Config(WindowOffset),
    /// A register in the BAR of this number.
    Bar(u8, WindowOffset),
}

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FunctionState {
    #[n(0)]
    header: HeaderState,
    #[n(1)]
    msix: MsixState,
}

/// What a function is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What it is.
    pub identity: Identity,
    /// Where its BARs are after reset: a multiple of the longer one's length.
    pub address: u32,
    /// The length of the device's BAR in bytes: a power of two, a page at least.
    pub bar_len_bytes: u32,
    /// How many MSI-X vectors it has: from 1 to [`super::VECTORS_MAX`].
    pub vectors: u16,
    /// What its interrupt line says after reset: the input of the 8259 pair that its pin is wired to.
    pub interrupt_line: u8,
}

/// A function with MSI-X and an interrupt pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    layout: Layout,
    header: Header,
    msix: Msix,
}

impl Function {
    /// The function after power-on.
    pub const fn new(layout: Layout) -> Self {
        let Layout { identity, address, bar_len_bytes, vectors, interrupt_line } = layout;
        let msix_bar = Bar::new(address + bar_len_bytes, msix::BAR_LEN_BYTES);
        let bars: [Bar; BARS] = [Bar::new(address, bar_len_bytes), msix_bar];
        let header = Header::new(identity, bars, interrupt_line);
        Self { layout, header, msix: Msix::new(vectors, MSIX_BAR as u8) }
    }

    /// Returns to the state after power-on.
    pub const fn reset(&mut self) {
        *self = Self::new(self.layout);
    }

    /// BAR `n` while memory is decoded.
    pub fn decoded(&self, n: usize) -> Option<Bar> {
        self.header.decoded(n)
    }

    /// Whether the function may reach memory.
    pub const fn is_bus_master(&self) -> bool {
        self.header.is_bus_master()
    }

    /// Whether the guest uses MSI-X instead of the pin.
    pub const fn uses_messages(&self) -> bool {
        self.msix.is_enabled()
    }

    /// The number of vectors.
    pub const fn vectors(&self) -> u16 {
        self.msix.vectors()
    }

    /// The level of the interrupt pin.
    pub fn pin(&self, cause: Cause) -> Level {
        let asserted = cause == Cause::Present && self.header.may_assert_pin() && !self.msix.is_enabled();
        if asserted { Level::Asserted } else { Level::Deasserted }
    }

    /// The configuration register at `offset`, a multiple of 4, of those before the device's own capabilities; `next` is
    /// where these begin, 0 if it has none.
    pub fn read_config(&self, offset: u32, cause: Cause, next: u8) -> u32 {
        match offset {
            0..MSIX_CAPABILITY => self.header.read(offset, cause),
            MSIX_CAPABILITY..OWN_CAPABILITIES => self.msix.read_capability(offset - MSIX_CAPABILITY, next),
            OWN_CAPABILITIES..CONFIG_END => 0,
            _ => ABSENT,
        }
    }

    /// Writes the bytes `lanes` of a configuration register.
    pub fn write_config(&mut self, cx: &mut impl Cx, lanes: Lanes, value: u32) {
        let offset = lanes.register;
        let value = lanes.merge(self.read_config(offset, Cause::Absent, 0), value);
        match offset {
            0..MSIX_CAPABILITY => self.header.write(offset, value),
            MSIX_CAPABILITY..OWN_CAPABILITIES => self.msix.write_capability(offset - MSIX_CAPABILITY, value),
            _ => {}
        }
        self.send_pending(cx);
    }

    /// The register at `offset`, a multiple of 4, in MSI-X's BAR.
    pub fn read_msix(&self, offset: u32) -> u32 {
        self.msix.read(offset)
    }

    /// Writes the register at `offset`, a multiple of 4, in MSI-X's BAR. It takes whole registers only (PCI 6.8.2).
    pub fn write_msix(&mut self, cx: &mut impl Cx, offset: u32, value: u32) {
        self.msix.write(offset, value);
        self.send_pending(cx);
    }

    /// Signals `vector` by a message, now or when it may be sent.
    pub fn signal(&mut self, cx: &mut impl Cx, vector: u16) {
        self.msix.signal(vector);
        self.send_pending(cx);
    }

    /// Sends nothing of what was signalled and could not be sent yet.
    pub const fn forget_signals(&mut self) {
        self.msix.forget_pending();
    }

    fn send_pending(&mut self, cx: &mut impl Cx) {
        if !self.is_bus_master() {
            return;
        }
        while let Some(message) = self.msix.take_sendable() {
            cx.send_interrupt(message);
        }
    }

    /// What is to be saved.
    pub fn save(&self) -> FunctionState {
        FunctionState { header: self.header.save(), msix: self.msix.save() }
    }

    /// The function with saved state.
    ///
    /// # Errors
    /// [`StateError::OutOfRange`] of `section` when a guest could not have brought the function into that state.
    pub fn loaded(&self, image: FunctionState, section: &'static str) -> Result<Self, StateError> {
        let header = self.header.loaded(&image.header, section)?;
        let msix = self.msix.loaded(image.msix, section)?;
        Ok(Self { layout: self.layout, header, msix })
    }
}
