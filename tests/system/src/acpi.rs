//! The ACPI tables that guests get, read by `iasl`: what it disassembles it compiles again, without a word of complaint
//! and to the same bytes.

use anyhow::{Context, Result, ensure};
use devices::acpi::{self, Platform};
use std::path::Path;
use std::process::Command;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "acpi_tables_are_disassembled_and_compiled_without_a_complaint",
    speed: Speed::Quick,
    on: On::Amd("no computer is started"),
    run: |lab| [1, 2, 300].into_iter().try_for_each(|vcpus| check(lab, vcpus)),
}];

/// What iasl says of a table that is not in order.
const COMPLAINTS: [&str; 8] =
    ["error", "warning", "remark", "invalid", "unknown", "illegal", "could not", "exception"];

/// The checksum and who compiled the table, in its header (ACPI 6.5, section 5.2.6), are iasl's after compilation. The
/// FACS has no such header.
const OF_THE_COMPILER: [std::ops::Range<usize>; 2] = [9..10, 28..36];

fn check(lab: &Lab, vcpus: u16) -> Result<()> {
    let tables = acpi::build(&Platform { vcpus }).map_err(|error| anyhow::anyhow!("{error}"))?;
    // iasl does not read the RSDP; a test of `devices` does.
    for (_, table) in tables.blobs.iter().filter(|(place, _)| *place != tables.rsdp) {
        let name = String::from_utf8_lossy(&table[..4]).trim().to_lowercase();
        read_and_write(&lab.folder().join(format!("{name}{vcpus}")), table)
            .with_context(|| format!("the {name} of {vcpus} vCPUs"))?;
    }
    Ok(())
}

/// Disassembles `table` at `path` and compiles the result.
fn read_and_write(path: &Path, table: &[u8]) -> Result<()> {
    let (aml, dsl, again) =
        (path.with_extension("dat"), path.with_extension("dsl"), path.with_extension("aml"));
    std::fs::write(&aml, table)?;
    let prefix = path.to_string_lossy();
    let said = iasl(&["-p", &prefix, "-d"], &aml)?;
    let source = std::fs::read_to_string(&dsl).with_context(|| format!("no disassembly: {said}"))?;
    for text in [&said, &source] {
        let text = text.to_lowercase();
        let complaint = COMPLAINTS.iter().find(|word| text.contains(**word));
        ensure!(complaint.is_none(), "{complaint:?}: {said}{source}");
    }
    let said = iasl(&["-p", &prefix], &dsl)?;
    ensure!(said.contains("Compilation successful. 0 Errors, 0 Warnings, 0 Remarks"), "{said}");
    ensure!(
        without_compiler(table) == without_compiler(&std::fs::read(again)?),
        "it compiles to other bytes"
    );
    Ok(())
}

fn iasl(options: &[&str], file: &Path) -> Result<String> {
    let output = Command::new("iasl").args(options).arg(file).output().context("iasl")?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn without_compiler(table: &[u8]) -> Vec<u8> {
    let mut bytes = table.to_vec();
    if !table.starts_with(b"FACS") {
        OF_THE_COMPILER.into_iter().for_each(|range| bytes[range].fill(0));
    }
    bytes
}
