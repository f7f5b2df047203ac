//! Control registers.

use super::*;
use vcpu::ControlRegister;

#[test]
fn control_registers_are_written_by_rule() {
    // mov cr4, rax
    let (vm, _) = served(running(&[0x0f, 0x22, 0xe0], |vcpu| {
        vcpu.state.gprs.set(Gpr::Rax, 1 << 5 | 1 << 7);
        Exit::WriteControlRegister(ControlRegister::Cr4)
    }));
    assert_eq!((vm.vcpu.state.cr4, vm.vcpu.state.rip), (1 << 5 | 1 << 7, ENTRY + 3));
    // Long mode needs PAE.
    let (vm, _) = served(running(&[0x0f, 0x22, 0xe0], |_| Exit::WriteControlRegister(ControlRegister::Cr4)));
    assert_raises(Exception::GENERAL_PROTECTION, &vm);
    // clts
    let (vm, _) = served(running(&[0x0f, 0x06], |vcpu| {
        vcpu.state.cr0 |= 8;
        Exit::WriteControlRegister(ControlRegister::Cr0)
    }));
    assert_eq!(vm.vcpu.state.cr0 & 8, 0);
    assert_done(&vm);
}

/// A guest that switches PAE paging on, with `pdpte` as its second directory pointer.
fn enters_pae_paging(pdpte: u64) -> TestVm {
    enters_pae_paging_on(pdpte, |_| {})
}

/// The same on a processor that `change` has made.
fn enters_pae_paging_on(pdpte: u64, change: fn(&mut FakeVcpu)) -> TestVm {
    // mov cr0, rax
    let vm = running(&[0x0f, 0x22, 0xc0], move |vcpu| {
        change(vcpu);
        let state = &mut vcpu.state;
        (state.efer, state.cr0, state.cr4, state.cr3) = (0, 0x11, vcpu::control::cr4::PAE, 0x2020);
        state.cs.attributes = 0xc9b;
        state.gprs.set(Gpr::Rax, 0x8000_0011);
        Exit::WriteControlRegister(ControlRegister::Cr0)
    });
    vm.memory.put(0x2028, &pdpte.to_le_bytes());
    served(vm).0
}

#[test]
fn pae_paging_begins_with_the_directory_pointers_in_memory() {
    let vm = enters_pae_paging(0x3001);
    assert_done(&vm);
    assert_eq!((vm.vcpu.pdptes, vm.vcpu.state.cr0), ([0, 0x3001, 0, 0], 0x8000_0011));
}

#[test]
fn a_processor_that_reads_directory_pointers_when_it_uses_them_judges_them_then() {
    let vm = enters_pae_paging_on(0x3021, |vcpu| vcpu.holds_pdptes = false);
    assert_done(&vm);
    assert_eq!((vm.vcpu.pdptes, vm.vcpu.state.cr0), ([0; 4], 0x8000_0011));
}

#[test]
fn pae_paging_does_not_begin_with_a_reserved_bit_in_a_directory_pointer() {
    let vm = enters_pae_paging(0x3003);
    assert_raises(Exception::GENERAL_PROTECTION, &vm);
    assert_eq!(vm.vcpu.state.cr0, 0x11);
}

#[test]
fn a_task_priority_is_written_by_rule() {
    // mov cr8, rax
    const CODE: [u8; 4] = [0x44, 0x0f, 0x22, 0xc0];
    let write = |value| {
        move |vcpu: &mut FakeVcpu| {
            vcpu.state.gprs.set(Gpr::Rax, value);
            vcpu.state.cr8 = 9;
            Exit::WriteControlRegister(ControlRegister::Cr8)
        }
    };
    let (vm, _) = served(running(&CODE, write(3)));
    assert_eq!((vm.vcpu.state.cr8, vm.vcpu.state.rip), (3, ENTRY + 4));
    let (vm, _) = served(running(&CODE, write(16)));
    assert_raises(Exception::GENERAL_PROTECTION, &vm);
}
