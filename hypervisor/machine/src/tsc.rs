//! The time-stamp counter.
//!
//! Unsafe because it is read by an instruction.

use core::arch::asm;
use core::arch::x86_64::_rdtsc;

/// The counter now, not before earlier loads have completed (Intel SDM, volume 2, RDTSC).
#[inline]
pub fn read() -> u64 {
    // SAFETY: every x86-64 CPU has both, and CR4.TSD binds only user mode. The fence is written out because the intrinsic
    // is a call in code that is compiled without SSE2.
    unsafe {
        asm!("lfence", options(nostack, preserves_flags));
        _rdtsc()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_counts() {
        let first = super::read();
        assert!((0..1000).any(|_| super::read() != first));
    }
}
