//! A guest's memory: from address 0 to an end, all zeros at first.

use base::{Gpa, PAGE_BYTES};
use seams::{GuestMemory, MemoryError};
use std::cell::RefCell;
use std::collections::BTreeMap;

type Page = Box<[u8; PAGE_BYTES as usize]>;

/// Memory whose pages come to be when they are first written: a guest of many megabytes costs what it touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseMemory {
    len_bytes: u64,
    pages: RefCell<BTreeMap<u64, Page>>,
}

impl SparseMemory {
    /// `len_bytes` of zeros.
    pub const fn new(len_bytes: u64) -> Self {
        Self { len_bytes, pages: RefCell::new(BTreeMap::new()) }
    }

    /// Whether there is no byte but zeros from `start` to before `end`, which are page boundaries.
    pub fn is_zero(&self, start: u64, end: u64) -> bool {
        let pages = self.pages.borrow();
        pages.range(start / PAGE_BYTES..end / PAGE_BYTES).all(|(_, page)| page.iter().all(|&byte| byte == 0))
    }

    /// The naturally aligned 64-bit words that are not zero, by address.
    pub fn words(&self) -> Vec<(u64, u64)> {
        let pages = self.pages.borrow();
        let words = pages.iter().flat_map(|(number, page)| {
            let words = page.chunks_exact(8).map(|word| Bytes8::try_from(word).map_or(0, u64::from_le_bytes));
            (number * PAGE_BYTES..).step_by(8).zip(words)
        });
        words.filter(|(_, word)| *word != 0).collect()
    }

    /// Calls `act` for each stretch of one page in `len_bytes` from `gpa` on: page number, offset in it, length.
    fn stretches(
        &self,
        gpa: Gpa,
        len_bytes: u64,
        mut act: impl FnMut(u64, usize, usize),
    ) -> Result<(), MemoryError> {
        let mut at = gpa.as_u64();
        let end = at.checked_add(len_bytes).filter(|end| *end <= self.len_bytes);
        let end = end.ok_or(MemoryError::Unmapped(gpa))?;
        while at < end {
            let stretch = (PAGE_BYTES - at % PAGE_BYTES).min(end - at);
            act(at / PAGE_BYTES, (at % PAGE_BYTES) as usize, stretch as usize);
            at += stretch;
        }
        Ok(())
    }
}

type Bytes8 = [u8; 8];

impl GuestMemory for SparseMemory {
    fn read(&self, gpa: Gpa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let (pages, mut done) = (self.pages.borrow(), 0);
        self.stretches(gpa, buffer.len() as u64, |number, offset, len| {
            match pages.get(&number) {
                Some(page) => buffer[done..done + len].copy_from_slice(&page[offset..offset + len]),
                None => buffer[done..done + len].fill(0),
            }
            done += len;
        })
    }

    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), MemoryError> {
        let (mut pages, mut done) = (self.pages.borrow_mut(), 0);
        self.stretches(gpa, bytes.len() as u64, |number, offset, len| {
            let page = pages.entry(number).or_insert_with(zeros);
            page[offset..offset + len].copy_from_slice(&bytes[done..done + len]);
            done += len;
        })
    }

    fn fill(&self, gpa: Gpa, len_bytes: u64, value: u8) -> Result<(), MemoryError> {
        let mut pages = self.pages.borrow_mut();
        self.stretches(gpa, len_bytes, |number, offset, len| {
            if value != 0 || pages.contains_key(&number) {
                pages.entry(number).or_insert_with(zeros)[offset..offset + len].fill(value);
            }
        })
    }

    fn compare_exchange(&self, gpa: Gpa, len_bytes: u8, current: u64, new: u64) -> Result<u64, MemoryError> {
        if !matches!(len_bytes, 1 | 2 | 4 | 8) || !gpa.is_aligned(len_bytes.into()) {
            return Err(MemoryError::Unmapped(gpa));
        }
        let len = usize::from(len_bytes);
        let mut found = Bytes8::default();
        self.read(gpa, &mut found[..len])?;
        let found = u64::from_le_bytes(found);
        if found == current {
            self.write(gpa, &new.to_le_bytes()[..len])?;
        }
        Ok(found)
    }
}

fn zeros() -> Page {
    Box::new([0; PAGE_BYTES as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpa(address: u64) -> Gpa {
        Gpa::from_low_bits(address)
    }

    #[test]
    fn what_was_written_across_pages_is_read_and_the_rest_is_zero() {
        let memory = SparseMemory::new(0x3000);
        memory.write(gpa(0xffe), &[1, 2, 3, 4]).unwrap();
        memory.fill(gpa(0xfff), 1, 9).unwrap();
        let mut read = [7; 6];
        memory.read(gpa(0xffd), &mut read).unwrap();
        assert_eq!(read, [0, 1, 9, 3, 4, 0]);
        assert!(!memory.is_zero(0, 0x1000) && memory.is_zero(0x2000, 0x3000));
        assert_eq!(memory.words(), [(0xff8, 0x0901 << 48), (0x1000, 0x0403)]);
    }

    #[test]
    fn there_is_nothing_behind_the_end() {
        let memory = SparseMemory::new(0x1000);
        assert_eq!(memory.write(gpa(0xfff), &[1, 2]), Err(MemoryError::Unmapped(gpa(0xfff))));
        assert_eq!(memory.fill(gpa(1), u64::MAX, 0), Err(MemoryError::Unmapped(gpa(1))));
    }

    #[test]
    fn an_exchange_happens_only_where_the_value_is_the_expected_one() {
        let memory = SparseMemory::new(0x1000);
        assert_eq!(memory.compare_exchange(gpa(8), 4, 0, 5), Ok(0));
        assert_eq!(memory.compare_exchange(gpa(8), 4, 0, 6), Ok(5));
        assert_eq!(memory.read_u32(gpa(8)), Ok(5));
        assert!(memory.compare_exchange(gpa(9), 4, 0, 6).is_err());
    }
}
