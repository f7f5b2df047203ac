//! Why a vCPU stopped running guest code: the same words for both vendors.

use crate::Exception;
use base::{Gpa, Port, Vector};

/// Which way data moves, seen from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The guest reads.
    In,
    /// The guest writes.
    Out,
}

/// What a guest tried to do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// An access that the nested page tables did not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NestedFault {
    /// Where.
    pub gpa: Gpa,
    /// What.
    pub access: Access,
    /// Whether the processor was walking the guest's own page tables: no instruction named this address.
    pub in_guest_walk: bool,
    /// Whether a translation existed and only its permissions refused.
    pub present: bool,
}

/// What a port access moves to or from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoOperand {
    /// AL, AX or EAX: IN and OUT.
    Accumulator,
    /// Memory: INS and OUTS, repeated or not. The instruction tells the rest.
    String,
}

/// An access to an I/O port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoExit {
    /// The first port.
    pub port: Port,
    /// 1, 2 or 4.
    pub size_bytes: u8,
    /// IN or OUT.
    pub direction: Direction,
    /// From where, or to where.
    pub operand: IoOperand,
    /// The RIP after the instruction, which both vendors report for port accesses.
    pub next_rip: u64,
}

/// A control register whose writing exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ControlRegister {
    Cr0,
    Cr4,
    Cr8,
}

/// Instructions that always leave the guest and that `vmm` refuses or turns into something harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privileged {
    /// An instruction of the virtualization extension itself (VMRUN, VMLOAD, STGI, VMXON, ...): `#UD`.
    Virtualization,
    /// INVD, WBINVD or WBNOINVD.
    CacheFlush,
    /// MONITOR(X) or MWAIT(X).
    MonitorWait,
    /// RDPMC.
    ReadPerformanceCounter,
    /// RSM outside system management mode: `#UD`.
    ResumeFromSmm,
    /// XSETBV.
    SetXcr,
}

/// Why the processor refused to run the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryFailure {
    /// The vendor's exit code or VM-instruction error.
    pub code: u64,
    /// The check that failed, where it could be told, with the manual's section.
    pub reason: &'static str,
    /// What failed it.
    pub fields: OffendingFields,
}

/// A field of the vendor's control structure, by the manual's name, with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldValue {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub value: u64,
}

/// The few fields that failed a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffendingFields([Option<FieldValue>; OffendingFields::MAX]);

impl OffendingFields {
    /// How many a check names at most.
    pub const MAX: usize = 3;

    /// Those of `fields` that there are.
    pub const fn new(fields: [Option<FieldValue>; Self::MAX]) -> Self {
        Self(fields)
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &FieldValue> {
        self.0.iter().flatten()
    }
}

/// Why guest code stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A host interrupt waits; the CPU's loop takes it.
    HostInterrupt,
    /// A host NMI was taken or waits.
    HostNmi,
    /// The guest can take an interrupt now, as had been asked for.
    InterruptWindow,
    /// The guest can take an NMI now, as had been asked for.
    NmiWindow,
    /// CPUID.
    Cpuid,
    /// HLT.
    Hlt,
    /// PAUSE, often enough to look like a spin loop.
    Pause,
    /// RDMSR of a register that is not passed through.
    ReadMsr,
    /// WRMSR to a register that is not passed through.
    WriteMsr,
    /// VMMCALL or VMCALL.
    Hypercall,
    /// IN, OUT, INS or OUTS.
    Io(IoExit),
    /// An access that the nested tables refuse.
    NestedFault(NestedFault),
    /// A write to a control register that is intercepted; the instruction has not executed.
    WriteControlRegister(ControlRegister),
    /// An intercepted exception; it has not been delivered.
    Exception(Exception),
    /// An instruction that never runs in a guest.
    Privileged(Privileged),
    /// The guest has ended an interrupt whose end was to be told; the processor has taken it out of service.
    EndOfInterrupt(Vector),
    /// The guest has written to register `.0` of the local APIC's page, which the processor does not carry out; the value is
    /// there, and the instruction has completed.
    ApicWrite(u32),
    /// A task switch through a gate or descriptor.
    TaskSwitch,
    /// The guest shut down: a triple fault.
    TripleFault,
    /// The processor refused the guest's state.
    EntryFailure(EntryFailure),
    /// An exit that should be impossible with the intercepts in use: the vendor's code.
    Unexpected(u64),
}

impl Exit {
    /// The number of kinds, for counters indexed by [`Exit::kind`].
    pub const KINDS: usize = 21;

    /// The kind of [`Exit::Cpuid`].
    pub const KIND_CPUID: usize = Self::Cpuid.kind();
    /// The kind of [`Exit::ReadMsr`].
    pub const KIND_RDMSR: usize = Self::ReadMsr.kind();
    /// The kind of [`Exit::WriteMsr`].
    pub const KIND_WRMSR: usize = Self::WriteMsr.kind();
    /// The kind of [`Exit::Io`].
    pub const KIND_IO: usize = 10;
    /// The kind of [`Exit::NestedFault`].
    pub const KIND_NESTED_FAULT: usize = 11;

    /// A dense number of the kind, below [`Exit::KINDS`].
    #[inline]
    pub const fn kind(&self) -> usize {
        match self {
            Self::HostInterrupt => 0,
            Self::HostNmi => 1,
            Self::InterruptWindow => 2,
            Self::NmiWindow => 3,
            Self::Cpuid => 4,
            Self::Hlt => 5,
            Self::Pause => 6,
            Self::ReadMsr => 7,
            Self::WriteMsr => 8,
            Self::Hypercall => 9,
            Self::Io(_) => Self::KIND_IO,
            Self::NestedFault(_) => Self::KIND_NESTED_FAULT,
            Self::WriteControlRegister(_) => 12,
            Self::Exception(_) => 13,
            Self::Privileged(_) => 14,
            Self::TaskSwitch => 15,
            Self::TripleFault => 16,
            Self::EntryFailure(_) => 17,
            Self::Unexpected(_) => 18,
            Self::EndOfInterrupt(_) => 19,
            Self::ApicWrite(_) => 20,
        }
    }

    /// The name of kind `kind` for tables and logs.
    pub fn kind_name(kind: usize) -> &'static str {
        const NAMES: [&str; Exit::KINDS] = [
            "host interrupt",
            "host NMI",
            "interrupt window",
            "NMI window",
            "CPUID",
            "HLT",
            "PAUSE",
            "RDMSR",
            "WRMSR",
            "hypercall",
            "port I/O",
            "nested page fault",
            "control register",
            "exception",
            "privileged",
            "task switch",
            "triple fault",
            "entry failure",
            "unexpected",
            "end of interrupt",
            "APIC write",
        ];
        NAMES.get(kind).copied().unwrap_or("unknown")
    }
}
