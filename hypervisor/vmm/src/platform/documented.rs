//! The tables of `docs/virtual-platform.md` say what the board does.

extern crate std;

use super::Board;
use super::pci::{Model, PciBus};
use crate::layout::{BIOS_HOLE_END, BIOS_HOLE_START, IOAPIC_START, LAPIC_START};
use crate::testing::settings;
use crate::vm::{DebugExitPort, Settings};
use backends::VmConsole;
use base::ram::{HIGH_RAM_START, LOW_RAM_MAX_BYTES};
use base::{Gpa, Instant, MacAddress, PAGE_BYTES, Port};
use devices::platform as place;
use devices::virtio::{blk::Blk, console::Console, net::Net, rng::Rng};
use seams::{BlockAccess, BlockGeometry};
use std::vec;
use std::vec::Vec;

const DOCUMENT: &str = include_str!("../../../../docs/virtual-platform.md");

/// First cell, which is a range, and second cell of each row of the table that begins with `heading`.
fn ranges(heading: &str) -> Vec<(u64, u64, &'static str)> {
    let lines = DOCUMENT.lines().skip_while(|line| *line != heading).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let (first, last) = cells.next().unwrap().split_once('-').unwrap();
        let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
        (number(first).unwrap(), number(last).unwrap_or(u64::MAX), cells.next().unwrap())
    })
    .collect()
}

#[test]
fn the_ports_of_the_virtual_platform_are_those_that_the_board_answers() {
    let documented = ranges("| Ports | Device | What it does |");
    let board = Board::new(
        &Settings { debug_exit: DebugExitPort::Present, ..settings() },
        VmConsole::new(),
        PciBus::default(),
        Instant(0),
    );
    for port in 0..=u16::MAX {
        let is_documented =
            documented.iter().any(|&(first, last, _)| (first..=last).contains(&u64::from(port)));
        assert_eq!(board.answers_port(Port(port)), is_documented, "port {port:#x}");
    }
}

/// Ids, class and number of queues of each device in the table of PCI's.
fn pci_devices() -> Vec<(u64, u64, u64)> {
    let heading = "| Device | Vendor and device | Class | Queues |";
    let lines = DOCUMENT.lines().skip_while(|line| *line != heading).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (vendor, device) = cells[1].split_once(':').unwrap();
        let hexadecimal = |text| u64::from_str_radix(text, 16).unwrap();
        let queues = cells[3].split(':').next().unwrap();
        (hexadecimal(device) << 16 | hexadecimal(vendor), hexadecimal(cells[2]), queues.parse().unwrap())
    })
    .collect()
}

#[test]
fn the_pci_devices_of_the_virtual_platform_are_those_that_a_guest_finds() {
    let geometry = BlockGeometry { sectors: 8, block_bytes: 512, access: BlockAccess::ReadWrite };
    let models = vec![
        Model::Net(Net::new(MacAddress([2, 0, 0, 0, 0, 1]), None)),
        Model::Disk(Blk::new(geometry, [0; 20]).unwrap()),
        Model::Console(Console::new()),
        Model::Entropy(Rng::new()),
    ];
    let mut board = Board::new(&settings(), VmConsole::new(), PciBus::new(models), Instant(0));
    let mut read = |at: u64, size| board.read_memory(Gpa::from_low_bits(at), size).0;
    let found = (1..5).map(|slot| {
        let (config, bar) = (0xe000_0000 + (slot << 15), 0xc000_0000 + slot * 0x8000);
        assert_eq!(read(config + 0x10, 4), bar);
        assert_eq!(read(config + 0x14, 4), bar + 0x4000);
        (read(config, 4), read(config + 8, 4) >> 8, read(bar + 0x12, 2))
    });
    assert_eq!(found.collect::<Vec<_>>(), pci_devices());
}

#[test]
fn the_memory_map_of_the_virtual_platform_is_the_layout() {
    let documented = ranges("| Guest-physical addresses | What is there | Told by E820 as |");
    let contiguous = documented.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0);
    assert!(contiguous && documented[0].0 == 0);
    let begins = |what: &str| documented.iter().find(|row| row.2.starts_with(what)).unwrap().0;
    assert_eq!(begins("RAM, zero"), BIOS_HOLE_START);
    assert_eq!(begins("the ACPI tables"), u64::from(devices::acpi::TABLES_START));
    assert_eq!(begins("RAM as far"), BIOS_HOLE_END);
    assert_eq!(begins("PCI's memory window"), LOW_RAM_MAX_BYTES);
    assert_eq!(begins("PCI's memory window"), place::PCI_MEMORY_BASE.into());
    assert_eq!(begins("PCI's configuration space"), place::PCI_ECAM_BASE.into());
    assert_eq!(begins("nothing"), u64::from(place::PCI_ECAM_BASE + place::PCI_ECAM_LEN_BYTES));
    assert_eq!(begins("IOAPIC"), IOAPIC_START);
    assert_eq!(begins("local APIC"), LAPIC_START);
    assert_eq!(begins("the RAM beyond"), HIGH_RAM_START);
    let is_one_page = |start| documented.iter().any(|row| (row.0, row.1) == (start, start + PAGE_BYTES - 1));
    assert!(is_one_page(IOAPIC_START) && is_one_page(LAPIC_START));
}
