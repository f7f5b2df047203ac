//! Counters of known frequency: the ACPI PM timer and channel 2 of the 8254.
//!
//! Every wait has a bound in reads, since what does not answer would be waited for for ever.

use super::PmTimerPort;
use super::calibrate::{Reference, Sample, Source};
use crate::acpi::fadt::PmTimerWidth;
use crate::tsc;
use base::{Nanoseconds, Port};
use seams::PortIo;

/// The PM timer's frequency (ACPI 6.5, section 4.8.3.3).
const PM_TIMER_HZ: u64 = 3_579_545;
/// The 8254's frequency: a third of the colour carrier (IBM PC/AT technical reference).
const PIT_HZ: u64 = 1_193_182;

/// The 8254's first port; its control word goes to the fourth.
pub const PIT: Port = Port(0x40);
const PIT_CHANNEL_2: Port = Port(0x42);
const PIT_CONTROL: Port = Port(0x43);
/// Gate and output of channel 2 (bits 0 and 5), and the speaker (bit 1).
pub const PIT_GATE: Port = Port(0x61);
const GATE: u8 = 1 << 0;
const SPEAKER: u8 = 1 << 1;
const OUTPUT: u8 = 1 << 5;
/// Channel 2, low byte then high byte, mode 0 (the output rises when the count ends), binary.
const ONE_SHOT: u8 = 0b1011_0000;

/// No sample of 10 ms needs so many reads of a port: a read takes 100 ns at the least where it is real.
const MAX_READS: u32 = 4_000_000;
/// A PM timer that shows one value for so many reads stands still.
const MAX_EQUAL_READS: u32 = 200_000;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// `ticks` of a counter of `hz` as time.
fn duration(ticks: u64, hz: u64) -> Nanoseconds {
    Nanoseconds(ticks.saturating_mul(NANOSECONDS_PER_SECOND).checked_div(hz).unwrap_or(0))
}

/// The ticks of a counter of `hz` in `span`.
fn ticks_in(span: Nanoseconds, hz: u64) -> u64 {
    span.0.saturating_mul(hz) / NANOSECONDS_PER_SECOND
}

/// What a reference showed, and the counter just before and after.
#[derive(Clone, Copy, Debug)]
struct Moment<T> {
    reference: T,
    before: u64,
    after: u64,
}

impl<T> Moment<T> {
    fn of(counter: &mut impl FnMut() -> u64, read: impl FnOnce() -> T) -> Self {
        let before = counter();
        let reference = read();
        Self { reference, before, after: counter() }
    }

    const fn width(&self) -> u64 {
        self.after.wrapping_sub(self.before)
    }

    /// The sample from here to `end`, which is `elapsed` later, measured from middle to middle.
    fn until(&self, end: &Self, elapsed: Nanoseconds) -> Sample {
        let middle = |moment: &Self| moment.before.wrapping_add(moment.width() / 2);
        let unsure_ticks = (self.width() / 2).saturating_add(end.width() / 2);
        Sample { ticks: middle(end).wrapping_sub(middle(self)), elapsed, unsure_ticks }
    }
}

/// How often a moment is tried to be caught undisturbed.
const TRIES: usize = 8;

/// The moment of several in which the counter advanced least.
fn closest<T>(counter: &mut impl FnMut() -> u64, mut read: impl FnMut() -> T) -> Moment<T> {
    let first = Moment::of(counter, &mut read);
    (1..TRIES).fold(first, |best, _| {
        let next = Moment::of(counter, &mut read);
        if next.width() < best.width() { next } else { best }
    })
}

/// The ACPI power-management timer.
#[derive(Debug)]
pub struct PmTimer<P: PortIo> {
    ports: P,
    port: Port,
    mask: u32,
}

impl<P: PortIo> PmTimer<P> {
    /// The timer at `place`.
    pub fn new(ports: P, place: PmTimerPort) -> Self {
        let mask = match place.width {
            PmTimerWidth::Bits24 => 0x00ff_ffff,
            PmTimerWidth::Bits32 => u32::MAX,
        };
        Self { ports, port: place.port, mask }
    }

    fn read(&mut self) -> u32 {
        self.ports.read_u32(self.port) & self.mask
    }

    /// Reads the timer and the counter as closely together as a few tries allow.
    fn read_with(&mut self, counter: &mut impl FnMut() -> u64) -> Moment<u32> {
        closest(counter, || self.read())
    }
}

impl<P: PortIo> Reference for PmTimer<P> {
    const SOURCE: Source = Source::PmTimer;

    fn sample(&mut self, span: Nanoseconds, counter: &mut impl FnMut() -> u64) -> Option<Sample> {
        let wanted = ticks_in(span, PM_TIMER_HZ);
        let start = self.read_with(counter);
        let (mut last, mut equal) = (start.reference, 0);
        for _ in 0..MAX_READS {
            let now = self.read();
            equal = if now == last { equal + 1 } else { 0 };
            if equal >= MAX_EQUAL_READS {
                return None;
            }
            last = now;
            if u64::from(now.wrapping_sub(start.reference) & self.mask) >= wanted {
                let end = self.read_with(counter);
                let passed = u64::from(end.reference.wrapping_sub(start.reference) & self.mask);
                return Some(start.until(&end, duration(passed, PM_TIMER_HZ)));
            }
        }
        None
    }
}

/// Channel 2 of the 8254, which no interrupt hangs on.
#[derive(Debug)]
pub struct Pit<P: PortIo> {
    ports: P,
}

impl<P: PortIo> Pit<P> {
    /// The 8254 behind `ports`.
    pub const fn new(ports: P) -> Self {
        Self { ports }
    }

    /// Loads `count` with the gate closed; whether the output is low then, as it must be. It is high where there is no
    /// 8254, or where an emulated one counts with the gate closed and this CPU was away for the whole count.
    fn load(&mut self, count: u16, idle: u8) -> bool {
        let [low, high] = count.to_le_bytes();
        self.ports.write_u8(PIT_GATE, idle);
        self.ports.write_u8(PIT_CONTROL, ONE_SHOT);
        self.ports.write_u8(PIT_CHANNEL_2, low);
        self.ports.write_u8(PIT_CHANNEL_2, high);
        self.ports.read_u8(PIT_GATE) & OUTPUT == 0
    }
}

impl<P: PortIo> Reference for Pit<P> {
    const SOURCE: Source = Source::Pit;

    fn sample(&mut self, span: Nanoseconds, counter: &mut impl FnMut() -> u64) -> Option<Sample> {
        let count = u16::try_from(ticks_in(span, PIT_HZ)).ok()?;
        let idle = self.ports.read_u8(PIT_GATE) & !(GATE | SPEAKER);
        if !(0..TRIES).any(|_| self.load(count, idle)) {
            return None;
        }
        let start = Moment::of(counter, || self.ports.write_u8(PIT_GATE, idle | GATE));
        // The output rose after the last read that saw it low had begun, and before the first that saw it high ended.
        let (mut before, mut between) = (start.before, start.after);
        let end = (0..MAX_READS).find_map(|_| {
            let output = self.ports.read_u8(PIT_GATE) & OUTPUT;
            let after = counter();
            let moment = Moment { reference: (), before, after };
            (before, between) = (between, after);
            (output != 0).then_some(moment)
        });
        self.ports.write_u8(PIT_GATE, idle);
        // The first clock loads the count (Intel 8254 data sheet, mode 0).
        Some(start.until(&end?, duration(u64::from(count).saturating_add(1), PIT_HZ)))
    }
}

/// The TSC, for counters that are slower than it.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredTsc(
    /// Its measured frequency.
    pub base::TscScale,
);

impl Reference for MeasuredTsc {
    const SOURCE: Source = Source::Tsc;

    fn sample(&mut self, span: Nanoseconds, counter: &mut impl FnMut() -> u64) -> Option<Sample> {
        let wanted = self.0.ticks(span);
        let start = closest(counter, tsc::read);
        while tsc::read().wrapping_sub(start.reference) < wanted {
            core::hint::spin_loop();
        }
        let end = closest(counter, tsc::read);
        let passed = end.reference.wrapping_sub(start.reference);
        Some(start.until(&end, self.0.nanoseconds(passed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::calibrate::measure;
    use std::cell::Cell;

    /// A board on which each port access takes 1 µs.
    struct Board<'a> {
        now_ns: &'a Cell<u64>,
        pm_runs: bool,
        pit_start_ns: Option<u64>,
        pit_count: u64,
        pit_present: bool,
    }

    impl<'a> Board<'a> {
        fn new(now_ns: &'a Cell<u64>) -> Self {
            Self { now_ns, pm_runs: true, pit_start_ns: None, pit_count: 0, pit_present: true }
        }

        fn pass(&self) -> u64 {
            self.now_ns.set(self.now_ns.get() + 1_000);
            self.now_ns.get()
        }
    }

    impl PortIo for Board<'_> {
        fn read_u8(&mut self, _: Port) -> u8 {
            let now = self.pass();
            let done = self
                .pit_start_ns
                .is_some_and(|start| now >= start + (self.pit_count + 1) * 1_000_000_000 / PIT_HZ);
            if !self.pit_present {
                0xff
            } else if done {
                OUTPUT
            } else {
                0
            }
        }
        fn read_u16(&mut self, _: Port) -> u16 {
            u16::MAX
        }
        fn read_u32(&mut self, _: Port) -> u32 {
            let now = self.pass();
            if self.pm_runs { (now as u128 * PM_TIMER_HZ as u128 / 1_000_000_000) as u32 } else { 7 }
        }
        fn write_u8(&mut self, port: Port, value: u8) {
            let now = self.pass();
            match port {
                PIT_CHANNEL_2 => self.pit_count = self.pit_count >> 8 | u64::from(value) << 8,
                PIT_GATE => self.pit_start_ns = (value & GATE != 0).then_some(now),
                _ => {}
            }
        }
        fn write_u16(&mut self, _: Port, _: u16) {}
        fn write_u32(&mut self, _: Port, _: u32) {}
    }

    const PLACE: PmTimerPort = PmTimerPort { port: Port(0x608), width: PmTimerWidth::Bits24 };

    #[test]
    fn both_references_find_a_counter_of_3_gigahertz() {
        // The 24 bits of the timer wrap in the second sample.
        let now = Cell::new(4_670_000_000);
        let pm = measure(&mut PmTimer::new(Board::new(&now), PLACE), || now.get() * 3).unwrap();
        let pit = measure(&mut Pit::new(Board::new(&now)), || now.get() * 3).unwrap();
        for hz in [pm.hz, pit.hz] {
            assert!(hz.abs_diff(3_000_000_000) < 3_000_000, "{hz}");
        }
        assert_eq!((pm.source, pit.source), (Source::PmTimer, Source::Pit));
    }

    #[test]
    fn a_timer_that_stands_still_is_given_up() {
        let now = Cell::new(0);
        let board = Board { pm_runs: false, ..Board::new(&now) };
        assert!(measure(&mut PmTimer::new(board, PLACE), || now.get()).is_none());
    }

    #[test]
    fn an_8254_that_is_not_there_is_noticed() {
        let now = Cell::new(0);
        let board = Board { pit_present: false, ..Board::new(&now) };
        assert!(measure(&mut Pit::new(board), || now.get()).is_none());
    }
}
