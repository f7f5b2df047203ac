//! HLT.

use crate::exits::Stop;
use crate::vm::{Lifecycle, Vm};
use seams::GuestMemory;
use vcpu::{Vcpu, decode::Known};

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// The interrupt that ends the wait returns behind HLT.
    #[inline]
    pub(super) fn hlt(&mut self) -> Result<(), Stop> {
        self.skip(Known::Hlt)?;
        self.lifecycle = Lifecycle::Halted;
        if !self.processor_runs_apic() {
            self.catch_up_apic();
        }
        self.look_at_events();
        Ok(())
    }
}
