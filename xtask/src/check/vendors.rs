//! Processor vendors are named behind one seam: nothing above `virt` names one (docs/architecture.md).
//!
//! Comments may: they cite manuals. So may tests, which try every format.

use std::fmt::Write;

use anyhow::{Result, bail};

use super::source::{self, Source};

/// Files and folders (ending in `/`) whose code may name a vendor or its structures.
const MAY: [&str; 8] = [
    // The seam itself: two mirrored folders.
    "hypervisor/virt/src/",
    "hypervisor/iommu/src/",
    // The nested tables' entry formats.
    "hypervisor/paging/src/",
    // Which of these formats a guest's map is written in.
    "hypervisor/memory/src/guest/trees.rs",
    // MSRs by their makers' names.
    "hypervisor/vcpu/src/permission.rs",
    // What processors call themselves, and what guests are told.
    "hypervisor/vcpu/src/cpuid/",
    "hypervisor/machine/src/cpu.rs",
    // Names of the tables that describe IOMMUs.
    "hypervisor/machine/src/acpi/",
];

/// Words that belong to one vendor, as parts of identifiers and strings.
const WORDS: [&str; 8] = ["amd", "intel", "svm", "vmx", "vmcb", "vmcs", "npt", "ept"];

/// Checks all crates of the hypervisor.
pub fn check() -> Result<String> {
    let mut wrong = String::new();
    let mut files = 0;
    for dir in source::crates_below("hypervisor")? {
        for source in source::of_crate(&dir)? {
            files += 1;
            for (line, word) in namings(&source) {
                write!(wrong, "\n  {}:{line}: \"{word}\"", source.path)?;
            }
        }
    }
    if !wrong.is_empty() {
        bail!("code that names a vendor outside of the files listed in xtask/src/check/vendors.rs:{wrong}");
    }
    Ok(format!("{files} files"))
}

/// Lines (from 1) whose code names a vendor, unless the file may.
fn namings(source: &Source) -> Vec<(usize, &'static str)> {
    let is_test = source.path.ends_with("/tests.rs") || source.path.contains("/tests/");
    if is_test || MAY.iter().any(|may| source.path.starts_with(may)) {
        return Vec::new();
    }
    let lines = source.text.lines().enumerate();
    lines.filter_map(|(index, line)| Some((index + 1, word_in(source::code_of(line))?))).collect()
}

/// The first vendor's word among the parts of identifiers: `EnableSvm`, `svm_enable`, `SVM` and `"svm"` all name it.
fn word_in(code: &str) -> Option<&'static str> {
    let mut part = String::new();
    let mut previous_is_lower = false;
    for c in code.chars().chain([' ']) {
        let begins_part = !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && previous_is_lower);
        if begins_part {
            if let Some(word) = WORDS.iter().find(|word| **word == part) {
                return Some(word);
            }
            part.clear();
        }
        if c.is_ascii_alphanumeric() {
            part.push(c.to_ascii_lowercase());
        }
        previous_is_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_of_the_hypervisor_names_a_vendor_that_may_not() {
        check().unwrap();
    }

    #[test]
    fn a_vendor_is_found_in_any_spelling() {
        for code in ["let EnableSvm = 1;", "svm_enable()", "const VMCB: u8", "\"GenuineIntel\"", "IntelVt"] {
            assert!(word_in(code).is_some(), "{code}");
        }
    }

    #[test]
    fn other_words_with_the_same_letters_are_not() {
        for code in ["accept(exception)", "intelligent", "concept", "vmm", "script_npts"] {
            assert_eq!(word_in(code), None, "{code}");
        }
    }

    #[test]
    fn comments_tests_and_listed_files_may_name_one() {
        let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
        assert!(
            namings(&source("hypervisor/vmm/src/lib.rs", "// AMD APM 15.1\nlet x = 1; // Intel")).is_empty()
        );
        assert!(namings(&source("hypervisor/virt/src/x.rs", "svm()")).is_empty());
        assert!(namings(&source("hypervisor/vmm/src/vm/tests.rs", "svm()")).is_empty());
        assert!(namings(&source("hypervisor/vmm/src/vm/tests/apic.rs", "svm()")).is_empty());
        assert_eq!(namings(&source("hypervisor/vmm/src/lib.rs", "\nsvm()")), [(2, "svm")]);
    }
}
