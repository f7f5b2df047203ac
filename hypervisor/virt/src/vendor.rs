//! What there is once for each vendor, of which a machine has one: chosen when a vCPU is made, matched where a VM is
//! entered or asked, never on the way from an exit to the next entry.
//!
//! A vCPU that would choose at each of its methods would do so many times an exit. So what owns a vCPU is made for either
//! type, and [`Either`] holds the one that is there:
//!
//! ```text
//!   Engine::new_vcpu ──> Either<Itself> ──map_either!──> Either<a VM's family> ──either!──> serve, for one vendor's vCPU
//! ```

use crate::engine::Engine;
use crate::frames::FrameSource;
use crate::{amd, intel};

/// A vCPU that CPUs can be given.
///
/// Only one that is loaded on a CPU can be entered: [`CpuResident::load_on_cpu`] brings its FPU and other registers into
/// the hardware, [`CpuResident::unload`] takes them out before the CPU turns to another.
pub trait CpuResident: vcpu::Vcpu {
    /// Loads the vCPU on `engine`'s CPU, the one that executes this. No other may be loaded there.
    fn load_on_cpu(&mut self, engine: &mut Engine);

    /// Takes the vCPU off this CPU. One that is not loaded stays as it is.
    fn unload(&mut self);

    /// Ends the vCPU and gives its frames back.
    fn release(self, frames: &mut impl FrameSource);
}

// No machine mixes vendors. A vCPU that stays unloaded says so when it is entered.
macro_rules! resident {
    ($vendor:ident, $variant:ident) => {
        impl CpuResident for $vendor::vcpu::Vcpu {
            fn load_on_cpu(&mut self, engine: &mut Engine) {
                if let Engine::$variant(engine) = engine {
                    self.load_on_cpu(engine);
                }
            }

            fn unload(&mut self) {
                self.unload();
            }

            fn release(self, frames: &mut impl FrameSource) {
                self.release(frames);
            }
        }
    };
}

resident!(amd, Amd);
resident!(intel, Intel);

/// What is made for a type of vCPU: a VM, say.
pub trait OfVcpu {
    /// The type that is made for `V`.
    type Of<V: CpuResident>;
}

/// That which is made for the vCPU of the machine's vendor.
#[allow(missing_docs)]
pub enum Either<F: OfVcpu> {
    Amd(F::Of<amd::vcpu::Vcpu>),
    Intel(F::Of<intel::vcpu::Vcpu>),
}

/// The vCPU itself.
#[derive(Debug)]
pub struct Itself;

impl OfVcpu for Itself {
    type Of<V: CpuResident> = V;
}

/// A vCPU of the machine's vendor.
pub type Vcpu = Either<Itself>;

/// Evaluates an expression over what an [`Either`] holds, for each vendor.
#[macro_export]
macro_rules! either {
    ($either:expr, $held:ident => $expression:expr) => {
        match $either {
            $crate::Either::Amd($held) => $expression,
            $crate::Either::Intel($held) => $expression,
        }
    };
}

/// Makes an [`Either`] of another family of what one holds.
#[macro_export]
macro_rules! map_either {
    ($either:expr, $held:ident => $expression:expr) => {
        match $either {
            $crate::Either::Amd($held) => $crate::Either::Amd($expression),
            $crate::Either::Intel($held) => $crate::Either::Intel($expression),
        }
    };
}
