//! The tables of `docs/virtual-platform.md` say what the code does.

use vcpu::cpuid::features;
use vcpu::permission::{MSRS, Permission};

const DOCUMENT: &str = include_str!("../../../docs/virtual-platform.md");

/// The cells of the rows of the table that begins with `heading`.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let lines = DOCUMENT.lines().skip_while(|line| *line != heading).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn number(text: &str) -> u32 {
    u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|_| panic!("no number: {text}"))
}

fn word(permission: Permission) -> &'static str {
    match permission {
        Permission::Pass => "guest",
        Permission::Emulate => "emulated",
        Permission::GeneralProtection => "#GP",
    }
}

#[test]
fn the_registers_of_the_virtual_platform_are_those_of_the_permission_table() {
    let documented: Vec<_> = table("| Registers | Name | Read | Write | What |")
        .into_iter()
        .map(|row| {
            let (first, last) = row[0].split_once('-').expect("a range");
            (number(first), number(last), row[2], row[3])
        })
        .collect();
    let policy: Vec<_> =
        MSRS.iter().map(|rule| (rule.first, rule.last, word(rule.read), word(rule.write))).collect();
    assert_eq!(documented, policy);
}

#[test]
fn the_features_of_the_virtual_platform_are_those_of_the_allow_lists() {
    let documented: Vec<_> = table("| Features in | Shown if the host has them | Hidden |");
    let names = |names: Vec<&str>| names.join(", ");
    let listed: Vec<_> = features::ALL
        .iter()
        .map(|register| {
            let (leaf, subleaf, index) = register.place;
            let place = format!("0x{leaf:X}.{subleaf} {}", ["EAX", "EBX", "ECX", "EDX"][usize::from(index)]);
            let shown = names(register.shown.iter().map(|(_, name)| *name).collect());
            let hidden = names(register.hidden.iter().map(|(_, name, _)| *name).collect());
            vec![place, shown, hidden]
        })
        .collect();
    assert_eq!(documented, listed);
}
