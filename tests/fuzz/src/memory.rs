//! Guests' memory, from address 0 to an end: one that keeps what is written, and one that keeps only where.

use base::Gpa;
use seams::{GuestMemory, MemoryError};
use std::cell::RefCell;
use std::collections::BTreeMap;

const WORD_BYTES: u64 = 8;

/// Memory of zeros that costs what is in it: a map of the words that are not zero, by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseMemory {
    len_bytes: u64,
    words: RefCell<BTreeMap<u64, u64>>,
}

impl SparseMemory {
    /// `len_bytes` of zeros.
    pub const fn new(len_bytes: u64) -> Self {
        Self { len_bytes, words: RefCell::new(BTreeMap::new()) }
    }

    /// The naturally aligned 64-bit words that are not zero, by address.
    pub fn words(&self) -> Vec<(u64, u64)> {
        self.words.borrow().iter().map(|(at, word)| (*at, *word)).collect()
    }

    /// Changes the bytes of each word that `len_bytes` from `gpa` on touch: `act` gets the word's bytes and the place
    /// of its first byte in the range.
    fn change(
        &self,
        gpa: Gpa,
        len_bytes: u64,
        mut act: impl FnMut(&mut [u8], usize),
    ) -> Result<(), MemoryError> {
        let mut words = self.words.borrow_mut();
        let mut at = gpa.as_u64();
        let end = end_of(gpa, len_bytes, self.len_bytes)?;
        while at < end {
            let start = at & !(WORD_BYTES - 1);
            let stop = end.min(start + WORD_BYTES);
            let mut bytes = words.get(&start).copied().unwrap_or(0).to_le_bytes();
            act(&mut bytes[(at - start) as usize..(stop - start) as usize], (at - gpa.as_u64()) as usize);
            match u64::from_le_bytes(bytes) {
                0 => _ = words.remove(&start),
                word => _ = words.insert(start, word),
            }
            at = stop;
        }
        Ok(())
    }
}

/// One past the last of `len_bytes` from `gpa` on, in a memory that ends at `memory_end`.
fn end_of(gpa: Gpa, len_bytes: u64, memory_end: u64) -> Result<u64, MemoryError> {
    let end = gpa.as_u64().checked_add(len_bytes).filter(|end| *end <= memory_end);
    end.ok_or(MemoryError::Unmapped(gpa))
}

impl GuestMemory for SparseMemory {
    fn read(&self, gpa: Gpa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let (words, mut at) = (self.words.borrow(), gpa.as_u64());
        end_of(gpa, buffer.len() as u64, self.len_bytes)?;
        for byte in buffer {
            let word = words.get(&(at & !(WORD_BYTES - 1))).copied().unwrap_or(0);
            *byte = word.to_le_bytes()[(at % WORD_BYTES) as usize];
            at += 1;
        }
        Ok(())
    }

    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), MemoryError> {
        let len_bytes = bytes.len() as u64;
        self.change(gpa, len_bytes, |part, from| part.copy_from_slice(&bytes[from..from + part.len()]))
    }

    fn fill(&self, gpa: Gpa, len_bytes: u64, value: u8) -> Result<(), MemoryError> {
        self.change(gpa, len_bytes, |part, _| part.fill(value))
    }

    fn compare_exchange(&self, gpa: Gpa, len_bytes: u8, current: u64, new: u64) -> Result<u64, MemoryError> {
        if !matches!(len_bytes, 1 | 2 | 4 | 8) || !gpa.is_aligned(len_bytes.into()) {
            return Err(MemoryError::Unmapped(gpa));
        }
        let len = usize::from(len_bytes);
        let mut found = [0; WORD_BYTES as usize];
        self.read(gpa, &mut found[..len])?;
        let found = u64::from_le_bytes(found);
        if found == current {
            self.write(gpa, &new.to_le_bytes()[..len])?;
        }
        Ok(found)
    }
}

/// Memory that keeps where it was written but not what: loading megabytes costs nothing. It reads as zeros.
#[derive(Debug)]
pub struct WrittenMemory {
    len_bytes: u64,
    /// First byte and one past the last, in the order of writing.
    written: RefCell<Vec<(u64, u64)>>,
}

impl WrittenMemory {
    /// `len_bytes`, of which nothing is written.
    pub const fn new(len_bytes: u64) -> Self {
        Self { len_bytes, written: RefCell::new(Vec::new()) }
    }

    /// Whether something was written from `start` to before `end`.
    pub fn is_written(&self, start: u64, end: u64) -> bool {
        self.written.borrow().iter().any(|(from, to)| *from < end && start < *to)
    }
}

impl GuestMemory for WrittenMemory {
    fn read(&self, gpa: Gpa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        end_of(gpa, buffer.len() as u64, self.len_bytes)?;
        buffer.fill(0);
        Ok(())
    }

    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), MemoryError> {
        self.fill(gpa, bytes.len() as u64, 0)
    }

    fn fill(&self, gpa: Gpa, len_bytes: u64, _: u8) -> Result<(), MemoryError> {
        let end = end_of(gpa, len_bytes, self.len_bytes)?;
        if len_bytes != 0 {
            self.written.borrow_mut().push((gpa.as_u64(), end));
        }
        Ok(())
    }

    fn compare_exchange(&self, gpa: Gpa, len_bytes: u8, current: u64, _: u64) -> Result<u64, MemoryError> {
        if current == 0 {
            self.fill(gpa, len_bytes.into(), 0)?;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpa(address: u64) -> Gpa {
        Gpa::from_low_bits(address)
    }

    #[test]
    fn what_was_written_across_words_is_read_and_the_rest_is_zero() {
        let memory = SparseMemory::new(0x3000);
        memory.write(gpa(0xffe), &[1, 2, 3, 4]).unwrap();
        memory.fill(gpa(0xfff), 1, 9).unwrap();
        let mut read = [7; 6];
        memory.read(gpa(0xffd), &mut read).unwrap();
        assert_eq!(read, [0, 1, 9, 3, 4, 0]);
        assert_eq!(memory.words(), [(0xff8, 0x0901 << 48), (0x1000, 0x0403)]);
        memory.fill(gpa(0xff8), 0x10, 0).unwrap();
        assert_eq!(memory, SparseMemory::new(0x3000));
    }

    #[test]
    fn there_is_nothing_behind_the_end() {
        let memory = SparseMemory::new(0x1000);
        assert_eq!(memory.write(gpa(0xfff), &[1, 2]), Err(MemoryError::Unmapped(gpa(0xfff))));
        assert_eq!(memory.fill(gpa(1), u64::MAX, 0), Err(MemoryError::Unmapped(gpa(1))));
        assert!(WrittenMemory::new(0x1000).write(gpa(0xfff), &[1, 2]).is_err());
    }

    #[test]
    fn an_exchange_happens_only_where_the_value_is_the_expected_one() {
        let memory = SparseMemory::new(0x1000);
        assert_eq!(memory.compare_exchange(gpa(8), 4, 0, 5), Ok(0));
        assert_eq!(memory.compare_exchange(gpa(8), 4, 0, 6), Ok(5));
        assert_eq!(memory.read_u32(gpa(8)), Ok(5));
        assert!(memory.compare_exchange(gpa(9), 4, 0, 6).is_err());
    }

    #[test]
    fn where_something_was_written_is_known_to_the_byte() {
        let memory = WrittenMemory::new(0x1000);
        memory.write(gpa(0x10), &[1, 2]).unwrap();
        memory.fill(gpa(0x20), 0, 1).unwrap();
        assert!(memory.is_written(0x11, 0x12) && memory.is_written(0, 0x11));
        assert!(!memory.is_written(0x12, 0x1000) && !memory.is_written(0, 0x10));
    }
}
