//! The Internet checksum (RFC 1071).

use super::OffloadError;

/// A sum that is not folded yet, of 16-bit words in network order. 2^32 words fit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// With `bytes`, the first of which is the upper half of a word, and the last too when it has no other half.
    pub fn with(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        // Two words at once: a carry between them is as good as one around.
        let sum = words.iter().fold(self.0, |sum, word| sum.wrapping_add(u32::from_be_bytes(*word).into()));
        let mut last = [0; 4];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Self(sum.wrapping_add(u32::from_be_bytes(last).into()))
    }

    /// With one more word.
    pub fn with_word(self, word: u16) -> Self {
        Self(self.0.wrapping_add(word.into()))
    }

    /// What stands in a header: the complement.
    pub fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

/// Finishes a sum that the sender has begun: that of the pseudo-header is where the sum belongs, `offset` bytes into what
/// begins at `start` and goes to the frame's end (virtio 1.3, section 5.1.6.2, `VIRTIO_NET_HDR_F_NEEDS_CSUM`).
///
/// # Errors
/// When the place of the sum is not in the frame.
pub fn finish_checksum(frame: &mut [u8], start: u16, offset: u16) -> Result<(), OffloadError> {
    let summed = frame.get_mut(usize::from(start)..).ok_or(OffloadError::BadChecksum)?;
    let sum = Sum::default().with(summed).finish();
    // Zero says "no sum" in UDP, and is the same number otherwise (RFC 768).
    let sum = if sum == 0 { 0xffff } else { sum };
    let place = summed.get_mut(usize::from(offset)..).and_then(|rest| rest.first_chunk_mut());
    *place.ok_or(OffloadError::BadChecksum)? = sum.to_be_bytes();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the definition: the words one by one, with the carry around each time.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_the_rfc_sums_up() {
        assert_eq!(Sum::default().with(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]).finish(), !0xddf2);
    }

    #[test]
    fn a_sum_of_zero_is_written_as_ones() {
        let mut frame = [9, 0xff, 0xff, 0, 0];
        assert_eq!(finish_checksum(&mut frame, 1, 2), Ok(()));
        assert_eq!(frame, [9, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn a_place_outside_the_frame_is_refused() {
        for (start, offset) in [(0, 19), (10, 10), (20, 0), (21, 0), (u16::MAX, u16::MAX)] {
            assert_eq!(finish_checksum(&mut [0; 20], start, offset), Err(OffloadError::BadChecksum));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_sum_as_by_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(Sum::default().with(&bytes).finish(), naive(&bytes));
        }

        #[test]
        fn a_finished_sum_verifies(bytes in prop::collection::vec(any::<u8>(), 20..300), start in 0_u16..10, pair in 0_u16..4) {
            let mut frame = bytes;
            let pseudo = [1, 2, 3, 4];
            let at = usize::from(start + 2 * pair);
            frame[at..at + 2].copy_from_slice(&(!naive(&pseudo)).to_be_bytes());
            prop_assert_eq!(finish_checksum(&mut frame, start, 2 * pair), Ok(()));
            prop_assert_eq!(naive(&[&pseudo, &frame[usize::from(start)..]].concat()), 0);
        }
    }
}
