//! What a device reaches beyond its own registers: all of it, and nothing else.
//!
//! Time and received bytes enter as inputs, effects leave through [`Cx`]; between the two a device is a pure function of
//! its state. That is what lets a run be recorded, replayed and tested on any host.

use crate::message::InterruptMessage;
use base::{Gsi, Instant};
use seams::Level;

/// A change of the whole VM that a device asks for. The VM's owner decides what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The guest entered the soft-off state S5.
    PowerOff,
    /// The guest reset its machine.
    Reset,
    /// The guest wrote this value to the debug exit port.
    DebugExit(u32),
}

/// The surroundings of a device during one transition.
pub trait Cx {
    /// The VM's own time. It never runs backwards, and it is carried through save and load: an instant that a device
    /// keeps means the same afterwards.
    fn now(&self) -> Instant;

    /// Drives interrupt line `gsi` of both interrupt controllers; driving the level that it has already changes nothing.
    fn set_line(&mut self, gsi: Gsi, level: Level);

    /// Delivers an interrupt message to the local APICs that it addresses.
    fn send_interrupt(&mut self, message: InterruptMessage);

    /// Takes a byte that the guest transmits on its console.
    fn console_out(&mut self, byte: u8);

    /// Takes a request that concerns the whole VM.
    fn request(&mut self, request: Request);
}
