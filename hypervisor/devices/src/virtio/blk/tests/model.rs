//! A disk against a driver that remembers what it was promised: through any order of ends, and moves to new disks.

extern crate std;

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::{vec, vec::Vec};

/// What a test does with a disk.
#[derive(Clone, Debug)]
enum Act {
    Read(u64, u32),
    Write(u64, u32, u8),
    Zero(u64, u32),
    Flush,
    /// The medium ends a request.
    End(usize),
    Run,
    /// Disk and requests move to a new disk.
    Move,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let (sector, sectors) = (0..SECTORS as u64, 1..4u32);
    let act = prop_oneof![
        2 => (sector.clone(), sectors.clone()).prop_map(|(at, len)| Act::Read(at, len)),
        3 => (sector.clone(), sectors.clone(), any::<u8>()).prop_map(|(at, len, byte)| Act::Write(at, len, byte)),
        1 => (sector, sectors).prop_map(|(at, len)| Act::Zero(at, len)),
        1 => Just(Act::Flush),
        4 => any::<usize>().prop_map(Act::End),
        4 => Just(Act::Run),
        1 => Just(Act::Move),
    ];
    proptest::collection::vec(act, 1..120)
}

/// What the driver knows.
struct Model {
    /// What each sector must hold when no request is on its way to it.
    sectors: Vec<u8>,
    /// How often each sector was changed.
    versions: Vec<u32>,
    /// The sectors that were promised to be on the medium.
    flushed: BTreeSet<usize>,
    /// In flight: its sectors and, when it changes them, what to.
    flying: BTreeMap<u16, (Made, u64, u32, Option<u8>)>,
    /// Flushes in flight, and the versions that each promises.
    flushes: BTreeMap<u16, Vec<u32>>,
    writes_through: bool,
}

impl Model {
    /// Requests in flight touch disjoint sectors, so that their order does not matter.
    fn is_free(&self, at: u64, len: u32) -> bool {
        let end = at + u64::from(len);
        end <= SECTORS as u64
            && self.flying.len() + self.flushes.len() < 14
            && self.flying.values().all(|(_, other, n, _)| end <= *other || other + u64::from(*n) <= at)
    }

    fn make(&mut self, bench: &mut Bench, act: &Act) {
        let (kind, at, len, byte) = match *act {
            Act::Read(at, len) => (IN, at, len, None),
            Act::Write(at, len, byte) => (OUT, at, len, Some(byte)),
            Act::Zero(at, len) => (WRITE_ZEROES, at, len, Some(0)),
            _ => return,
        };
        if !self.is_free(at, len) {
            return;
        }
        let (out, in_bytes) = match kind {
            IN => (Vec::new(), 512 * len),
            OUT => (vec![byte.unwrap(); 512 * len as usize], 0),
            _ => (range(at, len, 0).to_vec(), 0),
        };
        let made = bench.request(kind, at, &out, in_bytes);
        self.flying.insert(made.head, (made, at, len, byte));
    }

    /// Takes back what has ended and compares.
    fn collect(&mut self, bench: &mut Bench) {
        for used in bench.driver.take_used() {
            if let Some(promised) = self.flushes.remove(&used.head) {
                let same = |sector: &usize| promised[*sector] == self.versions[*sector];
                self.flushed.extend((0..SECTORS).filter(same));
                continue;
            }
            let (made, at, len, byte) = self.flying.remove(&used.head).unwrap();
            assert_eq!(bench.status(made), 0);
            for sector in at..at + u64::from(len) {
                match byte {
                    Some(byte) => self.changed(sector as usize, byte),
                    None => {
                        let offset = (sector - at) as usize * 512;
                        let read = bench.data(made, 512 * len as usize);
                        assert_eq!(read[offset..offset + 512], [self.sectors[sector as usize]; 512]);
                    }
                }
            }
        }
        for sector in &self.flushed {
            let is_changing = self
                .flying
                .values()
                .any(|(_, at, len, _)| (*at..at + u64::from(*len)).contains(&(*sector as u64)));
            let on_medium = bench.medium.medium[sector * 512];
            assert!(on_medium == self.sectors[*sector] || is_changing, "sector {sector} was promised");
        }
    }

    fn changed(&mut self, sector: usize, byte: u8) {
        self.sectors[sector] = byte;
        self.versions[sector] += 1;
        self.flushed.remove(&sector);
        if self.writes_through {
            self.flushed.insert(sector);
        }
    }
}

proptest! {
    #[test]
    fn a_disk_keeps_what_it_was_told_through_any_order_of_ends_and_moves(
        acts in acts(),
        features in prop_oneof![Just(OFFERED | OFFERED_WRITABLE), Just(OFFERED_WRITABLE)],
        depth in 1..20usize,
    ) {
        let mut medium = FakeDisk::new(SECTORS, Pace::Later);
        medium.depth = depth;
        medium.cache.fill(0);
        medium.medium.fill(0);
        let mut bench = bench(features, medium);
        let writes_through = features & feature::FLUSH == 0;
        let (flushed, flying, flushes) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let (sectors, versions) = (vec![0; SECTORS], vec![0; SECTORS]);
        let mut model = Model { sectors, versions, flushed, flying, flushes, writes_through };
        for act in &acts {
            match act {
                Act::Flush if !writes_through && model.is_free(0, 0) => {
                    let made = bench.request(FLUSH, 0, &[], 0);
                    model.flushes.insert(made.head, model.versions.clone());
                }
                Act::End(which) => {
                    let pending = bench.medium.pending.len().max(1);
                    bench.medium.end(which % pending);
                }
                Act::Run => _ = bench.run(),
                Act::Move => bench.move_to_new_disk(),
                _ => model.make(&mut bench, act),
            }
            model.collect(&mut bench);
        }
        while bench.run() == Progress::More || bench.medium.end(0) {}
        model.collect(&mut bench);
        prop_assert!(model.flying.is_empty() && model.flushes.is_empty(), "a request was lost");
        let cache: Vec<u8> = bench.medium.cache.chunks(512).map(|sector| sector[0]).collect();
        prop_assert_eq!(cache, model.sectors);
    }
}
