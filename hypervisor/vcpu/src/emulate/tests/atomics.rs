//! XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B, and where LOCK is legal.

use super::flags::ZERO;
use super::*;

#[test]
fn exchanges_swap() {
    let machine = at_data(5).after(&[0x87, 0x03]);
    assert_eq!((machine.word(DATA), machine.get(Gpr::Rax)), (0x5566_7788, 5), "xchg [rbx], eax");
    let machine = at_data(5).after(&[0xf0, 0x48, 0x0f, 0xc1, 0x03]);
    assert_eq!((machine.word(DATA), machine.get(Gpr::Rax)), (PATTERN + 5, 5), "lock xadd [rbx], rax");
}

#[test]
fn compare_and_exchange_stores_only_what_was_expected() {
    // lock cmpxchg [rbx], ecx
    let code = [0xf0, 0x0f, 0xb1, 0x0b];
    let equal = at_data(5).with(Gpr::Rax, 5).with(Gpr::Rcx, 9).after(&code);
    assert_eq!((equal.word(DATA), equal.get(Gpr::Rax), equal.status() & ZERO), (9, 5, ZERO));
    let other = at_data(5).with(Gpr::Rax, 6).with(Gpr::Rcx, 9).after(&code);
    assert_eq!((other.word(DATA), other.get(Gpr::Rax), other.status() & ZERO), (5, 5, 0));
}

#[test]
fn pairs_are_compared_and_exchanged() {
    let pair = |code: &[u8], rax, rdx| {
        let machine = at_data(1 | 2 << 32).with(Gpr::Rax, rax).with(Gpr::Rdx, rdx);
        machine.with(Gpr::Rcx, 4).with(Gpr::Rsi, DATA).with(Gpr::Rbx, 3).after(code)
    };
    // cmpxchg8b [rsi]
    let equal = pair(&[0x0f, 0xc7, 0x0e], 1, 2);
    assert_eq!((equal.word(DATA), equal.status()), (3 | 4 << 32, ZERO));
    let other = pair(&[0x0f, 0xc7, 0x0e], 1, 1);
    assert_eq!((other.get(Gpr::Rax), other.get(Gpr::Rdx), other.status()), (1, 2, 0));
    // cmpxchg16b [rsi]
    let equal = pair(&[0x48, 0x0f, 0xc7, 0x0e], 1 | 2 << 32, 0);
    assert_eq!((equal.word(DATA), equal.word(DATA + 8), equal.status()), (3, 4, ZERO));
    let unaligned = at_data(0).with(Gpr::Rsi, DATA + 8);
    assert_eq!(unaligned.fault(&[0x48, 0x0f, 0xc7, 0x0e]), GENERAL);
}

#[test]
fn lock_is_legal_only_where_memory_is_modified() {
    let table: [(&str, &[u8]); 6] = [
        ("lock mov [rbx], eax", &[0xf0, 0x89, 0x03]),
        ("lock cmp [rbx], eax", &[0xf0, 0x39, 0x03]),
        ("lock add eax, [rbx]", &[0xf0, 0x03, 0x03]),
        ("lock add ebx, eax", &[0xf0, 0x01, 0xc3]),
        ("lock bt [rbx], eax", &[0xf0, 0x0f, 0xa3, 0x03]),
        ("lock shl dword [rbx], 1", &[0xf0, 0xd1, 0x23]),
    ];
    for (name, bytes) in table {
        assert_eq!(at_data(0).fault(bytes), UNDEFINED, "{name}");
    }
}

#[test]
fn a_locked_operand_may_cross_a_page() {
    let machine = at_data(0).with(Gpr::Rbx, 0x2ffe).holding(0x2ffe, &[0xff, 0xff, 0, 0]);
    let machine = machine.after(&[0xf0, 0xff, 0x03]);
    assert_eq!(machine.bytes(0x2ffe, 4), [0, 0, 1, 0], "lock inc dword [rbx]");
}
