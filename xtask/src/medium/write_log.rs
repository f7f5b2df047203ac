//! The log of a medium that records every write and flush: what QEMU's block driver `blklogwrites` leaves.
//!
//! ```text
//! sector 0    superblock   magic u64, version u64, number of entries u64, bytes of a sector u32
//! sector 1    entry        first sector u64, number of sectors u64, flags u64, length of a mark u64
//!             its data     that many sectors; none of a discard
//!             entry ...
//! ```
//! Numbers are little-endian. QEMU makes an entry when the operation has ended, before it tells the computer; so what
//! was begun after the end of another operation stands behind it. It writes the superblock at flushes, and flushes when it ends.
//!
//! Reference: Linux, `Documentation/admin-guide/device-mapper/log-writes.rst` and `drivers/md/dm-log-writes.c`; QEMU,
//! `block/blklogwrites.c`.

use std::fmt;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
/// All flags but that of marks, which QEMU does not make.
const KNOWN_FLAGS: u64 = FLUSH | FUA | DISCARD;
const FLUSH: u64 = 1 << 0;
const FUA: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;
/// Of an entry.
const HEADER_BYTES: usize = 32;

/// What was done to the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// What is before it stays, whatever happens.
    Flush,
    /// A write.
    Write(Write<'a>),
    /// Something may be forgotten.
    Discard,
}

/// A write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// Where it begins, in bytes. It ends on the medium.
    pub start: usize,
    /// What was written.
    pub data: &'a [u8],
    /// When it stays.
    pub stays: Stays,
}

/// When a write stays, whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// From its own end on ("force unit access").
    AtOnce,
    /// From the next flush on.
    WhenFlushed,
}

/// Why a log cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogError {
    /// It does not begin like one.
    NoLog,
    /// Its version is another.
    Version(u64),
    /// Its sectors have no usual size.
    SectorBytes(u32),
    /// It ends within this entry.
    Truncated(u64),
    /// This entry has flags that are not known.
    Flags(u64, u64),
    /// This entry writes past the end of the medium.
    OutOfRange(u64),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLog => f.write_str("no log of writes: has QEMU ended, and was anything flushed?"),
            Self::Version(version) => write!(f, "log of writes of version {version}: {VERSION} is needed"),
            Self::SectorBytes(bytes) => {
                write!(f, "log of writes with sectors of {bytes} bytes: set log-sector-size")
            }
            Self::Truncated(entry) => write!(f, "log of writes ends within entry {entry}: is the disk full?"),
            Self::Flags(entry, flags) => write!(f, "log of writes, entry {entry}: unknown flags {flags:#x}"),
            Self::OutOfRange(entry) => {
                write!(f, "log of writes, entry {entry}: past the end of the medium: is it another medium's?")
            }
        }
    }
}

impl std::error::Error for LogError {}

/// The entries of `log`, of a medium of `medium_bytes`.
///
/// # Errors
/// See [`LogError`].
pub fn read(log: &[u8], medium_bytes: usize) -> Result<Vec<Entry<'_>>, LogError> {
    let superblock = log.get(..HEADER_BYTES).ok_or(LogError::NoLog)?;
    if word(superblock, 0) != MAGIC {
        return Err(LogError::NoLog);
    }
    if word(superblock, 1) != VERSION {
        return Err(LogError::Version(word(superblock, 1)));
    }
    let sector_bytes = word(superblock, 3) as u32;
    if !sector_bytes.is_power_of_two() || !(512..=65536).contains(&sector_bytes) {
        return Err(LogError::SectorBytes(sector_bytes));
    }
    let mut reader =
        Reader { log, sector_bytes: sector_bytes as usize, at: sector_bytes as usize, medium_bytes };
    let mut entries = Vec::new();
    for number in 0..word(superblock, 2) {
        reader.entry(number, &mut entries)?;
    }
    Ok(entries)
}

/// The number of eight bytes at `index`, of `bytes` that hold it.
fn word(bytes: &[u8], index: usize) -> u64 {
    let (words, _) = bytes.as_chunks();
    words.get(index).map_or(0, |word| u64::from_le_bytes(*word))
}

struct Reader<'a> {
    log: &'a [u8],
    sector_bytes: usize,
    /// Where the next entry begins.
    at: usize,
    medium_bytes: usize,
}

impl<'a> Reader<'a> {
    /// Reads one entry, which may flush and write.
    fn entry(&mut self, number: u64, entries: &mut Vec<Entry<'a>>) -> Result<(), LogError> {
        let header = self.take(self.sector_bytes).ok_or(LogError::Truncated(number))?;
        let flags = word(header, 2);
        if flags & !KNOWN_FLAGS != 0 {
            return Err(LogError::Flags(number, flags));
        }
        let sector_bytes = self.sector_bytes;
        let bytes = |sectors: u64| usize::try_from(sectors).ok()?.checked_mul(sector_bytes);
        let range = bytes(word(header, 0)).zip(bytes(word(header, 1)));
        let (start, length) = range.ok_or(LogError::OutOfRange(number))?;
        if start.checked_add(length).is_none_or(|end| end > self.medium_bytes) {
            return Err(LogError::OutOfRange(number));
        }
        if flags & FLUSH != 0 {
            entries.push(Entry::Flush);
        }
        if flags & DISCARD != 0 {
            entries.push(Entry::Discard);
        } else if length != 0 {
            let data = self.take(length).ok_or(LogError::Truncated(number))?;
            let stays = if flags & FUA != 0 { Stays::AtOnce } else { Stays::WhenFlushed };
            entries.push(Entry::Write(Write { start, data, stays }));
        }
        Ok(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.log.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: usize = 512;

    /// A log of entries: first sector, number of sectors, flags; the data of entry `n` is the byte `n`.
    fn log(entries: &[(u64, u64, u64)]) -> Vec<u8> {
        // As QEMU writes it.
        let magic = u64::from_le_bytes(*b"rhswfsj\0");
        let mut log = sector(&[magic, 1, entries.len() as u64, SECTOR as u64]);
        for (number, (first, sectors, flags)) in (0..).zip(entries) {
            log.extend(sector(&[*first, *sectors, *flags]));
            if flags & DISCARD == 0 {
                log.extend(vec![number; *sectors as usize * SECTOR]);
            }
        }
        log
    }

    fn sector(words: &[u64]) -> Vec<u8> {
        let mut sector: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        sector.resize(SECTOR, 0);
        sector
    }

    #[test]
    fn writes_flushes_and_discards_come_in_their_order() {
        let log = log(&[(2, 1, 0), (0, 0, FLUSH), (0, 8, DISCARD), (7, 1, FUA)]);
        let write = |start, data, stays| Entry::Write(Write { start, data, stays });
        assert_eq!(
            read(&log, 8 * SECTOR).unwrap(),
            [
                write(2 * SECTOR, &[0; SECTOR], Stays::WhenFlushed),
                Entry::Flush,
                Entry::Discard,
                write(7 * SECTOR, &[3; SECTOR], Stays::AtOnce),
            ]
        );
    }

    #[test]
    fn an_entry_that_flushes_and_writes_does_so_in_this_order() {
        let log = log(&[(0, 1, FLUSH | FUA)]);
        let write = Write { start: 0, data: &[0; SECTOR], stays: Stays::AtOnce };
        assert_eq!(read(&log, SECTOR).unwrap(), [Entry::Flush, Entry::Write(write)]);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let whole = log(&[(0, 1, 0)]);
        let with = |at: usize, byte: u8| {
            let mut log = whole.clone();
            log[at] = byte;
            read(&log, SECTOR).unwrap_err()
        };
        assert_eq!(read(&[], SECTOR), Err(LogError::NoLog));
        assert_eq!(with(0, 1), LogError::NoLog);
        assert_eq!(with(8, 2), LogError::Version(2));
        assert_eq!(with(24, 1), LogError::SectorBytes(513));
        assert_eq!(with(SECTOR + 16, 8), LogError::Flags(0, 8));
    }

    #[test]
    fn an_entry_that_is_cut_or_leaves_the_medium_is_refused_by_its_number() {
        let whole = log(&[(0, 1, 0), (1, 2, 0)]);
        assert!(read(&whole, 3 * SECTOR).is_ok());
        for length in SECTOR..whole.len() {
            assert!(matches!(read(&whole[..length], 3 * SECTOR), Err(LogError::Truncated(_))), "{length}");
        }
        assert_eq!(read(&whole, 2 * SECTOR), Err(LogError::OutOfRange(1)));
        assert_eq!(read(&log(&[(u64::MAX, 1, 0)]), SECTOR), Err(LogError::OutOfRange(0)));
        assert_eq!(
            read(&log(&[(0, 0, 0), (1 << 55, u64::MAX >> 9, DISCARD)]), SECTOR),
            Err(LogError::OutOfRange(1))
        );
    }
}
