//! MOV and its relatives in all sizes and forms of addresses, and moves of vector registers.

use super::snippet::*;
use crate::code;
use crate::sandbox::LIMITED_BASE;
use instruction_cases::PAGE;

pub const MOVES: &[Snippet] = &[
    Snippet::new(
        "mov-load-8",
        || code!("mov al, [rbx]"),
        |o| o.registers.gprs[RAX] & 0xff == began(OPERAND, 1),
    ),
    Snippet::new(
        "mov-load-high-byte",
        || code!("mov ah, [rbx]"),
        |o| o.registers.gprs[RAX] >> 8 & 0xff == began(OPERAND, 1),
    ),
    Snippet::new(
        "mov-load-16",
        || code!("mov ax, [rbx]"),
        |o| o.registers.gprs[RAX] & 0xffff == began(OPERAND, 2) && o.registers.gprs[RAX] >> 16 != 0,
    ),
    Snippet::new("mov-load-32", || code!("mov eax, [rbx]"), |o| o.registers.gprs[RAX] == began(OPERAND, 4)),
    Snippet::new("mov-load-64", || code!("mov rax, [rbx]"), |o| o.registers.gprs[RAX] == began(OPERAND, 8)),
    Snippet::new(
        "mov-store-8",
        || code!("mov [rbx], r9b"),
        |o| ended(o, OPERAND, 1) == o.registers.gprs[9] & 0xff,
    ),
    Snippet::new(
        "mov-store-high-byte",
        || code!("mov [rbx], dh"),
        |o| ended(o, OPERAND, 1) == o.registers.gprs[RDX] >> 8 & 0xff,
    ),
    Snippet::new(
        "mov-store-16",
        || code!("mov [rbx], dx"),
        |o| {
            ended(o, OPERAND, 2) == o.registers.gprs[RDX] & 0xffff
                && ended(o, OPERAND + 2, 1) == began(OPERAND + 2, 1)
        },
    ),
    Snippet::new(
        "mov-store-32",
        || code!("mov [rbx], edx"),
        |o| ended(o, OPERAND, 4) == o.registers.gprs[RDX] & 0xffff_ffff,
    ),
    Snippet::new(
        "mov-store-64",
        || code!("mov [rbx], r15"),
        |o| ended(o, OPERAND, 8) == o.registers.gprs[15],
    ),
    Snippet::new(
        "mov-store-constant-8",
        || code!("mov byte ptr [rbx], 0x5a"),
        |o| ended(o, OPERAND, 1) == 0x5a,
    ),
    Snippet::new(
        "mov-store-constant-16",
        || code!("mov word ptr [rbx], 0x5aa5"),
        |o| ended(o, OPERAND, 2) == 0x5aa5,
    ),
    Snippet::new(
        "mov-store-constant-sign-extended",
        || code!("mov qword ptr [rbx], -2"),
        |o| ended(o, OPERAND, 8) == u64::MAX - 1,
    ),
    Snippet::new(
        "mov-store-selector",
        || code!("mov [rbx], ds"),
        |o| ended(o, OPERAND, 2) == 0x2b && ended(o, OPERAND + 2, 1) == began(OPERAND + 2, 1),
    ),
    Snippet::new(
        "address-base-index-scale-displacement",
        || code!("mov rax, [rbx + rcx * 8 - 0x18]"),
        |o| o.registers.gprs[RAX] == began(OPERAND, 8),
    ),
    Snippet::new(
        "address-long-displacement",
        || code!("mov rax, [rbx + 0x400]"),
        |o| o.registers.gprs[RAX] == began(OPERAND + 0x400, 8),
    ),
    Snippet::new(
        "address-index-without-base",
        || code!("mov rax, [rcx * 2 + 0x40011100]"),
        |o| o.registers.gprs[RAX] == began(MEMORY_START + 0x1106, 8),
    ),
    Snippet::new(
        "address-in-the-instruction",
        || code!("movabs eax, [0x40011100]"),
        |o| o.registers.gprs[RAX] == began(MEMORY_START + 0x1100, 4),
    ),
    Snippet::new(
        "address-relative-to-rip",
        || code!(".byte 0x48, 0x8b, 0x05; .long 0x110f9"),
        |o| o.registers.gprs[RAX] == began(MEMORY_START + 0x1100, 8),
    ),
    Snippet::new(
        "address-size-override-drops-the-upper-half",
        || code!("mov rax, [ebx]"),
        |o| o.registers.gprs[RAX] == began(OPERAND, 8),
    )
    .with(|case| case.registers.gprs[RBX] |= 0xdead_beef << 32),
    Snippet::new(
        "address-with-stack-pointer",
        || code!("mov rax, [rsp + 8]"),
        |o| o.registers.gprs[RAX] == began(STACK + 8, 8),
    ),
    Snippet::new(
        "address-with-extended-registers",
        || code!("mov r12, [r13 + r14 * 4]"),
        |o| o.registers.gprs[12] == began(OPERAND + 8, 8),
    )
    .with(|case| (case.registers.gprs[13], case.registers.gprs[14]) = (OPERAND, 2)),
    Snippet::new(
        "segment-override-is-ignored-in-64-bit-mode",
        || code!("mov rax, ss:[rbx]"),
        |o| o.registers.gprs[RAX] == began(OPERAND, 8),
    ),
    Snippet::new(
        "segment-fs-has-a-base",
        || code!("mov rax, fs:[rcx + 0x100]"),
        |o| o.registers.gprs[RAX] == began(LIMITED_BASE + 0x103, 8),
    ),
    Snippet::new(
        "across-pages-load",
        || code!("mov rax, [rbx]"),
        |o| o.registers.gprs[RAX] == began(PAGE_END - 3, 8),
    )
    .with(|case| case.registers.gprs[RBX] = PAGE_END - 3),
    Snippet::new(
        "across-pages-store",
        || code!("mov [rbx], rdx"),
        |o| ended(o, PAGE_END - 5, 8) == o.registers.gprs[RDX],
    )
    .with(|case| case.registers.gprs[RBX] = PAGE_END - 5),
    Snippet::new(
        "movzx-8-to-32",
        || code!("movzx eax, byte ptr [rbx]"),
        |o| o.registers.gprs[RAX] == began(OPERAND, 1),
    ),
    Snippet::new(
        "movzx-16-to-64",
        || code!("movzx rax, word ptr [rbx]"),
        |o| o.registers.gprs[RAX] == began(OPERAND, 2),
    ),
    Snippet::new(
        "movsx-8-to-16",
        || code!("movsx ax, byte ptr [rbx]"),
        |o| o.registers.gprs[RAX] & 0xffff == 0xff80,
    )
    .with(|case| put(case, OPERAND, 0x80)),
    Snippet::new(
        "movsx-16-to-32",
        || code!("movsx eax, word ptr [rbx]"),
        |o| o.registers.gprs[RAX] == 0xffff_8001,
    )
    .with(|case| put(case, OPERAND, 0x8001)),
    Snippet::new(
        "movsxd-32-to-64",
        || code!("movsxd rax, dword ptr [rbx]"),
        |o| o.registers.gprs[RAX] == 0xffff_ffff_8000_0002,
    )
    .with(|case| put(case, OPERAND, 0x8000_0002)),
    Snippet::new(
        "movbe-load",
        || code!("movbe rax, [rbx]"),
        |o| o.registers.gprs[RAX] == began(OPERAND, 8).swap_bytes(),
    ),
    Snippet::new(
        "movbe-store-16",
        || code!("movbe [rbx], dx"),
        |o| ended(o, OPERAND, 2) == u64::from((o.registers.gprs[RDX] as u16).swap_bytes()),
    ),
    Snippet::new("movnti", || code!("movnti [rbx], rdx"), |o| ended(o, OPERAND, 8) == o.registers.gprs[RDX]),
];

pub const VECTORS: &[Snippet] = &[
    Snippet::new(
        "sse-load-keeps-the-upper-half",
        || code!("movdqu xmm1, [rbx + 1]"),
        |o| low(o, 1) == began(OPERAND + 1, 8) && o.registers.vectors[1][16] == 16 ^ 0x20,
    ),
    Snippet::new("sse-store", || code!("movups [rbx + 3], xmm2"), |o| ended(o, OPERAND + 3, 8) == low(o, 2)),
    Snippet::new("sse-aligned-load", || code!("movaps xmm15, [rbx]"), |o| low(o, 15) == began(OPERAND, 8)),
    Snippet::new(
        "sse-non-temporal-store",
        || code!("movntdq [rbx], xmm3"),
        |o| ended(o, OPERAND, 8) == low(o, 3),
    ),
    Snippet::new(
        "sse-movd-clears-the-rest",
        || code!("movd xmm4, dword ptr [rbx]"),
        |o| low(o, 4) == began(OPERAND, 4) && o.registers.vectors[4][8..16] == [0; 8],
    ),
    Snippet::new("sse-movq-store", || code!("movq [rbx], xmm5"), |o| ended(o, OPERAND, 8) == low(o, 5)),
    Snippet::new("sse-movss-load", || code!("movss xmm6, [rbx]"), |o| low(o, 6) == began(OPERAND, 4)),
    Snippet::new(
        "sse-movhps-load-keeps-the-lower-half",
        || code!("movhps xmm7, [rbx]"),
        |o| {
            low(o, 7) != began(OPERAND, 8) && o.registers.vectors[7][8..16] == began(OPERAND, 8).to_le_bytes()
        },
    ),
    Snippet::new(
        "sse-across-pages",
        || code!("movdqu [rbx], xmm8"),
        |o| ended(o, PAGE_END - 9, 8) == low(o, 8),
    )
    .with(|case| case.registers.gprs[RBX] = PAGE_END - 9),
    Snippet::new(
        "avx-load-32-bytes",
        || code!("vmovdqu ymm1, [rbx + 1]"),
        |o| {
            low(o, 1) == began(OPERAND + 1, 8)
                && o.registers.vectors[1][24..] == began(OPERAND + 25, 8).to_le_bytes()
        },
    ),
    Snippet::new(
        "avx-load-16-bytes-clears-the-upper-half",
        || code!("vmovups xmm1, [rbx]"),
        |o| low(o, 1) == began(OPERAND, 8) && o.registers.vectors[1][16..] == [0; 16],
    ),
    Snippet::new(
        "avx-store-32-bytes",
        || code!("vmovdqa [rbx], ymm9"),
        |o| o.registers.vectors[9][24..] == ended(o, OPERAND + 24, 8).to_le_bytes(),
    ),
    Snippet::new(
        "avx-three-operands",
        || code!("vmovlps xmm1, xmm2, [rbx]"),
        |o| low(o, 1) == began(OPERAND, 8) && o.registers.vectors[1][8..16] == o.registers.vectors[2][8..16],
    ),
];

/// Bits 63:0 of a vector register.
fn low(outcome: &instruction_cases::Outcome, number: usize) -> u64 {
    outcome.registers.vectors[number][..8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

const MEMORY_START: u64 = crate::sandbox::MEMORY;
/// Where the second page ends.
const PAGE_END: u64 = MEMORY_START + 2 * PAGE as u64;
