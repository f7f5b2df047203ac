//! Dropping cached translations (SDM 29.4.3): linear and combined ones are cached under a VPID, guest-physical and combined
//! ones under the root of the extended page tables.
//!
//! ```text
//!   the guest's registers changed      INVVPID of its VPID
//!   the nested tables changed          INVEPT of these tables
//!   the VPID is new to this vCPU       INVVPID of the VPID, and INVEPT of the tables: this CPU may have walked older ones
//! ```
//! What is due is done right before the next entry, on the CPU that enters.
//!
//! Why unsafe: the instructions need VMX operation.

use super::capabilities::Translation;
use super::vmcs::{invept, invvpid};
use bitflags::bitflags;

/// The kinds of both instructions (SDM, volume 3, chapter 31).
const SINGLE_CONTEXT: u64 = 1;
const ALL_CONTEXTS: u64 = 2;

bitflags! {
    /// What is due.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Due: u8 {
        /// Translations under the VPID.
        const GUEST = 1 << 0;
        /// Translations by the extended page tables.
        const NESTED = 1 << 1;
    }
}

/// Which kind of INVVPID a processor gets: the narrowest that it has.
const fn guest_kind(translation: Translation) -> u64 {
    if translation.contains(Translation::INVVPID_SINGLE) { SINGLE_CONTEXT } else { ALL_CONTEXTS }
}

/// Which kind of INVEPT a processor gets.
const fn nested_kind(translation: Translation) -> u64 {
    if translation.contains(Translation::INVEPT_SINGLE) { SINGLE_CONTEXT } else { ALL_CONTEXTS }
}

/// Drops what is `due` on this CPU, and gives back what could not be dropped.
///
/// # Safety
/// The CPU is in VMX operation.
pub unsafe fn carry_out(due: Due, translation: Translation, vpid: u16, ept_pointer: u64) -> Due {
    let mut left = due;
    // SAFETY: by the contract above.
    if due.contains(Due::GUEST) && unsafe { invvpid(guest_kind(translation), vpid) }.is_ok() {
        left.remove(Due::GUEST);
    }
    // SAFETY: as above.
    if due.contains(Due::NESTED) && unsafe { invept(nested_kind(translation), ept_pointer) }.is_ok() {
        left.remove(Due::NESTED);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_cannot_drop_one_context_drops_all() {
        let all = Translation::all();
        assert_eq!((guest_kind(all), nested_kind(all)), (SINGLE_CONTEXT, SINGLE_CONTEXT));
        let few = all - Translation::INVVPID_SINGLE - Translation::INVEPT_SINGLE;
        assert_eq!((guest_kind(few), nested_kind(few)), (ALL_CONTEXTS, ALL_CONTEXTS));
    }
}
