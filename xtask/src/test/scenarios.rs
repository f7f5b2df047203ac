//! Scenarios: the program of `tests/system`, run as a child that reports line by line (see [`crate::scenario`]).

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Counts, Options};
use crate::{process, scenario, toolchain};

/// What came out.
pub struct Outcome {
    /// How many.
    pub counts: Counts,
    /// How long each took.
    pub times: Vec<(Duration, String)>,
}

/// One reported line.
#[derive(Debug, PartialEq)]
struct Report<'a> {
    passed: bool,
    took: Duration,
    name: &'a str,
}

/// Prepares and runs the scenarios, and prints a line for each as it ends.
pub fn run(options: &Options) -> Result<Outcome> {
    process::quiet("building the scenarios", toolchain::host_cargo().args(["build", "--package", "system"]))?;
    let names = scenario_names(options)?;
    if names.is_empty() {
        return Ok(Outcome { counts: Counts::default(), times: Vec::new() });
    }
    scenario::prepare()?;
    println!("{} scenarios, {} at a time:", names.len(), scenario::AT_ONCE);
    let mut command = program(options);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::words(&command)))?;
    let mut outcome = Outcome { counts: Counts::default(), times: Vec::new() };
    let stdout = child.stdout.take().context("no output of the scenarios")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let Some(report) = Report::parse(&line) else {
            println!("{line}");
            continue;
        };
        let word = if report.passed { "ok    " } else { "FAILED" };
        println!("{word} {:>6.1} s  {}", report.took.as_secs_f32(), report.name);
        outcome.counts += Counts { passed: report.passed.into(), failed: (!report.passed).into() };
        outcome.times.push((report.took, report.name.to_string()));
    }
    if !child.wait()?.success() {
        // The program itself may have died.
        outcome.counts.failed = outcome.counts.failed.max(1);
    }
    println!("scenarios: {}", outcome.counts);
    Ok(outcome)
}

/// Prints the names of the scenarios.
pub fn list(options: &Options) -> Result<ExitCode> {
    for name in scenario_names(options)? {
        println!("{name}");
    }
    Ok(ExitCode::SUCCESS)
}

fn scenario_names(options: &Options) -> Result<Vec<String>> {
    let names = process::output("listing the scenarios", program(options).arg("--list"))?;
    let long = |name: &&str| options.long || options.list || !name.ends_with("(--long)");
    Ok(names.lines().filter(long).map(str::to_string).collect())
}

/// The program of scenarios with its arguments.
fn program(options: &Options) -> Command {
    let mut command = toolchain::host_cargo();
    command.args(["run", "--quiet", "--package", "system", "--"]).args(&options.filter);
    if options.long {
        command.arg("--long");
    }
    command
}

impl<'a> Report<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.strip_prefix("scenario\t")?.split('\t');
        let passed = fields.next()? == "passed";
        let took = Duration::try_from_secs_f32(fields.next()?.parse().ok()?).ok()?;
        Some(Self { passed, took, name: fields.next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reported_line_is_read() {
        let report = Report::parse("scenario\tpassed\t1.5\tname").unwrap();
        assert_eq!(report, Report { passed: true, took: Duration::from_millis(1500), name: "name" });
        assert!(!Report::parse("scenario\tfailed\t0.1\tname").unwrap().passed);
    }

    #[test]
    fn other_lines_are_not_reports() {
        assert_eq!(Report::parse("--- name failed: why"), None);
        assert_eq!(Report::parse("scenario\tpassed\t-1\tname"), None);
        assert_eq!(Report::parse("scenario\tpassed"), None);
    }
}
