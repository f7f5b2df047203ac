//! The bus as a guest finds it: slots, BARs where it puts them, and where interrupts arrive.

extern crate std;

use super::*;
use crate::platform::{Board, Claim};
use crate::testing::{self, NIC, NicDriver, settings};
use crate::vm::Settings;
use backends::VmConsole;
use base::{Instant, Port, Vector};
use proptest::prelude::*;
use std::vec;

/// A board with network devices in slots 1 and 3, and between them one more.
fn board() -> Board {
    let models = vec![testing::nic(), testing::nic(), testing::nic()];
    Board::new(&settings(), VmConsole::new(), PciBus::new(models), Instant(0))
}

fn gpa(address: u64) -> Gpa {
    Gpa::new(address).unwrap()
}

fn read(board: &mut Board, address: u64, size_bytes: u8) -> u64 {
    board.read_memory(gpa(address), size_bytes).0
}

fn write(board: &mut Board, address: u64, size_bytes: u8, value: u64) {
    assert_eq!(board.write_memory(gpa(address), size_bytes, value), Claim::Claimed);
}

/// A register in the ECAM window.
const fn ecam(slot: u64, register: u64) -> u64 {
    0xe000_0000 + (slot << 15) + register
}

fn config_by_ports(board: &mut Board, slot: u32, register: u32) -> u32 {
    board.write_port(Port(0xcf8), Width::Dword, 1 << 31 | slot << 11 | register);
    board.read_port(Port(0xcfc), Width::Dword).0
}

#[test]
fn slots_hold_the_host_bridge_and_the_devices_in_their_order() {
    let mut board = board();
    for (slot, ids) in [(0, 0x0008_1b36), (1, 0x1041_1af4), (3, 0x1041_1af4), (4, u32::MAX), (31, u32::MAX)] {
        assert_eq!(config_by_ports(&mut board, slot, 0), ids);
        assert_eq!(read(&mut board, ecam(slot.into(), 0), 4), ids.into());
    }
    let (class, revision) = (read(&mut board, ecam(0, 0x0a), 2), read(&mut board, ecam(1, 0x08), 1));
    assert_eq!((class, revision), (0x0600, 1));
}

#[test]
fn a_bus_without_devices_has_its_bridge() {
    let mut board = Board::new(&settings(), VmConsole::new(), PciBus::default(), Instant(0));
    assert_eq!(config_by_ports(&mut board, 0, 0), 0x0008_1b36);
    assert_eq!(config_by_ports(&mut board, 1, 0), u32::MAX);
    assert!(!board.answers_memory(gpa(0xc000_8000)));
}

#[test]
fn registers_answer_where_the_bar_is_and_only_while_memory_is_decoded() {
    let mut board = board();
    let number_of_queues = |board: &mut Board, bar: u64| board.read_memory(gpa(bar + 0x12), 2);
    for slot in 1..4 {
        assert_eq!(number_of_queues(&mut board, 0xc000_0000 + slot * 0x8000), (2, Claim::Claimed));
    }
    write(&mut board, ecam(2, 0x10), 4, 0xd000_0000);
    assert_eq!(number_of_queues(&mut board, 0xd000_0000), (2, Claim::Claimed));
    assert!(!board.answers_memory(gpa(0xc001_0000)));
    write(&mut board, ecam(2, 0x04), 2, 0);
    assert!(!board.answers_memory(gpa(0xd000_0000)));
    write(&mut board, ecam(2, 0x04), 2, 2);
    assert_eq!(number_of_queues(&mut board, 0xd000_0000), (2, Claim::Claimed));
}

#[test]
fn a_bar_outside_of_the_bridges_window_answers_nowhere() {
    let mut board = board();
    for address in [0x0010_0000, 0xbfff_c000, 0xe010_0000, 0xfec0_0000, 0xffff_c000] {
        write(&mut board, ecam(1, 0x10), 4, address);
        assert!(board.pci.windows.iter().all(|window| u64::from(window.address) != address));
    }
}

#[test]
fn of_two_functions_at_one_address_the_first_answers() {
    let mut board = board();
    write(&mut board, ecam(3, 0x10), 4, 0xc000_8000);
    write(&mut board, 0xc000_8014, 1, 1);
    assert_eq!(read(&mut board, 0xc000_8014, 1), 1);
    write(&mut board, ecam(1, 0x04), 2, 0);
    assert_eq!(read(&mut board, 0xc000_8014, 1), 0, "the other's status");
}

#[test]
fn eight_bytes_are_two_registers() {
    let mut board = board();
    write(&mut board, 0xc000_8020, 8, 0x1234_5678_9abc_def0);
    assert_eq!(read(&mut board, 0xc000_8024, 4), 0x1234_5678);
    assert_eq!(read(&mut board, 0xc000_8020, 8), 0x1234_5678_9abc_def0);
    assert_eq!(read(&mut board, ecam(1, 0), 8), 0x0010_0002_1041_1af4);
}

#[test]
fn pins_of_one_line_are_joined_and_reach_either_controller() {
    let mut board = board();
    // GSI 11: vector 0x5b, level-triggered, active low, to APIC 0.
    for (register, value) in [(0x10 + 2 * 11 + 1, 0), (0x10 + 2 * 11, 1 << 15 | 1 << 13 | 0x5b)] {
        write(&mut board, 0xfec0_0000, 4, register);
        write(&mut board, 0xfec0_0010, 4, value);
    }
    write(&mut board, 0xfee0_00f0, 4, 0x1ff);
    for slot in [1, 3] {
        NicDriver { slot }.start(&mut board);
        NicDriver { slot }.change_link(&mut board);
    }
    assert_eq!(board.fabric.local.lapic.highest_pending(), Some(Vector(0x5b)));
    assert_eq!(board.fabric.local.lapic.acknowledge(), Some(Vector(0x5b)));
    for (slot, again) in [(1, true), (3, false)] {
        assert_eq!(NicDriver { slot }.take_isr(&mut board), 2);
        // The end of the interrupt.
        write(&mut board, 0xfee0_00b0, 4, 0);
        assert_eq!(board.fabric.local.lapic.acknowledge().is_some(), again, "slot {slot}");
    }
    // ELCR: inputs 10 and 11 are level-triggered from the start.
    assert_eq!(board.read_port(Port(0x4d1), Width::Byte).0, 0x0c);
}

#[test]
fn a_message_reaches_the_local_apic() {
    let mut board = board();
    write(&mut board, 0xfee0_00f0, 4, 0x1ff);
    let driver = NicDriver { slot: 2 };
    driver.start(&mut board);
    driver.use_messages(&mut board, 0x61);
    driver.change_link(&mut board);
    assert_eq!(board.fabric.local.lapic.highest_pending(), Some(Vector(0x61)));
}

#[test]
fn a_kick_is_noted_until_the_queue_was_run() {
    let mut board = board();
    NicDriver { slot: 2 }.start(&mut board);
    let run = |board: &mut Board, slot| {
        board.pci.with_device(&mut board.fabric, slot, |device, _| device.parts_mut().0.take_kicked())
    };
    assert_eq!(board.pci.kicked().collect::<Vec<_>>(), [Slot::new(2).unwrap()]);
    assert_eq!(run(&mut board, Slot::new(2).unwrap()), Some(0b11));
    assert!(!board.pci.is_kicked());
    NicDriver { slot: 2 }.kick(&mut board, 1);
    assert!(board.pci.is_kicked());
    // A device that is reset has nothing to run.
    NicDriver { slot: 2 }.set_status(&mut board, 0);
    assert!(!board.pci.is_kicked());
}

#[test]
fn power_on_puts_everything_back_in_its_place() {
    let mut board = board();
    let driver = NicDriver { slot: 1 };
    driver.start(&mut board);
    driver.change_link(&mut board);
    write(&mut board, ecam(1, 0x10), 4, 0xd000_0000);
    board.power_on(&Settings { devices: vec![], ..settings() }, Instant(5));
    assert_eq!(driver.status(&mut board), 0);
    assert_eq!(read(&mut board, ecam(1, 0x04), 2), 2);
    assert!(!board.pci.is_kicked() && !board.answers_memory(gpa(0xd000_0000)));
    assert_eq!(read(&mut board, 0xc000_a000, 4), u32::from_le_bytes([NIC[0], NIC[1], NIC[2], NIC[3]]).into());
}

/// What a guest that means harm does: an access to the bus, or moving a BAR to somewhere that matters.
#[derive(Clone, Copy, Debug)]
enum Act {
    Read(u64, u8),
    Write(u64, u8, u64),
    Config(u32, u32),
    Run(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let address = prop_oneof![
        (0..4_u64, 0..0x8000_u64).prop_map(|(slot, offset)| 0xc000_0000 + slot * 0x8000 + offset),
        (0..4_u64, 0..0x110_u64).prop_map(|(slot, offset)| ecam(slot, offset)),
        0xdfff_8000..0xe000_0010_u64,
        0xe00f_fff0..0xe010_0010_u64,
    ];
    let size = prop_oneof![Just(1_u8), Just(2), Just(4), Just(8)];
    let value = prop_oneof![0..16_u64, any::<u64>()];
    let bar = prop_oneof![
        Just(0xc000_8000_u32),
        Just(0xdfff_c000),
        Just(0xe000_0000),
        Just(0xffff_ffff),
        Just(0),
        any::<u32>()
    ];
    prop_oneof![
        (address.clone(), size.clone()).prop_map(|(address, size)| Act::Read(address, size)),
        (address, size, value).prop_map(|(address, size, value)| Act::Write(address, size, value)),
        (1..4_u32, 4..6_u32, bar)
            .prop_map(|(slot, dword, value)| Act::Config(slot << 11 | dword << 2, value)),
        (0..5_u8).prop_map(Act::Run),
    ]
}

proptest! {
    /// Wherever a guest puts its BARs, what answers is a register of the bus, in its windows; and the lines follow the pins.
    #[test]
    fn a_hostile_guest_breaks_no_bus(acts in proptest::collection::vec(act(), 1..100)) {
        let mut board = board();
        for act in acts {
            match act {
                Act::Read(at, size) => _ = board.read_memory(gpa(at), size),
                Act::Write(at, size, value) => _ = board.write_memory(gpa(at), size, value),
                Act::Config(address, value) => {
                    board.write_port(Port(0xcf8), Width::Dword, 1 << 31 | address);
                    board.write_port(Port(0xcfc), Width::Dword, value);
                }
                Act::Run(slot) => {
                    let slot = Slot::new(slot).unwrap();
                    board.pci.with_device(&mut board.fabric, slot, |device, _| device.parts_mut().0.take_kicked());
                }
            }
            let inside = |window: &Window| {
                window.address >= 0xc000_0000 && window.len_bytes <= 0xe000_0000 - window.address
            };
            prop_assert!(board.pci.windows.iter().all(inside));
            let kicked: Vec<_> = board.pci.kicked().collect();
            for (n, device) in board.pci.devices.iter().enumerate() {
                prop_assert_eq!(device.transport().kicked() != 0, kicked.contains(&slot_of(n)));
            }
        }
    }

    /// Wherever the BARs are: one board looks for doorbells first, as the VM does, the other one nowhere.
    #[test]
    fn a_kick_by_its_page_is_the_kick_that_it_is_by_the_windows(acts in proptest::collection::vec(act(), 1..100)) {
        let (mut quick, mut thorough) = (board(), board());
        for slot in 1..4 {
            NicDriver { slot }.start(&mut quick);
            NicDriver { slot }.start(&mut thorough);
        }
        for act in acts {
            for (board, first) in [(&mut quick, Claim::Claimed), (&mut thorough, Claim::Unclaimed)] {
                match act {
                    Act::Read(..) => {}
                    Act::Write(at, size, value) => {
                        if first == Claim::Unclaimed || size == 8 || board.ring(gpa(at)) == Claim::Unclaimed {
                            board.write_memory(gpa(at), size, value);
                        }
                    }
                    Act::Config(address, value) => {
                        board.write_port(Port(0xcf8), Width::Dword, 1 << 31 | address);
                        board.write_port(Port(0xcfc), Width::Dword, value);
                    }
                    Act::Run(slot) => {
                        let slot = Slot::new(slot).unwrap();
                        board.pci.with_device(&mut board.fabric, slot, |device, _| {
                            device.parts_mut().0.take_kicked()
                        });
                    }
                }
            }
            prop_assert_eq!(quick.pci.kicked(), thorough.pci.kicked());
            for (one, other) in quick.pci.devices.iter().zip(&thorough.pci.devices) {
                prop_assert_eq!(one.transport(), other.transport());
            }
        }
    }
}

#[test]
fn a_doorbell_is_found_where_its_bar_was_moved_and_under_nothing_else() {
    let mut board = board();
    NicDriver { slot: 2 }.start(&mut board);
    assert_eq!(board.ring(gpa(0xc001_3004)), Claim::Claimed);
    for no_doorbell in [0xc001_2ffc, 0xc001_4000, 0xc000_0000, 0xc002_3000, 0x1_c001_3004] {
        assert_eq!(board.ring(gpa(no_doorbell)), Claim::Unclaimed, "{no_doorbell:#x}");
    }
    write(&mut board, ecam(2, 0x10), 4, 0xd000_0000);
    assert_eq!(board.ring(gpa(0xc001_3004)), Claim::Unclaimed);
    assert_eq!(board.ring(gpa(0xd000_3004)), Claim::Claimed);
    // Slot 1 comes first where both are.
    write(&mut board, ecam(1, 0x10), 4, 0xd000_0000);
    board.pci.with_device(&mut board.fabric, Slot::new(2).unwrap(), |device, _| {
        device.parts_mut().0.take_kicked()
    });
    assert_eq!(board.ring(gpa(0xd000_3004)), Claim::Claimed);
    assert!(!board.pci.is_kicked(), "the device in slot 1 does not run");
    // The guest has moved its local APIC there.
    board.fabric.local.lapic.set_apic_base(0xd000_3900).unwrap();
    assert_eq!(board.ring(gpa(0xd000_3004)), Claim::Unclaimed);
}
