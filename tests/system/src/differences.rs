//! Where a bare emulator is no reference: it deviates there from processors, whose behaviour the guests expect. The
//! reasons are in the tables of tests/guests/README.md.

use xtask::emulator::Vendor;

/// Each guest's checks that pass under Cofferdam, as on a processor, and are skipped on QEMU.
const ON_QEMU: &[(&str, &[&str])] = &[
    (
        "control-registers",
        &[
            "cr0-not-write-through-without-cache-disable",
            "cr0-paging-off-in-64-bit-code",
            "cr0-paging-without-protection",
            "cr4-bit-15",
            "cr4-bit-26",
            "cr4-bit-31",
            "cr4-bit-63",
            "cr4-cet",
            "cr4-la57-in-long-mode",
            "cr4-pae-off-in-long-mode",
            "cr4-pcide",
            "cr4-pcide-with-a-process-in-use",
            "cr4-smxe",
            "cr4-vme",
            "cr4-vmxe",
        ],
    ),
    ("debug-registers", &["step-over-hlt", "step-over-the-last-of-a-repeated-output"]),
    (
        "instructions",
        &[
            "alignment-check-across-pages",
            "alignment-check-of-a-user",
            "beyond-the-limit-of-a-segment",
            "push-of-memory-to-no-canonical-address",
            "write-to-a-segment-for-reading",
        ],
    ),
    ("ioapic", &["reserved-bits-read-zero"]),
    (
        "local-apic",
        &[
            "base-bit-0",
            "base-bit-63",
            "base-bit-9",
            "base-x2apic-without-enable",
            "deadline-disarmed-by-zero",
            "deadline-fires",
            "deadline-in-the-past-fires-at-once",
            "deadline-is-ignored-in-other-modes",
            "deadline-is-zero-afterwards",
            "deadline-keeps",
            "deadline-mode-ignores-the-count",
            "x2apic-command-reserved-bit",
            "x2apic-current-count-is-read-only",
            "x2apic-disabled-keeps-them-masked",
            "x2apic-disabled-masks-local-vectors",
            "x2apic-disabled-takes-no-interrupt",
            "x2apic-divide-reserved-bit",
            "x2apic-end-cannot-be-read",
            "x2apic-end-takes-zero-only",
            "x2apic-error-interrupt",
            "x2apic-error-reserved-bit",
            "x2apic-errors-are-gone-when-shown",
            "x2apic-errors-take-zero-only",
            "x2apic-id-is-read-only",
            "x2apic-illegal-vector-sent",
            "x2apic-initial-count-has-32-bits",
            "x2apic-lint0-reserved-bit",
            "x2apic-logical-destination-is-read-only",
            "x2apic-no-command-high",
            "x2apic-no-destination-format",
            "x2apic-no-register-4",
            "x2apic-no-register-40",
            "x2apic-processor-priority-is-read-only",
            "x2apic-registers-fault-in-xapic-mode",
            "x2apic-requests-are-read-only",
            "x2apic-self-ipi-cannot-be-read",
            "x2apic-self-ipi-has-8-bits",
            "x2apic-service-is-read-only",
            "x2apic-spurious-reserved-bit",
            "x2apic-task-priority-has-8-bits",
            "x2apic-timer-reserved-bit",
            "x2apic-version-is-read-only",
            "xapic-disabled-keeps-them-masked",
            "xapic-disabled-masks-local-vectors",
            "xapic-disabled-takes-no-interrupt",
            "xapic-error-interrupt",
            "xapic-errors-are-gone-when-shown",
            "xapic-illegal-register",
            "xapic-illegal-vector-sent",
        ],
    ),
    ("msr-gp", &["efer-leaving-long-mode", "efer-reserved-bit", "unknown-read", "unknown-write"]),
    (
        "pat-mtrr",
        &[
            "mtrr-base-beyond-the-address-width",
            "mtrr-base-bit-63",
            "mtrr-base-reserved-bit",
            "mtrr-base-type-2",
            "mtrr-base-type-7",
            "mtrr-cap-is-read-only",
            "mtrr-default-bit-12",
            "mtrr-default-bit-32",
            "mtrr-default-bit-8",
            "mtrr-default-type-2",
            "mtrr-default-type-7",
            "mtrr-fixed-type-2",
            "mtrr-fixed-type-3",
            "mtrr-fixed-type-7",
            "mtrr-mask-beyond-the-address-width",
            "mtrr-mask-reserved-bit",
            "mtrr-no-ninth-range",
            "pat-reserved-bit",
            "pat-type-2",
            "pat-type-3",
            "pat-type-3-in-the-last-entry",
            "pat-type-8",
        ],
    ),
    ("pic", &["request-that-is-withdrawn"]),
    (
        "pit",
        &[
            "bcd-counts-in-decimal-digits",
            "mode-0-gate-holds-the-count",
            "mode-1-waits-for-the-gate",
            "mode-2-begins-high",
            "mode-2-gate-raises-the-output",
            "mode-3-gate-raises-the-output",
            "mode-4-begins-high",
            "mode-5-waits-for-the-gate",
            "null-count-before-a-count",
        ],
    ),
    ("rtc", &["periodic-flag"]),
];

/// Each guest's checks that pass under Cofferdam, as on a processor, and fail on Bochs.
const ON_BOCHS: &[(&str, &[&str])] = &[
    ("cpuid", &["hypervisor-bit", "hypervisor-leaves"]),
    (
        "ioapic",
        &[
            "id-has-4-bits",
            "level-awaits-its-end",
            "level-fallen-awaits-its-end-too",
            "level-interrupts-again-after-the-end",
            "lowest-priority-delivery",
            "reserved-bits-read-zero",
        ],
    ),
];

/// Guests that cannot come to their end on bare Bochs, or look for what it does not have.
const NOT_ON_BOCHS: [&str; 7] =
    ["debug-registers", "instructions", "local-apic", "pic", "pit", "rtc", "virtio"];

/// Whether the emulator of this vendor's processors is a reference for `guest`.
pub fn has_reference(vendor: Vendor, guest: &str) -> bool {
    vendor == Vendor::Amd || !NOT_ON_BOCHS.contains(&guest)
}

/// The checks of `guest` that differ on the emulator of this vendor's processors, in order.
pub fn of(vendor: Vendor, guest: &str) -> Vec<String> {
    let differences = match vendor {
        Vendor::Amd => ON_QEMU,
        Vendor::Intel => ON_BOCHS,
    };
    let lists = differences.iter().filter(|(name, _)| *name == guest);
    let mut checks: Vec<String> = lists.flat_map(|(_, checks)| *checks).map(ToString::to_string).collect();
    checks.sort();
    checks
}
