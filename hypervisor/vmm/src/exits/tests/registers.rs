//! Model-specific registers.

use super::*;
use crate::testing::{RAM_BYTES, rdmsr, wrmsr};
use base::Instant;
use vcpu::permission::msr;

#[test]
fn a_register_that_is_not_named_faults_and_is_counted() {
    for vm in [after(rdmsr(0x1234)), after(wrmsr(0x1234, 1))] {
        assert_raises(Exception::GENERAL_PROTECTION, &vm);
        assert_eq!(vm.stats().refused_msrs, 1);
    }
}

#[test]
fn the_page_attribute_table_takes_types_that_exist() {
    let vm = after(wrmsr(msr::PAT, 0x0407_0506_0007_0106));
    assert_done(&vm);
    assert_eq!(vm.vcpu.state.pat, 0x0407_0506_0007_0106);
    for (entry, no_type) in (0..8).zip([2, 3, 8, 0x80, 0xff, 2, 3, 8]) {
        let vm = after(wrmsr(msr::PAT, no_type << (8 * entry)));
        assert_raises(Exception::GENERAL_PROTECTION, &vm);
        assert_eq!(vm.vcpu.state.pat, vcpu::VcpuState::reset().pat);
    }
    assert_eq!(pair(&after(rdmsr(msr::PAT))), vcpu::VcpuState::reset().pat);
}

#[test]
fn a_msr_is_read_into_two_halves() {
    let vm = after(rdmsr(msr::APIC_BASE));
    assert_done(&vm);
    assert_eq!(pair(&vm), 0xfee0_0900);
}

#[test]
fn the_guests_counter_starts_at_zero_and_moves_when_it_is_written() {
    let mut vm = started(|_| {});
    let mut host = FakeHost { now: Instant(500), ..FakeHost::default() };
    vm.vcpu.then(rdmsr(msr::TSC));
    vm.serve(&mut host);
    assert_eq!(pair(&vm), 500);
    vm.vcpu.then(wrmsr(msr::TSC, 1 << 40));
    vm.serve(&mut host);
    host.now = Instant(600);
    vm.vcpu.then(rdmsr(msr::TSC));
    vm.serve(&mut host);
    assert_eq!(pair(&vm), (1 << 40) + 100);
}

#[test]
fn a_tsc_deadline_is_kept_when_the_counter_moves() {
    let mut vm = started(|vcpu| {
        vcpu.then(wrmsr(msr::APIC_BASE, 0xfee0_0d00)).then(wrmsr(0x80f, 0x1ff));
        vcpu.then(wrmsr(0x832, 0x4_0040)).then(wrmsr(msr::TSC_DEADLINE, 10_000));
    });
    let mut host = FakeHost::default();
    vm.serve(&mut host);
    let first = host.timer.unwrap();
    assert!(first >= Instant(10_000) && first <= Instant(10_002));
    vm.vcpu.then(wrmsr(msr::TSC, 4_000));
    vm.serve(&mut host);
    assert!(host.timer.unwrap() <= Instant(6_002));
}

#[test]
fn efer_obeys_the_architecture() {
    let vm = after(wrmsr(msr::EFER, 0x500 | 1 << 11));
    assert_done(&vm);
    assert_eq!(vm.vcpu.state.efer, 0x500 | 1 << 11);
    assert_eq!(vm.vcpu.tlb_flushes, 1);
    // Long mode cannot be left with paging on, nor can SVM be enabled.
    assert_raises(Exception::GENERAL_PROTECTION, &after(wrmsr(msr::EFER, 0)));
    assert_raises(Exception::GENERAL_PROTECTION, &after(wrmsr(msr::EFER, 0x500 | 1 << 12)));
}

#[test]
fn the_kvm_clock_is_written_where_the_guest_wants_it() {
    let vm = after(wrmsr(msr::KVM_SYSTEM_TIME, 0x8000 | 1));
    assert_done(&vm);
    // tsc_to_system_mul is a fraction of 2^32 and never zero.
    assert_ne!(vm.memory.bytes(0x8000 + 24, 4), [0; 4]);
    let vm = after(wrmsr(msr::KVM_WALL_CLOCK, 0x9000));
    assert_done(&vm);
    assert_eq!(vm.memory.bytes(0x9004, 4), 1_000_000_000_u32.to_le_bytes());
}

#[test]
fn a_kvm_clock_outside_memory_faults() {
    let vm = after(wrmsr(msr::KVM_SYSTEM_TIME, RAM_BYTES | 1));
    assert_raises(Exception::GENERAL_PROTECTION, &vm);
}
