//! What the tests of all devices share: surroundings that record effects, and drivers that mean harm.

extern crate std;

use crate::cx::{Cx, Request};
use crate::device::{Access, Device, PortAccess, Width, WindowOffset};
use crate::message::InterruptMessage;
use base::state::{Reader, SavedState, Writer};
use base::{Gsi, Instant, Nanoseconds, Port};
use core::fmt::Debug;
use proptest::prelude::*;
use seams::Level;
use std::vec::Vec;

/// The number of lines that are recorded.
const LINES: usize = 24;

/// Surroundings that record every effect.
pub struct FakeCx {
    pub now: Instant,
    pub levels: [Level; LINES],
    /// Changes to asserted, per line.
    pub rises: [u32; LINES],
    pub out: Vec<u8>,
    pub messages: Vec<InterruptMessage>,
    pub requests: Vec<Request>,
}

impl FakeCx {
    pub fn new() -> Self {
        Self {
            now: Instant(0),
            levels: [Level::Deasserted; LINES],
            rises: [0; LINES],
            out: Vec::new(),
            messages: Vec::new(),
            requests: Vec::new(),
        }
    }

    pub fn asserted(&self, gsi: Gsi) -> bool {
        self.levels[gsi.0 as usize] == Level::Asserted
    }

    pub fn rises_of(&self, gsi: Gsi) -> u32 {
        self.rises[gsi.0 as usize]
    }

    pub fn wait(&mut self, span: Nanoseconds) {
        self.now = self.now.after(span);
    }
}

impl Cx for FakeCx {
    fn now(&self) -> Instant {
        self.now
    }

    fn set_line(&mut self, gsi: Gsi, level: Level) {
        let line = &mut self.levels[gsi.0 as usize];
        if *line == Level::Deasserted && level == Level::Asserted {
            self.rises[gsi.0 as usize] += 1;
        }
        *line = level;
    }

    fn send_interrupt(&mut self, message: InterruptMessage) {
        self.messages.push(message);
    }

    fn console_out(&mut self, byte: u8) {
        self.out.push(byte);
    }

    fn request(&mut self, request: Request) {
        self.requests.push(request);
    }
}

/// Lets time pass to `end`, advancing the device at each of its deadlines as `vmm` does.
pub fn run_until<D: Device>(device: &mut D, cx: &mut FakeCx, end: Instant) {
    while let Some(deadline) = device.next_deadline().filter(|d| *d <= end) {
        cx.now = deadline.max(cx.now);
        device.advance(cx);
    }
    cx.now = end.max(cx.now);
}

/// Reads one byte of a port.
pub fn inb<D: Device<Address = Port>>(device: &mut D, cx: &mut FakeCx, port: u16) -> u8 {
    device.read(cx, PortAccess { at: Port(port), width: Width::Byte }) as u8
}

/// Writes one byte to a port.
pub fn outb<D: Device<Address = Port>>(device: &mut D, cx: &mut FakeCx, port: u16, value: u8) {
    device.write(cx, PortAccess { at: Port(port), width: Width::Byte }, value.into());
}

/// An address made of a number.
pub trait FromNumber {
    fn from_number(number: u32) -> Self;
}

impl FromNumber for Port {
    fn from_number(number: u32) -> Self {
        Self(number as u16)
    }
}

impl FromNumber for WindowOffset {
    fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// One act of a driver that means harm.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    Read { at: u32, width: Width },
    Write { at: u32, width: Width, value: u32 },
    Wait(Nanoseconds),
    Input(u8),
}

/// Any acts at the addresses `at`, with bytes and small values drawn more often than chance would.
pub fn acts(at: impl Strategy<Value = u32> + Clone + 'static) -> impl Strategy<Value = Vec<Act>> {
    let width = prop_oneof![6 => Just(Width::Byte), 1 => Just(Width::Word), 2 => Just(Width::Dword)];
    let value = prop_oneof![any::<u8>().prop_map(u32::from), any::<u32>()];
    let span = prop_oneof![0..10_000u64, 0..3_000_000_000u64, any::<u64>()];
    let act = prop_oneof![
        3 => (at.clone(), width.clone()).prop_map(|(at, width)| Act::Read { at, width }),
        5 => (at, width, value).prop_map(|(at, width, value)| Act::Write { at, width, value }),
        2 => span.prop_map(|ns| Act::Wait(Nanoseconds(ns))),
        1 => any::<u8>().prop_map(Act::Input),
    ];
    proptest::collection::vec(act, 1..200)
}

/// Drives `device` through `acts` and checks what holds for every device: no panic, no deadline left behind after
/// [`Device::advance`], and a saved state that a fresh device (`fresh`) takes over and saves again just so.
pub fn survive<D>(mut device: D, fresh: D, acts: &[Act], mut input: impl FnMut(&mut D, &mut FakeCx, u8))
where
    D: Device + SavedState + Debug + PartialEq,
    D::Address: FromNumber,
{
    let mut cx = FakeCx::new();
    for act in acts {
        match *act {
            Act::Read { at, width } => {
                device.read(&mut cx, Access { at: FromNumber::from_number(at), width });
            }
            Act::Write { at, width, value } => {
                device.write(&mut cx, Access { at: FromNumber::from_number(at), width }, value);
            }
            Act::Wait(span) => cx.wait(span),
            Act::Input(byte) => input(&mut device, &mut cx, byte),
        }
        device.advance(&mut cx);
        let deadline = device.next_deadline().unwrap_or(Instant::FAR_FUTURE);
        assert!(
            deadline > cx.now || cx.now == Instant::FAR_FUTURE,
            "{act:?} left {deadline:?} behind {:?}",
            cx.now
        );
    }
    let mut copy = fresh;
    load(&mut copy, &saved(&device));
    assert_eq!(copy, device);
}

/// `device` as bytes.
pub fn saved<D: SavedState>(device: &D) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.section(device);
    writer.finish()
}

/// Loads bytes that must be sound.
pub fn load<D: SavedState>(device: &mut D, bytes: &[u8]) {
    let section = Reader::new(bytes).next_section().unwrap().unwrap();
    assert_eq!(section.name, D::SECTION);
    section.load_into(device).unwrap();
}
