//! One counter of the 8254.
//!
//! A counter does not tick: it remembers at which clock its present run began, and everything else is computed.
//!
//! ```text
//!            control word             count written            clock `start`
//! anything ───────────────▶ no run ──────────────────▶ loading ─────────────▶ running
//!                                  (modes 1, 5: trigger)
//! ```
//!
//! Clocks are counted from the VM's start. Gate low holds a run of modes 0 and 4 at `held`, and stops one of modes 2
//! and 3 until the gate's rise starts it anew.

use minicbor::{Decode, Encode};

/// No clock of a sound state is this far in the future: it would take the counter 30 000 years.
const CLOCK_LIMIT: u64 = 1 << 60;

/// The modes (datasheet, "Mode definitions").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
enum Mode {
    #[n(0)]
    InterruptOnTerminalCount,
    #[n(1)]
    OneShot,
    #[n(2)]
    RateGenerator,
    #[n(3)]
    SquareWave,
    #[n(4)]
    SoftwareStrobe,
    #[n(5)]
    HardwareStrobe,
}

impl Mode {
    const fn from_control(value: u8) -> Self {
        match value >> 1 & 7 {
            0 => Self::InterruptOnTerminalCount,
            1 => Self::OneShot,
            // The top bit does not count for modes 2 and 3.
            2 | 6 => Self::RateGenerator,
            3 | 7 => Self::SquareWave,
            4 => Self::SoftwareStrobe,
            _ => Self::HardwareStrobe,
        }
    }

    const fn is_periodic(self) -> bool {
        matches!(self, Self::RateGenerator | Self::SquareWave)
    }

    /// Started by the gate's rise rather than by writing a count.
    const fn is_triggered(self) -> bool {
        matches!(self, Self::OneShot | Self::HardwareStrobe)
    }
}

/// Which bytes of the count are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
enum Bytes {
    #[n(1)]
    Low,
    #[n(2)]
    High,
    #[n(3)]
    LowThenHigh,
}

/// What a read-back command does with a latch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadBack {
    Latch,
    Leave,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Channel {
    #[n(0)]
    mode: Mode,
    #[n(1)]
    bytes: Bytes,
    #[n(2)]
    bcd: bool,
    #[n(3)]
    gate: bool,
    /// The count written last, 1 to 65536; 0 when none was since the control word.
    #[n(4)]
    written: u32,
    /// The count of the present run.
    #[n(5)]
    count: u32,
    /// The clock at which the present run began or will begin.
    #[n(6)]
    start: Option<u64>,
    /// The clocks of the run that had passed when the gate fell.
    #[n(7)]
    held: u64,
    /// The clock at which a periodic run takes over the count written last.
    #[n(8)]
    switch_at: Option<u64>,
    /// The count written last has not been taken over yet.
    #[n(9)]
    null_count: bool,
    /// The low byte of a count whose high byte is to come.
    #[n(10)]
    low_written: Option<u8>,
    /// The next byte to be read is the high one.
    #[n(11)]
    read_high: bool,
    #[n(12)]
    latched_count: Option<u16>,
    #[n(13)]
    latched_status: Option<u8>,
    /// The clock up to which rises of the output have been reported.
    #[n(14)]
    seen: u64,
}

impl Channel {
    /// A channel that waits for its control word.
    pub(super) const fn new(gate: bool) -> Self {
        Self {
            mode: Mode::InterruptOnTerminalCount,
            bytes: Bytes::LowThenHigh,
            bcd: false,
            gate,
            written: 0,
            count: 0,
            start: None,
            held: 0,
            switch_at: None,
            null_count: true,
            low_written: None,
            read_high: false,
            latched_count: None,
            latched_status: None,
            seen: 0,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        let clock_is_sound = |clock: Option<u64>| clock.is_none_or(|clock| clock < CLOCK_LIMIT);
        self.written <= 0x1_0000
            && self.count <= 0x1_0000
            && (self.start.is_none() || self.count > 0)
            && (self.switch_at.is_none() || self.written > 0)
            && clock_is_sound(self.start)
            && clock_is_sound(self.switch_at)
            && clock_is_sound(Some(self.held))
            && clock_is_sound(Some(self.seen))
    }

    /// Clocks since the run began.
    fn elapsed(&self, start: u64, clock: u64) -> u64 {
        if self.gate || self.mode.is_triggered() { clock.saturating_sub(start) } else { self.held }
    }

    /// The first clocks of a square wave's period, while its output is high.
    const fn high_clocks(count: u64) -> u64 {
        count.div_ceil(2)
    }

    /// The output pin.
    pub(super) fn out(&self, clock: u64) -> bool {
        let idle = self.mode != Mode::InterruptOnTerminalCount;
        let Some(start) = self.start else { return idle };
        if clock < start && (self.gate || self.mode.is_triggered()) {
            return idle;
        }
        let (elapsed, count) = (self.elapsed(start, clock), u64::from(self.count.max(1)));
        match self.mode {
            Mode::InterruptOnTerminalCount | Mode::OneShot => elapsed >= count,
            Mode::RateGenerator => !self.gate || elapsed % count != count - 1,
            Mode::SquareWave => !self.gate || elapsed % count < Self::high_clocks(count),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => elapsed != count,
        }
    }

    /// Whether the output is high but for low phases that end by themselves.
    pub(super) fn rests_high(&self, clock: u64) -> bool {
        self.mode != Mode::InterruptOnTerminalCount || self.out(clock)
    }

    /// The first rise of the output after clock `after`, if the run stays as it is.
    fn next_rise(&self, after: u64) -> Option<u64> {
        let (start, count) = (self.start?, u64::from(self.count.max(1)));
        if !self.gate && !self.mode.is_triggered() {
            return None;
        }
        let rise = match self.mode {
            Mode::InterruptOnTerminalCount | Mode::OneShot => start.saturating_add(count),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => start.saturating_add(count + 1),
            Mode::RateGenerator | Mode::SquareWave => {
                let periods = after.saturating_sub(start) / count + 1;
                start.saturating_add(periods.saturating_mul(count))
            }
        };
        (rise > after).then_some(rise)
    }

    /// The next clock at which [`Channel::catch_up`] has something to do.
    pub(super) fn next_change(&self) -> Option<u64> {
        match (self.next_rise(self.seen), self.switch_at) {
            (Some(rise), Some(switch)) => Some(rise.min(switch)),
            (rise, switch) => rise.or(switch),
        }
    }

    /// When to call [`Channel::catch_up`] next: at the next change, but of a run with a period below `min_period` no
    /// sooner than that after the last call.
    pub(super) fn next_look(&self, min_period: u64) -> Option<u64> {
        let fast = self.mode.is_periodic() && u64::from(self.count) < min_period;
        let soonest = if fast { self.seen.saturating_add(min_period) } else { 0 };
        self.next_change().map(|change| change.max(soonest))
    }

    /// Takes the steps due at `clock`; whether the output has risen since the last call.
    pub(super) fn catch_up(&mut self, clock: u64) -> bool {
        let mut rose = false;
        if let Some(switch) = self.switch_at.filter(|switch| *switch <= clock) {
            rose = self.next_rise(self.seen).is_some_and(|rise| rise <= switch);
            // A square wave takes a new count over at each half; after the high one its low half is next.
            let at_low_half = self.mode == Mode::SquareWave && !self.out(switch);
            let passed = if at_low_half { Self::high_clocks(self.written.into()) } else { 0 };
            self.begin(switch.saturating_sub(passed));
            self.seen = switch;
        }
        rose |= self.next_rise(self.seen).is_some_and(|rise| rise <= clock);
        self.seen = self.seen.max(clock);
        rose
    }

    /// Begins a run of the count written last.
    fn begin(&mut self, start: u64) {
        self.count = self.written;
        self.start = Some(start);
        self.held = 0;
        self.switch_at = None;
        self.null_count = false;
    }

    /// What the counting element holds.
    fn value(&self, clock: u64) -> u16 {
        let Some(start) = self.start else { return 0 };
        let (elapsed, count) = (self.elapsed(start, clock), u64::from(self.count.max(1)));
        let value = match self.mode {
            Mode::RateGenerator => count - elapsed % count,
            Mode::SquareWave => {
                // Counts down by two, from an even number, once in each half.
                let phase = elapsed % count;
                let in_half = phase.checked_sub(Self::high_clocks(count)).unwrap_or(phase);
                (count & !1).saturating_sub(2 * in_half)
            }
            _ => {
                let modulus = if self.bcd { 10_000 } else { 0x1_0000 };
                (count + modulus - elapsed % modulus) % modulus
            }
        };
        if self.bcd { to_bcd(value) } else { value as u16 }
    }

    /// A control word for this channel, other than read-back.
    pub(super) fn control(&mut self, value: u8, clock: u64) {
        self.bytes = match value >> 4 & 3 {
            0 => return self.latch_count(clock),
            1 => Bytes::Low,
            2 => Bytes::High,
            _ => Bytes::LowThenHigh,
        };
        // A control word resets all of the channel's logic (datasheet, "Programming the 8254").
        *self = Self {
            mode: Mode::from_control(value),
            bytes: self.bytes,
            bcd: value & 1 != 0,
            seen: self.seen,
            ..Self::new(self.gate)
        };
    }

    /// A count that is latched already stays until it is read.
    fn latch_count(&mut self, clock: u64) {
        if self.latched_count.is_none() {
            self.latched_count = Some(self.value(clock));
        }
    }

    pub(super) fn read_back(&mut self, count: ReadBack, status: ReadBack, clock: u64) {
        if count == ReadBack::Latch {
            self.latch_count(clock);
        }
        if status == ReadBack::Latch && self.latched_status.is_none() {
            self.latched_status = Some(self.status(clock));
        }
    }

    /// The status byte (datasheet, figure 11).
    fn status(&self, clock: u64) -> u8 {
        let loading = self.start.is_some_and(|start| clock < start);
        u8::from(self.out(clock)) << 7
            | u8::from(self.null_count || loading) << 6
            | (self.bytes as u8 + 1) << 4
            | (self.mode as u8) << 1
            | u8::from(self.bcd)
    }

    pub(super) fn read(&mut self, clock: u64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = self.latched_count.unwrap_or_else(|| self.value(clock)).to_le_bytes();
        let (byte, last) = match self.bytes {
            Bytes::Low => (low, true),
            Bytes::High => (high, true),
            Bytes::LowThenHigh if self.read_high => (high, true),
            Bytes::LowThenHigh => (low, false),
        };
        self.read_high = !last;
        if last {
            self.latched_count = None;
        }
        byte
    }

    pub(super) fn write(&mut self, value: u8, clock: u64) {
        let count = match (self.bytes, self.low_written) {
            (Bytes::Low, _) => u16::from_le_bytes([value, 0]),
            (Bytes::High, _) => u16::from_le_bytes([0, value]),
            (Bytes::LowThenHigh, Some(low)) => u16::from_le_bytes([low, value]),
            (Bytes::LowThenHigh, None) => {
                self.low_written = Some(value);
                if self.mode == Mode::InterruptOnTerminalCount {
                    // The first byte stops the run (datasheet, "Mode 0").
                    self.start = None;
                }
                return;
            }
        };
        self.low_written = None;
        self.write_count(count, clock);
    }

    fn write_count(&mut self, count: u16, clock: u64) {
        self.written = match (count, self.bcd) {
            (0, false) => 0x1_0000,
            (0, true) => 10_000,
            (count, false) => count.into(),
            (count, true) => from_bcd(count),
        };
        self.null_count = true;
        if self.mode.is_triggered() {
            return;
        }
        // A count is loaded at the next clock.
        let Some(start) = self.start.filter(|_| self.mode.is_periodic()) else {
            return self.begin(clock.saturating_add(1));
        };
        if self.gate && self.switch_at.is_none() {
            self.switch_at = Some(self.end_of_phase(start, clock));
        }
    }

    /// Where a periodic run takes a new count over: the end of its period, or of a square wave's half.
    fn end_of_phase(&self, start: u64, clock: u64) -> u64 {
        let count = u64::from(self.count.max(1));
        let elapsed = clock.saturating_sub(start);
        let (period, phase) = (elapsed - elapsed % count, elapsed % count);
        let high = Self::high_clocks(count);
        let end = if self.mode == Mode::SquareWave && phase < high { high } else { count };
        start.saturating_add(period).saturating_add(end)
    }

    /// Drives the gate pin.
    pub(super) fn set_gate(&mut self, gate: bool, clock: u64) {
        if gate == self.gate {
            return;
        }
        let held = self.start.map_or(0, |start| self.elapsed(start, clock));
        self.gate = gate;
        if self.mode.is_triggered() || self.mode.is_periodic() {
            self.switch_at = None;
            self.held = held;
            if gate && self.written != 0 {
                self.begin(clock.saturating_add(1));
            }
        } else if gate {
            self.start = self.start.map(|_| clock.saturating_sub(self.held));
        } else {
            self.held = held;
        }
    }
}

fn to_bcd(value: u64) -> u16 {
    let digit = |power: u64| (value / power % 10) as u16;
    digit(1) | digit(10) << 4 | digit(100) << 8 | digit(1000) << 12
}

/// Digits above 9 count what they are worth.
fn from_bcd(value: u16) -> u32 {
    let digit = |n: u32| u32::from(value >> (4 * n) & 0xf);
    digit(0) + 10 * digit(1) + 100 * digit(2) + 1000 * digit(3)
}
