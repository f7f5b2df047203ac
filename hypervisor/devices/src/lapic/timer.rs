//! The local APIC's timer (SDM 11.5.4): one-shot, periodic and TSC-deadline.
//!
//! The input clock is 1 GHz, so that a tick before division is a nanosecond; CPUID leaf 0x4000_0010 tells guests.
//! Nothing counts: an expiry is an instant, and the current count is computed from it when it is read.
//!
//! ```text
//!   stopped --count or deadline written--> armed (due at an instant) --advance--> stopped (one-shot, TSC-deadline)
//!                                            ^------------------------------------+ armed again (periodic)
//! ```

use base::{Instant, Nanoseconds, TscLine};

/// The frequency of the timer's input clock in hertz.
pub const BUS_HZ: u64 = 1_000_000_000;

/// The shortest period that is served, so that no guest can keep the host busy with its timer alone.
pub const MIN_PERIOD: Nanoseconds = Nanoseconds::from_micros(100);

/// What the LVT entry's bits 18:17 select (SDM figure 11-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerMode {
    OneShot,
    Periodic,
    TscDeadline,
}

impl TimerMode {
    /// The mode that LVT entry `lvt` selects; the reserved encoding counts once.
    pub(super) const fn of(lvt: u32) -> Self {
        match lvt >> 17 & 3 {
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::OneShot,
        }
    }
}

/// The timer. Invariant: `deadline_tsc` is zero in other modes than TSC-deadline, and the initial count in that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    pub(super) mode: TimerMode,
    /// The divide configuration register.
    pub(super) divide: u32,
    pub(super) initial_count: u32,
    /// IA32_TSC_DEADLINE; zero when it is not armed.
    pub(super) deadline_tsc: u64,
    /// The next expiry; `None` when stopped.
    pub(super) due: Option<Instant>,
}

impl Timer {
    pub(super) const RESET: Self =
        Self { mode: TimerMode::OneShot, divide: 0, initial_count: 0, deadline_tsc: 0, due: None };

    /// The bits of the divide configuration register that exist.
    pub(super) const DIVIDE_MASK: u32 = 0b1011;

    /// The divisor as a power of two: bits 3, 1 and 0 encode 2 to 128, and all ones 1 (SDM figure 11-10).
    const fn divide_shift(&self) -> u32 {
        let code = self.divide & 3 | self.divide >> 1 & 4;
        (code + 1) & 7
    }

    /// The time that `count` ticks after division take.
    const fn span(&self, count: u32) -> Nanoseconds {
        Nanoseconds((count as u64) << self.divide_shift())
    }

    /// The time between two expiries in periodic mode.
    fn period(&self) -> Nanoseconds {
        self.span(self.initial_count).max(MIN_PERIOD)
    }

    /// Changes the mode. To and from TSC-deadline that stops the timer (SDM 11.5.4.1).
    pub(super) fn set_mode(&mut self, mode: TimerMode) {
        let disarms = (self.mode == TimerMode::TscDeadline) != (mode == TimerMode::TscDeadline);
        self.mode = mode;
        if disarms {
            (self.due, self.deadline_tsc, self.initial_count) = (None, 0, 0);
        }
    }

    /// Writes the initial count: starts, or with zero stops. Ignored in TSC-deadline mode.
    pub(super) fn start(&mut self, count: u32, now: Instant) {
        if self.mode == TimerMode::TscDeadline {
            return;
        }
        self.initial_count = count;
        self.due = match (count, self.mode) {
            (0, _) => None,
            (_, TimerMode::Periodic) => Some(now.after(self.period())),
            _ => Some(now.after(self.span(count))),
        };
    }

    /// Writes the divide configuration; a running count goes on at the new pace.
    pub(super) fn set_divide(&mut self, divide: u32, now: Instant) {
        let left = self.current_count(now);
        self.divide = divide & Self::DIVIDE_MASK;
        if self.mode != TimerMode::TscDeadline && self.due.is_some() {
            self.due = Some(now.after(self.span(left)));
        }
    }

    /// The current count: the ticks left, rounded up.
    pub(super) fn current_count(&self, now: Instant) -> u32 {
        let Some(due) = self.due.filter(|_| self.mode != TimerMode::TscDeadline) else { return 0 };
        let shift = self.divide_shift();
        let Nanoseconds(left) = due.since(now);
        let ticks = left.saturating_add((1 << shift) - 1) >> shift;
        u32::try_from(ticks).unwrap_or(u32::MAX).min(self.initial_count)
    }

    /// Writes IA32_TSC_DEADLINE: arms, or with zero disarms. Ignored in other modes.
    pub(super) fn set_deadline(&mut self, deadline: u64, tsc: &TscLine) {
        if self.mode != TimerMode::TscDeadline {
            return;
        }
        self.deadline_tsc = deadline;
        self.due = (deadline != 0).then(|| tsc.instant_of(deadline));
    }

    /// Whether the timer expired by `now`; if so, it goes on as its mode says. Expiries missed meanwhile are one.
    #[inline]
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let Some(due) = self.due.filter(|due| *due <= now) else { return false };
        self.deadline_tsc = 0;
        self.due = (self.mode == TimerMode::Periodic).then(|| {
            let Nanoseconds(period) = self.period();
            let periods = now.since(due).0 / period + 1;
            due.after(Nanoseconds(period.saturating_mul(periods)))
        });
        true
    }
}
