//! What many checks ask of a value.

use super::View;

/// The size of an MSR area's entry, in bytes (SDM 325462, volume 3, section 25.7.2).
const MSR_ENTRY_BYTES: u64 = 16;

impl View<'_> {
    /// Whether `address` has no bit beyond the width of physical addresses.
    pub fn is_physical(&self, address: u64) -> bool {
        address.checked_shr(self.limits.physical_bits).unwrap_or_default() == 0
    }

    /// Whether `address` is a physical address and a multiple of 2 to the power of `alignment_bits`.
    pub fn is_aligned(&self, address: u64, alignment_bits: u32) -> bool {
        self.is_physical(address) && address.trailing_zeros() >= alignment_bits
    }

    /// Whether a page can lie at `address`.
    pub fn is_page(&self, address: u64) -> bool {
        self.is_aligned(address, 12)
    }

    /// Whether bits 63 down to the highest of linear addresses are the same.
    pub fn is_canonical(&self, address: u64) -> bool {
        let unused = u64::BITS.saturating_sub(self.limits.linear_bits).min(u64::BITS - 1);
        (address << unused) as i64 >> unused == address as i64
    }

    /// Whether an MSR area of `count` entries can lie at `address`.
    pub fn is_msr_area(&self, address: u64, count: u64) -> bool {
        let last =
            count.checked_mul(MSR_ENTRY_BYTES).and_then(|bytes| address.checked_add(bytes)?.checked_sub(1));
        count == 0 || self.is_aligned(address, 4) && last.is_some_and(|last| self.is_physical(last))
    }
}

/// Whether `value` has the bits of `fixed.0` and none outside `fixed.1`.
pub const fn obeys_fixed(value: u64, fixed: (u64, u64)) -> bool {
    value & fixed.0 == fixed.0 && value & !fixed.1 == 0
}

/// Whether each of the eight fields is UC, WC, WT, WP, WB or UC- (SDM, volume 3, section 12.12.2).
pub fn is_pat(value: u64) -> bool {
    value.to_le_bytes().iter().all(|field| matches!(field, 0 | 1 | 4..=7))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{LIMITS, Vmcs};
    use super::*;

    #[test]
    fn an_address_is_judged_by_the_widths_of_the_processor() {
        let vmcs = Vmcs::default();
        let view = View { reader: &vmcs, limits: &LIMITS };
        assert!(view.is_page(0xff_ffff_f000) && !view.is_page(1 << 40) && !view.is_page(0x800));
        assert!(view.is_canonical(0x7fff_ffff_ffff) && view.is_canonical(0xffff_8000_0000_0000));
        assert!(!view.is_canonical(0x8000_0000_0000) && !view.is_canonical(1 << 63));
    }

    #[test]
    fn an_msr_area_ends_within_physical_memory() {
        let vmcs = Vmcs::default();
        let view = View { reader: &vmcs, limits: &LIMITS };
        assert!(view.is_msr_area((1 << 40) - 32, 2) && !view.is_msr_area((1 << 40) - 32, 3));
        assert!(!view.is_msr_area(8, 1) && view.is_msr_area(8, 0));
        assert!(!view.is_msr_area(16, u64::MAX));
    }
}
