//! Checks on the VMX controls (SDM 325462, volume 3, section 27.2.1).

mod entry;
mod execution;
mod exit;

use super::{Refusal, View};

/// All of them, in the manual's order.
pub fn check(view: &View<'_>) -> Result<(), Refusal> {
    execution::check(view)?;
    exit::check(view)?;
    entry::check(view)
}
