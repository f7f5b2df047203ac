//! What went through a port.

use super::Dropped;

/// The counts of one port. They begin again at zero past 64 bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What came in there and was carried on.
    pub from: Traffic,
    /// What went out there.
    pub to: Traffic,
    dropped: [u64; Dropped::COUNT],
}

/// An amount of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub frames: u64,
    /// How long all together.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, len_bytes: u32) {
        self.frames = self.frames.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(len_bytes.into());
    }

    pub(super) fn remove(&mut self, len_bytes: u32) {
        self.frames = self.frames.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub(len_bytes.into());
    }
}

impl Counters {
    /// How many frames were dropped for this reason.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped.get(why as usize).copied().unwrap_or_default()
    }

    /// Each reason for which frames were dropped, with their number.
    pub fn drops(&self) -> impl Iterator<Item = (Dropped, u64)> {
        Dropped::ALL.into_iter().zip(self.dropped).filter(|(_, count)| *count != 0)
    }

    pub(super) fn count_drop(&mut self, why: Dropped) {
        if let Some(count) = self.dropped.get_mut(why as usize) {
            *count = count.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_place_of_its_own() {
        for (index, why) in Dropped::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, index);
        }
    }
}
