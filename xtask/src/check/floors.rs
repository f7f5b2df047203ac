//! The floors: a crate of the hypervisor depends only on lower ones (docs/architecture.md).

use std::fmt::Write;

use anyhow::{Result, bail};

use super::metadata::{self, Crate};

/// The crates of the hypervisor by floor.
const FLOORS: [(u8, &[&str]); 9] = [
    (0, &["base", "sync", "config", "handoff"]),
    (1, &["paging", "vcpu", "seams", "sched"]),
    (2, &["devices", "machine"]),
    (3, &["memory"]),
    (4, &["virt", "iommu"]),
    (5, &["drivers"]),
    (6, &["backends", "vmm"]),
    (7, &["console", "serving"]),
    (8, &["kernel"]),
];

/// Steps within a floor: who may stand on whom although no floor lies between them, and why.
const STEPS: [(&str, &str, &str); 5] = [
    ("sync", "base", "locks and rings speak of CPUs and times"),
    ("config", "base", "sizes, ports and names"),
    ("handoff", "base", "addresses, and the codec"),
    ("vcpu", "seams", "the decoder fetches through the guest memory accessor"),
    ("vmm", "backends", "a VM owns its console ring"),
];

/// Programs and tests outside of the house: they may use any crate, and no crate may use them.
const OUTSIDE: [&str; 9] = [
    "boot",
    "xtask",
    "emulator-oracle",
    "firmware-tables",
    "fuzz",
    "guests",
    "instruction-cases",
    "peer",
    "system",
];

/// Checks the whole workspace.
pub fn check() -> Result<String> {
    let crates = metadata::crates()?;
    let mut wrong = String::new();
    for problem in crates.iter().flat_map(problems) {
        write!(wrong, "\n  {problem}")?;
    }
    if !wrong.is_empty() {
        bail!("crates that stand on no lower floor (docs/architecture.md):{wrong}");
    }
    let inside = crates.iter().filter(|package| floor(&package.name).is_some()).count();
    Ok(format!("{inside} crates on {} floors, {} steps within a floor", FLOORS.len(), STEPS.len()))
}

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, names)| names.contains(&name)).map(|(floor, _)| *floor)
}

/// What is wrong with one crate's dependencies.
fn problems(package: &Crate) -> Vec<String> {
    if OUTSIDE.contains(&package.name.as_str()) {
        return Vec::new();
    }
    let Some(own) = floor(&package.name) else {
        return vec![format!("{} has no floor: give it one in xtask/src/check/floors.rs", package.name)];
    };
    let is_allowed = |need: &str| {
        floor(need).is_some_and(|floor| floor < own)
            || STEPS.iter().any(|(upper, lower, _)| *upper == package.name && *lower == need)
    };
    let wrong = package.needs.iter().filter(|need| !is_allowed(need));
    wrong
        .map(|need| {
            let theirs = floor(need).map_or("outside".into(), |floor| format!("floor {floor}"));
            format!("{} (floor {own}) depends on {need} ({theirs})", package.name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_the_workspace_stands_on_lower_floors_only() {
        check().unwrap();
    }

    fn problems_of(name: &str, needs: &[&str]) -> Vec<String> {
        problems(&Crate { name: name.into(), needs: needs.iter().map(ToString::to_string).collect() })
    }

    #[test]
    fn a_lower_floor_is_allowed() {
        assert_eq!(problems_of("vmm", &["base", "vcpu", "memory"]), Vec::<String>::new());
    }

    #[test]
    fn the_same_or_a_higher_floor_is_not() {
        assert_eq!(problems_of("memory", &["vmm", "memory"]).len(), 2);
        assert_eq!(problems_of("iommu", &["virt"]), ["iommu (floor 4) depends on virt (floor 4)"]);
    }

    #[test]
    fn a_listed_step_within_a_floor_is_allowed_in_one_direction() {
        assert!(problems_of("vcpu", &["seams"]).is_empty());
        assert_eq!(problems_of("seams", &["vcpu"]).len(), 1);
    }

    #[test]
    fn nothing_in_the_house_depends_on_what_is_outside() {
        assert_eq!(problems_of("kernel", &["xtask"]), ["kernel (floor 8) depends on xtask (outside)"]);
        assert!(problems_of("system", &["xtask"]).is_empty());
    }

    #[test]
    fn a_crate_without_a_floor_is_a_problem() {
        assert_eq!(problems_of("newcomer", &[]).len(), 1);
    }
}
