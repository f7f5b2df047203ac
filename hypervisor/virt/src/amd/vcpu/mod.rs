//! A vCPU over its VMCB.
//!
//! Between exit and entry the VMCB and [`Gprs`] hold the guest's state; FPU, XCR0 and DR0-DR3 are in hardware from
//! [`Vcpu::load_on_cpu`] to [`Vcpu::unload`]. RAX and RSP are in both `gprs` and the VMCB: `gprs` counts.
//!
//! Invariants: every setter of a cached VMCB field takes its clean bit back; [`NmiMask`] and the intercept of IRET change
//! together.
//!
//! Why unsafe: the VMCB is a frame seen through a pointer, and entering runs the world switch.

mod events;
mod interface;
mod state;
#[cfg(test)]
pub mod tests;

use super::bring_up::Engine;
use super::capabilities::{Capabilities, Features};
use super::consistency::{self, Finding};
use super::exit::{self, code};
use super::intercepts::{ALWAYS1, ALWAYS2, CR_WRITES, EXCEPTIONS, Intercepts1};
use super::nmi::NmiMask;
use super::permission_maps::PermissionMaps;
use super::vmcb::{CleanBits, InterruptControl, NESTED_PAGING, SaveArea, TlbControl, Vmcb};
use super::{event, switch};
use crate::debug_registers;
use crate::flushes::Flush;
use crate::fpu::Fpu;
use crate::frames::{FrameSource, Frames, OutOfFrames};
use crate::mitigations::Guards;
use crate::tags::{Assigned, Tag};
use crate::xsave::Method;
use base::Hpa;
use vcpu::{Exit, Gpr, Gprs, VcpuState, Wanted};

/// How many PAUSEs in a row look like a spin loop, and how many cycles apart they still are in a row.
const PAUSE_FILTER_COUNT: u16 = 3000;
const PAUSE_FILTER_THRESHOLD_CYCLES: u16 = 128;

/// Bits of RFLAGS.
mod rflags {
    pub const FIXED: u64 = 1 << 1;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const RF: u64 = 1 << 16;
    pub const VM: u64 = 1 << 17;
}

/// A virtual CPU on AMD-V.
#[derive(Debug)]
pub struct Vcpu {
    gprs: Gprs,
    vmcb: Frames,
    /// The own state of the CPU that the vCPU is loaded on, for VMLOAD; none while it is not loaded.
    host: Option<Hpa>,
    /// What that CPU's world switch has to do against its vulnerabilities.
    guards: Guards,
    /// What the processor may take from its own copy, as long as no setter changes it.
    clean_after_exit: CleanBits,
    nmi_mask: NmiMask,
    nmi_window: Wanted,
    capabilities: Capabilities,
    /// Why VMRUN will refuse the registers as they were last set.
    inconsistency: Option<Finding>,
    tag: Tag,
    fpu: Fpu,
    /// DR0-DR3 while the vCPU is not loaded.
    breakpoints: [u64; 4],
}

/// The VMCB in `frames`, to change. Apart from `self`, so that other fields can be used beside it.
#[inline(always)]
fn block_mut(frames: &mut Frames) -> &mut Vmcb {
    // SAFETY: the frame is the vCPU's alone, page-aligned, began zeroed, and every bit pattern is a `Vmcb`; the
    // processor writes to it only inside `switch::run`, while no reference exists.
    unsafe { frames.pointer().cast::<Vmcb>().as_mut() }
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
        let vmcb = match frames.take(1) {
            Ok(vmcb) => vmcb,
            Err(error) => {
                fpu.release(frames);
                return Err(error);
            }
        };
        let has_clean_bits = capabilities.features.contains(Features::CLEAN_BITS);
        let mut vcpu = Self {
            gprs: Gprs::default(),
            vmcb,
            host: None,
            guards: Guards::default(),
            clean_after_exit: if has_clean_bits { CleanBits::all() } else { CleanBits::empty() },
            nmi_mask: NmiMask::Open,
            nmi_window: Wanted::No,
            capabilities,
            inconsistency: None,
            tag: Tag::default(),
            fpu,
            breakpoints: [0; 4],
        };
        vcpu.prepare(maps, nested_root);
        vcpu.load_state(&VcpuState::reset());
        Ok(vcpu)
    }

    /// Fills in what stays the same for the vCPU's life.
    fn prepare(&mut self, maps: PermissionMaps, nested_root: Hpa) {
        let features = self.capabilities.features;
        let control = &mut self.vmcb_mut().control;
        let mut intercepts1 = ALWAYS1;
        if features.contains(Features::PAUSE_FILTER) {
            // Without the filter every PAUSE would exit; then a spin loop lasts until the host's timer ends its turn.
            intercepts1 |= Intercepts1::PAUSE;
            control.pause_filter_count = PAUSE_FILTER_COUNT;
        }
        if features.contains(Features::PAUSE_FILTER_THRESHOLD) {
            control.pause_filter_threshold = PAUSE_FILTER_THRESHOLD_CYCLES;
        }
        control.intercepts1 = intercepts1.bits();
        control.intercepts2 = ALWAYS2.bits();
        control.intercept_cr = CR_WRITES;
        control.intercept_exceptions = EXCEPTIONS;
        control.msrpm_base = maps.msrs.as_u64();
        control.iopm_base = maps.ports.as_u64();
        control.interrupt_control = InterruptControl::MASKING.bits();
        control.nested_control = NESTED_PAGING;
        control.nested_cr3 = nested_root.as_u64();
    }

    /// Brings the vCPU's FPU and debug registers into `engine`'s CPU and gives it an ASID there.
    pub fn load_on_cpu(&mut self, engine: &mut Engine) {
        let assigned = engine.tags.assign(&mut self.tag);
        self.assign_tag(assigned);
        self.host = Some(engine.host.hpa());
        self.guards = engine.mitigations.guards();
        engine.mitigations.turn();
        self.fpu.restore();
        debug_registers::write(&self.breakpoints);
    }

    fn assign_tag(&mut self, assigned: Assigned) {
        let asid = self.tag.number();
        let control = &mut self.vmcb_mut().control;
        control.asid = asid;
        // Another CPU may hold another vCPU's copy under this VMCB's address, or an older one of this.
        control.clean = CleanBits::empty().bits();
        if assigned == Assigned::Stale {
            // It stays due in the VMCB until an entry has carried it out.
            self.flush(Flush::Tag);
        }
    }

    fn flush(&mut self, flush: Flush) {
        if flush.is_left_out() {
            return;
        }
        let by_asid = self.capabilities.features.contains(Features::FLUSH_BY_ASID);
        let flush = if by_asid { TlbControl::FlushGuest } else { TlbControl::FlushAll };
        self.vmcb_mut().control.tlb_control = flush as u32;
    }

    /// Takes the vCPU's FPU and debug registers out of this CPU, if they are there.
    pub fn unload(&mut self) {
        if self.host.take().is_some() {
            self.fpu.save();
            self.breakpoints = debug_registers::read();
        }
    }

    /// Ends the vCPU and gives its frames back.
    pub fn release(self, frames: &mut impl FrameSource) {
        self.fpu.release(frames);
        frames.give_back(self.vmcb);
    }

    /// The VMCB.
    #[inline(always)]
    pub(in crate::amd) fn vmcb(&self) -> &Vmcb {
        // SAFETY: as for `block_mut`, with shared access to `self`.
        unsafe { self.vmcb.pointer().cast::<Vmcb>().as_ref() }
    }

    /// The VMCB, to change.
    #[inline(always)]
    pub(in crate::amd) fn vmcb_mut(&mut self) -> &mut Vmcb {
        block_mut(&mut self.vmcb)
    }

    /// The save area to change, after taking back the clean bits `changed`.
    #[inline(always)]
    fn save_mut(&mut self, changed: CleanBits) -> &mut SaveArea {
        let vmcb = self.vmcb_mut();
        vmcb.control.clean &= !changed.bits();
        &mut vmcb.save
    }

    /// Changes control registers, and judges the outcome.
    fn set_control_registers(&mut self, set: impl FnOnce(&mut SaveArea)) {
        set(self.save_mut(CleanBits::CONTROL_REGISTERS));
        self.judge_registers();
    }

    fn judge_registers(&mut self) {
        self.inconsistency = consistency::registers(&self.vmcb().save, &self.capabilities);
    }

    /// Enters the guest on a CPU whose vulnerabilities want something done about it.
    #[cold]
    pub(super) fn run_guarded(&mut self, host: Hpa) {
        self.guards.before_entry();
        // SAFETY: as for the entry without guards, in `interface`.
        unsafe { switch::run_guarded(&mut self.gprs, self.vmcb.hpa(), host, self.guards) };
        self.guards.after_exit();
    }

    /// Takes over what an exit left behind.
    #[inline(always)]
    fn settle(&mut self) {
        let vmcb = block_mut(&mut self.vmcb);
        self.gprs.set(Gpr::Rax, vmcb.save.rax);
        self.gprs.set(Gpr::Rsp, vmcb.save.rsp);
        let control = &mut vmcb.control;
        control.tlb_control = TlbControl::Keep as u32;
        control.clean = self.clean_after_exit.bits();
        control.event_injection = 0;
        if event::is_valid(control.exit_int_info) {
            self.requeue_event();
        }
    }

    /// Queues the event again whose delivery the exit has interrupted; a task switch is what the event led to.
    #[cold]
    fn requeue_event(&mut self) {
        let control = &mut self.vmcb_mut().control;
        if control.exit_code != code::TASK_SWITCH {
            control.event_injection = event::requeue(control.exit_int_info);
        }
    }

    /// What the exit that has just happened means, if it is a frequent one. A refusal is none: settling it
    /// drops the event that was queued, for a vCPU that does not go on.
    #[inline(always)]
    fn after_exit(&mut self) -> Option<Exit> {
        self.settle();
        exit::decode_frequent(&self.vmcb().control)
    }
}
