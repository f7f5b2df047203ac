//! Every device with a state behind ports or a window: how it is made, where it answers, and what reaches it otherwise.
//!
//! The input of each: a byte that is odd if it starts from a saved state, which follows then (its length u16, CBOR); what
//! a driver does ([`crate::drive`]).

use crate::drive::{drive, load, saved};
use crate::{Bytes, RecordingCx};
use base::state::SavedState;
use base::{Gsi, Port, Vector};
use core::fmt::Debug;
use devices::pci::HostBridge;
use devices::platform::{COM1, COM1_GSI, PCI_CONFIG_ADDRESS, PCI_CONFIG_DATA};
use devices::{
    Access, AcpiPm, Device, I8042, I8254, I8259Pair, Ioapic, ResetControl, RtcCmos, Uart16550, Width,
    WindowOffset,
};
use seams::Level;

/// A moment of the year 2026, in seconds since 1970.
const WALL_CLOCK_S: u64 = 1_790_000_000;

/// The serial port. A byte that finds no room is offered again by who has it: here it is lost.
pub fn uart16550(input: &[u8]) {
    let address = |byte: u8| Port(COM1.0 + u16::from(byte % 9));
    run(Uart16550::new(COM1, COM1_GSI), input, address, |uart, cx, byte| _ = uart.receive(cx, byte));
}

/// The pair of interrupt controllers.
pub fn i8259(input: &[u8]) {
    run(I8259Pair::new(), input, one_of(&[0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x1f]), |pic, _, byte| {
        match byte {
            0xff => _ = pic.acknowledge(),
            _ => pic.set_line(Gsi((byte & 31).into()), level(byte)),
        }
    });
}

/// The interval timer.
pub fn i8254(input: &[u8]) {
    run(I8254::new(), input, one_of(&[0x40, 0x41, 0x42, 0x43, 0x61, 0x60]), nothing);
}

/// The real-time clock and its memory.
pub fn rtc_cmos(input: &[u8]) {
    run(RtcCmos::new(WALL_CLOCK_S), input, one_of(&[0x70, 0x71, 0x6f]), nothing);
}

/// The I/O APIC.
pub fn ioapic(input: &[u8]) {
    run(
        Ioapic::new(),
        input,
        |byte| WindowOffset([0x00, 0x10, 0x40, u32::from(byte)][usize::from(byte % 4)]),
        |ioapic, cx, byte| match byte >> 6 {
            3 => ioapic.end_of_interrupt(cx, Vector(byte)),
            _ => _ = ioapic.set_line(Gsi((byte & 31).into()), level(byte)),
        },
    );
}

/// ACPI's fixed hardware.
pub fn acpi_pm(input: &[u8]) {
    let address = |byte: u8| Port(0x5fe + u16::from(byte % 16));
    run(AcpiPm::new(), input, address, |pm, cx, _| pm.press_power_button(cx));
}

/// The keyboard controller.
pub fn i8042(input: &[u8]) {
    run(I8042::new(), input, one_of(&[0x60, 0x64, 0x61, 0x63]), nothing);
}

/// The reset control register.
pub fn reset_control(input: &[u8]) {
    run(ResetControl::new(), input, one_of(&[0xcf9, 0xcf8, 0xcf7]), nothing);
}

/// PCI's host bridge. A byte from elsewhere is a write to CONFIG_ADDRESS, and what that leads to is asked.
pub fn pci_host_bridge(input: &[u8]) {
    run(
        HostBridge::new(),
        input,
        |byte| WindowOffset(byte.into()),
        |bridge, _, byte| {
            let width = [Width::Dword, Width::Word, Width::Byte, Width::Dword][usize::from(byte % 4)];
            let address = u32::from(byte) << 24 | u32::from(byte) << 8 | u32::from(byte);
            bridge.write_address(Access { at: PCI_CONFIG_ADDRESS, width }, address);
            for port in 0..4 {
                let at = Port(PCI_CONFIG_DATA.0 + port);
                let found = bridge.target(Access { at, width });
                assert!(found.is_none_or(|access| access.register.at.0 < 0x103));
            }
        },
    );
}

/// One of a device's ports for any byte.
fn one_of(ports: &'static [u16]) -> impl Fn(u8) -> Port {
    move |byte| Port(ports[usize::from(byte) % ports.len()])
}

/// The level that bit 5 of an input gives to the line that its low bits name.
const fn level(byte: u8) -> Level {
    if byte & 1 << 5 == 0 { Level::Deasserted } else { Level::Asserted }
}

/// Nothing but its registers reaches the device.
const fn nothing<D>(_: &mut D, _: &mut RecordingCx, _: u8) {}

fn run<D>(
    mut device: D,
    input: &[u8],
    address: impl Fn(u8) -> D::Address,
    outside: impl FnMut(&mut D, &mut RecordingCx, u8),
) where
    D: Device + SavedState + Clone + Debug + PartialEq,
{
    let mut input = Bytes::new(input);
    let fresh = device.clone();
    if input.u8() % 2 == 1 {
        let len_bytes = input.u16();
        take_over(&mut device, input.take(len_bytes.into()));
    }
    drive(device, &fresh, &mut input, address, outside);
}

/// Loads `state`, the CBOR of an image, into `device`, which is at power-on.
///
/// # Panics
/// When a refused state leaves a trace, or an accepted one is not what the device saves then.
pub fn take_over<D: SavedState + Clone + Debug + PartialEq>(device: &mut D, state: &[u8]) {
    let before = device.clone();
    let Ok(image) = minicbor::decode(state) else { return };
    match device.load(image) {
        Err(error) => {
            assert!(error.to_string().contains(D::SECTION));
            assert_eq!(*device, before, "a refused state has left a trace");
        }
        Ok(()) => {
            let mut copy = before;
            load(&mut copy, &saved(device));
            assert_eq!(copy, *device);
        }
    }
}
