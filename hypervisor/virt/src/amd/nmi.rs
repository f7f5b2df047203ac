//! When a guest can take an NMI: the processor does not say, so its IRETs are watched
//! (APM 24593, volume 2, sections 8.1.3 and 15.20).
//!
//! ```text
//!           NMI queued                  IRET about to run, no window wanted
//!   Open ───────────────> Masked ───────────────────────────────> Returning { rip }
//!    ^                      │ IRET about to run, window wanted      │        │ window wanted
//!    │                      v                                       │        │ at the same rip
//!    │<─ #DB trap ─── Stepping <────────────────────────────────────┼────────┘
//!    │<─────────────────────────────────── rip has moved on ────────┘
//! ```
//!
//! An IRET exits before it runs, and NMIs stay masked until it has run; a step with RFLAGS.TF set over it finds that
//! moment. NMI virtualization (V_NMI) of newer processors would save these exits; NMIs to guests are rare, so one way
//! that every processor has is used.

/// What is known about the mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NmiMask {
    /// NMIs can be taken.
    #[default]
    Open,
    /// An NMI was queued or delivered; IRET is intercepted.
    Masked,
    /// The IRET at this address was let run.
    Returning {
        /// The IRET's address.
        rip: u64,
    },
    /// The processor steps over the IRET; the next `#DB` is the step's, and RFLAGS.TF the hypervisor's.
    Stepping(GuestTrap),
}

/// Whether the guest steps itself over the IRET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestTrap {
    /// Its RFLAGS.TF was set: the `#DB` is its own as well.
    Set,
    /// It was clear.
    Clear,
}

impl NmiMask {
    /// Whether NMIs are masked for a guest that stands at `rip`.
    #[inline]
    pub const fn masks_at(self, rip: u64) -> bool {
        match self {
            Self::Open => false,
            Self::Masked | Self::Stepping(_) => true,
            Self::Returning { rip: iret } => iret == rip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nmis_stay_masked_until_the_iret_has_run() {
        let returning = NmiMask::Returning { rip: 0x1000 };
        assert!(returning.masks_at(0x1000));
        assert!(!returning.masks_at(0x2000));
        assert!(NmiMask::Masked.masks_at(0));
        assert!(!NmiMask::Open.masks_at(0));
    }
}
