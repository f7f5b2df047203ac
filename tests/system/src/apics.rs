//! Who runs a guest's local APIC makes no difference to the guest: the tiny guests that use it most report the same where
//! the processor runs it with and without posted interrupts, where the processor cannot, and where it may not.
//!
//! Where it does both, on the computers' own processor, all scenarios run anyway.

use crate::BOOT;
use crate::tiny_guests;
use anyhow::{Context, Result, ensure};
use xtask::emulator::Model;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    one("apic_with_posted_interrupts", |lab| told(lab, None, ALL)),
    one("apic_without_posted_interrupts", |lab| told(lab, Some(Model::Haswell), UNPOSTED)),
    one("apic_of_a_processor_that_runs_none", |lab| told(lab, Some(Model::IvyBridge), NONE)),
    one("apic_left_to_the_model_by_override", |lab| told(&lab.with_override(OFF)?, None, NONE)),
    one("interrupts_without_posted_interrupts", |lab| interrupts(lab, Some(Model::Haswell))),
    one("interrupts_of_a_processor_that_runs_no_apic", |lab| interrupts(lab, Some(Model::IvyBridge))),
    one("interrupts_left_to_the_model_by_override", |lab| interrupts(&lab.with_override(OFF)?, None)),
    one("apic_override_that_is_unknown_is_refused_by_name", unknown),
];

/// What the log says of local APICs.
#[derive(Clone, Copy)]
struct Features {
    runs_apics: bool,
    posts: bool,
}

const ALL: Features = Features { runs_apics: true, posts: true };
const UNPOSTED: Features = Features { runs_apics: true, posts: false };
const NONE: Features = Features { runs_apics: false, posts: false };

const OFF: &str = "apicv=off";

const fn one(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario {
        name,
        speed: Speed::Quick,
        on: On::Intel("AMD's processors are not made to run local APICs"),
        run,
    }
}

/// The guest `local-apic` passes, and the log says who runs its APIC.
fn told(lab: &Lab, model: Option<Model>, features: Features) -> Result<()> {
    let log = tiny_guests::passes_on(lab, model, "local-apic", BOOT)?;
    let line = log.lines().find(|line| line.contains("virtualization: VT-x")).context("it is not VT-x")?;
    let has = |feature: &str| line.contains(feature);
    let found = (has(" tpr-shadow"), has(" apic-virtualization"), has(" posted-interrupts"));
    ensure!(found == (true, features.runs_apics, features.posts), "the log says: {line}");
    Ok(())
}

/// Interrupts of other controllers, NMIs and HLT pass.
fn interrupts(lab: &Lab, model: Option<Model>) -> Result<()> {
    for guest in ["ioapic", "nmi-and-shadow", "hlt-timer", "pic"] {
        tiny_guests::passes_on(lab, model, guest, BOOT)?;
    }
    Ok(())
}

fn unknown(lab: &Lab) -> Result<()> {
    let lab = lab.with_override("apicv=maybe")?;
    let mut emulator = tiny_guests::start(&lab, None, "hlt-timer")?;
    emulator.expect("cannot run: boot override apicv=maybe: choose on or off, or leave it out", BOOT)?;
    Ok(())
}
