//! Breakpoints on ports: the processor matches them only where it executes IN and OUT itself, and here none is
//! (Intel SDM, volume 3, sections 18.2.4 and 18.2.5; AMD APM 24593, volume 2, section 13.1.1.4).
//!
//! ```text
//!   DR7   31 30 29 28  27 26 25 24  23 22 21 20  19 18 17 16 ...  7  6  5  4  3  2  1  0
//!         LEN3  R/W3   LEN2  R/W2   LEN1  R/W1   LEN0  R/W0       G3 L3 G2 L2 G1 L1 G0 L0
//! ```

use crate::vm::Vm;
use base::Port;
use devices::Width;
use seams::GuestMemory;
use vcpu::Vcpu;
use vcpu::control::cr4;

/// All of DR7's enable bits.
pub(super) const ENABLED: u64 = 0xff;
/// R/W: breaks on ports, with CR4.DE.
const ON_PORTS: u64 = 0b10;

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// An access of `width` to `port` has completed, and its instruction, or one element of it, with it: queues `#DB` if
    /// the guest watches the port.
    #[inline]
    pub(super) fn port_breakpoints(&mut self, port: Port, width: Width) {
        // Nearly always no breakpoint is on.
        if self.vcpu.dr7() & ENABLED != 0 {
            self.match_breakpoints(port, width);
        }
    }

    #[cold]
    fn match_breakpoints(&mut self, port: Port, width: Width) {
        if self.vcpu.cr4() & cr4::DE == 0 {
            return;
        }
        let hits = hits(self.vcpu.dr7(), &self.vcpu.save().dr0_to_3, port, width);
        if hits != 0 {
            self.vcpu.hit_breakpoints(hits);
        }
    }
}

/// DR6's bits of the breakpoints at `addresses` that the access hits.
fn hits(dr7: u64, addresses: &[u64; 4], Port(port): Port, width: Width) -> u64 {
    let (first, last) = (u64::from(port), u64::from(port) + u64::from(width.bytes()) - 1);
    let mut hits = 0;
    for (number, address) in (0_u32..).zip(addresses) {
        let enabled = dr7 >> (2 * number) & 3 != 0;
        let field = dr7 >> (16 + 4 * number);
        // The low bits of the address are ignored: what is watched is aligned.
        let length_mask = field >> 2 & 3;
        let begin = address & !length_mask;
        if enabled && field & 3 == ON_PORTS && begin <= last && first <= begin.saturating_add(length_mask) {
            hits |= 1 << number;
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeHost, TRAP_FLAG, inp, out, started};
    use proptest::prelude::*;
    use vcpu::{Event, Exception};

    /// DR7 with breakpoint 1 on, for ports.
    const fn dr7(length: u64) -> u64 {
        1 << 2 | (ON_PORTS | length << 2) << 20
    }

    /// DR6 and the queued event after the guest has accessed a port, watching port 0x80.
    fn after(dr7: u64, cr4: u64, port: u16, size_bytes: u8) -> (u64, Option<Event>) {
        let mut vm = started(|vcpu| {
            vcpu.then(move |vcpu| {
                (vcpu.state.dr7, vcpu.state.cr4) = (dr7, vcpu.state.cr4 | cr4);
                vcpu.state.dr0_to_3[1] = 0x80;
                out(port, size_bytes, 0)(vcpu)
            });
        });
        vm.serve(&mut FakeHost::default());
        (vm.vcpu.state.dr6 & 0xf, vm.vcpu.delivered.first().copied())
    }

    #[test]
    fn a_watched_port_interrupts_behind_its_instruction() {
        let debug = Some(Event::Exception(Exception::DEBUG));
        assert_eq!(after(dr7(0), cr4::DE, 0x80, 1), (2, debug));
        assert_eq!(after(dr7(0), cr4::DE, 0x7f, 2), (2, debug));
        assert_eq!(after(dr7(0), cr4::DE, 0x81, 1), (0, None));
        assert_eq!(after(dr7(3), cr4::DE, 0x83, 1), (2, debug));
    }

    #[test]
    fn nothing_is_watched_without_debugging_extensions_or_disabled() {
        assert_eq!(after(dr7(0), 0, 0x80, 1), (0, None));
        assert_eq!(after(dr7(0) & !ENABLED, cr4::DE, 0x80, 1), (0, None));
        // On data at the same number.
        assert_eq!(after(dr7(0) | 1 << 20, cr4::DE, 0x80, 1), (0, None));
    }

    #[test]
    fn a_step_and_a_breakpoint_are_one_exception() {
        let mut vm = started(|vcpu| {
            vcpu.then(|vcpu| {
                (vcpu.state.dr7, vcpu.state.cr4) = (dr7(0), vcpu.state.cr4 | cr4::DE);
                vcpu.state.dr0_to_3[1] = 0x80;
                vcpu.state.rflags |= TRAP_FLAG;
                inp(0x80, 1)(vcpu)
            });
        });
        vm.serve(&mut FakeHost::default());
        assert_eq!(vm.vcpu.delivered, [Event::Exception(Exception::DEBUG)]);
    }

    proptest! {
        #[test]
        fn matching_is_total(dr7: u64, addresses: [u64; 4], port: u16) {
            prop_assert!(hits(dr7, &addresses, Port(port), Width::Dword) < 16);
        }
    }
}
