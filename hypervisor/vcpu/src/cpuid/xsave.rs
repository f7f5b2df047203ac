//! Leaf 0xD: the XSAVE area for the components that a guest may enable (SDM volume 1, section 13.2 and 13.4).

use super::{Host, Registers, ZERO, features as f};
use crate::control::xcr0;

/// The components a guest can have, if the host has them.
const OFFERED: u64 = xcr0::X87 | xcr0::SSE | xcr0::AVX | xcr0::AVX512 | xcr0::PKRU;
/// One past the highest component offered.
const COMPONENTS: u32 = 10;
/// The legacy region and the header.
const FIXED_BYTES: u32 = 576;
/// Leaf 0xD.i, ECX: the component starts at a multiple of 64 in the compacted format.
const ALIGNED: u32 = 1 << 1;
/// Leaf 1, ECX.
const XSAVE: u32 = 1 << 26;

/// One component's place in the area.
#[derive(Clone, Copy, Debug, Default)]
struct Component {
    size_bytes: u32,
    /// In the standard format.
    offset_bytes: u32,
    alignment: u32,
}

/// The layout of the XSAVE area.
#[derive(Clone, Debug)]
pub(super) struct Xsave {
    available: u64,
    instructions: u32,
    components: [Component; COMPONENTS as usize],
}

impl Xsave {
    /// The layout on `host`, or `None` when it has no XSAVE.
    pub(super) fn of<F: Fn(u32, u32) -> Registers>(host: &Host<F>) -> Option<Self> {
        if host.bits(&f::LEAF_1_ECX) & XSAVE == 0 {
            return None;
        }
        let [low, _, _, high] = host.ask(0xd, 0);
        let mut available = (u64::from(high) << 32 | u64::from(low)) & OFFERED;
        if available & xcr0::AVX512 != xcr0::AVX512 || available & xcr0::AVX == 0 {
            available &= !xcr0::AVX512;
        }
        let mut components = [Component::default(); COMPONENTS as usize];
        for (number, component) in (0..COMPONENTS).zip(components.iter_mut()).skip(2) {
            if available >> number & 1 != 0 {
                let [size_bytes, offset_bytes, flags, _] = host.ask(0xd, number);
                *component = Component { size_bytes, offset_bytes, alignment: flags & ALIGNED };
            }
        }
        let instructions = host.bits(&f::LEAF_D_1_EAX);
        (available & xcr0::X87 != 0).then_some(Self { available, instructions, components })
    }

    /// The components of XCR0 that a guest may enable.
    pub(super) const fn components(&self) -> u64 {
        self.available
    }

    /// The answer to leaf 0xD, `subleaf`, with `xcr0` in force.
    pub(super) fn query(&self, subleaf: u32, xcr0: u64) -> Registers {
        match subleaf {
            0 => {
                let (now, at_most) = (self.standard_bytes(xcr0), self.standard_bytes(self.available));
                [self.available as u32, now, at_most, (self.available >> 32) as u32]
            }
            1 => [self.instructions, self.compacted_bytes(xcr0), 0, 0],
            _ => match self.components.get(subleaf as usize) {
                Some(c) if c.size_bytes != 0 => [c.size_bytes, c.offset_bytes, c.alignment, 0],
                _ => ZERO,
            },
        }
    }

    fn enabled(&self, xcr0: u64) -> impl Iterator<Item = &Component> {
        let numbered = (0u32..).zip(&self.components);
        numbered.filter(move |(number, _)| xcr0 >> number & 1 != 0).map(|(_, component)| component)
    }

    fn standard_bytes(&self, xcr0: u64) -> u32 {
        let ends = self.enabled(xcr0).map(|c| c.offset_bytes.saturating_add(c.size_bytes));
        ends.fold(FIXED_BYTES, u32::max)
    }

    fn compacted_bytes(&self, xcr0: u64) -> u32 {
        self.enabled(xcr0).fold(FIXED_BYTES, |end, c| {
            let start = if c.alignment != 0 { end.saturating_add(63) & !63 } else { end };
            start.saturating_add(c.size_bytes)
        })
    }
}
