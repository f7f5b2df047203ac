//! `cargo xtask bench exits`: what each kind of exit costs, in executed instructions.
//!
//! The guest `bench-exits` measures (its source says how) and prints a line for each operation; here they are read, set
//! beside goals and other hypervisors, and printed as a table or written as JSON.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{await_power_off, measure, number, write_json};
use crate::build;
use crate::emulator::{Time, Vendor};
use crate::image::Contents;
use crate::setup::{self, Need};

/// Patience with a run whose time is counted instructions.
const LIMIT: Duration = Duration::from_secs(600);

/// The guest alone on its host.
const CONFIG: &str = r#"
[host]
when_idle = "poweroff"
attach = "bench"

[[vm]]
name = "bench"
memory = "16M"
kernel = "guest"
debug_exit = true
on_reset = "end"
"#;

/// How the measurements are shown.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Whose processors the machine has
    #[arg(long, value_enum, default_value = "amd")]
    cpu: Vendor,
    /// Boot overrides, such as `apicv=off`
    #[arg(long, value_name = "WORDS")]
    overrides: Option<String>,
    /// Also write them to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is compared with: instructions of the same operation on the same emulated computer.
struct Yardstick {
    operation: &'static str,
    must: u32,
    aim: u32,
    /// Under Linux 6.12 with the fastest virtual machine monitor found for KVM.
    kvm: Option<u32>,
    xen: Option<u32>,
}

/// On QEMU, in the order of the table.
const AMD: [Yardstick; 9] = [
    compared("CPUID", 400, 250, 3_024, Some(5_437)),
    compared("hypercall", 250, 120, 3_335, Some(5_504)),
    compared("emulated MSR", 400, 250, 3_122, Some(5_350)),
    compared("x2APIC EOI", 400, 220, 3_183, Some(5_487)),
    compared("unhandled port write", 300, 150, 3_748, Some(1_166)),
    compared("UART data write", 700, 500, 5_215, None),
    compared("unhandled MMIO read", 1_200, 800, 6_504, Some(14_987)),
    compared("self-IPI to handler", 900, 500, 4_775, Some(6_009)),
    compared("timer wake from HLT, lateness", 1_500, 900, 5_323, Some(10_332)),
];

/// On Bochs, where no other hypervisor was measured. A goal of 0 is that APICv does it without an exit.
const INTEL: [Yardstick; 9] = [
    goal("CPUID", 300, 150),
    goal("hypercall", 250, 120),
    goal("emulated MSR", 400, 250),
    goal("x2APIC EOI", 0, 0),
    goal("unhandled port write", 300, 150),
    goal("UART data write", 700, 500),
    goal("unhandled MMIO read", 800, 600),
    goal("self-IPI to handler", 0, 0),
    goal("timer wake from HLT, lateness", 1_500, 900),
];

const fn compared(operation: &'static str, must: u32, aim: u32, kvm: u32, xen: Option<u32>) -> Yardstick {
    Yardstick { operation, must, aim, kvm: Some(kvm), xen }
}

const fn goal(operation: &'static str, must: u32, aim: u32) -> Yardstick {
    Yardstick { operation, must, aim, kvm: None, xen: None }
}

/// The yardsticks of a vendor's emulated computer.
const fn yardsticks(vendor: Vendor) -> &'static [Yardstick] {
    match vendor {
        Vendor::Amd => &AMD,
        Vendor::Intel => &INTEL,
    }
}

/// One operation, in instructions executed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Measurement {
    operation: String,
    /// From before the operation until after it, guest and hypervisor together.
    median_total: u32,
    minimum: u32,
    /// What the guest executes of that.
    guest: u32,
    /// How many exits one operation takes.
    exits: u32,
}

impl Measurement {
    const fn median_hypervisor(&self) -> u32 {
        self.median_total.saturating_sub(self.guest)
    }
}

/// Measures, prints a table, and writes JSON if asked to.
///
/// # Errors
/// When it cannot be built or run, an operation was not measured, or the file cannot be written.
pub fn command(options: &Options) -> Result<()> {
    let log = run(options)?;
    let yardsticks = yardsticks(options.cpu);
    let measurements = measurements(&log, yardsticks)?;
    print!("{}", Rows { measurements: &measurements, yardsticks });
    match &options.json {
        Some(path) => write_json(path, &objects(options.cpu, &measurements)),
        None => Ok(()),
    }
}

/// Runs the guest; what appeared on the serial line.
fn run(options: &Options) -> Result<String> {
    setup::ensure(&Need::ALL)?;
    let hypervisor = build::hypervisor()?;
    build::firmware_tables()?;
    build::guests()?;
    let mut contents = Contents::with_hypervisor(&hypervisor, CONFIG.into())?;
    contents.add("guest", crate::paths::read(&build::guest("bench-exits"))?);
    if let Some(words) = &options.overrides {
        contents.add("overrides", words.clone().into_bytes());
    }
    measure(
        "measuring exits",
        &contents,
        |machine| machine.vendor(options.cpu).time(Time::Instructions),
        |emulator| await_power_off(emulator, LIMIT),
    )
}

/// Every operation's measurement in `log`, in the order of the yardsticks.
fn measurements(log: &str, yardsticks: &[Yardstick]) -> Result<Vec<Measurement>> {
    let failed: Vec<&str> =
        log.lines().filter(|line| line.contains("guest: ") && line.contains("FAILED")).collect();
    ensure!(failed.is_empty(), "the guest reported: {failed:?}");
    let found: Vec<Measurement> = log.lines().filter_map(measurement).collect();
    let of = |yardstick: &Yardstick| {
        let same = |measurement: &&Measurement| measurement.operation == yardstick.operation;
        let missing = || format!("the guest did not measure \"{}\"", yardstick.operation);
        found.iter().find(same).cloned().with_context(missing)
    };
    yardsticks.iter().map(of).collect()
}

/// The measurement in a line `bench: NAME: samples N, median N, minimum N, guest N, exits N`.
fn measurement(line: &str) -> Option<Measurement> {
    let (_, report) = line.split_once("bench: ")?;
    let (operation, numbers) = report.trim_end().split_once(": samples ")?;
    Some(Measurement {
        operation: operation.to_string(),
        median_total: number(numbers, "median")?,
        minimum: number(numbers, "minimum")?,
        guest: number(numbers, "guest")?,
        exits: number(numbers, "exits")?,
    })
}

fn objects(vendor: Vendor, measurements: &[Measurement]) -> Vec<Value> {
    let object = |measurement: &Measurement| {
        json!({
            "operation": measurement.operation,
            "vendor": vendor_name(vendor),
            "median_total": measurement.median_total,
            "median_hypervisor": measurement.median_hypervisor(),
            "minimum": measurement.minimum,
            "exits": measurement.exits,
        })
    };
    measurements.iter().map(object).collect()
}

const fn vendor_name(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Amd => "amd",
        Vendor::Intel => "intel",
    }
}

/// The table, in the form that documents take over.
struct Rows<'a> {
    measurements: &'a [Measurement],
    yardsticks: &'a [Yardstick],
}

impl fmt::Display for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| {:<29} | median | hypervisor | guest | minimum | exits | must  | aim | KVM   | Xen    |",
            "operation, in instructions"
        )?;
        writeln!(
            f,
            "|{:-<31}|-------:|-----------:|------:|--------:|------:|------:|----:|------:|-------:|",
            ""
        )?;
        for (measurement, yardstick) in self.measurements.iter().zip(self.yardsticks) {
            let Measurement { operation, median_total, minimum, guest, exits } = measurement;
            let hypervisor = measurement.median_hypervisor();
            let Yardstick { must, aim, .. } = yardstick;
            let other = |count: Option<u32>| count.map_or("none".into(), |count| count.to_string());
            let (kvm, xen) = (other(yardstick.kvm), other(yardstick.xen));
            writeln!(
                f,
                "| {operation:<29} | {median_total:>6} | {hypervisor:>10} | {guest:>5} | {minimum:>7} | {exits:>5} | \
                 {must:>5} | {aim:>3} | {kvm:>5} | {xen:>6} |"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_read_from_the_guests_lines() {
        let line = "bench: x2APIC EOI: samples 501, median 312, minimum 300, guest 1, exits 1\r";
        let seen = measurement(line).unwrap();
        assert_eq!((seen.median_total, seen.median_hypervisor(), seen.minimum), (312, 311, 300));
        assert_eq!((seen.operation.as_str(), seen.exits), ("x2APIC EOI", 1));
        assert_eq!(measurement("vm bench: exits: CPUID 12"), None);
    }

    #[test]
    fn an_operation_that_was_not_measured_or_a_failed_check_is_told() {
        assert!(measurements("", &AMD).unwrap_err().to_string().contains("CPUID"));
        let failed = "guest: check vector-state-survives: FAILED saw 0x0";
        assert!(measurements(failed, &INTEL).unwrap_err().to_string().contains("vector-state"));
    }

    #[test]
    fn its_configuration_is_valid() {
        assert_eq!(config::parse(CONFIG).unwrap().vms.len(), 1);
    }
}
