//! Global translations go when CR4.PGE changes: the page shows what its entry says, and only what its rights allow
//! (Intel SDM, volume 3, section 5.10.4.1; AMD APM 24593, volume 2, section 5.5.1).
//!
//! Until then the processor may go by the old entry, so nothing is checked there. A hypervisor that emulates the writes of
//! CR4 has to drop them itself.

#![no_std]
#![no_main]

use guests::pages::{GLOBAL, WRITABLE};
use guests::{Checks, control, guest, pages};

guest!("translations", run);

/// Memory of no other use.
const FIRST: u64 = 0xd0_0000;
const SECOND: u64 = FIRST + pages::BYTES;

const CR4_PGE: u64 = 1 << 7;
const PAGE_FAULT: u64 = 14;
/// A write that the present page's rights refuse.
const PROTECTED_WRITE: u64 = 3;

/// Written where the guest can tell what it sees.
const OF_FIRST: u64 = 0x1111_1111;
const OF_SECOND: u64 = 0x2222_2222;

fn run(checks: &mut Checks) {
    pages::allow();
    pages::put(FIRST, OF_FIRST);
    pages::put(SECOND, OF_SECOND);
    checks.passed("cr4-pge", control::set_cr4(control::cr4() | CR4_PGE));
    remapped(checks);
    protected(checks);
    unmapped(checks);
}

/// CR4.PGE off and on again.
fn drop_global_translations() {
    let cr4 = control::cr4();
    control::set_cr4(cr4 & !CR4_PGE);
    control::set_cr4(cr4);
}

fn remapped(checks: &mut Checks) {
    pages::set(0, FIRST | WRITABLE | GLOBAL);
    checks.equal("a-page-before-it-is-remapped", pages::read(0), OF_FIRST);
    pages::set_only(0, SECOND | WRITABLE | GLOBAL);
    drop_global_translations();
    checks.equal("a-page-remapped", pages::read(0), OF_SECOND);
    pages::set_only(0, FIRST | WRITABLE | GLOBAL);
    drop_global_translations();
    checks.equal("a-page-mapped-as-before", pages::read(0), OF_FIRST);
}

fn protected(checks: &mut Checks) {
    pages::set(1, FIRST | WRITABLE | GLOBAL);
    checks.passed("a-writable-page", pages::write(1, OF_FIRST));
    pages::set_only(1, FIRST | GLOBAL);
    drop_global_translations();
    checks.raised("a-page-made-read-only", pages::write(1, 0), PAGE_FAULT, PROTECTED_WRITE);
    checks.equal("a-page-made-read-only-keeps-its-contents", pages::read(1), OF_FIRST);
    pages::set_only(1, FIRST | WRITABLE | GLOBAL);
    drop_global_translations();
    checks.passed("a-page-made-writable", pages::write(1, OF_FIRST));
}

fn unmapped(checks: &mut Checks) {
    const ABSENT_WRITE: u64 = 2;
    pages::set(2, SECOND | WRITABLE | GLOBAL);
    checks.passed("a-mapped-page", pages::write(2, OF_SECOND));
    pages::clear_only(2);
    drop_global_translations();
    checks.raised("a-page-taken-away", pages::write(2, 0), PAGE_FAULT, ABSENT_WRITE);
}
