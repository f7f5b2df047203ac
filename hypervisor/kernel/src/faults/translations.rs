//! Translations that stay when they should go, and what makes that visible: few tags, and nested tables that change under
//! a running guest.
//!
//! The guest `remapping` of `tests/guests` asks for changes by a word in its memory, which is looked at whenever it gives
//! the CPU up.

use super::{Fault, is_chosen};
use base::{Gpa, KIB, MIB};
use memory::{GuestMap, GuestMapError};
use seams::GuestMemory;
use serving::AnyVm;
use virt::flushes::{self, Flush};

/// Tags are below this: two vCPUs have one each, a third takes one away.
const TAGS_END: u32 = 3;

/// The pages that change, and the one with the word.
const FIRST: Gpa = Gpa::from_low_bits(12 * MIB);
const SECOND: Gpa = Gpa::from_low_bits(12 * MIB + 4 * KIB);
const PROTECTED: Gpa = Gpa::from_low_bits(12 * MIB + 8 * KIB);
const WORD: Gpa = Gpa::from_low_bits(12 * MIB + 12 * KIB);

/// Words: show each of the first two pages where the other was; each in its own place; take the right to write the third.
const EXCHANGE: u8 = 1;
const RESTORE: u8 = 2;
const PROTECT: u8 = 3;
/// The answer.
const DONE: u8 = 0;

/// What a chosen fault needs before CPUs are brought up.
pub(super) fn prepare(fault: Fault) {
    match fault {
        Fault::KeptTranslations => Flush::Guest.leave_out(),
        Fault::KeptNestedTranslations => Flush::Nested.leave_out(),
        Fault::KeptTagTranslations => Flush::Tag.leave_out(),
        _ => {}
    }
    if matches!(fault, Fault::FewTags | Fault::KeptTagTranslations) {
        flushes::limit_tags(TAGS_END);
    }
}

/// Does what the guest of `vm` asks for, if that was chosen.
pub fn remap_if_asked(vm: &mut AnyVm) {
    if !is_chosen(Fault::Remapping) && !is_chosen(Fault::KeptNestedTranslations) {
        return;
    }
    let change: fn(&mut GuestMap) -> Result<(), GuestMapError> = match vm.memory().read_u8(WORD) {
        Ok(EXCHANGE) => |map| map.show_page(FIRST, SECOND).and_then(|()| map.show_page(SECOND, FIRST)),
        Ok(RESTORE) => |map| map.show_page(FIRST, FIRST).and_then(|()| map.show_page(SECOND, SECOND)),
        Ok(PROTECT) => |map| map.protect_page(PROTECTED),
        _ => return,
    };
    match vm.change_memory(|memory| change(memory.map_mut())) {
        Ok(()) => _ = vm.memory().write(WORD, &[DONE]),
        Err(error) => log::error!("vm {}: {error}", vm.name()),
    }
}
