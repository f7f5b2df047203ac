//! A queue alone: chains are taken and given back in any order.

use super::guest::Guest;
use super::{Model, drive};
use devices::virtio::queue::SEGMENTS_MAX;
use devices::virtio::{Broken, Chain, Head};

/// A device that does nothing but keep what it took.
#[derive(Default)]
struct Keeper {
    taken: Vec<Head>,
}

/// The target.
pub fn virtqueue(input: &[u8]) {
    drive(Keeper::default(), input);
}

impl Model for Keeper {
    const QUEUES: usize = 1;

    fn step(&mut self, guest: &mut Guest<'_>, kind: u8) -> Result<(), Broken> {
        let Guest { memory, queues, input, .. } = guest;
        let [queue] = &mut queues[..] else { return Ok(()) };
        match kind % 4 {
            0 | 1 => {
                let mut chain = Chain::new();
                while let Some(head) = queue.next_chain(memory, &mut chain)? {
                    check(&chain);
                    self.taken.push(head);
                    assert!(self.taken.len() <= queue.size().into(), "more is in flight than there can be");
                }
            }
            2 => {
                let which = usize::from(input.u8());
                if !self.taken.is_empty() {
                    let head = self.taken.swap_remove(which % self.taken.len());
                    queue.push_used(memory, head, input.u32())?;
                }
            }
            _ => {
                // Only the last ones can be put back.
                let back = self.taken.len().min(usize::from(input.u8()));
                self.taken.truncate(self.taken.len() - back);
                queue.put_back(back as u16);
            }
        }
        Ok(())
    }

    fn reset(&mut self, _: u64) {
        self.taken.clear();
    }

    fn replace(&mut self) {}
}

/// What holds for every chain.
fn check(chain: &Chain) {
    let (readable, writable) = (chain.readable(), chain.writable());
    assert!(readable.len() + writable.len() <= SEGMENTS_MAX && !(readable.is_empty() && writable.is_empty()));
    for (segments, len_bytes) in [(readable, chain.readable_bytes()), (writable, chain.writable_bytes())] {
        let sum: u64 = segments.iter().map(|segment| u64::from(segment.len_bytes)).sum();
        assert_eq!(sum, u64::from(len_bytes));
        for segment in segments {
            let last = segment.gpa.checked_add(u64::from(segment.len_bytes) - 1);
            assert!(segment.len_bytes != 0 && last.is_some());
        }
    }
}
