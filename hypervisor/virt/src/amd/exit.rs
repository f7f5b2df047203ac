//! Exit codes and their information fields, understood (APM 24593, volume 2, appendix C).
//!
//! Decoding is total: a code that the intercepts in use cannot produce becomes [`Exit::Unexpected`].

use super::vmcb::ControlArea;
use base::{Gpa, Port, Vector};
use vcpu::{Access, ControlRegister, Direction, Exception, Exit, IoExit, IoOperand, NestedFault, Privileged};

/// The codes in use, as the manual names them.
pub mod code {
    #![allow(missing_docs)] // the names are the manual's

    pub const CR0_WRITE: u64 = 0x10;
    pub const CR4_WRITE: u64 = 0x14;
    pub const CR8_WRITE: u64 = 0x18;
    pub const EXCEPTION_0: u64 = 0x40;
    pub const EXCEPTION_DB: u64 = 0x41;
    pub const EXCEPTION_31: u64 = 0x5f;
    pub const INTR: u64 = 0x60;
    pub const NMI: u64 = 0x61;
    pub const VINTR: u64 = 0x64;
    pub const CR0_SEL_WRITE: u64 = 0x65;
    pub const RDPMC: u64 = 0x6f;
    pub const CPUID: u64 = 0x72;
    pub const RSM: u64 = 0x73;
    pub const IRET: u64 = 0x74;
    pub const INVD: u64 = 0x76;
    pub const PAUSE: u64 = 0x77;
    pub const HLT: u64 = 0x78;
    pub const INVLPGA: u64 = 0x7a;
    pub const IOIO: u64 = 0x7b;
    pub const MSR: u64 = 0x7c;
    pub const TASK_SWITCH: u64 = 0x7d;
    pub const SHUTDOWN: u64 = 0x7f;
    pub const VMRUN: u64 = 0x80;
    pub const VMMCALL: u64 = 0x81;
    pub const VMLOAD: u64 = 0x82;
    pub const VMSAVE: u64 = 0x83;
    pub const STGI: u64 = 0x84;
    pub const CLGI: u64 = 0x85;
    pub const SKINIT: u64 = 0x86;
    pub const WBINVD: u64 = 0x89;
    pub const MONITOR: u64 = 0x8a;
    pub const MWAIT: u64 = 0x8b;
    pub const MWAIT_CONDITIONAL: u64 = 0x8c;
    pub const XSETBV: u64 = 0x8d;
    pub const RDPRU: u64 = 0x8e;
    pub const NPF: u64 = 0x400;
    /// VMRUN found the VMCB inconsistent.
    pub const INVALID: u64 = u64::MAX;
    /// The same, as QEMU 10.0 reports it.
    pub const INVALID_32: u64 = 0xffff_ffff;
}

/// Whether `exit_code` says that VMRUN refused the guest. All other codes are far below.
#[inline(always)]
pub const fn is_refusal(exit_code: u64) -> bool {
    exit_code >= code::INVALID_32
}

/// What the exit recorded in `control` means, if it is a frequent one.
///
/// Inlined where exits are handled: there the code leads to its handler by one jump.
#[inline(always)]
pub fn decode_frequent(control: &ControlArea) -> Option<Exit> {
    Some(match control.exit_code {
        code::MSR if control.exit_info1 & 1 == 0 => Exit::ReadMsr,
        code::MSR => Exit::WriteMsr,
        code::NPF => Exit::NestedFault(nested_fault(control.exit_info1, control.exit_info2)),
        code::IOIO => Exit::Io(io(control.exit_info1, control.exit_info2)),
        code::HLT => Exit::Hlt,
        code::INTR => Exit::HostInterrupt,
        code::CPUID => Exit::Cpuid,
        code::VMMCALL => Exit::Hypercall,
        _ => return None,
    })
}

/// What the exit recorded in `control` means that [`decode_frequent`] does not know. VINTR, IRET and the `#DB` of a step
/// are the caller's: it has the state that they need.
pub fn decode_rare(control: &ControlArea) -> Exit {
    match control.exit_code {
        code::PAUSE => Exit::Pause,
        code::NMI => Exit::HostNmi,
        code::CR0_SEL_WRITE | code::CR0_WRITE => Exit::WriteControlRegister(ControlRegister::Cr0),
        code::CR4_WRITE => Exit::WriteControlRegister(ControlRegister::Cr4),
        code::CR8_WRITE => Exit::WriteControlRegister(ControlRegister::Cr8),
        code::INVD | code::WBINVD => Exit::Privileged(Privileged::CacheFlush),
        code::XSETBV => Exit::Privileged(Privileged::SetXcr),
        code::MONITOR | code::MWAIT | code::MWAIT_CONDITIONAL => Exit::Privileged(Privileged::MonitorWait),
        code::RDPMC => Exit::Privileged(Privileged::ReadPerformanceCounter),
        code::RSM => Exit::Privileged(Privileged::ResumeFromSmm),
        // RDPRU is no part of SVM, but like it never shown to a guest: `#UD`.
        code::VMRUN
        | code::VMLOAD
        | code::VMSAVE
        | code::STGI
        | code::CLGI
        | code::SKINIT
        | code::INVLPGA
        | code::RDPRU => Exit::Privileged(Privileged::Virtualization),
        code::TASK_SWITCH => Exit::TaskSwitch,
        code::SHUTDOWN => Exit::TripleFault,
        exception @ code::EXCEPTION_0..=code::EXCEPTION_31 => {
            let vector = (exception - code::EXCEPTION_0) as u8;
            Exit::Exception(self::exception(vector, control.exit_info1))
        }
        other => Exit::Unexpected(other),
    }
}

/// The exceptions that push an error code: `#DF`, `#TS`, `#NP`, `#SS`, `#GP`, `#PF`, `#AC`, `#CP`, `#VC`, `#SX`
/// (APM, volume 2, table 8-1).
const WITH_ERROR_CODE: u32 =
    1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30;

fn exception(vector: u8, info1: u64) -> Exception {
    let has_error_code = WITH_ERROR_CODE & 1_u32.wrapping_shl(u32::from(vector)) != 0;
    Exception { vector: Vector(vector), error_code: has_error_code.then_some(info1 as u32) }
}

/// EXITINFO1 of a nested page fault (APM, volume 2, section 15.25.6).
#[inline]
fn nested_fault(info1: u64, info2: u64) -> NestedFault {
    const PRESENT: u64 = 1 << 0;
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 4;
    const GUEST_TABLE_WALK: u64 = 1 << 33;
    let access = if info1 & FETCH != 0 {
        Access::Execute
    } else if info1 & WRITE != 0 {
        Access::Write
    } else {
        Access::Read
    };
    NestedFault {
        gpa: Gpa::from_low_bits(info2),
        access,
        in_guest_walk: info1 & GUEST_TABLE_WALK != 0,
        present: info1 & PRESENT != 0,
    }
}

/// EXITINFO1 of a port access (APM, volume 2, section 15.10.2).
#[inline]
fn io(info1: u64, info2: u64) -> IoExit {
    const IN: u64 = 1 << 0;
    const STRING: u64 = 1 << 2;
    /// Bits 4, 5, 6: 1, 2 or 4 bytes, so that the field is the size.
    const SIZE_SHIFT: u32 = 4;
    IoExit {
        port: Port((info1 >> 16) as u16),
        size_bytes: (info1 >> SIZE_SHIFT & 7) as u8,
        direction: if info1 & IN != 0 { Direction::In } else { Direction::Out },
        operand: if info1 & STRING != 0 { IoOperand::String } else { IoOperand::Accumulator },
        next_rip: info2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_out_of_one_byte_to_the_first_serial_port_is_told_whole() {
        let exit = io(0x03f8_0110, 0x1002);
        let expected = IoExit {
            port: Port(0x3f8),
            size_bytes: 1,
            direction: Direction::Out,
            operand: IoOperand::Accumulator,
            next_rip: 0x1002,
        };
        assert_eq!(exit, expected);
    }

    #[test]
    fn a_string_input_is_told_from_a_plain_one() {
        let exit = io(0x01f0_022d, 0);
        assert_eq!(exit.operand, IoOperand::String);
        assert_eq!((exit.size_bytes, exit.direction), (2, Direction::In));
    }

    #[test]
    fn a_fetch_and_a_table_walk_are_told_from_a_read() {
        let fetch = nested_fault(1 << 32 | 0x14, 0x1_0000_5000);
        assert_eq!((fetch.access, fetch.in_guest_walk, fetch.present), (Access::Execute, false, false));
        let walk = nested_fault(1 << 33 | 0x7, 0x5000);
        assert_eq!((walk.access, walk.in_guest_walk, walk.present), (Access::Write, true, true));
        assert_eq!(nested_fault(1 << 32 | 4, 0x5123).gpa.as_u64(), 0x5123);
    }

    #[test]
    fn only_exceptions_with_an_error_code_carry_one() {
        assert_eq!(exception(18, 0xdead).error_code, None);
        assert_eq!(exception(14, 0x6).error_code, Some(6));
    }

    proptest! {
        #[test]
        fn decoding_is_total(info1: u64, info2: u64) {
            let _ = io(info1, info2);
            let _ = nested_fault(info1, info2);
        }
    }
}
