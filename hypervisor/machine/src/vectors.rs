//! Who gets which vector on the host. Higher is more urgent (Intel SDM, volume 3, section 11.8.3.1).

use base::Vector;

/// The first vector that is no exception.
pub const FIRST_INTERRUPT: Vector = Vector(0x20);
/// The first of the 16 vectors that the legacy 8259s are moved to; masked, they can raise spurious ones still.
pub const LEGACY_PICS: Vector = Vector(0x20);
/// The serial line.
pub const SERIAL: Vector = Vector(0x40);
/// The first of the vectors for PCI functions that the host drives.
pub const FIRST_DEVICE: Vector = Vector(0x50);
/// How many of them there are.
pub const DEVICES: u8 = 64;
/// The local APIC's timer.
pub const TIMER: Vector = Vector(0xf0);
/// A message from another CPU waits.
pub const MESSAGE: Vector = Vector(0xf1);
/// An interrupt was posted to a vCPU that this CPU runs.
pub const POSTED: Vector = Vector(0xf2);
/// What the local APIC delivers when an interrupt has vanished under it; it wants no end-of-interrupt.
pub const SPURIOUS: Vector = Vector(0xff);
