//! Scenarios: an image in an emulator, driven over its serial line. The list of them is `tests/system`.
//!
//! ```no_run
//! use std::time::Duration;
//! use xtask::scenario::{Lab, On, Scenario, Speed};
//!
//! const SCENARIOS: &[Scenario] = &[Scenario {
//!     name: "hlt_wakes_by_timer",
//!     speed: Speed::Quick,
//!     on: On::Both,
//!     run: hlt_wakes_by_timer,
//! }];
//!
//! fn hlt_wakes_by_timer(lab: &Lab) -> anyhow::Result<()> {
//!     let mut contents = lab.contents("[[vm]]\nname = \"a\"\nmemory = \"16M\"\nkernel = \"guest\"\n")?;
//!     contents.add("guest", lab.guest("hlt")?);
//!     let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
//!     emulator.expect("woke up", Duration::from_secs(60))?;
//!     Ok(())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     xtask::scenario::main(SCENARIOS)
//! }
//! ```
//!
//! [`main`] takes the arguments `[FILTER] [--long] [--list]` and prints one line per scenario,
//! `scenario TAB passed|failed TAB seconds TAB name`, which `cargo xtask test` reads; the reason of a failure
//! stands on lines before it. A scenario for both vendors is two of them, named after the scenario and the vendor. At most [`AT_ONCE`] run at once. The serial log of each run is kept in the
//! build folder below `scenarios/`. Everything that must be built is built before: [`prepare`].

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::build::{self, Hypervisor};
use crate::emulator::{Emulator, Machine, Time, Translations, Vendor};
use crate::guest::{self, Architecture, Kernel};
use crate::image::{self, Contents, Table};
use crate::paths;
use crate::setup::{self, Need};

/// A test of the whole.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name: a sentence in snake case, unique.
    pub name: &'static str,
    /// Whether it runs every time.
    pub speed: Speed,
    /// Whose computers it runs on.
    pub on: On,
    /// The test; an error fails it.
    pub run: fn(&Lab) -> Result<()>,
}

/// How long a scenario takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// Part of every run.
    Quick,
    /// Only with `--long`.
    Long,
}

/// Whose computers a scenario runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Each vendor's, in a run of its own.
    Both,
    /// The same, but Intel's with `--long` only, and why.
    BothIntelSeldom(&'static str),
    /// AMD's alone, and why.
    Amd(&'static str),
    /// Intel's alone, and why.
    Intel(&'static str),
}

/// The vendors whose virtualization the hypervisor has.
const VENDORS: [Vendor; 2] = [Vendor::Amd, Vendor::Intel];

/// A scenario on one vendor's computers.
#[derive(Clone, Copy)]
struct Test {
    scenario: Scenario,
    vendor: Vendor,
}

impl Test {
    /// All tests of `scenarios`, in their order.
    fn all(scenarios: &[Scenario]) -> Vec<Self> {
        let of = |scenario: &Scenario| {
            let scenario = *scenario;
            let is_on = move |vendor: &Vendor| match scenario.on {
                On::Both | On::BothIntelSeldom(_) => true,
                On::Amd(_) => *vendor == Vendor::Amd,
                On::Intel(_) => *vendor == Vendor::Intel,
            };
            VENDORS.into_iter().filter(is_on).map(move |vendor| Self { scenario, vendor })
        };
        scenarios.iter().flat_map(of).collect()
    }

    /// Its own name. The vendor is part of it where there are two.
    fn name(&self) -> String {
        match (self.scenario.on, self.vendor) {
            (On::Amd(_) | On::Intel(_), _) => self.scenario.name.to_string(),
            (On::Both | On::BothIntelSeldom(_), Vendor::Amd) => format!("{}_on_amd_v", self.scenario.name),
            (On::Both | On::BothIntelSeldom(_), Vendor::Intel) => format!("{}_on_vt_x", self.scenario.name),
        }
    }

    /// Whether it runs every time.
    fn speed(&self) -> Speed {
        match (self.scenario.on, self.vendor) {
            (On::BothIntelSeldom(_), Vendor::Intel) => Speed::Long,
            _ => self.scenario.speed,
        }
    }

    /// What the list says of it behind its name.
    fn remarks(&self) -> String {
        let speed = if self.speed() == Speed::Long { " (--long)" } else { "" };
        match self.scenario.on {
            On::Both => speed.to_string(),
            On::BothIntelSeldom(why) => format!(" [on Intel with --long: {why}]{speed}"),
            On::Amd(why) => format!(" [AMD only: {why}]{speed}"),
            On::Intel(why) => format!(" [Intel only: {why}]{speed}"),
        }
    }
}

/// What a scenario works with.
pub struct Lab {
    name: &'static str,
    vendor: Vendor,
    hypervisor: Hypervisor,
    /// The boot overrides of its images.
    overrides: Vec<String>,
    translations: Translations,
    scratch: tempfile::TempDir,
    log: PathBuf,
    /// Numbers the images of this scenario.
    images: AtomicU32,
}

impl Lab {
    fn new(test: &Test) -> Result<Self> {
        let logs = paths::lane("scenarios");
        paths::make_folder(&logs)?;
        let log = log_path(&test.name());
        // A log of an earlier run would mislead.
        File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let (name, vendor) = (test.scenario.name, test.vendor);
        Ok(Self {
            name,
            vendor,
            hypervisor: Hypervisor::built(),
            overrides: Vec::new(),
            translations: Translations::Dropped,
            scratch: scratch()?,
            log,
            images: AtomicU32::new(0),
        })
    }

    /// The same, but with the hypervisor that has seeded faults, of which images choose `fault`.
    ///
    /// # Errors
    /// When there is no place for its files.
    pub fn with_fault(&self, fault: &str) -> Result<Self> {
        let lab = self.with_override(&format!("fault={fault}"))?;
        Ok(Self { hypervisor: Hypervisor::built_faulty(), ..lab })
    }

    /// The same, but with one more boot override in its images. Of two with the same key the later counts.
    ///
    /// # Errors
    /// As for [`Lab::with_fault`].
    pub fn with_override(&self, word: &str) -> Result<Self> {
        let mut lab = self.again()?;
        lab.overrides.push(word.to_string());
        Ok(lab)
    }

    /// The same on computers that keep translations over entries and exits.
    ///
    /// # Errors
    /// As for [`Lab::with_fault`].
    pub fn keeping_translations(&self) -> Result<Self> {
        Ok(Self { translations: Translations::Kept, ..self.again()? })
    }

    fn again(&self) -> Result<Self> {
        Ok(Self {
            hypervisor: self.hypervisor.clone(),
            overrides: self.overrides.clone(),
            scratch: scratch()?,
            log: self.log.clone(),
            images: AtomicU32::new(0),
            ..*self
        })
    }

    /// The scenario's name, without the vendor.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whose computers it runs on now.
    #[must_use]
    pub fn vendor(&self) -> Vendor {
        self.vendor
    }

    /// The hypervisor under test.
    #[must_use]
    pub fn hypervisor(&self) -> &Hypervisor {
        &self.hypervisor
    }

    /// A folder for this scenario's files, gone at its end.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The boot loader, the hypervisor and a configuration, valid or not; add files with [`Contents::add`].
    ///
    /// # Errors
    /// When the hypervisor is not built.
    pub fn contents(&self, config: &str) -> Result<Contents> {
        let mut contents = Contents::with_hypervisor(&self.hypervisor, config.as_bytes().to_vec())?;
        if !self.overrides.is_empty() {
            contents.add("overrides", self.overrides.join(" ").into_bytes());
        }
        Ok(contents)
    }

    /// A Debian kernel as its bzImage.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn bzimage(&self, kernel: Kernel) -> Result<Vec<u8>> {
        paths::read(&guest::debian_kernel(kernel)?)
    }

    /// A Debian kernel as the ELF inside its bzImage.
    ///
    /// # Errors
    /// When it cannot be fetched or unpacked.
    pub fn vmlinux(&self, kernel: Kernel) -> Result<Vec<u8>> {
        guest::vmlinux(kernel)
    }

    /// The initial RAM disk with a shell; see [`guest::initramfs()`] for what it does.
    ///
    /// # Errors
    /// When busybox cannot be fetched.
    pub fn initramfs(&self) -> Result<Vec<u8>> {
        guest::initramfs()
    }

    /// The same with the program `peer`, by which guests talk with each other.
    ///
    /// # Errors
    /// When busybox cannot be fetched, or the program is not built.
    pub fn initramfs_with_peer(&self) -> Result<Vec<u8>> {
        let mut initramfs = guest::initramfs()?;
        // The kernel unpacks one archive after the other.
        initramfs.extend(guest::initramfs::program("bin/peer", &paths::read(&build::peer_path())?)?);
        Ok(initramfs)
    }

    /// The same, of an architecture's programs.
    ///
    /// # Errors
    /// When busybox cannot be fetched.
    pub fn initramfs_of(&self, architecture: Architecture) -> Result<Vec<u8>> {
        guest::initramfs_of(architecture)
    }

    /// The memory tester.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn memtest(&self) -> Result<Vec<u8>> {
        guest::memtest()
    }

    /// One of the tiny guests, an ELF file.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn guest(&self, name: &str) -> Result<Vec<u8>> {
        paths::read(&build::guest(name))
    }

    /// Makes a GPT disk image.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn image(&self, contents: &Contents) -> Result<PathBuf> {
        let number = self.images.fetch_add(1, Ordering::Relaxed);
        let out = self.folder().join(format!("disk{number}.img"));
        image::write(contents, Table::Gpt, &out)?;
        Ok(out)
    }

    /// The usual computer with `image` as its disk: one processor, 1 GiB, emulated. On Bochs, which is slow, it does not wait
    /// for the host's clock.
    #[must_use]
    pub fn machine(&self, image: &Path) -> Machine {
        let time = match self.vendor {
            Vendor::Amd => Time::Host,
            Vendor::Intel => Time::Instructions,
        };
        Machine::new(image).vendor(self.vendor).time(time).translations(self.translations)
    }

    /// Powers a computer on and keeps its serial log.
    ///
    /// # Errors
    /// When the emulator does not start.
    pub fn start(&self, machine: Machine) -> Result<Emulator> {
        let log = File::options().append(true).open(&self.log)?;
        Ok(machine.copy_serial_to(log).start()?)
    }
}

/// Where the serial log of a test is kept.
fn log_path(test: &str) -> PathBuf {
    paths::lane("scenarios").join(format!("{test}.log"))
}

/// A folder for a scenario's files.
fn scratch() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("cofferdam-lab-").tempdir()?)
}

/// Builds and fetches all that scenarios use.
///
/// # Errors
/// What could not be built or fetched.
pub fn prepare() -> Result<()> {
    setup::ensure(&Need::ALL)?;
    build::hypervisor()?;
    build::faulty_hypervisor()?;
    build::firmware_tables()?;
    build::guests()?;
    build::peer()?;
    for kernel in Kernel::UNPACKED {
        guest::vmlinux(kernel)?;
    }
    Ok(())
}

/// How many scenarios run at once. More do not finish earlier on small computers, and make time-outs likely.
pub const AT_ONCE: usize = 2;

/// The `main` of a program of scenarios.
#[must_use]
pub fn main(scenarios: &[Scenario]) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let filter = args.iter().find(|arg| !arg.starts_with("--")).map_or("", String::as_str);
    let chosen: Vec<Test> = Test::all(scenarios)
        .into_iter()
        .filter(|test| test.name().contains(filter))
        .filter(|test| test.speed() == Speed::Quick || has("--long") || has("--list"))
        .collect();
    if has("--list") {
        for test in &chosen {
            println!("{}{}", test.name(), test.remarks());
        }
        return ExitCode::SUCCESS;
    }
    if run_all(&chosen) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs scenarios and prints a line for each; returns how many failed.
fn run_all(tests: &[Test]) -> usize {
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    let output = Mutex::new(std::io::stdout());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(tests.len()) {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (result, took) = run(test);
                    if result.is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    let report = report(&test.name(), &result, took);
                    let mut output = output.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    // Nobody reads any more: the exit status still tells.
                    let _ = output.write_all(report.as_bytes()).and_then(|()| output.flush());
                }
            });
        }
    });
    failed.into_inner()
}

/// Runs one; a panic in it is a failure like any other.
fn run(test: &Test) -> (Result<()>, Duration) {
    let begin = Instant::now();
    let body = || (test.scenario.run)(&Lab::new(test)?);
    let result = std::panic::catch_unwind(body)
        .unwrap_or_else(|panic| Err(anyhow::anyhow!("the scenario panicked: {}", panic_text(&*panic))));
    (result, begin.elapsed())
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)")
}

fn report(name: &str, result: &Result<()>, took: Duration) -> String {
    let seconds = took.as_secs_f32();
    match result {
        Ok(()) => format!("scenario\tpassed\t{seconds:.1}\t{name}\n"),
        Err(error) => {
            let log = log_path(name);
            let log = log.display();
            format!(
                "--- {name} failed: {error:#}\n    serial log: {log}\nscenario\tfailed\t{seconds:.1}\t{name}\n"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(on: On) -> Scenario {
        Scenario { name: "xtask_test", speed: Speed::Quick, on, run: |_| panic!("boom") }
    }

    #[test]
    fn a_scenario_for_both_vendors_is_named_after_each() {
        let name = |on, vendor| Test { scenario: scenario(on), vendor }.name();
        assert_eq!(name(On::Both, Vendor::Amd), "xtask_test_on_amd_v");
        assert_eq!(name(On::Both, Vendor::Intel), "xtask_test_on_vt_x");
        assert_eq!(name(On::BothIntelSeldom("why"), Vendor::Intel), "xtask_test_on_vt_x");
        assert_eq!(name(On::Amd("why"), Vendor::Amd), "xtask_test");
    }

    #[test]
    fn a_scenario_for_one_vendor_runs_once_and_the_list_says_why() {
        let tests = Test::all(&[scenario(On::Amd("because"))]);
        assert_eq!(tests.len(), 1);
        assert!(tests[0].remarks().contains("because"));
        assert_eq!(Test::all(&[scenario(On::Both)]).len(), VENDORS.len());
    }

    #[test]
    fn an_override_is_added_to_a_chosen_fault() {
        let lab = Lab::new(&Test { scenario: scenario(On::Both), vendor: Vendor::Amd }).unwrap();
        let both = lab.with_fault("panic").unwrap().with_override("apicv=off").unwrap();
        assert_eq!(both.overrides, ["fault=panic", "apicv=off"]);
        assert!(lab.overrides.is_empty());
    }

    #[test]
    fn a_failure_is_reported_with_its_chain_of_reasons() {
        let error = anyhow::anyhow!("inner").context("outer");
        let text = report("name", &Err(error), Duration::from_millis(1500));
        assert!(text.starts_with("--- name failed: outer: inner\n"), "{text}");
        assert!(text.ends_with("scenario\tfailed\t1.5\tname\n"), "{text}");
    }

    #[test]
    fn a_panic_fails_only_its_scenario() {
        let scenario = scenario(On::Both);
        let (result, _) = run(&Test { scenario, vendor: Vendor::Amd });
        assert!(result.unwrap_err().to_string().contains("boom"));
    }
}
