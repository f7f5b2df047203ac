//! Fuzz targets, each a test: libFuzzer on the host's toolchain (docs/decisions/0006-fuzzing.md).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{Counts, Options};
use crate::progress::Step;
use crate::setup::{self, Need};
use crate::{paths, process, toolchain};

/// Targets have their own, so that build scripts and procedural macros are built without instrumentation.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Coverage as libFuzzer reads it, and every check that a build can have.
const RUSTFLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";

/// Inputs per target in every run, and with `--long`.
const RUNS: u64 = 20_000;
const RUNS_LONG: u64 = 10_000_000;

/// Targets at a time: each has one thread.
const AT_ONCE: usize = 2;

/// What an input has freed the next one takes: glibc's `malloc` gives so much back to the system only. Otherwise a third
/// of the time goes to page faults. 32 MiB: more is refused.
const KEPT_BYTES: &str = "33554432";

/// The lines of a failed target's output that are shown.
const TAIL_LINES: usize = 30;

/// Builds all targets and runs those that the filter leaves.
pub fn run(options: &Options) -> Result<Counts> {
    let filter = options.filter.as_deref().unwrap_or_default();
    let targets: VecDeque<_> =
        targets()?.into_iter().filter(|target| test_name(target).contains(filter)).collect();
    if targets.is_empty() {
        return Ok(Counts::default());
    }
    let lane = paths::lane("fuzz");
    build(&lane)?;
    let runs = if options.long { RUNS_LONG } else { RUNS };
    let step = Step::start(format!("fuzzing {} targets, {runs} inputs each", targets.len()));
    let (waiting, counts) = (Mutex::new(targets), Mutex::new(Counts::default()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(target) = next(&waiting) {
                    let outcome = fuzz(&target, &lane, runs);
                    match &outcome {
                        Ok(per_second) => println!("ok     {per_second:>9} inputs/s  {}", test_name(&target)),
                        Err(why) => eprintln!("FAILED  {}: {why:#}", test_name(&target)),
                    }
                    let one = Counts { passed: outcome.is_ok().into(), failed: outcome.is_err().into() };
                    *counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) += one;
                }
            });
        }
    });
    drop(step);
    let counts = counts.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    println!("fuzz targets: {counts}");
    Ok(counts)
}

fn next(waiting: &Mutex<VecDeque<String>>) -> Option<String> {
    waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop_front()
}

/// The name by which a filter finds the target.
fn test_name(target: &str) -> String {
    format!("fuzz {target}")
}

fn folder() -> PathBuf {
    paths::workspace().join("tests/fuzz")
}

/// The names of all targets: the programs of the package.
fn targets() -> Result<Vec<String>> {
    let sources = folder().join("src/bin");
    let entries =
        std::fs::read_dir(&sources).with_context(|| format!("cannot read {}", sources.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let (Some(name), Some("rs")) = (path.file_stem(), path.extension().and_then(|e| e.to_str())) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn build(lane: &Path) -> Result<()> {
    setup::ensure(&[Need::CxxCompiler])?;
    let mut command = toolchain::host_cargo();
    command.args(["build", "--release", "--package", "fuzz", "--bins", "--target", TARGET, "--target-dir"]);
    command.arg(lane).env("RUSTFLAGS", RUSTFLAGS).env("CARGO_PROFILE_RELEASE_LTO", "off");
    process::quiet("building the fuzz targets", &mut command)
}

/// Runs one target over its corpus and what grows from it; new inputs go to a folder that is thrown away. Returns how many
/// inputs it took in a second.
fn fuzz(target: &str, lane: &Path, runs: u64) -> Result<u64> {
    let found = tempfile::tempdir().context("no folder for inputs")?;
    let corpus = folder().join("corpus").join(target);
    // The trailing separator makes it a folder to libFuzzer.
    let artifacts = lane.join("artifacts").join(target).join("");
    paths::make_folder(&artifacts)?;
    let mut command = Command::new(lane.join(TARGET).join("release").join(target));
    command
        .arg(format!("-runs={runs}"))
        // Nothing else writes to the folder; to look at the clock and read it again would be another run each time.
        .args(["-seed=1", "-reload=0", "-max_len=4096", "-timeout=10", "-rss_limit_mb=2048"])
        .arg(format!("-artifact_prefix={}", artifacts.display()))
        .arg(found.path())
        .arg(&corpus);
    let begin = Instant::now();
    let output = command
        .current_dir(lane)
        .env("MALLOC_TRIM_THRESHOLD_", KEPT_BYTES)
        .env("MALLOC_MMAP_THRESHOLD_", KEPT_BYTES)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", process::words(&command)))?;
    if output.status.success() {
        return Ok((runs as f64 / begin.elapsed().as_secs_f64()) as u64);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{}; the input is in {}\n{}", output.status, artifacts.display(), tail(&said))
}

/// The last [`TAIL_LINES`] lines.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_corpus() {
        for target in targets().unwrap() {
            let corpus = folder().join("corpus").join(&target);
            assert!(corpus.read_dir().is_ok_and(|mut files| files.next().is_some()), "{target}");
        }
    }

    #[test]
    fn every_corpus_has_a_target() {
        let targets = targets().unwrap();
        for entry in folder().join("corpus").read_dir().unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(targets.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_tail_is_the_end_of_what_was_said() {
        let text: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        let tail = tail(&text.join("\n"));
        assert!(tail.starts_with("70\n") && tail.ends_with("\n99"));
        assert_eq!(super::tail("one"), "one");
    }
}
