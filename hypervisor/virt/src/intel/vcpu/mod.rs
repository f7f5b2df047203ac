//! A vCPU over its VMCS.
//!
//! Between exit and entry the VMCS and [`Gprs`] hold the guest's state; FPU, XCR0 and what [`Kept`] names are in hardware
//! from [`Vcpu::load_on_cpu`] to [`Vcpu::unload`], and the VMCS's fields then too. RSP is in both `gprs` and the VMCS:
//! `gprs` counts. RIP is in both as well, and always the same.
//!
//! Invariants: `cr0_shadow`, `cr4_shadow`, `efer`, `primary` and `on_entry` are what the VMCS holds; CR0 and CR4 in the
//! VMCS are what `control_registers` makes of what the guest sees.
//!
//! Why unsafe: VMCS and translations are loaded and dropped by privileged instructions.

mod apic;
mod control_registers;
mod events;
mod interface;
mod state;
#[cfg(test)]
mod tests;

use super::bring_up::Engine;
use super::capabilities::{Capabilities, Translation};
use super::controls::{EXCEPTIONS, Secondary};
use super::exit::{self, reason, violation};
use super::invalidation::{self, Due};
use super::kept::Kept;
use super::permission_maps::PermissionMaps;
use super::switch::Entry;
use super::virtual_apic::VirtualApicPage;
use super::vmcs::{Field, Vmcs};
use super::{event, host_state, switch};
use crate::flushes::Flush;
use crate::fpu::Fpu;
use crate::frames::{FrameSource, OutOfFrames};
use crate::mitigations::Guards;
use crate::tags::{Assigned, Tag};
use crate::xsave::Method;
use base::{Hpa, Vector};
use machine::{trap, vectors};
use vcpu::{ApicStatus, Exit, Gpr, Gprs, VcpuState, Wanted};

/// How many cycles apart PAUSEs still are in one spin loop, and how many cycles it may last (SDM 25.6.13).
const PAUSE_LOOP_GAP_CYCLES: u64 = 128;
const PAUSE_LOOP_WINDOW_CYCLES: u64 = 4096;

/// No VMCS is linked (SDM 25.4.2).
const NO_LINK: u64 = u64::MAX;

/// The EPT pointer's memory type, number of levels less one, and flag for accessed and dirty bits (SDM table 25-9).
const WRITE_BACK: u64 = 6;
const FOUR_LEVELS: u64 = 3 << 3;
const ACCESSED_DIRTY: u64 = 1 << 6;

/// Bits of RFLAGS.
mod rflags {
    pub const FIXED: u64 = 1 << 1;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const RF: u64 = 1 << 16;
    pub const VM: u64 = 1 << 17;
    /// All that are not reserved (SDM figure 3-8).
    pub const DEFINED: u64 = 0x3f_7fd7;
}

/// How the last attempt to enter ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The guest ran, or the processor refused its state: the exit reason tells.
    Exited,
    /// VMLAUNCH or VMRESUME failed.
    Refused,
    /// The vCPU is loaded on no CPU.
    NotLoaded,
}

/// A virtual CPU on VT-x.
#[derive(Debug)]
#[repr(C)]
pub struct Vcpu {
    /// First, as in the other vendor's: then both are reached in one way.
    gprs: Gprs,
    rip: u64,
    /// RSP as the VMCS holds it.
    rsp: u64,
    cr0_shadow: u64,
    cr4_shadow: u64,
    efer: u64,
    /// The host's RSP as the VMCS holds it.
    host_rsp: u64,
    /// The exit reason.
    reason: u32,
    outcome: Outcome,
    due: Due,
    entry: Entry,
    /// What this CPU's world switch has to do against its vulnerabilities.
    guards: Guards,
    vmcs: Vmcs,
    primary: u32,
    on_entry: u32,
    task_priority_exits: Wanted,
    page: VirtualApicPage,
    /// What the VMCS says of the local APIC.
    apic: ApicStatus,
    maps: PermissionMaps,
    capabilities: Capabilities,
    ept_pointer: u64,
    tag: Tag,
    fpu: Fpu,
    /// While the vCPU is not loaded.
    kept: Kept,
}

impl Vcpu {
    /// A vCPU after reset for CPUs like `engine`'s, whose memory the tables at `nested_root` translate.
    ///
    /// # Errors
    /// [`OutOfFrames`] when there is no memory for its structures.
    pub fn new(
        engine: &Engine,
        nested_root: Hpa,
        frames: &mut impl FrameSource,
    ) -> Result<Self, OutOfFrames> {
        Self::build(engine.capabilities, engine.maps, engine.fpu_method, nested_root, frames)
    }

    fn build(
        capabilities: Capabilities,
        maps: PermissionMaps,
        fpu_method: Method,
        nested_root: Hpa,
        frames: &mut impl FrameSource,
    ) -> Result<Self, OutOfFrames> {
        let fpu = Fpu::new(fpu_method, frames)?;
        let page = match VirtualApicPage::new(frames) {
            Ok(page) => page,
            Err(error) => {
                fpu.release(frames);
                return Err(error);
            }
        };
        let vmcs = match Vmcs::new(capabilities.revision, frames) {
            Ok(vmcs) => vmcs,
            Err(error) => {
                fpu.release(frames);
                page.release(frames);
                return Err(error);
            }
        };
        let mut vcpu = Self {
            gprs: Gprs::default(),
            rip: 0,
            rsp: 0,
            cr0_shadow: 0,
            cr4_shadow: 0,
            efer: 0,
            host_rsp: 0,
            reason: 0,
            outcome: Outcome::NotLoaded,
            due: Due::empty(),
            entry: Entry::Launch,
            guards: Guards::default(),
            vmcs,
            primary: capabilities.primary,
            on_entry: capabilities.on_entry,
            task_priority_exits: Wanted::No,
            page,
            apic: ApicStatus::default(),
            maps,
            capabilities,
            ept_pointer: ept_pointer(nested_root, capabilities.translation),
            tag: Tag::default(),
            fpu,
            kept: Kept::default(),
        };
        vcpu.prepare();
        vcpu.load_state(&VcpuState::reset());
        Ok(vcpu)
    }

    /// Fills in what stays the same for the vCPU's life.
    fn prepare(&mut self) {
        let Self { capabilities, maps, .. } = *self;
        let fields = [
            (Field::PinControls, capabilities.pin.into()),
            (Field::PrimaryControls, capabilities.primary.into()),
            (Field::SecondaryControls, capabilities.secondary.into()),
            (Field::ExitControls, capabilities.on_exit.into()),
            (Field::EntryControls, capabilities.on_entry.into()),
            (Field::ExceptionBitmap, EXCEPTIONS.into()),
            (Field::MsrBitmap, maps.msrs.as_u64()),
            (Field::IoBitmapA, maps.ports_a.as_u64()),
            (Field::IoBitmapB, maps.ports_b.as_u64()),
            (Field::VirtualApicAddress, self.page.hpa().as_u64()),
            (Field::ApicAccessAddress, maps.apic_page.as_u64()),
            (Field::PostedDescriptor, self.page.pending_hpa().as_u64()),
            (Field::PostedVector, vectors::POSTED.0.into()),
            (Field::EptPointer, self.ept_pointer),
            (Field::LinkPointer, NO_LINK),
            (Field::Cr0Mask, control_registers::CR0_MASK),
            (Field::Cr4Mask, control_registers::CR4_MASK),
        ];
        for (field, value) in fields {
            self.vmcs.write(field, value);
        }
        if capabilities.secondary & Secondary::PAUSE_LOOP_EXITING.bits() != 0 {
            self.vmcs.write(Field::PauseLoopGap, PAUSE_LOOP_GAP_CYCLES);
            self.vmcs.write(Field::PauseLoopWindow, PAUSE_LOOP_WINDOW_CYCLES);
        }
    }

    /// Brings the vCPU's VMCS, FPU and registers into `engine`'s CPU and gives it a VPID there.
    pub fn load_on_cpu(&mut self, engine: &mut Engine) {
        let assigned = engine.tags.assign(&mut self.tag);
        self.assign_tag(assigned);
        self.guards = engine.mitigations.guards();
        engine.mitigations.turn();
        // SAFETY: an `Engine` shows that its CPU is in VMX operation, and `load_on_cpu`'s callers load one vCPU a CPU.
        if unsafe { self.vmcs.load() }.is_err() {
            // Entering says that it is not loaded.
            return;
        }
        self.entry = Entry::Launch;
        self.host_rsp = 0;
        host_state::write(&mut self.vmcs, self.guards);
        self.fpu.restore();
        self.kept.to_hardware();
        self.page.pending().notify_by(vectors::POSTED, engine.apic_id);
    }

    fn assign_tag(&mut self, assigned: Assigned) {
        self.vmcs.write(Field::Vpid, self.tag.number().into());
        if assigned == Assigned::Stale {
            self.want_flush(Flush::Tag, Due::GUEST | Due::NESTED);
        }
    }

    /// Makes a flush due for this reason.
    fn want_flush(&mut self, reason: Flush, due: Due) {
        if !reason.is_left_out() {
            self.due |= due;
        }
    }

    /// Enters the guest on a CPU whose vulnerabilities want something done about it.
    #[cold]
    fn run_guarded(&mut self) -> u64 {
        self.guards.before_entry();
        // SAFETY: as for the entry without guards, in `interface`; `load_on_cpu` wrote the address of these guards.
        let outcome =
            unsafe { switch::run_guarded(&mut self.gprs, &mut self.host_rsp, self.entry, self.guards) };
        self.guards.after_exit();
        outcome
    }

    /// Drops what is due. The vCPU is loaded.
    #[cold]
    fn carry_out_due(&mut self) {
        let vpid = self.tag.number() as u16;
        // SAFETY: a vCPU is loaded only by an `Engine`, so this CPU is in VMX operation.
        self.due = unsafe {
            invalidation::carry_out(self.due, self.capabilities.translation, vpid, self.ept_pointer)
        };
    }

    /// Takes the vCPU out of this CPU, if it is there.
    pub fn unload(&mut self) {
        if !self.vmcs.is_loaded() {
            return;
        }
        self.page.pending().suppress();
        self.vmcs.unload();
        self.fpu.save();
        self.kept = Kept::from_hardware();
    }

    /// Ends the vCPU and gives its frames back.
    pub fn release(mut self, frames: &mut impl FrameSource) {
        self.unload();
        self.fpu.release(frames);
        self.page.release(frames);
        self.vmcs.release(frames);
    }

    /// What the exit that has just happened means, if it is a frequent one.
    #[inline(always)]
    fn after_exit(&mut self) -> Option<Exit> {
        self.reason = self.vmcs.read(Field::ExitReason) as u32;
        self.rip = self.vmcs.read(Field::Rip);
        self.rsp = self.vmcs.read(Field::Rsp);
        self.gprs.set(Gpr::Rsp, self.rsp);
        if self.entry == Entry::Launch {
            self.note_launch();
        }
        Some(match self.reason {
            reason::WRMSR => Exit::WriteMsr,
            reason::RDMSR => Exit::ReadMsr,
            reason::EPT_VIOLATION => self.nested_fault(),
            reason::IO => self.io(),
            reason::EXTERNAL_INTERRUPT => self.host_interrupt(),
            reason::HLT => Exit::Hlt,
            reason::CPUID => Exit::Cpuid,
            reason::VMCALL => Exit::Hypercall,
            _ => return None,
        })
    }

    #[cold]
    fn note_launch(&mut self) {
        // An entry that fails late leaves the VMCS as it was (SDM 27.8).
        if self.reason & reason::ENTRY_FAILURE == 0 {
            self.entry = Entry::Resume;
        }
    }

    #[inline(always)]
    fn nested_fault(&mut self) -> Exit {
        let qualification = self.vmcs.read(Field::Qualification);
        let vectoring = self.vmcs.read(Field::VectoringInfo);
        if event::is_valid(vectoring) || qualification & violation::NMI_UNBLOCKED != 0 {
            self.settle_delivery(qualification & violation::NMI_UNBLOCKED != 0);
        }
        Exit::NestedFault(exit::nested_fault(qualification, self.vmcs.read(Field::GuestPhysicalAddress)))
    }

    /// An interrupt that the exit has acknowledged is handled here: its handler, as all of them, only leaves a sign.
    #[inline(always)]
    fn host_interrupt(&self) -> Exit {
        if self.capabilities.posts_interrupts() {
            trap::acknowledged(Vector(self.vmcs.read(Field::ExitInterruptionInfo) as u8));
        }
        Exit::HostInterrupt
    }

    #[inline(always)]
    fn io(&mut self) -> Exit {
        let length = self.vmcs.read(Field::InstructionLength);
        let mut next = self.rip.wrapping_add(length);
        if (next ^ self.rip) >> 32 != 0 {
            next = self.wrapped(next);
        }
        Exit::Io(exit::io(self.vmcs.read(Field::Qualification), next))
    }
}

/// The EPT pointer for tables at `root`.
fn ept_pointer(root: Hpa, translation: Translation) -> u64 {
    let marks = if translation.contains(Translation::ACCESSED_DIRTY) { ACCESSED_DIRTY } else { 0 };
    root.as_u64() | WRITE_BACK | FOUR_LEVELS | marks
}
