//! Faults come before any effect, each with the manual's error code.

use super::flags::{ALIGNMENT as ALIGNMENT_FLAG, RESUME, TRAP};
use super::*;
use crate::control::{cr0, cr4};
use crate::walk::error_code;

/// Long mode with an identity map of the first 64 KiB by 4 KiB pages, all the user's, tables from 0xa000 on. 0x3000 is
/// not present, 0x4000 read-only, and 0x5000 leads to the device.
fn paged() -> Machine {
    // Accessed (and dirty below), so that a walk leaves the tables as they are.
    const TABLE: u64 = 0x27;
    let machine = at_data(0).but(|m| {
        m.state.cr0 |= cr0::PG | cr0::WP;
        m.state.cr3 = 0xa000;
        m.state.cr4 |= cr4::PAE;
    });
    let tables = [0xa000_u64, 0xb000, 0xc000];
    let machine = tables
        .into_iter()
        .fold(machine, |machine, table| machine.holding(table, &((table + 0x1000) | TABLE).to_le_bytes()));
    (0..16).fold(machine, |machine, page| {
        let entry = match page {
            3 => 0,
            4 => 0x4065,
            5 => DEVICE | 0x67,
            _ => (page << 12) | 0x67,
        };
        machine.holding(0xd000 + page * 8, &entry.to_le_bytes())
    })
}

fn page_fault(linear: u64, error_code: u32) -> EmulationFault {
    EmulationFault::PageFault { error_code, linear }
}

#[test]
fn page_faults_carry_the_address_and_the_kind_of_access() {
    let at = |address| paged().with(Gpr::Rbx, address);
    let (load, store) = (&[0x8b, 0x03], &[0x89, 0x03]);
    assert_eq!(at(0x3010).fault(load), page_fault(0x3010, 0));
    assert_eq!(at(0x3010).fault(store), page_fault(0x3010, error_code::WRITE));
    let read_only = error_code::WRITE | error_code::PRESENT;
    assert_eq!(at(0x4010).fault(store), page_fault(0x4010, read_only));
    // What is both read and written faults as a write.
    assert_eq!(at(0x4010).fault(&[0x01, 0x03]), page_fault(0x4010, read_only), "add [rbx], eax");
    assert_eq!(at(0x4010).fault(&[0x0f, 0xb1, 0x0b]), page_fault(0x4010, read_only), "cmpxchg");
    let user = at(0x4010).but(|m| m.cpl = 3);
    assert_eq!(user.fault(store), page_fault(0x4010, read_only | error_code::USER));
}

#[test]
fn an_operand_that_reaches_into_a_bad_page_faults_at_that_page() {
    let machine = paged().with(Gpr::Rbx, 0x2ffe);
    assert_eq!(machine.fault(&[0x89, 0x03]), page_fault(0x3000, error_code::WRITE));
}

#[test]
fn a_move_to_a_bad_page_does_not_read_the_device() {
    let machine = paged().with(Gpr::Rsi, 0x5000).with(Gpr::Rdi, 0x3000);
    assert_eq!(machine.fault(&[0xa4]), page_fault(0x3000, error_code::WRITE));
}

#[test]
fn a_repeated_move_faults_at_its_element() {
    let mut machine = paged().with(Gpr::Rsi, 0x2000).with(Gpr::Rdi, 0x2ff8).with(Gpr::Rcx, 16);
    assert_eq!(machine.step(&[0xf3, 0xa4]), Err(page_fault(0x3000, error_code::WRITE)));
    assert_eq!([machine.get(Gpr::Rcx), machine.get(Gpr::Rsi), machine.get(Gpr::Rdi)], [8, 0x2008, 0x3000]);
}

#[test]
fn addresses_must_be_canonical() {
    let at = |register| Machine::long().with(register, 0x0000_8000_0000_0000);
    assert_eq!(at(Gpr::Rbx).fault(&[0x8b, 0x03]), GENERAL);
    assert_eq!(at(Gpr::Rbp).fault(&[0x8b, 0x45, 0]), STACK);
    assert_eq!(at(Gpr::Rbp).fault(&[0x64, 0x8b, 0x45, 0]), GENERAL, "fs:[rbp]");
    // The last byte counts as well.
    let end = Machine::long().with(Gpr::Rbx, 0x0000_7fff_ffff_fffe);
    assert_eq!(end.fault(&[0x8b, 0x03]), GENERAL);
}

#[test]
fn alignment_is_checked_for_user_code_that_asks_for_it() {
    let odd = |cpl, am, ac| {
        at_data(0).with(Gpr::Rbx, DATA + 1).flags(ac).but(|m| {
            m.cpl = cpl;
            m.state.cr0 |= am;
        })
    };
    let load = &[0x8b, 0x03];
    assert_eq!(odd(3, cr0::AM, ALIGNMENT_FLAG).fault(load), ALIGNMENT);
    odd(0, cr0::AM, ALIGNMENT_FLAG).after(load);
    odd(3, 0, ALIGNMENT_FLAG).after(load);
    odd(3, cr0::AM, 0).after(load);
    odd(3, cr0::AM, ALIGNMENT_FLAG).after(&[0x8a, 0x03]);
}

#[test]
fn what_is_no_instruction_is_undefined_and_what_is_too_long_general_protection() {
    assert_eq!(at_data(0).fault(&[0x06, 0]), UNDEFINED, "push es");
    assert_eq!(at_data(0).fault(&[0x66; 15]), GENERAL);
    assert_eq!(at_data(0).fault(&[0x8b]), EmulationFault::Truncated);
    assert_eq!(at_data(0).fault(&[0xd9, 0x03]), EmulationFault::Unsupported, "fld dword [rbx]");
}

#[test]
fn a_completed_instruction_ends_resume_and_traps_if_it_single_steps() {
    assert_eq!(at_data(0).flags(RESUME).after(&[0x8b, 0x03]).state.rflags & RESUME, 0);
    let mut machine = at_data(0).flags(TRAP);
    assert_eq!(machine.step(&[0x8b, 0x03]), Ok(Outcome::Trapped));
    assert_eq!(machine.state.rip, CODE + 2);
}
