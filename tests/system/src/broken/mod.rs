//! Broken configurations, files, kernels and hosts: each gives its promised message, and nothing crashes.
//!
//! Cases that do not disturb each other share one computer, so that many of them cost few boots; each is reported by its
//! own name all the same:
//! - [`configs`], [`files`]: what boot refuses. Every case is a disk of its own; firmware tries one after the other, and
//!   the last is sound. So it is shown as well that firmware goes on after a refusal.
//! - [`kernels`]: what the hypervisor refuses. Every case is a VM of its own, beside a sound one that must run.
//! - [`host`]: what ends the start of the hypervisor; one computer each.

mod chain;
mod configs;
mod files;
mod forge;
mod host;
mod kernels;
mod promise;

use anyhow::{Context, Result, anyhow};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use xtask::emulator::Vendor;
use xtask::scenario::{Lab, On, Scenario, Speed};

/// For what is refused before a guest runs.
const UNLIKELY_TO_DIFFER: On = On::BothIntelSeldom("no code on the way depends on the processor");

const CONFIGS: &[Scenario] =
    &scenarios::<_, { configs::CASES.len() }>(configs::CASES, chain::MANY_DISKS, configs::run);
const FILES: &[Scenario] =
    &scenarios::<_, { files::CASES.len() }>(files::CASES, chain::MANY_DISKS, files::run);
const KERNELS: &[Scenario] =
    &scenarios::<_, { kernels::CASES.len() }>(kernels::CASES, UNLIKELY_TO_DIFFER, kernels::run);

/// All of them. The first case of each computer comes first, lest others wait for it while they could run.
pub fn all() -> Vec<Scenario> {
    let (first, others): (Vec<_>, Vec<_>) =
        [FILES, CONFIGS, KERNELS].iter().filter_map(|group| group.split_first()).unzip();
    let first = first.into_iter().copied();
    first.chain(host::SCENARIOS.iter().copied()).chain(others.concat()).collect()
}

/// A configuration that works: a tiny guest that ends by itself, and the host with it.
const GOOD: &str =
    "[host]\nwhen_idle = \"poweroff\"\n\n[[vm]]\nname = \"good\"\nmemory = \"16M\"\nkernel = \"guest\"\n";

/// Something broken, and what is said of it.
struct Case<Damage: 'static> {
    name: &'static str,
    damage: Damage,
    /// The whole line, behind what precedes all lines of its kind; see [`promise`].
    promise: &'static str,
}

/// A scenario for each case.
const fn scenarios<Damage, const N: usize>(
    cases: &[Case<Damage>],
    on: On,
    run: fn(&Lab) -> Result<()>,
) -> [Scenario; N] {
    let mut all = [Scenario { name: "", speed: Speed::Quick, on, run }; N];
    let mut n = 0;
    while n < N {
        all[n].name = cases[n].name;
        n += 1;
    }
    all
}

/// What a computer said of each case, by its name.
type Lines = BTreeMap<&'static str, String>;

/// The one run of each vendor's computer that several cases share, or why it failed.
struct Round {
    amd: OnceLock<Result<Lines, String>>,
    intel: OnceLock<Result<Lines, String>>,
}

impl Round {
    const fn new() -> Self {
        Self { amd: OnceLock::new(), intel: OnceLock::new() }
    }

    fn of(&self, vendor: Vendor) -> &OnceLock<Result<Lines, String>> {
        match vendor {
            Vendor::Amd => &self.amd,
            Vendor::Intel => &self.intel,
        }
    }
}

/// Checks the case that `lab` is for. Whichever of `cases` comes first runs the computer for all.
fn check<Damage>(
    lab: &Lab,
    cases: &[Case<Damage>],
    round: &Round,
    run: fn(&Lab, &[Case<Damage>]) -> Result<Lines>,
) -> Result<()> {
    let lines = round.of(lab.vendor()).get_or_init(|| {
        run(lab, cases).map_err(|error| format!("{error:#} (the serial log is that of {})", lab.name()))
    });
    let lines = lines.as_ref().map_err(|why| anyhow!("{why}"))?;
    let case = cases.iter().find(|case| case.name == lab.name()).context("there is no such case")?;
    let said = lines.get(case.name).context("an earlier case was not refused")?;
    promise::check(case.promise, said)
}
