//! What a power cut leaves of a medium whose writes and flushes were recorded.
//!
//! ```text
//!   log   write write flush write write(at once) write │ cut
//!         └─ there ─┘       maybe     there      maybe
//! ```
//! A medium keeps what was flushed. Of the later writes it keeps any part, in pieces of [`PIECE_BYTES`], which is what file
//! systems rely on: a block of theirs is old or new. A write that ended while a flush was under way stands before the flush
//! in the log and counts as flushed, though it need not be.

pub mod write_log;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use write_log::{Entry, Stays, Write};

/// What a medium writes wholly or not at all: pieces that begin at multiples of it.
pub const PIECE_BYTES: usize = 4096;

/// How many entries at the beginning of `log` are certain to be on the medium: those before the last flush.
#[must_use]
pub fn flushed(log: &[Entry<'_>]) -> usize {
    log.iter().rposition(|entry| *entry == Entry::Flush).unwrap_or(0)
}

/// Does to `medium` what is in `log`, but that the power is cut at its end; `random` decides what is lost.
///
/// # Panics
/// When the log is of a larger medium.
pub fn cut(medium: &mut [u8], log: &[Entry<'_>], random: &mut ChaCha8Rng) {
    let (certain, later) = log.split_at(flushed(log));
    for write in writes(certain) {
        medium[write.start..][..write.data.len()].copy_from_slice(write.data);
    }
    for write in writes(later) {
        for (start, piece) in pieces(write) {
            let is_kept = write.stays == Stays::AtOnce || random.next_u32() & 1 == 1;
            if is_kept {
                medium[start..][..piece.len()].copy_from_slice(piece);
            }
        }
    }
}

fn writes<'a>(log: &[Entry<'a>]) -> impl Iterator<Item = Write<'a>> {
    log.iter().filter_map(|entry| match entry {
        Entry::Write(write) => Some(*write),
        // What is discarded may as well stay.
        Entry::Flush | Entry::Discard => None,
    })
}

/// The pieces of a write, and where each begins.
fn pieces(write: Write<'_>) -> impl Iterator<Item = (usize, &[u8])> {
    let first_bytes = PIECE_BYTES - write.start % PIECE_BYTES;
    let (first, rest) = write.data.split_at(first_bytes.min(write.data.len()));
    let starts = (write.start + first.len()..).step_by(PIECE_BYTES);
    std::iter::once((write.start, first)).chain(starts.zip(rest.chunks(PIECE_BYTES)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;
    use std::collections::BTreeSet;

    const P: usize = PIECE_BYTES;

    fn write(start: usize, data: &[u8], stays: Stays) -> Entry<'_> {
        Entry::Write(Write { start, data, stays })
    }

    /// What is left of a medium of zeroes, for some seeds.
    fn left(bytes: usize, log: &[Entry<'_>]) -> BTreeSet<Vec<u8>> {
        let after = |seed| {
            let mut medium = vec![0; bytes];
            cut(&mut medium, log, &mut ChaCha8Rng::seed_from_u64(seed));
            medium
        };
        (0..100).map(after).collect()
    }

    #[test]
    fn what_was_flushed_or_written_at_once_is_there() {
        let log =
            [write(0, &[1], Stays::WhenFlushed), Entry::Flush, write(1, &[2], Stays::AtOnce), Entry::Discard];
        assert_eq!(flushed(&log), 1);
        assert_eq!(left(2, &log), BTreeSet::from([vec![1, 2]]));
    }

    #[test]
    fn what_was_not_flushed_is_there_or_not_piece_by_piece() {
        let data = vec![1; P + 2];
        let log = [Entry::Flush, write(P - 1, &data, Stays::WhenFlushed)];
        let seen: BTreeSet<_> = left(2 * P + 1, &log).iter().map(|m| [m[P - 1], m[P], m[2 * P]]).collect();
        assert_eq!(seen.len(), 8, "three pieces, each there or not");
    }

    #[test]
    fn the_later_of_two_writes_that_are_there_counts() {
        let log = [write(0, &[1], Stays::WhenFlushed), write(0, &[2], Stays::WhenFlushed)];
        assert_eq!(left(1, &log), BTreeSet::from([vec![0], vec![1], vec![2]]));
        let log = [write(0, &[1], Stays::WhenFlushed), write(0, &[2], Stays::AtOnce)];
        assert_eq!(left(1, &log), BTreeSet::from([vec![2]]));
    }

    #[test]
    fn every_piece_lies_between_two_multiples_of_its_size() {
        for start in [0, 1, 512, P - 1, P] {
            for length in [0, 1, 512, P - 1, P, P + 1, 3 * P] {
                let data = vec![0; length];
                let mut next = start;
                for (at, piece) in pieces(Write { start, data: &data, stays: Stays::AtOnce }) {
                    assert_eq!(at, next);
                    assert!(piece.is_empty() || at / P == (at + piece.len() - 1) / P, "{start} {length}");
                    next += piece.len();
                }
                assert_eq!(next, start + length);
            }
        }
    }
}
