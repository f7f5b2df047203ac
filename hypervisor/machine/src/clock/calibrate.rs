//! How fast a counter runs: several samples against a reference, the median, and what to do when references disagree.

use super::SAMPLE;
use arrayvec::ArrayVec;
use base::{InvalidFrequency, Nanoseconds};
use core::fmt;

/// Samples that count; odd, so that there is a median.
const SAMPLES: usize = 5;
/// Samples taken at most, to get so many good ones.
const MAX_SAMPLES: usize = 15;
/// A sample known this well is good, in millionths.
const GOOD_PPM: u64 = 500;
/// Samples within this of the median count as agreeing with it, in millionths.
const AGREE_PPM: u64 = 10_000;
/// So many samples must agree with the median, itself included.
const MUST_AGREE: usize = 3;

/// How much a counter advanced in some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Ticks of the counter.
    pub ticks: u64,
    /// How long that took by the reference.
    pub elapsed: Nanoseconds,
    /// How many ticks may belong to the moments before or after: the counter and the reference are not read at once,
    /// and something else (firmware, an outer hypervisor) can have the CPU in between.
    pub unsure_ticks: u64,
}

impl Sample {
    /// How well the sample is known, in millionths of it.
    fn unsure_ppm(self) -> u64 {
        let ppm = u128::from(self.unsure_ticks).saturating_mul(1_000_000).checked_div(self.ticks.into());
        ppm.and_then(|ppm| u64::try_from(ppm).ok()).unwrap_or(u64::MAX)
    }

    /// Ticks a second; `None` for no time at all.
    fn hz(self) -> Option<u64> {
        let scaled = u128::from(self.ticks).checked_mul(1_000_000_000)?;
        u64::try_from(scaled.checked_div(self.elapsed.0.into())?).ok()
    }
}

/// Something that knows how long `span` takes.
pub trait Reference {
    /// Which it is.
    const SOURCE: Source;

    /// Reads `counter`, lets about `span` pass, reads it again; `None` when the reference does not answer or stands
    /// still. Never waits for ever.
    fn sample(&mut self, span: Nanoseconds, counter: &mut impl FnMut() -> u64) -> Option<Sample>;
}

/// What a frequency was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The ACPI power-management timer.
    PmTimer,
    /// Channel 2 of the 8254.
    Pit,
    /// CPUID's word.
    Cpuid,
    /// The TSC, itself measured.
    Tsc,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PmTimer => "the ACPI PM timer",
            Self::Pit => "the PIT",
            Self::Cpuid => "CPUID",
            Self::Tsc => "the TSC",
        })
    }
}

/// The median of a reference's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Ticks a second.
    pub hz: u64,
    /// How far the agreeing samples lie apart, in millionths.
    pub spread_ppm: u64,
    /// What they were taken from.
    pub source: Source,
}

/// The frequency in use, and how it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// Ticks a second.
    pub hz: u64,
    /// What it was taken from.
    pub source: Source,
    /// How far its samples lie apart, in millionths; 0 for CPUID's word.
    pub spread_ppm: u64,
    /// How far the other reference is off, where there is one, in millionths.
    pub disagreement_ppm: Option<u64>,
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mhz, khz) = (self.hz / 1_000_000, self.hz / 1_000 % 1_000);
        write!(f, "{mhz}.{khz:03} MHz by {} (spread {} ppm)", self.source, self.spread_ppm)?;
        match self.disagreement_ppm {
            Some(ppm) if ppm > AGREE_PPM => write!(f, "; references DISAGREE by {ppm} ppm"),
            Some(ppm) => write!(f, ", confirmed within {ppm} ppm"),
            None => f.write_str(", unconfirmed"),
        }
    }
}

/// A frequency that could not be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalibrationError {
    /// Neither PM timer nor PIT answers steadily, and CPUID says nothing.
    NoReference,
    /// The local APIC's timer does not run steadily against the TSC.
    UnsteadyTimer,
    /// No counter has this frequency.
    Frequency(InvalidFrequency),
}

impl fmt::Display for CalibrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReference => f.write_str(
                "the TSC cannot be measured: neither the ACPI PM timer nor the PIT runs steadily; \
                 enable one of them in the firmware's setup",
            ),
            Self::UnsteadyTimer => f.write_str(
                "the local APIC's timer cannot be measured: it does not run steadily against the TSC",
            ),
            Self::Frequency(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CalibrationError {}

/// Measures `counter` against `reference`: the median of the samples that are known best, if enough of them agree.
pub fn measure<R: Reference>(reference: &mut R, mut counter: impl FnMut() -> u64) -> Option<Measured> {
    let mut samples = ArrayVec::<(u64, u64), MAX_SAMPLES>::new();
    while samples.iter().filter(|(unsure_ppm, _)| *unsure_ppm <= GOOD_PPM).count() < SAMPLES {
        let sample = reference.sample(SAMPLE, &mut counter)?;
        // A counter that stands still is none.
        let hz = sample.hz().filter(|&hz| hz != 0)?;
        if samples.try_push((sample.unsure_ppm(), hz)).is_err() {
            break;
        }
    }
    samples.sort_unstable();
    let mut best = [0; SAMPLES];
    best.iter_mut().zip(&samples).for_each(|(slot, (_, hz))| *slot = *hz);
    let (hz, spread_ppm) = steady_median(&mut best)?;
    Some(Measured { hz, spread_ppm, source: R::SOURCE })
}

/// The median, and how far the samples that agree with it lie apart; `None` when too few do.
fn steady_median(samples: &mut [u64; SAMPLES]) -> Option<(u64, u64)> {
    samples.sort_unstable();
    let median = *samples.get(SAMPLES / 2)?;
    let agreeing = samples.iter().map(|&hz| off_ppm(hz, median)).filter(|&ppm| ppm <= AGREE_PPM);
    let (count, spread) = agreeing.fold((0, 0), |(count, most), ppm| (count + 1, ppm.max(most)));
    (median != 0 && count >= MUST_AGREE).then_some((median, spread))
}

/// How far `a` is from `b`, in millionths of `b`.
fn off_ppm(a: u64, b: u64) -> u64 {
    let off = u128::from(a.abs_diff(b)).saturating_mul(1_000_000).checked_div(b.into());
    off.and_then(|ppm| u64::try_from(ppm).ok()).unwrap_or(u64::MAX)
}

/// Picks a frequency.
///
/// References that agree: the PM timer's. References that do not: the median of both and CPUID's word; without that,
/// the one whose samples lie closer together. One reference: that. None: CPUID's word.
///
/// # Errors
/// [`CalibrationError::NoReference`] when there is nothing at all.
pub fn choose(
    pm_timer: Option<Measured>,
    pit: Option<Measured>,
    claimed_hz: Option<u64>,
) -> Result<Calibration, CalibrationError> {
    let claim = claimed_hz.map(|hz| Measured { hz, spread_ppm: 0, source: Source::Cpuid });
    let used = |measured: Measured, disagreement_ppm| Calibration {
        hz: measured.hz,
        source: measured.source,
        spread_ppm: measured.spread_ppm,
        disagreement_ppm,
    };
    match (pm_timer, pit) {
        (Some(pm), Some(pit)) => {
            let off = off_ppm(pit.hz, pm.hz);
            let best = match claim {
                _ if off <= AGREE_PPM => pm,
                Some(claim) => median_of([pm, pit, claim]),
                None if pit.spread_ppm < pm.spread_ppm => pit,
                None => pm,
            };
            Ok(used(best, Some(off)))
        }
        (Some(only), None) | (None, Some(only)) => Ok(used(only, None)),
        (None, None) => claim.map(|claim| used(claim, None)).ok_or(CalibrationError::NoReference),
    }
}

fn median_of([a, b, c]: [Measured; 3]) -> Measured {
    let between = |x: Measured, y: Measured, z: Measured| {
        (y.hz.min(z.hz)..=y.hz.max(z.hz)).contains(&x.hz).then_some(x)
    };
    between(a, b, c).or(between(b, a, c)).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec::Vec;

    /// A reference that shows given samples.
    struct Script(Vec<Option<u64>>);
    impl Reference for Script {
        const SOURCE: Source = Source::Pit;
        fn sample(&mut self, span: Nanoseconds, _: &mut impl FnMut() -> u64) -> Option<Sample> {
            let hz = self.0.remove(0)?;
            Some(Sample { ticks: hz / 100, elapsed: span, unsure_ticks: 0 })
        }
    }

    fn measured(hz: u64, spread_ppm: u64, source: Source) -> Option<Measured> {
        Some(Measured { hz, spread_ppm, source })
    }

    #[test]
    fn two_disturbed_samples_of_five_do_no_harm() {
        let samples = [2_000_000_000, 9_000_000_000, 2_000_010_000, 1_000, 2_000_004_000].map(Some);
        let result = measure(&mut Script(samples.to_vec()), || 0);
        assert_eq!(result, measured(2_000_004_000, 2, Source::Pit));
    }

    #[test]
    fn samples_that_are_known_badly_are_taken_again() {
        /// Every second sample is interrupted: it is wrong, and says how unsure it is.
        struct Interrupted(u64);
        impl Reference for Interrupted {
            const SOURCE: Source = Source::Pit;
            fn sample(&mut self, span: Nanoseconds, _: &mut impl FnMut() -> u64) -> Option<Sample> {
                self.0 += 1;
                let lost = self.0 % 2 * 7_000_000;
                Some(Sample { ticks: 30_000_000 + lost, elapsed: span, unsure_ticks: lost })
            }
        }
        let mut reference = Interrupted(0);
        assert_eq!(measure(&mut reference, || 0), measured(3_000_000_000, 0, Source::Pit));
        assert_eq!(reference.0, 10);
    }

    #[test]
    fn samples_all_over_the_place_are_no_measurement() {
        let samples = [1_000_000_000, 2_000_000_000, 3_000_000_000, 4_000_000_000, 5_000_000_000].map(Some);
        assert_eq!(measure(&mut Script(samples.to_vec()), || 0), None);
        assert_eq!(measure(&mut Script([Some(0); 5].to_vec()), || 0), None);
        assert_eq!(measure(&mut Script([None].to_vec()), || 0), None);
    }

    #[test]
    fn agreeing_references_confirm_each_other() {
        let pm = measured(3_000_000_000, 5, Source::PmTimer);
        let chosen = choose(pm, measured(3_000_300_000, 1, Source::Pit), Some(1)).unwrap();
        assert_eq!(
            (chosen.hz, chosen.source, chosen.disagreement_ppm),
            (3_000_000_000, Source::PmTimer, Some(100))
        );
        assert_eq!(
            chosen.to_string(),
            "3000.000 MHz by the ACPI PM timer (spread 5 ppm), confirmed within 100 ppm"
        );
    }

    #[test]
    fn disagreeing_references_are_judged_by_a_third() {
        let (pm, pit) =
            (measured(1_500_000_000, 0, Source::PmTimer), measured(3_000_000_000, 9, Source::Pit));
        assert_eq!(choose(pm, pit, Some(3_100_000_000)).unwrap().source, Source::Pit);
        assert_eq!(choose(pm, pit, Some(1_000_000_000)).unwrap().source, Source::PmTimer);
        assert_eq!(choose(pm, pit, Some(2_000_000_000)).unwrap().source, Source::Cpuid);
        let chosen = choose(pm, pit, None).unwrap();
        assert_eq!(chosen.source, Source::PmTimer);
        assert!(chosen.to_string().ends_with("DISAGREE by 1000000 ppm"));
    }

    #[test]
    fn one_reference_or_a_claim_is_better_than_nothing() {
        let pit = measured(3_000_000_000, 9, Source::Pit);
        assert_eq!(choose(None, pit, None).unwrap().source, Source::Pit);
        assert_eq!(choose(None, None, Some(7)).unwrap().source, Source::Cpuid);
        assert_eq!(choose(None, None, None), Err(CalibrationError::NoReference));
    }

    proptest! {
        #[test]
        fn no_samples_upset_it(samples: [u64; SAMPLES], ticks: u64, elapsed: u64) {
            let mut sorted = samples;
            if let Some((median, spread)) = steady_median(&mut sorted) {
                prop_assert!(samples.contains(&median) && spread <= AGREE_PPM);
            }
            let sample = Sample { ticks, elapsed: Nanoseconds(elapsed), unsure_ticks: samples[0] };
            let _ = (sample.hz(), sample.unsure_ppm());
        }
    }
}
