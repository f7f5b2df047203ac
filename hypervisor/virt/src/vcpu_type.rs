//! The one vCPU type: whichever vendor's, dispatched statically.

use crate::amd;
use crate::engine::Engine;
use crate::frames::FrameSource;
use crate::intel;
use sync::pending::PendingInterrupts;
use vcpu::{
    ApicPage, ApicStatus, CpuMode, Event, Exit, Gprs, InterruptState, Segment, SegmentName, VcpuState,
    VectorValue, Wanted,
};

/// A virtual CPU.
///
/// Only a vCPU that is loaded on a CPU can be entered: [`Vcpu::load_on_cpu`] brings its FPU and debug registers into
/// the hardware, [`Vcpu::unload`] takes them out before the CPU turns to another.
#[derive(Debug)]
pub enum Vcpu {
    /// AMD-V's.
    Amd(amd::vcpu::Vcpu),
    /// VT-x's.
    Intel(intel::vcpu::Vcpu),
}

impl Vcpu {
    /// Loads the vCPU on `engine`'s CPU, the one that executes this. No other may be loaded there.
    pub fn load_on_cpu(&mut self, engine: &mut Engine) {
        match (self, engine) {
            (Self::Amd(vcpu), Engine::Amd(engine)) => vcpu.load_on_cpu(engine),
            (Self::Intel(vcpu), Engine::Intel(engine)) => vcpu.load_on_cpu(engine),
            // No machine mixes vendors. A vCPU that stays unloaded says so when it is entered.
            (Self::Amd(_), Engine::Intel(_)) | (Self::Intel(_), Engine::Amd(_)) => {}
        }
    }

    /// Takes the vCPU off this CPU. One that is not loaded stays as it is.
    pub fn unload(&mut self) {
        match self {
            Self::Amd(vcpu) => vcpu.unload(),
            Self::Intel(vcpu) => vcpu.unload(),
        }
    }

    /// Ends the vCPU and gives its frames back.
    pub fn release(self, frames: &mut impl FrameSource) {
        match self {
            Self::Amd(vcpu) => vcpu.release(frames),
            Self::Intel(vcpu) => vcpu.release(frames),
        }
    }
}

/// Hands each method of the trait to the vendor's vCPU.
macro_rules! delegate {
    ($(fn $name:ident(&self $(, $arg:ident: $ty:ty)*) $(-> $out:ty)?;)* @mut $(fn $name_mut:ident(&mut self $(, $arg_mut:ident: $ty_mut:ty)*) $(-> $out_mut:ty)?;)*) => {
        $(
            #[inline(always)]
            fn $name(&self $(, $arg: $ty)*) $(-> $out)? {
                match self {
                    Self::Amd(vcpu) => vcpu.$name($($arg),*),
                    Self::Intel(vcpu) => vcpu.$name($($arg),*),
                }
            }
        )*
        $(
            #[inline(always)]
            fn $name_mut(&mut self $(, $arg_mut: $ty_mut)*) $(-> $out_mut)? {
                match self {
                    Self::Amd(vcpu) => vcpu.$name_mut($($arg_mut),*),
                    Self::Intel(vcpu) => vcpu.$name_mut($($arg_mut),*),
                }
            }
        )*
    };
}

impl vcpu::Vcpu for Vcpu {
    delegate! {
        fn gprs(&self) -> &Gprs;
        fn rip(&self) -> u64;
        fn rflags(&self) -> u64;
        fn segment(&self, name: SegmentName) -> Segment;
        fn cr0(&self) -> u64;
        fn cr3(&self) -> u64;
        fn cr4(&self) -> u64;
        fn efer(&self) -> u64;
        fn xcr0(&self) -> u64;
        fn pat(&self) -> u64;
        fn dr7(&self) -> u64;
        fn task_priority(&self) -> u8;
        fn cpl(&self) -> u8;
        fn mode(&self) -> CpuMode;
        fn pending_interrupts(&self) -> Option<&PendingInterrupts>;
        fn instruction_length(&self) -> Option<u8>;
        fn instruction_bytes(&self) -> &[u8];
        fn interrupt_state(&self) -> InterruptState;
        fn queued_event(&self) -> Option<Event>;
        fn tsc_offset(&self) -> u64;
        fn save(&self) -> VcpuState;
        @mut
        fn enter(&mut self) -> Option<Exit>;
        fn rare_exit(&mut self) -> Option<Exit>;
        fn gprs_mut(&mut self) -> &mut Gprs;
        fn set_rip(&mut self, rip: u64);
        fn set_rflags(&mut self, value: u64);
        fn set_cr0(&mut self, value: u64);
        fn set_cr2(&mut self, value: u64);
        fn set_cr4(&mut self, value: u64);
        fn set_pdptes(&mut self, pdptes: [u64; 4]);
        fn set_efer(&mut self, value: u64);
        fn set_xcr0(&mut self, value: u64);
        fn vector(&mut self, number: u8) -> [u8; 32];
        fn set_vector(&mut self, number: u8, value: VectorValue);
        fn set_pat(&mut self, value: u64);
        fn hit_breakpoints(&mut self, hits: u64);
        fn set_task_priority(&mut self, priority: u8);
        fn want_task_priority_exits(&mut self, wanted: Wanted);
        fn apic_page(&mut self) -> Option<&mut ApicPage>;
        fn follow_apic(&mut self, status: &ApicStatus);
        fn inject(&mut self, event: Event);
        fn want_interrupt_window(&mut self, wanted: Wanted);
        fn want_nmi_window(&mut self, wanted: Wanted);
        fn set_tsc_offset(&mut self, offset: u64);
        fn flush_tlb(&mut self);
        fn load(&mut self, state: &VcpuState);
    }
}
