//! Twenty thousand random instructions, natively and emulated.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use emulator_oracle::Bench;

/// The number of cases, unless the environment says another.
const CASES: u64 = 20_000;
/// The environment's number of cases, and the seed of the first.
const CASES_VARIABLE: &str = "ORACLE_CASES";
const SEED_VARIABLE: &str = "ORACLE_SEED";
/// How many differences are told.
const SHOWN: usize = 10;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Whether this processor is AMD's: where the vendors differ, the emulator does as AMD's do so far.
fn is_amd() -> bool {
    // "AuthenticAMD" (AMD APM 24594, CPUID function 0); EBX holds its first four letters.
    core::arch::x86_64::__cpuid(0).ebx == u32::from_le_bytes(*b"Auth")
}

#[test]
fn the_emulator_does_what_the_processor_does() {
    if !is_amd() {
        println!("not compared: this processor is not AMD's");
        return;
    }
    let first = number(SEED_VARIABLE).unwrap_or(0);
    let cases = number(CASES_VARIABLE).unwrap_or(CASES);
    let mut bench = Bench::new();
    let differences: Vec<_> = (first..first + cases).filter_map(|seed| bench.compare(seed).err()).collect();
    let tally = &bench.tally;
    println!("{} cases of {} instructions, {} faults", tally.cases(), tally.instructions(), tally.faults());
    let shown: String = differences.iter().take(SHOWN).map(String::as_str).collect();
    assert!(differences.is_empty(), "{} of {} differ:\n{shown}", differences.len(), tally.cases());
}
