//! DR0-DR3, switched when a CPU turns to another vCPU. The hypervisor uses no breakpoints: it runs with DR7
//! disabled, which every exit sees to (APM 24593, volume 2, section 15.6), so the guest's addresses may stay.
//!
//! Why unsafe: debug registers are reached by privileged instructions only.

use core::arch::asm;

/// The hardware's DR0-DR3.
pub fn read() -> [u64; 4] {
    let (d0, d1, d2, d3);
    // SAFETY: reading debug registers has no effect on memory; the hypervisor runs at CPL 0 with DR7.GD clear.
    unsafe {
        asm!("mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3",
             out(reg) d0, out(reg) d1, out(reg) d2, out(reg) d3, options(nomem, nostack, preserves_flags));
    }
    [d0, d1, d2, d3]
}

/// Makes `addresses` the hardware's DR0-DR3.
pub fn write(addresses: &[u64; 4]) {
    let [d0, d1, d2, d3] = *addresses;
    // SAFETY: with DR7 disabled no address matches while the hypervisor runs; guests bring their own DR7.
    unsafe {
        asm!("mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}",
             in(reg) d0, in(reg) d1, in(reg) d2, in(reg) d3, options(nomem, nostack, preserves_flags));
    }
}
