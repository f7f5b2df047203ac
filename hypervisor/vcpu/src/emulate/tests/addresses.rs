//! Effective addresses, segments, and the modes of the processor.

use super::*;
use crate::emulate::Exited;
use crate::{Access, Segment};
use base::Gpa;

/// A load of AL, with the byte wanted at [`DATA`].
fn loads(machine: Machine, code: &[u8]) {
    let machine = machine.holding(DATA, &[0x5a]).after(code);
    assert_eq!(machine.get(Gpr::Rax) & 0xff, 0x5a, "{code:02x?}");
}

#[test]
fn base_index_scale_and_displacement_add_up() {
    let machine = || Machine::long().with(Gpr::Rbx, 0x1000).with(Gpr::Rcx, 0x200).with(Gpr::R12, 0x1000);
    loads(machine(), &[0x8a, 0x84, 0x8b, 0, 0x08, 0, 0]); // [rbx + rcx*4 + 0x800]
    loads(machine(), &[0x8a, 0x04, 0x25, 0, 0x20, 0, 0]); // [0x2000]
    loads(machine(), &[0x41, 0x8a, 0x84, 0x24, 0, 0x10, 0, 0]); // [r12 + 0x1000]
    loads(machine(), &[0x8a, 0x05, 0xfa, 0x0f, 0, 0]); // [rip + 0xffa], six bytes behind 0x1000
    loads(machine().with(Gpr::Rbx, 0xf_0000_2000), &[0x67, 0x8a, 0x03]); // [ebx]
}

#[test]
fn sixteen_bit_addresses_wrap_at_64_kib() {
    let machine = Machine::new(CpuMode::Real).with(Gpr::Rbx, 0xf000).with(Gpr::Rsi, 0x3000);
    loads(machine, &[0x8a, 0x00]); // [bx + si]
}

#[test]
fn segments_have_bases() {
    let based = |mode| {
        Machine::new(mode).with(Gpr::Rbx, 0x100).but(|m| {
            m.state.ds.base = 0x1f00;
            m.state.fs.base = 0x1f00;
        })
    };
    loads(based(CpuMode::Real), &[0x8a, 0x07]); // [bx]
    loads(based(CpuMode::Protected32), &[0x8a, 0x03]); // [ebx]
    loads(based(CpuMode::Protected32), &[0x64, 0x8a, 0x03]); // fs:[ebx]
    loads(based(CpuMode::Long64), &[0x64, 0x8a, 0x03]); // fs:[rbx]
    // In 64-bit mode DS has none.
    loads(Machine::long().with(Gpr::Rbx, DATA).but(|m| m.state.ds.base = 0x1f00), &[0x3e, 0x8a, 0x03]);
}

#[test]
fn real_mode_ends_at_the_limit_and_big_real_mode_past_it() {
    let code = [0x67, 0x8a, 0x03]; // [ebx]
    let machine = || Machine::new(CpuMode::Real).with(Gpr::Rbx, DEVICE);
    assert_eq!(machine().fault(&code), GENERAL);
    let big = machine().but(|m| m.state.ds.limit = u32::MAX).after(&code);
    assert_eq!(big.seen, [Seen::Read(DEVICE, 1)]);
    // A word at the last byte of the segment.
    let machine = Machine::new(CpuMode::Real).with(Gpr::Rbx, 0xffff);
    assert_eq!(machine.fault(&[0x8b, 0x07]), GENERAL);
    let machine = Machine::new(CpuMode::Real).with(Gpr::Rbp, 0xffff);
    assert_eq!(machine.fault(&[0x8b, 0x46, 0]), STACK, "[bp]");
}

#[test]
fn protected_segments_are_judged_by_presence_type_and_limit() {
    let protected = |change: fn(&mut Segment)| {
        let machine = Machine::new(CpuMode::Protected32).with(Gpr::Rbx, DATA);
        machine.but(|m| change(&mut m.state.ds))
    };
    let (load, store) = (&[0x8b, 0x03], &[0x89, 0x03]);
    assert_eq!(protected(|ds| ds.attributes = 0).fault(load), GENERAL, "null selector");
    assert_eq!(protected(|ds| ds.limit = 0x2002).fault(load), GENERAL, "limit");
    protected(|ds| ds.limit = 0x2003).after(load);
    assert_eq!(protected(|ds| ds.attributes = 0x91).fault(store), GENERAL, "read-only data");
    protected(|ds| ds.attributes = 0x91).after(load);
    assert_eq!(protected(|ds| ds.attributes = 0x99).fault(load), GENERAL, "execute-only code");
    protected(|ds| ds.attributes = 0x9b).after(load);
    assert_eq!(protected(|ds| ds.attributes = 0x9b).fault(store), GENERAL, "code");
    // Expand-down: valid above the limit.
    assert_eq!(protected(|ds| *ds = down(0x2000)).fault(load), GENERAL);
    protected(|ds| *ds = down(0x1fff)).after(load);
}

/// A writable segment that expands down to `limit`.
fn down(limit: u32) -> Segment {
    Segment { selector: 8, attributes: 0x97 | Segment::DEFAULT_BIG, limit, base: 0 }
}

#[test]
fn linear_addresses_wrap_at_4_gib_outside_of_64_bit_mode() {
    let machine = Machine::new(CpuMode::Protected32).with(Gpr::Rbx, 0xffff_f000);
    loads(machine.but(|m| m.state.ds.base = 0x3000), &[0x8a, 0x03]);
}

#[test]
fn operand_size_follows_mode_and_prefix() {
    let load =
        |mode, code: &[u8]| Machine::new(mode).with(Gpr::Rbx, DEVICE).with(Gpr::Rdi, DEVICE).after(code).seen;
    assert_eq!(load(CpuMode::Protected16, &[0x67, 0x8b, 0x03]), [Seen::Read(DEVICE, 2)]);
    assert_eq!(load(CpuMode::Protected16, &[0x66, 0x67, 0x8b, 0x03]), [Seen::Read(DEVICE, 4)]);
    assert_eq!(load(CpuMode::Protected32, &[0x8b, 0x03]), [Seen::Read(DEVICE, 4)]);
    assert_eq!(load(CpuMode::Protected32, &[0x66, 0x8b, 0x03]), [Seen::Read(DEVICE, 2)]);
}

#[test]
fn a_load_or_store_that_the_processor_stopped_at_is_made_where_it_led() {
    let stopped_at = |access, code: &[u8]| {
        let exited = Exited { gpa: Gpa::from_low_bits(DEVICE | DATA & 0xfff), access };
        let mut machine = at_data(0);
        machine.step_exited(code, exited).unwrap();
        machine.seen
    };
    assert_eq!(stopped_at(Access::Read, &[0x8b, 0x03]), [Seen::Read(DEVICE, 4)]);
    assert_eq!(stopped_at(Access::Write, &[0x8b, 0x03]), [], "it was no load");
    assert_eq!(stopped_at(Access::Read, &[0x8b, 0x43, 0x08]), [], "it was elsewhere in its page");
    let stored = [Seen::Write(DEVICE, 0x5566_7788_u32.to_le_bytes().to_vec())];
    assert_eq!(stopped_at(Access::Write, &[0x89, 0x03]), stored);
    assert_eq!(stopped_at(Access::Read, &[0x89, 0x03]), [], "it was no store");
    assert_eq!(stopped_at(Access::Write, &[0x89, 0x43, 0x08]), [], "it was elsewhere in its page");
    assert_eq!(stopped_at(Access::Read, &[0xa7]), [], "cmpsd: two operands");
}
