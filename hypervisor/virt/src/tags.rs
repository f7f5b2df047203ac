//! Tags for cached translations: ASIDs on AMD, VPIDs on Intel.
//!
//! Each CPU hands out numbers from 1 (0 is the host) until none are left; then it starts a new generation and hands
//! them out again. A vCPU keeps its number while it stays on the CPU and the generation lasts. Whoever gets a number
//! flushes what is cached under it before his first entry with it: an earlier generation's owner may have left
//! something, and whether anybody has entered and flushed since then is not known here.

use base::CpuId;

/// A number for translations, valid on one CPU in one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    cpu: CpuId,
    /// 0: never assigned.
    generation: u64,
    number: u32,
}

impl Tag {
    /// The number for the hardware, at least 1 once assigned.
    pub const fn number(self) -> u32 {
        self.number
    }
}

/// What becomes of translations cached under a tag's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// They are the vCPU's own.
    Kept,
    /// The number was just assigned, and they may be of any vCPU: flush them with the next entry.
    Stale,
}

/// One CPU's tags.
#[derive(Debug)]
pub struct TagAllocator {
    cpu: CpuId,
    generation: u64,
    next: u32,
    /// The first number that does not exist.
    end: u32,
}

impl TagAllocator {
    /// Tags 1 to `end - 1` of `cpu`; `end` is at least 2.
    pub const fn new(cpu: CpuId, end: u32) -> Self {
        Self { cpu, generation: 0, next: 1, end }
    }

    /// Makes `tag` valid on this CPU.
    pub fn assign(&mut self, tag: &mut Tag) -> Assigned {
        if tag.cpu == self.cpu && tag.generation == self.generation && tag.number != 0 {
            return Assigned::Kept;
        }
        if self.next >= self.end {
            self.generation = self.generation.wrapping_add(1);
            self.next = 1;
        }
        *tag = Tag { cpu: self.cpu, generation: self.generation, number: self.next };
        self.next = self.next.saturating_add(1);
        Assigned::Stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn the_first_number_is_not_the_hosts_and_is_flushed() {
        let mut tag = Tag::default();
        assert_eq!(TagAllocator::new(CpuId(0), 16).assign(&mut tag), Assigned::Stale);
        assert_eq!(tag.number(), 1);
    }

    #[test]
    fn a_tag_is_kept_until_its_generation_ends() {
        let mut tags = TagAllocator::new(CpuId(0), 3);
        let (mut a, mut b, mut c) = (Tag::default(), Tag::default(), Tag::default());
        tags.assign(&mut a);
        assert_eq!(tags.assign(&mut b), Assigned::Stale);
        assert_eq!(tags.assign(&mut a), Assigned::Kept);
        assert_eq!((tags.assign(&mut c), c.number()), (Assigned::Stale, 1));
        assert_eq!((tags.assign(&mut a), a.number()), (Assigned::Stale, 2));
    }

    #[test]
    fn a_tag_of_another_cpu_means_nothing_here() {
        let mut tag = Tag::default();
        TagAllocator::new(CpuId(0), 16).assign(&mut tag);
        assert_eq!(TagAllocator::new(CpuId(1), 16).assign(&mut tag), Assigned::Stale);
    }

    proptest! {
        /// A vCPU that is loaded need not be entered: then nothing is flushed, and its flush stays due.
        #[test]
        fn no_vcpu_enters_with_what_another_has_cached(
            end in 2_u32..6, turns in proptest::collection::vec((0_usize..8, any::<bool>()), 1..200),
        ) {
            let mut allocator = TagAllocator::new(CpuId(0), end);
            let mut tags = [Tag::default(); 8];
            let mut flush_due = [false; 8];
            let mut cached_by: HashMap<u32, usize> = HashMap::new();
            for (vcpu, enters) in turns {
                flush_due[vcpu] |= allocator.assign(&mut tags[vcpu]) == Assigned::Stale;
                let number = tags[vcpu].number();
                prop_assert!((1..end).contains(&number));
                if enters {
                    if core::mem::take(&mut flush_due[vcpu]) {
                        cached_by.remove(&number);
                    }
                    prop_assert_eq!(*cached_by.entry(number).or_insert(vcpu), vcpu);
                }
            }
        }
    }
}
