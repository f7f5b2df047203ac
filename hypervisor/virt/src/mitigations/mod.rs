//! What is done about the processor's vulnerabilities: one table and one plan for both vendors.
//!
//! ```text
//!   CPUID, ARCH_CAPABILITIES ─▶ processor ─▶ vulnerabilities ─▶ actions ─▶ apply: once, at a turn, at entries and exits
//!                                                  └───────────────┴────▶ report: `host cpus`
//! ```
//!
//! It is one place, not a folder a vendor: the vendors' processors differ in rows of the table, while SPEC_CTRL, PRED_CMD
//! and VERW are the same registers and the same instruction on both. The plan is made once per CPU at bring-up; entering
//! and leaving a guest executes what it says, and on a processor that needs nothing only tests its flags.
//!
//! What bounds all of it: no other guest's memory is mapped while a CPU serves a guest (`memory`), so that speculation in
//! the hypervisor reaches the hypervisor's own data and the memory of the guest that steers it.
//!
//! Guests are shown no SPEC_CTRL, PRED_CMD, FLUSH_CMD or ARCH_CAPABILITIES, as these are not switched with them
//! (`vcpu::cpuid::features`, `vcpu::permission`): they protect themselves by software alone, and by VERW.
//!
//! Sources: Intel, "Affected Processors: Guidance for Security Issues on Intel Processors", and SDM volume 4 for the
//! registers; AMD security bulletins SB-1037 (retbleed), 7005 (SRSO), 7008 (Zenbleed), 7029 (TSA), and "Software
//! techniques for managing speculation on AMD processors"; `docs/mitigations.md` for the whole table.

mod actions;
mod apply;
mod processor;
mod report;
#[cfg(test)]
mod tests;
mod vulnerabilities;

pub use apply::Guards;
pub(crate) use apply::{clear_buffers, fill_return_stack};

use actions::Actions;
use memory::ExecutablePages;
use processor::Processor;
use vulnerabilities::Vulnerabilities;

/// One CPU's vulnerabilities, and what is done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mitigations {
    processor: Processor,
    vulnerabilities: Vulnerabilities,
    actions: Actions,
}

impl Mitigations {
    /// Those of `processor`.
    fn of(processor: Processor) -> Self {
        let vulnerabilities = Vulnerabilities::of(&processor);
        Self { processor, vulnerabilities, actions: Actions::of(&processor, vulnerabilities) }
    }

    /// How large the pages may be from which guests execute.
    pub const fn executable_pages(&self) -> ExecutablePages {
        if self.actions.contains(Actions::SMALL_EXECUTABLE_PAGES) {
            ExecutablePages::SmallOnly
        } else {
            ExecutablePages::AnySize
        }
    }
}
