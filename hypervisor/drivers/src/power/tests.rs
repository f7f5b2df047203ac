//! A board whose power switch is watched.

use super::*;
use machine::acpi::fadt::PmTimerWidth;
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

const PM1A: Port = Port(0x604);
const PM1B: Port = Port(0x704);
const SMI: AcpiEnable = AcpiEnable { port: Port(0xb2), value: 0xf1 };

#[derive(Default)]
struct Board {
    control: u16,
    enters_acpi_mode: bool,
    keyboard: u8,
    writes: Vec<(u16, u16)>,
}

impl PortIo for Board {
    fn read_u8(&mut self, _: Port) -> u8 {
        self.keyboard
    }
    fn read_u16(&mut self, _: Port) -> u16 {
        self.control
    }
    fn read_u32(&mut self, _: Port) -> u32 {
        u32::MAX
    }
    fn write_u8(&mut self, port: Port, value: u8) {
        self.writes.push((port.0, value.into()));
        if port == SMI.port && self.enters_acpi_mode {
            self.control |= SCI_ENABLED;
        }
    }
    fn write_u16(&mut self, port: Port, value: u16) {
        self.writes.push((port.0, value));
    }
    fn write_u32(&mut self, _: Port, _: u32) {}
}

fn registers() -> PowerRegisters {
    PowerRegisters {
        pm1a_control: Some(PM1A),
        pm1b_control: None,
        sleep_types: Some(SleepTypes { pm1a: 5, pm1b: 6 }),
        enable: Some(SMI),
        reset: Some((Port(0xcf9), 0x0f)),
    }
}

/// Steps every millisecond until it gives up; returns why, and when in milliseconds.
fn run(mut step: impl FnMut(Instant) -> Result<Pending, PowerError>) -> (PowerError, u64) {
    let error = (0..10_000).find_map(|ms| Some((step(Instant(ms * 1_000_000)).err()?, ms)));
    error.expect("it neither ends nor gives up")
}

#[test]
fn a_board_in_acpi_mode_is_switched_off_at_once_and_keeps_its_other_bits() {
    let mut board = Board { control: SCI_ENABLED | SLEEP_TYPE_MASK, ..Board::default() };
    let mut off = PowerOff::new(registers()).unwrap();
    assert_eq!(off.step(&mut board, Instant(0)), Ok(Pending));
    assert_eq!(board.writes, [(0x604, 0x1401), (0x604, 0x3401)]);
}

#[test]
fn both_control_registers_get_their_type_before_either_sleeps() {
    let mut board = Board { control: SCI_ENABLED, ..Board::default() };
    let mut off = PowerOff::new(PowerRegisters { pm1b_control: Some(PM1B), ..registers() }).unwrap();
    off.step(&mut board, Instant(0)).unwrap();
    assert_eq!(board.writes, [(0x604, 0x1401), (0x704, 0x1801), (0x604, 0x3401), (0x704, 0x3801)]);
}

#[test]
fn acpi_mode_is_entered_first() {
    let mut board = Board { enters_acpi_mode: true, ..Board::default() };
    let mut off = PowerOff::new(registers()).unwrap();
    let (error, _) = run(|now| off.step(&mut board, now));
    assert_eq!(board.writes, [(0xb2, 0xf1), (0x604, 0x1401), (0x604, 0x3401)]);
    assert_eq!(
        error.to_string(),
        "power-off: PM1a control at port 0x604 had no effect; use the power button"
    );
}

#[test]
fn a_board_that_stays_in_legacy_mode_is_given_up() {
    let mut board = Board::default();
    let mut off = PowerOff::new(registers()).unwrap();
    assert_eq!(run(|now| off.step(&mut board, now)), (PowerError::NoAcpiMode(SMI), 3_000));
}

#[test]
fn without_firmwares_word_there_is_no_way_off() {
    let none = PowerRegisters::default();
    assert_eq!(PowerOff::new(none).err(), Some(PowerError::NoPm1Control));
    let no_types = PowerRegisters { sleep_types: None, ..registers() };
    assert_eq!(PowerOff::new(no_types).err(), Some(PowerError::NoSleepTypes));
}

#[test]
fn a_reset_tries_one_way_after_the_other() {
    let mut board = Board::default();
    let mut reset = Reset::new(&registers());
    assert_eq!(run(|now| reset.step(&mut board, now)), (PowerError::StillRunning, 1_500));
    assert_eq!(board.writes, [(0xcf9, 0x0f), (0xcf9, 2), (0xcf9, 6), (0x64, 0xfe)]);
}

#[test]
fn a_busy_keyboard_controller_is_waited_for_but_not_for_ever() {
    let mut board = Board { keyboard: KEYBOARD_BUSY, ..Board::default() };
    let mut reset = Reset::new(&PowerRegisters::default());
    assert_eq!(run(|now| reset.step(&mut board, now)).1, 1 + 500 + 50 + 500);
    assert_eq!(board.writes, [(0xcf9, 2), (0xcf9, 6), (0x64, 0xfe)]);
}

#[test]
fn only_a_reset_register_that_is_a_port_is_taken() {
    let fadt = Fadt {
        dsdt: base::Hpa::ZERO,
        enable: None,
        pm1a_control: Some(PM1A),
        pm1b_control: None,
        pm_timer: Some((Port(0x608), PmTimerWidth::Bits24)),
        reset: Some((RegisterSpace::Memory(base::Hpa::ZERO), 1)),
        has_8042: true,
        hardware_reduced: false,
    };
    let registers = PowerRegisters::from_acpi(&fadt, None);
    assert_eq!((registers.reset, registers.pm1a_control), (None, Some(PM1A)));
    assert_eq!(registers.ports()[0], PortRange::new(PM1A, 2));
}

proptest! {
    #[test]
    fn whatever_the_board_answers_it_ends(control: u16, keyboard: u8, types: (u8, u8), enables: bool) {
        let sleep_types = Some(SleepTypes { pm1a: types.0, pm1b: types.1 });
        let mut off = PowerOff::new(PowerRegisters { sleep_types, ..registers() }).unwrap();
        let mut board = Board { control, keyboard, enters_acpi_mode: enables, writes: Vec::new() };
        run(|now| off.step(&mut board, now));
        let mut reset = Reset::new(&registers());
        run(|now| reset.step(&mut board, now));
    }
}
