//! Faults on purpose: handoffs that the hypervisor must not believe.
//!
//! Only builds with the feature `seeded-faults` have this module; no image that is released is one of them. The boot
//! override `fault=NAME` chooses one fault; names that are not here are for the hypervisor.

/// The key of the boot override.
const KEY: &str = "fault=";

/// A bit of the block that is flipped by the fault of this name. Where what is, `handoff` says.
const FAULTS: [(&str, usize); 4] = [
    ("handoff-magic", 0),
    ("handoff-version", VERSION_OFFSET),
    ("handoff-header", PAYLOAD_CHECKSUM_OFFSET),
    ("handoff-payload", handoff::HEADER_BYTES + 100),
];
const VERSION_OFFSET: usize = 8;
const PAYLOAD_CHECKSUM_OFFSET: usize = 24;
const FLIPPED: u8 = 1 << 1;

/// Damages the handoff in `block` as the boot overrides want it.
pub fn damage(block: &mut [u8], overrides: &str) {
    let wanted = overrides.split(' ').filter_map(|word| word.strip_prefix(KEY)).next_back();
    let fault = FAULTS.iter().find(|(name, _)| wanted == Some(*name));
    if let Some(byte) = fault.and_then(|&(_, offset)| block.get_mut(offset)) {
        *byte ^= FLIPPED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_fault_of_the_overrides_is_done() {
        let mut block = [0; 200];
        damage(&mut block, "log=debug fault=handoff-magic fault=handoff-version");
        assert_eq!(block.iter().position(|byte| *byte != 0), Some(VERSION_OFFSET));
        damage(&mut block, "fault=panic");
        assert_eq!(block.iter().filter(|byte| **byte != 0).count(), 1);
    }
}
