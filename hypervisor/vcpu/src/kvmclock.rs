//! KVM's paravirtual clock: the structures that tell a guest how to turn its TSC into time.
//!
//! ```text
//!   system time, 32 bytes                            wall clock, 12 bytes
//!    0 version            24 tsc_to_system_mul        0 version
//!    8 tsc_timestamp      28 tsc_shift (signed)       4 seconds
//!   16 system_time, ns    29 flags                    8 nanoseconds
//!
//!   time = system_time + (shifted(tsc - tsc_timestamp, tsc_shift) * tsc_to_system_mul >> 32)
//! ```
//! The version is odd while the rest is being written; a reader that saw it odd, or changed, reads again. It is kept in
//! the guest's memory alone: a guest that spoils it misreads only its own clock.
//!
//! Source: KVM's `Documentation/virt/kvm/x86/msr.rst`, MSRs 0x4B56_4D00 and 0x4B56_4D01.

use crate::cpuid::TscStability;
use base::{Gpa, Nanoseconds, TscScale};
use seams::{GuestMemory, MemoryError};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Flag: the clock is the same on all vCPUs and never steps.
const TSC_STABLE: u8 = 1 << 0;

const SYSTEM_TIME_BYTES: usize = 32;
const WALL_CLOCK_BYTES: usize = 12;

/// What the guest wrote to [`crate::permission::msr::KVM_SYSTEM_TIME`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemTimeRegister(pub u64);

impl SystemTimeRegister {
    const ENABLED: u64 = 1 << 0;

    /// Where the structure is wanted; `None` when the clock is off or the address is wider than 52 bits.
    pub fn enabled(self) -> Option<Gpa> {
        let on = self.0 & Self::ENABLED != 0;
        Gpa::new(self.0 & !Self::ENABLED).ok().filter(|_| on)
    }
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The guest's TSC.
    pub tsc: u64,
    /// The time since the VM began.
    pub system_time: Nanoseconds,
}

/// TSC ticks to nanoseconds as the structure encodes it: a shift, then a 32-bit fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscToSystem {
    /// The fraction, in units of 2^-32, with its top bit set.
    pub multiplier: u32,
    /// Left when positive, right when negative.
    pub shift: i8,
}

impl TscToSystem {
    /// The pair for a TSC of `scale`. It errs by less than 2^-31 of the span.
    pub fn new(scale: &TscScale) -> Self {
        // Scale a tick's length to between a half and one by powers of two; the rest is the fraction.
        let (mut nanoseconds, mut ticks, mut shift) = (NANOSECONDS_PER_SECOND, scale.hz(), 0i8);
        while nanoseconds >= ticks {
            ticks <<= 1;
            shift += 1;
        }
        while nanoseconds << 1 < ticks {
            nanoseconds <<= 1;
            shift -= 1;
        }
        let fraction = (u128::from(nanoseconds) << 32) / u128::from(ticks);
        Self { multiplier: u32::try_from(fraction).unwrap_or(u32::MAX), shift }
    }

    /// What a guest computes from `ticks`.
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        let distance = u32::from(self.shift.unsigned_abs());
        let shifted = if self.shift >= 0 { ticks << distance } else { ticks >> distance };
        ((u128::from(shifted) * u128::from(self.multiplier)) >> 32) as u64
    }
}

/// Writes the time structure at `gpa`.
///
/// # Errors
/// When the guest named no memory of its own.
pub fn publish_system_time<M: GuestMemory>(
    memory: &M,
    gpa: Gpa,
    scale: &TscScale,
    reference: Reference,
    stability: TscStability,
) -> Result<(), MemoryError> {
    let TscToSystem { multiplier, shift } = TscToSystem::new(scale);
    let flags = match stability {
        TscStability::Invariant => TSC_STABLE,
        TscStability::Unknown => 0,
    };
    let mut record = Record::<SYSTEM_TIME_BYTES>::new();
    record.put(8, &reference.tsc.to_le_bytes());
    record.put(16, &reference.system_time.0.to_le_bytes());
    record.put(24, &multiplier.to_le_bytes());
    record.put(28, &shift.to_le_bytes());
    record.put(29, &[flags]);
    record.publish(memory, gpa)
}

/// Writes the wall clock structure at `gpa`: `began` is when the VM's system time was zero, since 1970 UTC.
///
/// # Errors
/// When the guest named no memory of its own.
pub fn publish_wall_clock<M: GuestMemory>(
    memory: &M,
    gpa: Gpa,
    began: Nanoseconds,
) -> Result<(), MemoryError> {
    // 32 bits of seconds last until 2106.
    let seconds = (began.0 / NANOSECONDS_PER_SECOND) as u32;
    let nanoseconds = (began.0 % NANOSECONDS_PER_SECOND) as u32;
    let mut record = Record::<WALL_CLOCK_BYTES>::new();
    record.put(4, &seconds.to_le_bytes());
    record.put(8, &nanoseconds.to_le_bytes());
    record.publish(memory, gpa)
}

/// A structure that begins with its version.
struct Record<const BYTES: usize> {
    bytes: [u8; BYTES],
}

impl<const BYTES: usize> Record<BYTES> {
    const VERSION_BYTES: usize = 4;

    const fn new() -> Self {
        Self { bytes: [0; BYTES] }
    }

    fn put(&mut self, offset: usize, field: &[u8]) {
        let end = offset.saturating_add(field.len());
        if let Some(place) = self.bytes.get_mut(offset..end) {
            place.copy_from_slice(field);
        }
    }

    /// Writes the structure under the version protocol: odd, contents, even.
    fn publish<M: GuestMemory>(&self, memory: &M, gpa: Gpa) -> Result<(), MemoryError> {
        let contents = self.bytes.get(Self::VERSION_BYTES..).unwrap_or_default();
        let body = gpa.checked_add(Self::VERSION_BYTES as u64).ok_or(MemoryError::Unmapped(gpa))?;
        let writing = memory.read_u32(gpa)?.wrapping_add(1) | 1;
        memory.write(gpa, &writing.to_le_bytes())?;
        memory.write(body, contents)?;
        memory.write(gpa, &writing.wrapping_add(1).to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use seams::fake::FlatMemory;

    const AT: Gpa = Gpa::from_low_bits(0x100);

    fn field<const N: usize>(memory: &FlatMemory, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        memory.read(AT.checked_add(offset).unwrap(), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_register_has_an_address_and_an_enable_bit() {
        assert_eq!(SystemTimeRegister(0x1234_5001).enabled(), Some(Gpa::from_low_bits(0x1234_5000)));
        assert_eq!(SystemTimeRegister(0x1234_5000).enabled(), None);
        assert_eq!(SystemTimeRegister(1 << 60 | 1).enabled(), None);
    }

    #[test]
    fn the_time_structure_has_kvms_layout() {
        let memory = FlatMemory::new(0x1000);
        let scale = TscScale::new(2_000_000_000).unwrap();
        let reference = Reference { tsc: 0x1122_3344_5566_7788, system_time: Nanoseconds(42) };
        publish_system_time(&memory, AT, &scale, reference, TscStability::Invariant).unwrap();
        assert_eq!(u32::from_le_bytes(field(&memory, 0)), 2);
        assert_eq!(u64::from_le_bytes(field(&memory, 8)), reference.tsc);
        assert_eq!(u64::from_le_bytes(field(&memory, 16)), 42);
        assert_eq!(u32::from_le_bytes(field(&memory, 24)), 0x8000_0000);
        assert_eq!(field(&memory, 28), [0, TSC_STABLE, 0, 0]);
    }

    #[test]
    fn the_version_is_even_afterwards_and_always_grows() {
        let memory = FlatMemory::new(0x1000);
        for (before, after) in [(0, 2), (2, 4), (5, 8), (u32::MAX, 2), (u32::MAX - 1, 0)] {
            memory.write(AT, &u32::to_le_bytes(before)).unwrap();
            publish_wall_clock(&memory, AT, Nanoseconds(1_500_000_000)).unwrap();
            assert_eq!(u32::from_le_bytes(field(&memory, 0)), after);
        }
        assert_eq!(u32::from_le_bytes(field(&memory, 4)), 1);
        assert_eq!(u32::from_le_bytes(field(&memory, 8)), 500_000_000);
    }

    #[test]
    fn a_structure_outside_of_memory_is_refused() {
        let memory = FlatMemory::new(0x1000);
        let outside = Gpa::from_low_bits(0x2000);
        assert!(publish_wall_clock(&memory, outside, Nanoseconds(0)).is_err());
        let straddling = Gpa::from_low_bits(0xffe);
        assert!(publish_wall_clock(&memory, straddling, Nanoseconds(0)).is_err());
        let last = Gpa::from_low_bits((1 << 52) - 1);
        assert!(publish_wall_clock(&memory, last, Nanoseconds(0)).is_err());
    }

    proptest! {
        #[test]
        fn a_guest_computes_the_time_to_within_one_in_2_to_the_30(
            hz in TscScale::MIN_HZ..=TscScale::MAX_HZ, seconds in 0_u64..100_000,
        ) {
            let pair = TscToSystem::new(&TscScale::new(hz).unwrap());
            prop_assert!(pair.multiplier >= 1 << 31);
            let exact = seconds * NANOSECONDS_PER_SECOND;
            let computed = pair.nanoseconds(seconds * hz);
            prop_assert!(computed.abs_diff(exact) <= (exact >> 30) + 1000, "{computed} {exact}");
        }
    }
}
