//! Golden files: states as every version so far has saved them. They stay loadable for ever.
//!
//! A file is `tests/state/SECTION.vVERSION.cbor`. A new version adds files, and `cargo test -p devices -- --ignored
//! write_golden_files` writes those that are missing; a file that exists is never written again.

extern crate std;

mod virtio;

use crate::lapic::{Accepted, LocalApic, Role};
use crate::message::{DeliveryMode, Destination, InterruptMessage, Trigger};
use crate::pci::HostBridge;
use crate::platform::{COM1, COM1_GSI, PCI_CONFIG_ADDRESS};
use crate::testing::{self, Act, FakeCx, FromNumber, inb, outb, saved};
use crate::virtio::{Transport, feature, transport};
use crate::{Access, Width, WindowOffset};
use crate::{AcpiPm, Device, I8042, I8254, I8259Pair, Ioapic, ResetControl, RtcCmos, Uart16550};
use base::state::{Reader, SavedState};
use base::{ApicId, Gsi, Instant, Port, Vector};
use core::fmt::Debug;
use proptest::prelude::*;
use seams::Level;
use std::{format, fs, path::PathBuf, vec::Vec};

fn file(section: &str, version: u16) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/state");
    directory.join(format!("{section}.v{version}.cbor"))
}

/// Calls `check` with each device in its golden state and as new.
fn for_each_device(check: &mut impl Check) {
    check.device(uart16550(), Uart16550::new(COM1, COM1_GSI));
    check.device(i8259(), I8259Pair::new());
    check.device(i8254(), I8254::new());
    check.device(rtc_cmos(), RtcCmos::new(0));
    check.device(ioapic(), Ioapic::new());
    check.device(acpi_pm(), AcpiPm::new());
    check.device(reset_control(), ResetControl::new());
    check.device(i8042(), I8042::new());
    check.device(host_bridge(), HostBridge::new());
}

/// What is done with each device.
trait Check {
    fn device<D>(&mut self, golden: D, new: D)
    where
        D: Device + SavedState + Clone + PartialEq + Debug,
        D::Address: FromNumber;
}

/// Loads the file of version 1 and compares.
struct Load;

impl Check for Load {
    fn device<D>(&mut self, golden: D, new: D)
    where
        D: Device + SavedState + Clone + PartialEq + Debug,
        D::Address: FromNumber,
    {
        load_golden(golden, new);
    }
}

fn load_golden<D: SavedState + PartialEq + Debug>(golden: D, mut new: D) {
    let path = file(D::SECTION, 1);
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    testing::load(&mut new, &bytes);
    assert_eq!(new, golden);
}

/// Writes the file of the newest version if there is none.
struct WriteMissing;

impl Check for WriteMissing {
    fn device<D>(&mut self, golden: D, _new: D)
    where
        D: Device + SavedState + Clone + PartialEq + Debug,
        D::Address: FromNumber,
    {
        write_missing(&golden);
    }
}

fn write_missing<D: SavedState>(golden: &D) {
    let path = file(D::SECTION, D::VERSION);
    if !path.exists() {
        fs::write(path, saved(golden)).unwrap();
    }
}

/// Damages the saved state; what is loaded all the same must be fit for use.
struct Damage {
    /// Where, and by which bits.
    changes: Vec<(usize, u8)>,
    acts: Vec<Act>,
}

impl Check for Damage {
    fn device<D>(&mut self, golden: D, new: D)
    where
        D: Device + SavedState + Clone + PartialEq + Debug,
        D::Address: FromNumber,
    {
        let mut bytes = saved(&golden);
        let len = bytes.len();
        for (at, bits) in &self.changes {
            bytes[at % len] ^= bits;
        }
        let mut loaded = new.clone();
        let Ok(Some(section)) = Reader::new(&bytes).next_section() else { return };
        match section.load_into(&mut loaded) {
            Ok(()) => testing::survive(loaded, new, &self.acts, |_, _, _| {}),
            Err(_) => assert_eq!(loaded, new, "a refused state leaves the device as it was"),
        }
    }
}

proptest! {
    #[test]
    fn damaged_state_is_refused_or_harmless(
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        acts in testing::acts(prop_oneof![
            0..0x80u32, 0xa0..0xa2u32, 0x3f8..0x400u32, 0x600..0x60cu32, Just(0xcf9u32)
        ]),
    ) {
        for_each_device(&mut Damage { changes, acts });
    }
}

#[test]
fn every_golden_file_loads() {
    for_each_device(&mut Load);
    load_golden(local_apic(), new_local_apic());
    load_golden(virtio_transport(), new_virtio_transport());
}

#[test]
#[ignore = "writes into the source tree"]
fn write_golden_files() {
    for_each_device(&mut WriteMissing);
    write_missing(&local_apic());
    write_missing(&virtio_transport());
}

/// A UART that drives its interrupt, with bytes in a FIFO that has wrapped around.
fn uart16550() -> Uart16550 {
    let (mut uart, mut cx) = (Uart16550::new(COM1, COM1_GSI), FakeCx::new());
    for (offset, value) in [(3, 0x83), (0, 12), (3, 0x03), (2, 0x41), (4, 0x0b), (1, 0x05), (7, 0xa5)] {
        outb(&mut uart, &mut cx, COM1.0 + offset, value);
    }
    cx.now = Instant(5_000_000);
    for byte in 0..14 {
        uart.receive(&mut cx, byte).unwrap();
        inb(&mut uart, &mut cx, COM1.0);
    }
    for byte in *b"cofferdam" {
        uart.receive(&mut cx, byte).unwrap();
    }
    uart
}

/// A pair with a level in service behind the slave, an edge that waits, and a mask.
fn i8259() -> I8259Pair {
    let (mut pic, mut cx) = (I8259Pair::new(), FakeCx::new());
    let words = [
        (0x20, 0x11),
        (0x21, 0x30),
        (0x21, 0x04),
        (0x21, 0x11),
        (0xa0, 0x11),
        (0xa1, 0x38),
        (0xa1, 0x02),
        (0xa1, 0x01),
        (0x21, 0x02),
        (0x4d1, 0x02),
        (0x20, 0xc3),
    ];
    for (port, word) in words {
        outb(&mut pic, &mut cx, port, word);
    }
    pic.set_line(Gsi(9), Level::Asserted);
    pic.acknowledge();
    pic.set_line(Gsi(4), Level::Asserted);
    pic
}

/// A timer with a running rate generator that is to change its count, a latched count, and a held one-shot.
fn i8254() -> I8254 {
    let (mut pit, mut cx) = (I8254::new(), FakeCx::new());
    for (port, value) in [(0x43, 0x34), (0x40, 0x9c), (0x40, 0x2e), (0x43, 0xb1), (0x42, 0x34), (0x42, 0x12)]
    {
        outb(&mut pit, &mut cx, port, value);
    }
    cx.now = Instant(12_345_678);
    for (port, value) in [(0x40, 0x10), (0x40, 0x27), (0x43, 0x00), (0x61, 0x02), (0x43, 0x76), (0x41, 0x55)]
    {
        outb(&mut pit, &mut cx, port, value);
    }
    pit
}

/// A clock with an alarm to come, memory, and its phase moved.
fn rtc_cmos() -> RtcCmos {
    let (mut rtc, mut cx) = (RtcCmos::new(1_795_244_107), FakeCx::new());
    cx.now = Instant(1_700_000_000);
    let writes = [(0x0a, 0x76), (0x0a, 0x26), (5, 0x07), (3, 0xc0), (1, 0x30), (0x40, 0xa5), (0x0b, 0x22)];
    for (index, value) in writes {
        outb(&mut rtc, &mut cx, 0x70, index);
        outb(&mut rtc, &mut cx, 0x71, value);
    }
    rtc
}

/// An IOAPIC with an edge entry and a level entry that awaits its end.
fn ioapic() -> Ioapic {
    let (mut ioapic, mut cx) = (Ioapic::new(), FakeCx::new());
    for (index, value) in [(0, 0x0100_0000), (0x18, 0x31), (0x22, 0x8939), (0x23, 0xff00_0000)] {
        for (offset, value) in [(0x00, index), (0x10, value)] {
            ioapic.write(&mut cx, Access { at: WindowOffset(offset), width: Width::Dword }, value);
        }
    }
    for gsi in [4, 9] {
        assert!(ioapic.set_line(Gsi(gsi), Level::Asserted).is_some());
    }
    ioapic
}

/// Fixed hardware whose power button was pressed.
fn acpi_pm() -> AcpiPm {
    let (mut pm, mut cx) = (AcpiPm::new(), FakeCx::new());
    for (port, value) in [(0x602, 0x0121), (0x604, 0x1402)] {
        pm.write(&mut cx, Access { at: Port(port), width: Width::Word }, value);
    }
    cx.now = Instant(700_000_000_000);
    pm.press_power_button(&mut cx);
    pm.advance(&mut cx);
    pm
}

/// A reset that was prepared.
fn reset_control() -> ResetControl {
    let (mut register, mut cx) = (ResetControl::new(), FakeCx::new());
    outb(&mut register, &mut cx, 0xcf9, 0x0a);
    register
}

/// A controller with a result that waits and a command that is half done.
fn i8042() -> I8042 {
    let (mut kbc, mut cx) = (I8042::new(), FakeCx::new());
    outb(&mut kbc, &mut cx, 0x64, 0xaa);
    outb(&mut kbc, &mut cx, 0x64, 0xd1);
    kbc
}

/// A bridge whose configuration address leads to a register, with all bits of its command that can be set.
fn host_bridge() -> HostBridge {
    let (mut bridge, mut cx) = (HostBridge::new(), FakeCx::new());
    bridge.write_address(Access { at: PCI_CONFIG_ADDRESS, width: Width::Dword }, 0x8000_2840);
    bridge.write(&mut cx, Access { at: WindowOffset(0x04), width: Width::Word }, 0xffff);
    bridge.write(&mut cx, Access { at: WindowOffset(0x3c), width: Width::Byte }, 0x5a);
    bridge
}

fn new_virtio_transport() -> Transport {
    transport::testing::function().transport().clone()
}

/// A transport that works with both queues, moved BARs, MSI-X with a pending vector, a kick and an open window.
fn virtio_transport() -> Transport {
    let mut bench = transport::testing::Bench::new();
    bench.start(feature::VERSION_1 | feature::RING_EVENT_IDX);
    bench.use_messages();
    for (register, value) in [(0x10, 0xd000_0000), (0x98, 0x2004), (0x9c, 2)] {
        bench.write_config(register, Width::Dword, value);
    }
    bench.transport().take_kicked();
    bench.write(0x3004, Width::Word, 1);
    // The function's mask: what is signalled waits.
    bench.write_config(0x42, Width::Word, 0xc000);
    let (transport, _) = bench.function.parts_mut();
    transport.config_changed(&mut bench.cx);
    transport.clone()
}

fn new_local_apic() -> LocalApic {
    LocalApic::new(ApicId(0), Role::Bootstrap)
}

/// A local APIC with a level-triggered interrupt in service, an edge that waits, and a periodic timer.
fn local_apic() -> LocalApic {
    const LVT_TIMER: u32 = 0x320;
    const INITIAL_COUNT: u32 = 0x380;
    const DIVIDE: u32 = 0x3e0;
    let (mut lapic, now) = (new_local_apic(), Instant(1_000_000));
    lapic.enter_virtual_wire_mode();
    for (offset, value) in [(LVT_TIMER, 0x2_00ec), (DIVIDE, 0xb), (INITIAL_COUNT, 100_000)] {
        lapic.write_mmio(offset, value, now);
    }
    let (delivery, destination) = (DeliveryMode::Fixed, Destination::Physical(0));
    for (vector, trigger) in [(0x39, Trigger::Level), (0x31, Trigger::Edge)] {
        let message = InterruptMessage { vector: Vector(vector), delivery, destination, trigger };
        assert_eq!(lapic.accept(&message.into()), Accepted::Queued);
    }
    assert_eq!(lapic.acknowledge(), Some(Vector(0x39)));
    lapic
}
