//! How long a frame waits for a receiver that has no room.
//!
//! A sender's frames wait in their order, so who keeps one waiting keeps all behind it. Nobody waits longer than its sender's
//! patience, and who has made somebody wait is waited for again once it has taken some frames at once: else a guest that gives
//! its NIC a buffer now and then could hold up all that another sends.

use base::Instant;

/// What is left of the patience with one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It has not waited yet.
    Fresh,
    /// It has waited, and may go on until then.
    Waiting(Instant),
    /// It has waited long enough.
    Over,
}

impl Patience {
    /// Whether a frame that waits until `other` was there before this one.
    pub fn comes_behind(self, other: Instant) -> bool {
        match self {
            Self::Fresh => true,
            Self::Waiting(until) => other < until,
            Self::Over => false,
        }
    }
}

/// Whether a receiver is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    /// How many frames it is to take before anybody waits for it again.
    owed_frames: u8,
    /// How many those are after it has made somebody wait.
    after_wait: u8,
    /// How many after it has used all patience up.
    after_loss: u8,
}

impl Trust {
    /// A guest's NIC. It has room for several of the longest frames at once, if it is used as all systems use it.
    pub const GUEST: Self = Self { owed_frames: 0, after_wait: 8, after_loss: 8 };
    /// A card, which makes room frame by frame, as fast as its line is.
    pub const CARD: Self = Self { owed_frames: 0, after_wait: 0, after_loss: 1 };

    /// The receiver has taken a frame.
    #[inline]
    pub const fn took(&mut self, patience: Patience) {
        self.owed_frames = match patience {
            Patience::Fresh => self.owed_frames.saturating_sub(1),
            Patience::Waiting(_) | Patience::Over => self.after_wait,
        };
    }

    /// The receiver has no room for a frame, which nobody else gets. Until when it waits, which is `latest` if it has not waited
    /// yet; `None` when it is lost.
    pub const fn no_room(&mut self, patience: Patience, latest: Instant) -> Option<Instant> {
        match patience {
            Patience::Fresh if self.owed_frames != 0 => None,
            Patience::Fresh => Some(latest),
            Patience::Waiting(until) => Some(until),
            Patience::Over => {
                self.owed_frames = self.after_loss;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: Instant = Instant(20_000_000);
    const WAITING: Patience = Patience::Waiting(UNTIL);

    #[test]
    fn a_frame_waits_for_a_guest_that_is_good_for_it() {
        let mut guest = Trust::GUEST;
        assert_eq!(guest.no_room(Patience::Fresh, UNTIL), Some(UNTIL));
        assert_eq!(guest.no_room(WAITING, UNTIL), Some(UNTIL));
        guest.took(WAITING);
        (0..8).for_each(|_| guest.took(Patience::Fresh));
        assert_eq!(guest.no_room(Patience::Fresh, UNTIL), Some(UNTIL));
    }

    #[test]
    fn a_guest_that_takes_one_frame_at_a_time_is_waited_for_once() {
        let mut guest = Trust::GUEST;
        assert_eq!(guest.no_room(Patience::Fresh, UNTIL), Some(UNTIL));
        guest.took(WAITING);
        for _ in 0..7 {
            assert_eq!(guest.no_room(Patience::Fresh, UNTIL), None);
            guest.took(Patience::Fresh);
        }
        assert_eq!(guest.no_room(Patience::Fresh, UNTIL), None);
    }

    #[test]
    fn a_frame_that_waits_already_is_not_lost_because_another_has_waited() {
        let mut guest = Trust::GUEST;
        assert_eq!(guest.no_room(Patience::Fresh, UNTIL), Some(UNTIL));
        guest.took(WAITING);
        assert_eq!(guest.no_room(WAITING, UNTIL), Some(UNTIL));
    }

    #[test]
    fn a_card_is_waited_for_as_often_as_its_line_is_slow_and_not_while_it_is_stuck() {
        let mut card = Trust::CARD;
        for _ in 0..100 {
            assert_eq!(card.no_room(Patience::Fresh, UNTIL), Some(UNTIL));
            card.took(WAITING);
        }
        assert_eq!(card.no_room(Patience::Over, UNTIL), None);
        assert_eq!(card.no_room(Patience::Fresh, UNTIL), None);
        card.took(Patience::Fresh);
        assert_eq!(card.no_room(Patience::Fresh, UNTIL), Some(UNTIL));
    }

    #[test]
    fn who_waits_longer_comes_first() {
        assert!(Patience::Fresh.comes_behind(Instant(u64::MAX)));
        assert!(WAITING.comes_behind(Instant(UNTIL.0 - 1)));
        assert!(!WAITING.comes_behind(UNTIL));
        assert!(!Patience::Over.comes_behind(Instant(0)));
    }
}
