//! Who runs next and for how long: policy only.
//!
//! Every VM that wants a CPU is served in turn, the one that has had the least time first; a VM that slept does
//! not hoard what it did not use. The caller measures time, switches vCPUs and arms the timer; nothing here
//! touches a clock or a CPU, so every decision can be replayed in a test.
//!
//! # Principles
//! - One number decides: the time that a VM has been served.
//! - Waking is prompt: who wakes goes before who computes. Only who sends a stream goes on for a moment.
//! - A VM can claim at most one slice before the others are asked.
//!
//! # What it must never do
//! Read a clock, touch hardware, or know why a VM waits.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

use alloc::vec::Vec;
use base::{Instant, Nanoseconds, VmId};

/// How long a VM may run while others wait. Long enough that the switch (a few microseconds) is noise, short
/// enough that a person typing into another VM does not notice.
pub const SLICE: Nanoseconds = Nanoseconds::from_millis(5);

/// How long a VM may run when nobody else wants the CPU: the host's own tasks are polled this often at least.
pub const LONE_SLICE: Nanoseconds = Nanoseconds::from_millis(50);

/// How long a VM may run while the device of another has a step to take.
pub const STEP_SLICE: Nanoseconds = Nanoseconds::from_micros(250);

/// How long a VM that sends a stream may go on before those that it wakes by it: each has more to do at once then.
pub const STREAM_SLICE: Nanoseconds = Nanoseconds::from_micros(500);

/// What a VM wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// The CPU.
    Run,
    /// Nothing before this moment, unless it is woken.
    Sleep(Instant),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    vm: VmId,
    want: Want,
    served: Nanoseconds,
}

/// The right to run for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who runs.
    pub vm: VmId,
    /// For how long at most.
    pub slice: Nanoseconds,
}

/// The VMs of one CPU and what they want.
#[derive(Debug, Default)]
pub struct RunQueue {
    entries: Vec<Entry>,
    /// What a VM that slept or is new is measured by: the least that a VM which wants the CPU has been served. It never falls,
    /// so that it is known also while all sleep.
    level: Nanoseconds,
    /// Who was picked last, and what it has been served since another was.
    current: Option<(VmId, Nanoseconds)>,
    /// Who sends a stream.
    streaming: Option<VmId>,
}

impl RunQueue {
    /// A queue without VMs.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), level: Nanoseconds(0), current: None, streaming: None }
    }

    /// Adds `vm`, which wants to run; it starts level with the others.
    pub fn add(&mut self, vm: VmId) {
        self.remove(vm);
        self.follow_level();
        self.entries.push(Entry { vm, want: Want::Run, served: self.level });
    }

    /// Removes `vm`: it has ended.
    pub fn remove(&mut self, vm: VmId) {
        self.entries.retain(|entry| entry.vm != vm);
    }

    /// Whether no VM is left.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Charges `vm` for the time that it ran.
    #[inline]
    pub fn charge(&mut self, vm: VmId, ran: Nanoseconds) {
        if let Some(entry) = self.entry(vm) {
            entry.served = Nanoseconds(entry.served.0.saturating_add(ran.0));
        }
        if let Some((current, turn)) = &mut self.current
            && *current == vm
        {
            *turn = Nanoseconds(turn.0.saturating_add(ran.0));
        }
    }

    /// `vm` has just sent a part of a stream, and probably has more.
    #[inline]
    pub const fn streams(&mut self, vm: VmId) {
        self.streaming = Some(vm);
    }

    /// `vm` wants nothing before `wake`.
    #[inline]
    pub fn sleep(&mut self, vm: VmId, wake: Instant) {
        self.follow_level();
        if let Some(entry) = self.entry(vm) {
            entry.want = Want::Sleep(wake);
        }
    }

    /// Something came for `vm`: it wants the CPU now.
    #[inline]
    pub fn wake(&mut self, vm: VmId) {
        if self.entry(vm).is_none_or(|entry| entry.want == Want::Run) {
            return;
        }
        self.follow_level();
        let floor = Nanoseconds(self.level.0.saturating_sub(SLICE.0));
        if let Some(entry) = self.entry(vm) {
            entry.want = Want::Run;
            // A sleeper gets one slice of credit, not all of what it left unused.
            entry.served = entry.served.max(floor);
        }
    }

    /// Who runs next, or `None` when all sleep until [`RunQueue::next_wake`] at least.
    #[inline]
    pub fn pick(&mut self, now: Instant) -> Option<Turn> {
        self.wake_sleepers(now);
        let runnable = || self.entries.iter().filter(|entry| entry.want == Want::Run);
        let slice = if runnable().nth(1).is_some() { SLICE } else { LONE_SLICE };
        let goes_on = self.current.filter(|(vm, turn)| self.streaming == Some(*vm) && *turn < STREAM_SLICE);
        let streams = goes_on.and_then(|(vm, _)| runnable().find(|entry| entry.vm == vm));
        let vm = streams.or_else(|| runnable().min_by_key(|entry| entry.served))?.vm;
        if self.current.is_none_or(|(current, _)| current != vm) {
            self.current = Some((vm, Nanoseconds(0)));
            self.streaming = None;
        }
        Some(Turn { vm, slice })
    }

    /// When the first sleeper wants the CPU again.
    #[inline]
    pub fn next_wake(&self) -> Instant {
        let wakes = self.entries.iter().filter_map(|entry| match entry.want {
            Want::Sleep(wake) => Some(wake),
            Want::Run => None,
        });
        wakes.min().unwrap_or(Instant::FAR_FUTURE)
    }

    #[inline]
    fn wake_sleepers(&mut self, now: Instant) {
        while let Some(vm) = self.entries.iter().find_map(|entry| match entry.want {
            Want::Sleep(wake) if wake <= now => Some(entry.vm),
            _ => None,
        }) {
            self.wake(vm);
        }
    }

    #[inline]
    fn follow_level(&mut self) {
        let running = self.entries.iter().filter(|entry| entry.want == Want::Run);
        if let Some(least) = running.map(|entry| entry.served).min() {
            self.level = self.level.max(least);
        }
    }

    #[inline]
    fn entry(&mut self, vm: VmId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.vm == vm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: VmId = VmId(0);
    const B: VmId = VmId(1);
    const NOW: Instant = Instant(1_000_000_000);

    fn queue(vms: &[VmId]) -> RunQueue {
        let mut queue = RunQueue::new();
        vms.iter().for_each(|&vm| queue.add(vm));
        queue
    }

    #[test]
    fn a_lone_vm_runs_for_a_long_slice() {
        assert_eq!(queue(&[A]).pick(NOW), Some(Turn { vm: A, slice: LONE_SLICE }));
    }

    #[test]
    fn two_busy_vms_take_turns() {
        let mut queue = queue(&[A, B]);
        let mut turns = [0; 2];
        for _ in 0..100 {
            let turn = queue.pick(NOW).unwrap();
            turns[usize::from(turn.vm.0)] += 1;
            queue.charge(turn.vm, turn.slice);
        }
        assert_eq!(turns, [50, 50]);
    }

    #[test]
    fn nobody_runs_while_all_sleep_and_the_first_to_wake_is_known() {
        let mut queue = queue(&[A, B]);
        queue.sleep(A, NOW.after(Nanoseconds(20)));
        queue.sleep(B, NOW.after(Nanoseconds(10)));
        assert_eq!(queue.pick(NOW), None);
        assert_eq!(queue.next_wake(), NOW.after(Nanoseconds(10)));
        assert_eq!(queue.pick(NOW.after(Nanoseconds(10))).map(|turn| turn.vm), Some(B));
    }

    #[test]
    fn who_wakes_goes_before_who_computes() {
        let mut queue = queue(&[A, B]);
        queue.sleep(A, Instant::FAR_FUTURE);
        queue.charge(B, Nanoseconds::from_secs(10));
        queue.wake(A);
        assert_eq!(queue.pick(NOW).map(|turn| turn.vm), Some(A));
    }

    #[test]
    fn who_sends_a_stream_goes_on_for_a_moment_before_those_that_it_wakes() {
        let mut queue = queue(&[A, B]);
        queue.sleep(B, Instant::FAR_FUTURE);
        assert_eq!(queue.pick(NOW).map(|turn| turn.vm), Some(A));
        queue.charge(A, Nanoseconds(1));
        queue.streams(A);
        queue.wake(B);
        let mut frames = 0;
        while queue.pick(NOW).map(|turn| turn.vm) == Some(A) {
            queue.charge(A, Nanoseconds(STREAM_SLICE.0 / 4));
            frames += 1;
        }
        assert_eq!(frames, 4);
        // The moment is over with the turn.
        queue.charge(A, SLICE);
        assert_eq!(queue.pick(NOW).map(|turn| turn.vm), Some(B));
        queue.charge(B, Nanoseconds::from_secs(1));
        assert_eq!(queue.pick(NOW).map(|turn| turn.vm), Some(A));
        queue.sleep(A, Instant::FAR_FUTURE);
        assert_eq!(queue.pick(NOW).map(|turn| turn.vm), Some(B));
        queue.wake(A);
        assert_eq!(queue.pick(NOW).map(|turn| turn.vm), Some(A), "B sends nothing");
    }

    #[test]
    fn a_long_sleeper_gets_one_slice_of_credit_only() {
        let mut queue = queue(&[A, B]);
        queue.sleep(A, Instant::FAR_FUTURE);
        queue.charge(B, Nanoseconds::from_secs(10));
        queue.wake(A);
        queue.charge(A, SLICE);
        queue.charge(A, Nanoseconds(1));
        assert_eq!(queue.pick(NOW).map(|turn| turn.vm), Some(B));
    }

    #[test]
    fn a_long_sleeper_that_wakes_while_all_others_sleep_gets_no_more() {
        let mut queue = queue(&[A, B]);
        queue.sleep(A, Instant::FAR_FUTURE);
        for _ in 0..1000 {
            let turn = queue.pick(NOW).unwrap();
            queue.charge(turn.vm, turn.slice);
        }
        queue.sleep(B, Instant::FAR_FUTURE);
        queue.wake(A);
        queue.wake(B);
        let mut first = 0;
        while let Some(Turn { vm: A, slice }) = queue.pick(NOW) {
            queue.charge(A, slice);
            first += 1;
        }
        assert!(first <= 2, "{first} turns before B had one");
    }

    #[test]
    fn an_ended_vm_is_never_picked_again() {
        let mut queue = queue(&[A]);
        queue.remove(A);
        queue.wake(A);
        assert_eq!(queue.pick(NOW), None);
        assert!(queue.is_empty());
    }
}
