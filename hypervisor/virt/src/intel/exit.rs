//! Exit reasons and their qualifications, understood (SDM 28.2.1 and appendix C).
//!
//! Decoding is total: a reason that the controls in use cannot produce becomes [`Exit::Unexpected`].

use base::{Gpa, Port, Vector};
use vcpu::{
    Access, ControlRegister, Direction, Exception, Exit, Gpr, IoExit, IoOperand, NestedFault, Privileged,
};

/// Where the local APIC's page is that the processor runs, for the guest.
const APIC_PAGE: u64 = 0xfee0_0000;

/// The basic reasons in use, as the manual names them.
pub mod reason {
    #![allow(missing_docs)] // the names are the manual's

    pub const EXCEPTION_OR_NMI: u32 = 0;
    pub const EXTERNAL_INTERRUPT: u32 = 1;
    pub const TRIPLE_FAULT: u32 = 2;
    pub const INTERRUPT_WINDOW: u32 = 7;
    pub const NMI_WINDOW: u32 = 8;
    pub const TASK_SWITCH: u32 = 9;
    pub const CPUID: u32 = 10;
    pub const GETSEC: u32 = 11;
    pub const HLT: u32 = 12;
    pub const INVD: u32 = 13;
    pub const RDPMC: u32 = 15;
    pub const RSM: u32 = 17;
    pub const VMCALL: u32 = 18;
    pub const VMCLEAR: u32 = 19;
    pub const VMXON: u32 = 27;
    pub const CR_ACCESS: u32 = 28;
    pub const IO: u32 = 30;
    pub const RDMSR: u32 = 31;
    pub const WRMSR: u32 = 32;
    pub const MWAIT: u32 = 36;
    pub const MONITOR: u32 = 39;
    pub const PAUSE: u32 = 40;
    pub const TPR_BELOW_THRESHOLD: u32 = 43;
    pub const APIC_ACCESS: u32 = 44;
    pub const VIRTUALIZED_EOI: u32 = 45;
    pub const EPT_VIOLATION: u32 = 48;
    pub const INVEPT: u32 = 50;
    pub const INVVPID: u32 = 53;
    pub const WBINVD: u32 = 54;
    pub const XSETBV: u32 = 55;
    pub const APIC_WRITE: u32 = 56;
    pub const VMFUNC: u32 = 59;
    pub const ENCLS: u32 = 60;

    /// The bit that says that no guest code ran: the entry failed after its first checks.
    pub const ENTRY_FAILURE: u32 = 1 << 31;
}

/// Reasons that instructions bring about: the VMCS has their length then (SDM 28.2.5).
const BY_INSTRUCTION: u64 = {
    use reason::{CPUID, GETSEC, HLT, INVD, INVEPT, INVVPID, IO, RDMSR, RDPMC, RSM, VMCALL, VMXON, WRMSR};
    use reason::{CR_ACCESS, ENCLS, MONITOR, MWAIT, PAUSE, VMFUNC, WBINVD, XSETBV};
    let single = [
        CPUID, GETSEC, HLT, INVD, RDPMC, RSM, CR_ACCESS, IO, RDMSR, WRMSR, MWAIT, MONITOR, PAUSE, INVEPT,
        INVVPID, WBINVD, XSETBV, VMFUNC, ENCLS,
    ];
    let mut bits = (2 << VMXON) - (1 << VMCALL);
    let mut rest: &[u32] = &single;
    while let [reason, tail @ ..] = rest {
        bits |= 1 << *reason;
        rest = tail;
    }
    bits
};

/// Whether an instruction brought about an exit for `reason`.
#[inline(always)]
pub const fn is_by_instruction(reason: u32) -> bool {
    reason < u64::BITS && BY_INSTRUCTION >> reason & 1 != 0
}

/// What an exit for `reason` means that is neither frequent nor the vCPU's own business.
pub const fn decode_rare(reason: u32) -> Exit {
    match reason {
        reason::PAUSE => Exit::Pause,
        reason::TASK_SWITCH => Exit::TaskSwitch,
        reason::TRIPLE_FAULT => Exit::TripleFault,
        reason::INVD | reason::WBINVD => Exit::Privileged(Privileged::CacheFlush),
        reason::XSETBV => Exit::Privileged(Privileged::SetXcr),
        reason::MONITOR | reason::MWAIT => Exit::Privileged(Privileged::MonitorWait),
        reason::RDPMC => Exit::Privileged(Privileged::ReadPerformanceCounter),
        reason::RSM => Exit::Privileged(Privileged::ResumeFromSmm),
        // GETSEC and ENCLS are no part of VMX, but like it never shown to a guest: `#UD`.
        reason::VMCLEAR..=reason::VMXON
        | reason::INVEPT
        | reason::INVVPID
        | reason::VMFUNC
        | reason::GETSEC
        | reason::ENCLS => Exit::Privileged(Privileged::Virtualization),
        other => Exit::Unexpected(other as u64),
    }
}

/// The qualification of an EPT violation (SDM table 28-7).
pub mod violation {
    pub(super) const WRITE: u64 = 1 << 1;
    pub(super) const FETCH: u64 = 1 << 2;
    /// Readable, writable or executable: there is a translation.
    pub(super) const ALLOWED: u64 = 7 << 3;
    /// The access is to what the linear address translates to; else to a paging-structure entry on the way.
    pub(super) const TRANSLATED: u64 = 1 << 8;
    /// An IRET met it that had unblocked NMIs already.
    pub const NMI_UNBLOCKED: u64 = 1 << 12;
}

/// An EPT violation at `gpa`.
#[inline]
pub const fn nested_fault(qualification: u64, gpa: u64) -> NestedFault {
    let access = if qualification & violation::FETCH != 0 {
        Access::Execute
    } else if qualification & violation::WRITE != 0 {
        Access::Write
    } else {
        Access::Read
    };
    NestedFault {
        gpa: Gpa::from_low_bits(gpa),
        access,
        in_guest_walk: qualification & violation::TRANSLATED == 0,
        present: qualification & violation::ALLOWED != 0,
    }
}

/// An access to the local APIC's page that the processor does not carry out (SDM table 28-6).
pub const fn apic_access(qualification: u64) -> NestedFault {
    const OFFSET: u64 = 0xfff;
    const LINEAR_WRITE: u64 = 1;
    const LINEAR_FETCH: u64 = 2;
    const DELIVERY_BY_PHYSICAL_ADDRESS: u64 = 10;
    const FETCH_BY_PHYSICAL_ADDRESS: u64 = 15;
    let kind = qualification >> 12 & 0xf;
    NestedFault {
        gpa: Gpa::from_low_bits(APIC_PAGE | qualification & OFFSET),
        access: match kind {
            LINEAR_WRITE => Access::Write,
            LINEAR_FETCH => Access::Execute,
            _ => Access::Read,
        },
        in_guest_walk: matches!(kind, DELIVERY_BY_PHYSICAL_ADDRESS | FETCH_BY_PHYSICAL_ADDRESS),
        present: true,
    }
}

/// The qualification of a port access (SDM table 28-5).
#[inline(always)]
pub const fn io(qualification: u64, next_rip: u64) -> IoExit {
    const IN: u64 = 1 << 3;
    const STRING: u64 = 1 << 4;
    IoExit {
        port: Port((qualification >> 16) as u16),
        size_bytes: (qualification & 7) as u8 + 1,
        direction: if qualification & IN != 0 { Direction::In } else { Direction::Out },
        operand: if qualification & STRING != 0 { IoOperand::String } else { IoOperand::Accumulator },
        next_rip,
    }
}

/// What an exit for an access to a control register asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlAccess {
    /// A write that is judged.
    Write(ControlRegister),
    /// MOV from CR8, on a processor without a TPR shadow.
    ReadTaskPriority(Gpr),
    /// Impossible with the controls in use.
    Unexpected,
}

/// The qualification of an access to a control register (SDM table 28-3).
pub fn control_access(qualification: u64) -> ControlAccess {
    const MOV_TO: u64 = 0;
    const MOV_FROM: u64 = 1;
    const CLTS: u64 = 2;
    const LMSW: u64 = 3;
    let register = qualification & 0xf;
    match (qualification >> 4 & 3, register) {
        (MOV_TO, 0) | (CLTS | LMSW, _) => ControlAccess::Write(ControlRegister::Cr0),
        (MOV_TO, 4) => ControlAccess::Write(ControlRegister::Cr4),
        (MOV_TO, 8) => ControlAccess::Write(ControlRegister::Cr8),
        (MOV_FROM, 8) => {
            let operand = Gpr::ALL.get((qualification >> 8 & 0xf) as usize);
            operand.map_or(ControlAccess::Unexpected, |gpr| ControlAccess::ReadTaskPriority(*gpr))
        }
        _ => ControlAccess::Unexpected,
    }
}

/// The exception of an exit, by its interruption information and error code (SDM table 25-18).
pub const fn exception(information: u64, error_code: u64) -> Exception {
    const ERROR_CODE_VALID: u64 = 1 << 11;
    let error_code = if information & ERROR_CODE_VALID != 0 { Some(error_code as u32) } else { None };
    Exception { vector: Vector(information as u8), error_code }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_out_of_one_byte_to_the_first_serial_port_is_told_whole() {
        let expected = IoExit {
            port: Port(0x3f8),
            size_bytes: 1,
            direction: Direction::Out,
            operand: IoOperand::Accumulator,
            next_rip: 0x1002,
        };
        assert_eq!(io(0x03f8_0000, 0x1002), expected);
    }

    #[test]
    fn a_string_input_is_told_from_a_plain_one() {
        let exit = io(0x01f0_0039, 0);
        assert_eq!(exit.operand, IoOperand::String);
        assert_eq!((exit.size_bytes, exit.direction), (2, Direction::In));
    }

    #[test]
    fn an_access_to_the_apics_page_is_one_to_memory_that_is_none() {
        let write = apic_access(0x1030);
        assert_eq!(
            (write.gpa.as_u64(), write.access, write.in_guest_walk),
            (0xfee0_0030, Access::Write, false)
        );
        assert_eq!(apic_access(0x0390).access, Access::Read);
        assert_eq!(apic_access(0x2000).access, Access::Execute);
        assert!(apic_access(0xf000).in_guest_walk);
    }

    #[test]
    fn a_fetch_and_a_table_walk_are_told_from_a_read() {
        let fetch = nested_fault(0x184, 0x1_0000_5000);
        assert_eq!((fetch.access, fetch.in_guest_walk, fetch.present), (Access::Execute, false, false));
        let walk = nested_fault(0x8b, 0x5000);
        assert_eq!((walk.access, walk.in_guest_walk, walk.present), (Access::Write, true, true));
        assert_eq!(nested_fault(0x181, 0x5123).gpa.as_u64(), 0x5123);
    }

    #[test]
    fn writes_of_control_registers_are_told_apart_and_a_read_of_cr8_names_its_operand() {
        assert_eq!(control_access(0x0), ControlAccess::Write(ControlRegister::Cr0));
        assert_eq!(control_access(0x304), ControlAccess::Write(ControlRegister::Cr4));
        assert_eq!(control_access(0x20), ControlAccess::Write(ControlRegister::Cr0));
        assert_eq!(control_access(0x1_0030), ControlAccess::Write(ControlRegister::Cr0));
        assert_eq!(control_access(0x918), ControlAccess::ReadTaskPriority(Gpr::R9));
        assert_eq!(control_access(0x3), ControlAccess::Unexpected);
    }

    #[test]
    fn lengths_are_trusted_for_instructions_only() {
        for reason in
            [reason::CPUID, reason::VMCALL, reason::IO, reason::WRMSR, reason::XSETBV, reason::VMXON]
        {
            assert!(is_by_instruction(reason), "{reason}");
        }
        for reason in [reason::EXCEPTION_OR_NMI, reason::EXTERNAL_INTERRUPT, reason::EPT_VIOLATION, 14, 100] {
            assert!(!is_by_instruction(reason), "{reason}");
        }
    }

    #[test]
    fn an_ept_misconfiguration_is_a_bug_that_is_told() {
        assert_eq!(decode_rare(49), Exit::Unexpected(49));
    }

    #[test]
    fn only_exceptions_with_an_error_code_carry_one() {
        assert_eq!(exception(0x8000_0312, 0xdead).error_code, None);
        assert_eq!(exception(0x8000_0b0e, 0x6).error_code, Some(6));
    }

    proptest! {
        #[test]
        fn decoding_is_total(reason: u32, qualification: u64, gpa: u64) {
            let _ = (decode_rare(reason), io(qualification, gpa), nested_fault(qualification, gpa));
            let _ = (control_access(qualification), is_by_instruction(reason));
        }
    }
}
