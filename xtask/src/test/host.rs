//! Tests that run on any host: `cargo test` of the crates that are not bound to a bare machine.

use std::process::Stdio;

use anyhow::{Context, Result};

use super::Counts;
use crate::progress::Step;
use crate::{paths, process, toolchain};

/// The crate whose interleavings loom explores.
const LOOM_CRATE: &str = "sync";
/// How its files name loom: <https://docs.rs/loom>.
const LOOM_CFG: &str = "cfg(loom)";

/// A way of building the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// As they are.
    Ordinary,
    /// Under loom's model of memory, in a build folder of its own.
    Loom,
}

/// Builds and runs tests; prints what they said only if one fails.
pub fn run(what: &str, filter: Option<&str>, lane: Lane) -> Result<Counts> {
    let mut command = toolchain::host_cargo();
    command.args(["test", "--no-fail-fast"]);
    if lane == Lane::Loom {
        command.args(["--package", LOOM_CRATE, "--lib", "--target-dir"]).arg(paths::lane("loom"));
        command.env("RUSTFLAGS", "--cfg loom");
    }
    command.args(filter);
    let step = Step::start(format!("building and running {what}"));
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", process::words(&command)))?;
    drop(step);
    let text = String::from_utf8_lossy(&output.stdout);
    let mut counts = count(&text);
    if !output.status.success() {
        eprintln!("{}\n{text}", String::from_utf8_lossy(&output.stderr));
        // A crate that does not build, or a test that takes its process with it, is in no count.
        counts.failed = counts.failed.max(1);
    }
    println!("{what}: {counts}");
    Ok(counts)
}

/// Whether there is anything for loom.
pub fn has_loom_tests() -> bool {
    let manifest = paths::workspace().join("hypervisor").join(LOOM_CRATE).join("Cargo.toml");
    std::fs::read_to_string(manifest).is_ok_and(|text| text.contains(LOOM_CFG))
}

/// Adds up lines such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn count(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        let number_before = |word: &str| -> usize {
            let before = line.split(word).next().unwrap_or_default();
            before.split_whitespace().last().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        counts += Counts { passed: number_before(" passed"), failed: number_before(" failed") };
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_test_programs_are_added_up() {
        let output = "running 3 tests\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\n\
                      test result: FAILED. 1 passed; 2 failed; 0 ignored\n";
        assert_eq!(count(output), Counts { passed: 4, failed: 2 });
    }

    #[test]
    fn output_without_results_counts_nothing() {
        assert_eq!(count("error[E0308]: mismatched types"), Counts::default());
    }
}
