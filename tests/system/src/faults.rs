//! A hypervisor with faults on purpose: each must be noticed by a scenario, or be told of by the epitaph.
//!
//! The faults are in `hypervisor/kernel/src/faults.rs`, and only in the build with the feature `seeded-faults`.

use crate::{BOOT, STEP, line, several, tiny_guests};
use anyhow::{Context, Result, bail, ensure};
use std::time::Duration;
use xtask::emulator::Vendor;
use xtask::scenario::{Lab, On, Scenario, Speed};
use xtask::{paths, symbolize};

pub const SCENARIOS: &[Scenario] = &[
    quick("an_epitaph_of_a_panic_names_what_where_and_the_way_there", |lab| {
        epitaph(lab, "panic", &["*** panic: seeded fault, at ", "faults.rs:"], GIVE_UP)
    }),
    quick("an_epitaph_of_a_page_fault_names_what_where_and_the_way_there", |lab| {
        let words = ["*** page fault (vector 14) at 0x", "cr2 0xfffff00000000000", "error code 0x0"];
        epitaph(lab, "page-fault", &words, READ_NOWHERE)
    }),
    quick("an_epitaph_of_a_stack_overflow_names_what_where_and_the_way_there", |lab| {
        let words = ["*** double fault (vector 8) at 0x"];
        epitaph(lab, "stack-overflow", &words, RECURSE)
    }),
    quick("a_deaf_timer_fails_the_timer_guest", |lab| {
        // A sound hypervisor needs two seconds for it.
        let body =
            |lab: &Lab| tiny_guests::passes_within(lab, "hlt-timer", Duration::from_secs(20)).map(drop);
        noticed(lab, "deaf-timer", body, "vm hlt-timer: ended: ")
    }),
    quick("lost_output_fails_a_guest_that_reports", |lab| {
        let body = |lab: &Lab| tiny_guests::passes_within(lab, "port-io", STEP).map(drop);
        noticed(lab, "lost-output", body, "the guest reported no check")
    }),
    quick("a_contagious_end_fails_the_crash_of_one_vm", |lab| {
        noticed(lab, "contagious-end", several::crash, "demo:~# ")
    }),
    quick("a_refused_state_is_explained_by_check_section_and_fields", refused_state),
    quick("a_fault_that_does_not_exist_is_refused_by_name", unknown),
    quick("the_ordinary_hypervisor_knows_no_fault", ordinary),
];

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Both, run }
}

const CONFIG: &str = "[host]\nwhen_idle = \"poweroff\"\n\n[[vm]]\nname = \"guest\"\nmemory = \"16M\"\n\
                      kernel = \"guest\"\ndebug_exit = true\n";

/// Where the hypervisor died: a function and the statement of it.
struct Culprit {
    function: &'static str,
    statement: &'static str,
}

const GIVE_UP: Culprit =
    Culprit { function: "cofferdam::faults::give_up", statement: "panic!(\"seeded fault\");" };
const READ_NOWHERE: Culprit =
    Culprit { function: "cofferdam::faults::read_nowhere", statement: "unsafe { asm!(" };
const RECURSE: Culprit =
    Culprit { function: "cofferdam::faults::recurse", statement: "black_box(recurse(black_box(" };

impl Culprit {
    /// What is said of its source line.
    fn line(&self) -> Result<String> {
        const FILE: &str = "hypervisor/kernel/src/faults.rs";
        let source = String::from_utf8(paths::read(&paths::workspace().join(FILE))?)?;
        let index = source.lines().position(|line| line.trim_start().starts_with(self.statement));
        let line = index.context("the source has no such statement")? + 1;
        Ok(format!("{FILE}:{line}\n"))
    }
}

/// The epitaph holds all of `words`, and its addresses lead to the culprit's function and line.
fn epitaph(lab: &Lab, fault: &str, words: &[&str], culprit: Culprit) -> Result<()> {
    let lab = lab.with_fault(fault)?;
    let mut contents = lab.contents(CONFIG)?;
    contents.add("guest", lab.guest("port-io")?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    let before = emulator.expect("*** the hypervisor died on CPU 0", BOOT)?;
    ensure!(before.contains("the last line of the log"), "the epitaph leaves out what the log had to say");
    let cause_and_way = emulator.expect("*** build ", STEP)?;
    for word in words {
        ensure!(cause_and_way.contains(word), "the epitaph lacks {word:?}: {cause_and_way}");
    }
    let (_, way) = cause_and_way.split_once("called from").context("the epitaph has no way")?;
    ensure!(way.contains("image+0x"), "the way has no place in the image: {way}");
    // Names and builds are those of the program that ran.
    let named = symbolize::translate(&cause_and_way, &lab.hypervisor().kernel)?;
    let (function, line) = (culprit.function, culprit.line()?);
    ensure!(named.contains(&format!("<{function}+0x")), "no address is in {function}: {named}");
    ensure!(named.contains(&line), "no address is at {line}: {named}");
    let build = emulator.expect(", image at 0x", STEP)?;
    let program = paths::read(&lab.hypervisor().kernel)?;
    ensure!(!build.is_empty() && holds(&program, &build), "the program is not of the build {build:?}");
    Ok(())
}

/// `body`, a scenario's, fails with this fault, and says `reason`.
pub fn noticed(lab: &Lab, fault: &str, body: impl Fn(&Lab) -> Result<()>, reason: &str) -> Result<()> {
    let Err(error) = body(&lab.with_fault(fault)?) else { bail!("it passes in spite of the fault") };
    let text = format!("{error:#}");
    ensure!(text.contains(reason), "it fails for another reason: {text}");
    Ok(())
}

/// The processor refuses the state of a VM: only that VM ends, and its end names the check that failed.
fn refused_state(lab: &Lab) -> Result<()> {
    let faulty = lab.with_fault("corrupt-state")?;
    let mut contents = faulty.contents(CONFIG)?;
    contents.add("guest", lab.guest("port-io")?);
    let mut emulator = faulty.start(faulty.machine(&faulty.image(&contents)?))?;
    emulator.expect("vm guest: ended: the processor refused its state: ", BOOT)?;
    let explanation = emulator.expect("\n", STEP)?;
    let words: &[&str] = match lab.vendor() {
        Vendor::Amd => &["CS", "15.5.1", "(code 0xffffffffffffffff)"],
        Vendor::Intel => &["CS", "SDM", "(code 0x80000021)", "guest CS access rights 0x"],
    };
    for word in words {
        ensure!(explanation.contains(word), "the explanation lacks {word:?}: {explanation}");
    }
    line::await_power_off(&mut emulator)
}

fn unknown(lab: &Lab) -> Result<()> {
    let lab = lab.with_fault("nonsense")?;
    let mut contents = lab.contents(CONFIG)?;
    contents.add("guest", lab.guest("port-io")?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("cannot run: boot override fault=nonsense: there is no such fault", BOOT)?;
    Ok(())
}

fn ordinary(lab: &Lab) -> Result<()> {
    for name in ["seeded fault", "deaf-timer", "contagious-end", "emulated-memory"] {
        let is_in = |lab: &Lab| anyhow::Ok(holds(&paths::read(&lab.hypervisor().kernel)?, name));
        ensure!(!is_in(lab)?, "the ordinary hypervisor contains {name:?}");
        ensure!(is_in(&lab.with_fault("panic")?)?, "the search for {name:?} finds nothing where it is");
    }
    let mut contents = lab.contents(CONFIG)?;
    contents.add("guest", lab.guest("port-io")?);
    contents.add("overrides", b"fault=panic\n".to_vec());
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("boot overrides: fault=panic", BOOT)?;
    emulator.expect("vm guest: ended: debug exit by the guest, status 1", BOOT)?;
    line::await_power_off(&mut emulator)
}

/// Whether `text` stands somewhere in `bytes`.
fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
