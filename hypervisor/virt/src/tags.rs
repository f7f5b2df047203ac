//! Tags for cached translations: ASIDs on AMD, VPIDs on Intel.
//!
//! Each CPU hands out numbers from 1 (0 is the host) until none are left; then it starts a new generation, and
//! everything cached under the old numbers has to go. A vCPU keeps its number while it stays on the CPU and the
//! generation lasts.

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

/// What becomes of translations cached under a number that was just assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// The vCPU's own may still be there.
    Kept,
    /// None can be there.
    Fresh,
    /// Those of the generation before are there, of any vCPU: flush all before entry.
    FlushAll,
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
    /// Tags 1 to `end - 1` of `cpu`; `end` is at least 2. What the CPU cached before is unknown, so the first
    /// assignment flushes.
    pub const fn new(cpu: CpuId, end: u32) -> Self {
        Self { cpu, generation: 0, next: end, end }
    }

    /// Makes `tag` valid on this CPU.
    pub fn assign(&mut self, tag: &mut Tag) -> Assigned {
        if tag.cpu == self.cpu && tag.generation == self.generation && tag.number != 0 {
            return Assigned::Kept;
        }
        let assigned = if self.next < self.end {
            Assigned::Fresh
        } else {
            self.generation = self.generation.wrapping_add(1);
            self.next = 1;
            Assigned::FlushAll
        };
        *tag = Tag { cpu: self.cpu, generation: self.generation, number: self.next };
        self.next = self.next.saturating_add(1);
        assigned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn the_first_assignment_flushes_and_is_not_the_hosts_number() {
        let mut tag = Tag::default();
        assert_eq!(TagAllocator::new(CpuId(0), 16).assign(&mut tag), Assigned::FlushAll);
        assert_eq!(tag.number(), 1);
    }

    #[test]
    fn a_tag_is_kept_until_its_generation_ends() {
        let mut tags = TagAllocator::new(CpuId(0), 3);
        let (mut a, mut b, mut c) = (Tag::default(), Tag::default(), Tag::default());
        tags.assign(&mut a);
        assert_eq!(tags.assign(&mut b), Assigned::Fresh);
        assert_eq!(tags.assign(&mut a), Assigned::Kept);
        assert_eq!(tags.assign(&mut c), Assigned::FlushAll);
        assert_eq!(tags.assign(&mut a), Assigned::Fresh);
    }

    #[test]
    fn a_tag_of_another_cpu_means_nothing_here() {
        let mut tag = Tag::default();
        TagAllocator::new(CpuId(0), 16).assign(&mut tag);
        assert_eq!(TagAllocator::new(CpuId(1), 16).assign(&mut tag), Assigned::FlushAll);
    }

    proptest! {
        #[test]
        fn no_number_serves_two_vcpus_without_a_flush_between(
            end in 2_u32..6, turns in proptest::collection::vec(0_usize..8, 1..200),
        ) {
            let mut allocator = TagAllocator::new(CpuId(0), end);
            let mut tags = [Tag::default(); 8];
            let mut cached_by: HashMap<u32, usize> = HashMap::new();
            for vcpu in turns {
                if allocator.assign(&mut tags[vcpu]) == Assigned::FlushAll {
                    cached_by.clear();
                }
                let number = tags[vcpu].number();
                prop_assert!((1..end).contains(&number));
                prop_assert_eq!(*cached_by.entry(number).or_insert(vcpu), vcpu);
            }
        }
    }
}
