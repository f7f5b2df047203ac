//! An MC146818A real-time clock with the 128 bytes of CMOS memory of a PC.
//!
//! | port | |
//! |---|---|
//! | 0x70 | write: index, bits 6:0; bit 7 masks NMI |
//! | 0x71 | the register or memory byte at the index |
//!
//! | index | |
//! |---|---|
//! | 0-9 | seconds, their alarm, minutes, alarm, hours, alarm, weekday, day, month, year |
//! | 0x0A-0x0D | registers A to D |
//! | 0x32 | century |
//! | others | memory |
//!
//! While the clock runs, the time registers are computed from the VM's time; while it is held (SET, or the divider
//! stopped) they are plain bytes, and they become the time when it runs on. The weekday follows from the date. The
//! divider chain that makes seconds and periodic interrupts is `now + phase_ns`.
//!
//! Source: Motorola MC146818A datasheet (ADI850R2), "Address map" and following.

mod calendar;
#[cfg(test)]
mod tests;

use crate::cx::Cx;
use crate::device::{Access, Device, read_bytewise, write_bytewise};
use crate::platform::{RTC, RTC_GSI};
use crate::ticks::Rate;
use base::state::{SavedState, StateError};
use base::{Instant, Port};
use calendar::{Civil, Format};
use minicbor::{Decode, Encode};
use seams::Level;

/// The index of the register that holds the century.
pub const CENTURY: u8 = 0x32;

const INDEX_PORT: Port = RTC;
const DATA_PORT: Port = Port(RTC.0 + 1);
const INDEX_MASK: u8 = 0x7f;

const SECONDS: u8 = 0;
const SECONDS_ALARM: u8 = 1;
const MINUTES: u8 = 2;
const MINUTES_ALARM: u8 = 3;
const HOURS: u8 = 4;
const HOURS_ALARM: u8 = 5;
const YEAR: u8 = 9;
const REGISTER_A: u8 = 0x0a;
const REGISTER_B: u8 = 0x0b;
const REGISTER_C: u8 = 0x0c;
const REGISTER_D: u8 = 0x0d;

const A_UPDATE_IN_PROGRESS: u8 = 1 << 7;
const A_DIVIDER: u8 = 7 << 4;
/// The divider runs from a crystal of 32.768 kHz.
const A_DIVIDER_32K: u8 = 2 << 4;
const A_RATE: u8 = 0x0f;
const B_SET: u8 = 1 << 7;
const B_UPDATE_INTERRUPT: u8 = 1 << 4;
/// Periodic, alarm and update-ended: the same bits as in register C.
const INTERRUPTS: u8 = 7 << 4;
const B_SQUARE_WAVE: u8 = 1 << 3;
const B_24_HOURS: u8 = 1 << 1;
const C_INTERRUPT: u8 = 1 << 7;
const C_PERIODIC: u8 = 1 << 6;
const C_ALARM: u8 = 1 << 5;
const C_UPDATE_ENDED: u8 = 1 << 4;
/// The battery has never failed.
const D_VALID: u8 = 1 << 7;

const SECOND_NS: u64 = 1_000_000_000;
/// UIP rises 244 microseconds before an update of 1984 microseconds (table 5).
const UPDATE_NS: u64 = (244 + 1984) * 1000;
/// The first update comes half a second after the divider was let go.
const HALF_SECOND_NS: u64 = SECOND_NS / 2;
const CRYSTAL: Rate = Rate(32_768);
/// No sound clock is further from 1970 than this, in seconds: 30 000 years.
const WALL_LIMIT_S: i64 = 1_000_000_000_000;

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RtcCmosState {
    #[n(0)]
    index: u8,
    #[n(1)]
    nmi_masked: bool,
    #[n(2)]
    a: u8,
    #[n(3)]
    b: u8,
    /// The flags of register C, without the bit that sums them up.
    #[n(4)]
    c: u8,
    /// The wall clock's seconds since 1970 when the divider chain stands at 0, while the clock runs.
    #[n(5)]
    base_s: i64,
    /// What the divider chain is ahead of the VM's time.
    #[n(6)]
    phase_ns: u64,
    /// The VM's time up to which the flags are complete.
    #[n(7)]
    seen_ns: u64,
    /// The interrupt line is driven.
    #[n(8)]
    line_asserted: bool,
    /// All bytes; alarms and memory always count, time registers while the clock is held, registers A to D never.
    #[n(9)]
    #[cbor(with = "minicbor::bytes")]
    bytes: [u8; 128],
}

/// The clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtcCmos {
    state: RtcCmosState,
    /// When an interrupt is due; derived from the state.
    deadline: Option<Instant>,
}

impl RtcCmos {
    /// A clock that shows `unix_s` seconds since 1970 (UTC) at the VM's time 0, in BCD and 24 hours; dates past the
    /// year 30 000 are cut to it.
    pub fn new(unix_s: u64) -> Self {
        let state = RtcCmosState {
            index: 0,
            nmi_masked: false,
            a: A_DIVIDER_32K | 6,
            b: B_24_HOURS,
            c: 0,
            base_s: i64::try_from(unix_s).unwrap_or(WALL_LIMIT_S).min(WALL_LIMIT_S),
            phase_ns: 0,
            seen_ns: 0,
            line_asserted: false,
            bytes: [0; 128],
        };
        Self { state, deadline: None }
    }

    /// Whether the guest masks NMI by port 0x70.
    pub const fn nmi_masked(&self) -> bool {
        self.state.nmi_masked
    }

    fn byte(&self, index: u8) -> u8 {
        self.state.bytes.get(usize::from(index & INDEX_MASK)).copied().unwrap_or_default()
    }

    fn set_byte(&mut self, index: u8, value: u8) {
        if let Some(byte) = self.state.bytes.get_mut(usize::from(index & INDEX_MASK)) {
            *byte = value;
        }
    }

    fn format(&self) -> Format {
        Format::from_register_b(self.state.b)
    }

    fn divider_runs(&self) -> bool {
        self.state.a & A_DIVIDER == A_DIVIDER_32K
    }

    fn runs(&self) -> bool {
        self.divider_runs() && self.state.b & B_SET == 0
    }

    /// The divider chain at `now`, as time.
    fn chain(&self, now: Instant) -> Instant {
        Instant(now.0.saturating_add(self.state.phase_ns))
    }

    /// The instant at which the divider chain stands at `chain`.
    fn when(&self, chain: Instant) -> Instant {
        Instant(chain.0.saturating_sub(self.state.phase_ns))
    }

    /// The wall clock at `now` in seconds since 1970.
    fn wall(&self, now: Instant) -> i64 {
        self.state.base_s.saturating_add((self.chain(now).0 / SECOND_NS) as i64)
    }

    /// The instant at which the wall clock becomes `wall`.
    fn instant_of_wall(&self, wall: i64) -> Instant {
        let seconds = u64::try_from(wall.saturating_sub(self.state.base_s)).unwrap_or(0);
        self.when(Instant(seconds.saturating_mul(SECOND_NS)))
    }

    /// Crystal periods between two periodic interrupts, if any (table 4).
    fn periodic_ticks(&self) -> Option<u64> {
        match self.state.a & A_RATE {
            0 => None,
            rate @ (1 | 2) => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }

    fn periods(&self, now: Instant) -> Option<u64> {
        let ticks = self.periodic_ticks().filter(|_| self.divider_runs())?;
        Some(CRYSTAL.ticks_at(self.chain(now)) / ticks)
    }

    /// The first second after `after` at which the alarm registers match.
    fn next_alarm(&self, after: i64) -> Option<i64> {
        let registers = [HOURS_ALARM, MINUTES_ALARM, SECONDS_ALARM].map(|index| self.byte(index));
        calendar::next_alarm(self.format(), registers, after)
    }

    /// Sets the flags of what happened up to `now`.
    fn catch_up(&mut self, now: Instant) {
        let seen = Instant(self.state.seen_ns);
        if self.periods(now) != self.periods(seen) {
            self.state.c |= C_PERIODIC;
        }
        let (before, wall) = (self.wall(seen), self.wall(now));
        if self.runs() && wall != before {
            self.state.c |= C_UPDATE_ENDED;
            if self.next_alarm(before).is_some_and(|alarm| alarm <= wall) {
                self.state.c |= C_ALARM;
            }
        }
        self.state.seen_ns = now.0;
    }

    fn interrupts(&self) -> bool {
        self.state.b & self.state.c & INTERRUPTS != 0
    }

    fn update_line(&mut self, cx: &mut impl Cx) {
        let asserted = self.interrupts();
        if asserted != self.state.line_asserted {
            self.state.line_asserted = asserted;
            cx.set_line(RTC_GSI, if asserted { Level::Asserted } else { Level::Deasserted });
        }
        self.update_deadline();
    }

    /// While the line is asserted nothing more can be told; the flags are completed when they are read.
    fn update_deadline(&mut self) {
        self.deadline = if self.state.line_asserted { None } else { self.next_interrupt() };
    }

    fn next_interrupt(&self) -> Option<Instant> {
        let seen = Instant(self.state.seen_ns);
        let enabled = |interrupt: u8| self.state.b & interrupt != 0;
        let periodic = self.periods(seen).zip(self.periodic_ticks()).filter(|_| enabled(C_PERIODIC));
        let periodic = periodic.map(|(periods, ticks)| {
            self.when(CRYSTAL.instant_of(periods.saturating_add(1).saturating_mul(ticks)))
        });
        let wall = self.wall(seen);
        let update = enabled(C_UPDATE_ENDED).then(|| self.instant_of_wall(wall.saturating_add(1)));
        let alarm = if enabled(C_ALARM) { self.next_alarm(wall) } else { None };
        let alarm = alarm.map(|alarm| self.instant_of_wall(alarm));
        let of_clock = update.into_iter().chain(alarm).filter(|_| self.runs());
        periodic.into_iter().chain(of_clock).min()
    }

    fn read_data(&mut self, now: Instant) -> u8 {
        match self.state.index {
            index @ (SECONDS | MINUTES | HOURS | 6..=YEAR | CENTURY) if self.runs() => {
                Civil::from_unix(self.wall(now)).register(self.format(), index)
            }
            REGISTER_A => self.state.a | if self.updates(now) { A_UPDATE_IN_PROGRESS } else { 0 },
            REGISTER_B => self.state.b,
            REGISTER_C => self.take_flags(),
            REGISTER_D => D_VALID,
            index => self.byte(index),
        }
    }

    fn updates(&self, now: Instant) -> bool {
        self.runs() && self.chain(now).0 % SECOND_NS >= SECOND_NS - UPDATE_NS
    }

    fn take_flags(&mut self) -> u8 {
        let summary = if self.interrupts() { C_INTERRUPT } else { 0 };
        core::mem::take(&mut self.state.c) | summary
    }

    fn write_data(&mut self, now: Instant, value: u8) {
        let (ran, divider_ran) = (self.runs(), self.divider_runs());
        match self.state.index {
            index @ (SECONDS | MINUTES | HOURS | 6..=YEAR | CENTURY) => {
                // A running clock takes a new byte among the others as they are now.
                self.hold_if(ran, now);
                self.set_byte(index, value);
                return self.run_if(ran, now);
            }
            REGISTER_A => {
                self.hold_if(ran, now);
                self.state.a = value & !A_UPDATE_IN_PROGRESS;
                if !divider_ran && self.divider_runs() {
                    self.state.phase_ns = (HALF_SECOND_NS + SECOND_NS - now.0 % SECOND_NS) % SECOND_NS;
                }
            }
            // Setting SET clears the update-ended interrupt's enable.
            REGISTER_B if value & B_SET != 0 => {
                self.hold_if(ran, now);
                self.state.b = value & !B_UPDATE_INTERRUPT;
            }
            // The registers of a running clock follow a change of format.
            REGISTER_B => {
                self.state.b = value;
                self.hold_if(ran, now);
            }
            REGISTER_C | REGISTER_D => return,
            index => return self.set_byte(index, value),
        }
        self.run_if(self.runs(), now);
    }

    /// Copies the time into the registers if the clock ran.
    fn hold_if(&mut self, ran: bool, now: Instant) {
        if !ran {
            return;
        }
        let (civil, format) = (Civil::from_unix(self.wall(now)), self.format());
        for index in [SECONDS, MINUTES, HOURS, 6, 7, 8, YEAR, CENTURY] {
            self.set_byte(index, civil.register(format, index));
        }
    }

    /// Makes the registers the time if the clock is to run.
    fn run_if(&mut self, runs: bool, now: Instant) {
        if !runs {
            return;
        }
        let wall = Civil::from_registers(self.format(), |index| self.byte(index)).to_unix();
        self.state.base_s = wall.saturating_sub((self.chain(now).0 / SECOND_NS) as i64);
    }

    fn read_byte(&mut self, cx: &mut impl Cx, port: Port) -> u8 {
        if port != DATA_PORT {
            return 0xff;
        }
        let now = cx.now();
        self.catch_up(now);
        let value = self.read_data(now);
        self.update_line(cx);
        value
    }

    fn write_byte(&mut self, cx: &mut impl Cx, port: Port, value: u8) {
        match port {
            INDEX_PORT => {
                self.state.index = value & INDEX_MASK;
                self.state.nmi_masked = value & !INDEX_MASK != 0;
            }
            DATA_PORT => {
                let now = cx.now();
                self.catch_up(now);
                self.write_data(now, value);
                self.update_line(cx);
            }
            _ => {}
        }
    }
}

impl Device for RtcCmos {
    type Address = Port;

    fn read(&mut self, cx: &mut impl Cx, access: Access<Port>) -> u32 {
        read_bytewise(access, |port| self.read_byte(cx, port))
    }

    fn write(&mut self, cx: &mut impl Cx, access: Access<Port>, value: u32) {
        write_bytewise(access, value, |port, byte| self.write_byte(cx, port, byte));
    }

    /// Time and memory live on: only the interrupts end ("RESET").
    fn reset(&mut self, cx: &mut impl Cx) {
        self.catch_up(cx.now());
        self.state.b &= !(INTERRUPTS | B_SQUARE_WAVE);
        self.state.c = 0;
        (self.state.index, self.state.nmi_masked) = (0, false);
        self.update_line(cx);
    }

    #[inline]
    fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn advance(&mut self, cx: &mut impl Cx) {
        self.catch_up(cx.now());
        self.update_line(cx);
    }
}

impl SavedState for RtcCmos {
    const SECTION: &'static str = "rtc-cmos";
    const VERSION: u16 = 1;
    type Image = RtcCmosState;

    fn save(&self) -> RtcCmosState {
        self.state.clone()
    }

    fn load(&mut self, image: RtcCmosState) -> Result<(), StateError> {
        let out_of_range = |field| Err(StateError::OutOfRange { section: Self::SECTION, field });
        if image.index & !INDEX_MASK != 0 {
            return out_of_range("index");
        }
        if image.a & A_UPDATE_IN_PROGRESS != 0 {
            return out_of_range("a");
        }
        if image.c & !INTERRUPTS != 0 {
            return out_of_range("c");
        }
        // Twice the limit: the divider chain may have been set back by as much.
        if image.base_s.checked_abs().is_none_or(|s| s > 2 * WALL_LIMIT_S) {
            return out_of_range("base_s");
        }
        if image.phase_ns >= SECOND_NS {
            return out_of_range("phase_ns");
        }
        self.state = image;
        self.update_deadline();
        Ok(())
    }
}
