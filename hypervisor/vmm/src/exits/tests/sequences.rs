//! Whatever a guest does, and in whatever order: the hypervisor does not panic.

use super::*;
use crate::testing::{INTERRUPTS_ON, inp, out, start};
use crate::vm::Lifecycle;
use base::Port;
use proptest::prelude::*;
use std::{vec, vec::Vec};
use vcpu::{ControlRegister, Direction, IoExit, IoOperand, Privileged};

fn any_exit() -> impl Strategy<Value = Exit> {
    let io = (any::<u16>(), prop::sample::select(vec![1u8, 2, 4]), any::<bool>(), any::<bool>());
    let port = prop_oneof![
        any::<u16>(),
        prop::sample::select(vec![0x20u16, 0x40, 0x61, 0x70, 0x71, 0x3f8, 0x600, 0xcf9])
    ];
    let direction = |out| if out { Direction::Out } else { Direction::In };
    prop_oneof![
        Just(Exit::Cpuid),
        Just(Exit::ReadMsr),
        Just(Exit::WriteMsr),
        Just(Exit::Hlt),
        Just(Exit::Hypercall),
        Just(Exit::InterruptWindow),
        Just(Exit::Privileged(Privileged::CacheFlush)),
        Just(Exit::Privileged(Privileged::SetXcr)),
        Just(Exit::WriteControlRegister(ControlRegister::Cr0)),
        Just(Exit::WriteControlRegister(ControlRegister::Cr4)),
        Just(Exit::WriteControlRegister(ControlRegister::Cr8)),
        (port, io).prop_map(move |(port, (_, size_bytes, out, string))| {
            let operand = if string { IoOperand::String } else { IoOperand::Accumulator };
            Exit::Io(IoExit {
                port: Port(port),
                size_bytes,
                direction: direction(out),
                operand,
                next_rip: ENTRY,
            })
        }),
        (
            prop_oneof![Just(0xfee0_0000_u64), Just(0xfec0_0000), Just(0xd000_0000)],
            0..0x1000_u64,
            any::<bool>()
        )
            .prop_map(|(page, offset, write)| {
                let access = if write { Access::Write } else { Access::Read };
                Exit::NestedFault(nested_fault(page + offset, access))
            }),
    ]
}

/// Register contents with a preference for what means something.
fn any_register() -> impl Strategy<Value = u64> {
    let msrs: Vec<u64> = vcpu::permission::MSRS.iter().map(|rule| rule.first.into()).collect();
    prop_oneof![any::<u64>(), 0..0x1000_u64, prop::sample::select(msrs), 0x800..0x840_u64, Just(ENTRY)]
}

proptest! {
    #[test]
    fn no_sequence_of_exits_panics(
        steps in prop::collection::vec((any_exit(), prop::array::uniform4(any_register()), any::<bool>()), 1..40),
        code: [u8; 16],
    ) {
        let mut vm = started(|vcpu| vcpu.length = None);
        let mut host = FakeHost::default();
        for (exit, registers, enabled) in steps {
            if matches!(vm.lifecycle(), Lifecycle::Created | Lifecycle::Ended(_)) {
                start(&mut vm, &host);
            }
            vm.memory.put(ENTRY, &code);
            vm.vcpu.then(move |vcpu| {
                let names = [Gpr::Rax, Gpr::Rcx, Gpr::Rdx, Gpr::Rdi];
                names.into_iter().zip(registers).for_each(|(name, value)| vcpu.state.gprs.set(name, value));
                vcpu.state.rip = ENTRY;
                vcpu.state.rflags = if enabled { INTERRUPTS_ON } else { 2 };
                exit
            });
            host.now = host.now.after(base::Nanoseconds(registers[0] >> 24));
            vm.serve(&mut host);
        }
    }

    #[test]
    fn every_port_of_every_width_can_be_read_and_written(port: u16, size in prop::sample::select(vec![1u8, 2, 4]), value: u32) {
        let mut vm = started(|vcpu| {
            vcpu.then(out(port, size, value)).then(inp(port, size));
        });
        vm.serve(&mut FakeHost::default());
    }
}
