//! Which feature bits a guest sees: allow-lists, one a register, every bit named; and why known others are hidden.
//!
//! A bit that appears in neither list is hidden: nobody has judged it yet.
//!
//! Sources: Intel SDM, volume 2, CPUID (tables 3-8 to 3-11); AMD APM 24594, volume 3, appendix E.

/// One register of feature bits.
#[derive(Clone, Copy, Debug)]
pub struct FeatureRegister {
    /// The leaf, its subleaf, and the register: EAX is 0, EDX is 3.
    pub place: (u32, u32, u8),
    /// Bits that pass from host to guest, with their names.
    pub shown: &'static [(u32, &'static str)],
    /// Bits that do not, with their names and the reason.
    pub hidden: &'static [(u32, &'static str, &'static str)],
}

impl FeatureRegister {
    /// The bits that pass.
    pub const fn mask(&self) -> u32 {
        let mut mask = 0;
        let mut rest = self.shown;
        while let [(bit, _), tail @ ..] = rest {
            mask |= 1 << *bit;
            rest = tail;
        }
        mask
    }
}

const NOT_SWITCHED: &str = "its registers are not switched with the guest";
const NESTED: &str = "a guest runs no guests";
const POWER: &str = "power and thermal control are the host's";
const TRACE: &str = "performance monitoring and tracing are not virtualized";
const TOPOLOGY: &str = "a guest has one core with one thread";
const SPECULATION: &str = "the speculation-control registers are not switched with the guest";
const DYNAMIC: &str = "follows the guest's own registers";
const FORCED: &str = "shown whatever the host has, as it is emulated";
const RETIRED: &str = "withdrawn by microcode or retired";
const HOST_ONLY: &str = "belongs to the host's firmware or memory controller";

/// Leaf 1, ECX.
pub const LEAF_1_ECX: FeatureRegister = FeatureRegister {
    place: (1, 0, 2),
    shown: &[
        (0, "SSE3"),
        (1, "PCLMULQDQ"),
        (9, "SSSE3"),
        (12, "FMA"),
        (13, "CMPXCHG16B"),
        (17, "PCID"),
        (19, "SSE4.1"),
        (20, "SSE4.2"),
        (22, "MOVBE"),
        (23, "POPCNT"),
        (25, "AES"),
        (26, "XSAVE"),
        (28, "AVX"),
        (29, "F16C"),
        (30, "RDRAND"),
    ],
    hidden: &[
        (2, "DTES64", TRACE),
        (3, "MONITOR", "a guest that waits in MWAIT would hold the CPU; HLT gives it up"),
        (4, "DS-CPL", TRACE),
        (5, "VMX", NESTED),
        (6, "SMX", NESTED),
        (7, "EIST", POWER),
        (8, "TM2", POWER),
        (10, "CNXT-ID", POWER),
        (11, "SDBG", TRACE),
        (14, "xTPR", HOST_ONLY),
        (15, "PDCM", TRACE),
        (18, "DCA", HOST_ONLY),
        (21, "x2APIC", FORCED),
        (24, "TSC-deadline", FORCED),
        (27, "OSXSAVE", DYNAMIC),
        (31, "hypervisor present", FORCED),
    ],
};

/// Leaf 1, EDX.
pub const LEAF_1_EDX: FeatureRegister = FeatureRegister {
    place: (1, 0, 3),
    shown: &[
        (0, "FPU"),
        (1, "VME"),
        (2, "DE"),
        (3, "PSE"),
        (4, "TSC"),
        (5, "MSR"),
        (6, "PAE"),
        (7, "MCE"),
        (8, "CMPXCHG8B"),
        (11, "SEP"),
        (12, "MTRR"),
        (13, "PGE"),
        (14, "MCA"),
        (15, "CMOV"),
        (16, "PAT"),
        (17, "PSE-36"),
        (19, "CLFSH"),
        (23, "MMX"),
        (24, "FXSR"),
        (25, "SSE"),
        (26, "SSE2"),
        (27, "SS"),
    ],
    hidden: &[
        (9, "APIC", DYNAMIC),
        (18, "PSN", HOST_ONLY),
        (21, "DS", TRACE),
        (22, "ACPI", POWER),
        (28, "HTT", TOPOLOGY),
        (29, "TM", POWER),
        (31, "PBE", POWER),
    ],
};

/// Leaf 7.0, EBX.
pub const LEAF_7_EBX: FeatureRegister = FeatureRegister {
    place: (7, 0, 1),
    shown: &[
        (0, "FSGSBASE"),
        (3, "BMI1"),
        (5, "AVX2"),
        (6, "FDP_EXCPTN_ONLY"),
        (7, "SMEP"),
        (8, "BMI2"),
        (9, "ERMS"),
        (10, "INVPCID"),
        (13, "FCS/FDS deprecated"),
        (16, "AVX512F"),
        (17, "AVX512DQ"),
        (18, "RDSEED"),
        (19, "ADX"),
        (20, "SMAP"),
        (21, "AVX512_IFMA"),
        (23, "CLFLUSHOPT"),
        (24, "CLWB"),
        (28, "AVX512CD"),
        (29, "SHA"),
        (30, "AVX512BW"),
        (31, "AVX512VL"),
    ],
    hidden: &[
        (1, "TSC_ADJUST", "the guest's TSC is moved by IA32_TIME_STAMP_COUNTER alone"),
        (2, "SGX", HOST_ONLY),
        (4, "HLE", RETIRED),
        (11, "RTM", RETIRED),
        (12, "RDT-M", HOST_ONLY),
        (14, "MPX", RETIRED),
        (15, "RDT-A", HOST_ONLY),
        (25, "Processor Trace", TRACE),
        (26, "AVX512PF", RETIRED),
        (27, "AVX512ER", RETIRED),
    ],
};

/// Leaf 7.0, ECX.
pub const LEAF_7_ECX: FeatureRegister = FeatureRegister {
    place: (7, 0, 2),
    shown: &[
        (0, "PREFETCHWT1"),
        (1, "AVX512_VBMI"),
        (2, "UMIP"),
        (3, "PKU"),
        (6, "AVX512_VBMI2"),
        (8, "GFNI"),
        (9, "VAES"),
        (10, "VPCLMULQDQ"),
        (11, "AVX512_VNNI"),
        (12, "AVX512_BITALG"),
        (14, "AVX512_VPOPCNTDQ"),
        (25, "CLDEMOTE"),
        (27, "MOVDIRI"),
        (28, "MOVDIR64B"),
    ],
    hidden: &[
        (4, "OSPKE", DYNAMIC),
        (5, "WAITPKG", NOT_SWITCHED),
        (7, "CET_SS", NOT_SWITCHED),
        (13, "TME_EN", HOST_ONLY),
        (16, "LA57", "guests have four levels of paging"),
        (22, "RDPID", "IA32_TSC_AUX is not switched with the guest"),
        (23, "KL", NOT_SWITCHED),
        (24, "BUS_LOCK_DETECT", NOT_SWITCHED),
        (29, "ENQCMD", HOST_ONLY),
        (30, "SGX_LC", HOST_ONLY),
        (31, "PKS", NOT_SWITCHED),
    ],
};

/// Leaf 7.0, EDX.
pub const LEAF_7_EDX: FeatureRegister = FeatureRegister {
    place: (7, 0, 3),
    shown: &[
        (4, "FSRM"),
        (8, "AVX512_VP2INTERSECT"),
        (10, "MD_CLEAR"),
        (14, "SERIALIZE"),
        (23, "AVX512_FP16"),
    ],
    hidden: &[
        (5, "UINTR", NOT_SWITCHED),
        (15, "hybrid", TOPOLOGY),
        (18, "PCONFIG", HOST_ONLY),
        (19, "architectural LBR", TRACE),
        (20, "CET_IBT", NOT_SWITCHED),
        (22, "AMX_BF16", NOT_SWITCHED),
        (24, "AMX_TILE", NOT_SWITCHED),
        (25, "AMX_INT8", NOT_SWITCHED),
        (26, "IBRS/IBPB", SPECULATION),
        (27, "STIBP", SPECULATION),
        (28, "L1D_FLUSH", SPECULATION),
        (29, "ARCH_CAPABILITIES", SPECULATION),
        (30, "CORE_CAPABILITIES", HOST_ONLY),
        (31, "SSBD", SPECULATION),
    ],
};

/// Leaf 7.1, EAX.
pub const LEAF_7_1_EAX: FeatureRegister = FeatureRegister {
    place: (7, 1, 0),
    shown: &[
        (0, "SHA512"),
        (1, "SM3"),
        (2, "SM4"),
        (4, "AVX_VNNI"),
        (5, "AVX512_BF16"),
        (10, "FZRM"),
        (11, "FSRS"),
        (12, "FSRC"),
        (23, "AVX_IFMA"),
    ],
    hidden: &[
        (17, "FRED", NOT_SWITCHED),
        (18, "LKGS", "comes with FRED"),
        (21, "AMX_FP16", NOT_SWITCHED),
        (22, "HRESET", POWER),
        (26, "LAM", "guests' linear addresses are checked whole"),
    ],
};

/// Leaf 0xD.1, EAX.
pub const LEAF_D_1_EAX: FeatureRegister = FeatureRegister {
    place: (0xd, 1, 0),
    shown: &[(0, "XSAVEOPT"), (1, "XSAVEC"), (2, "XGETBV with ECX=1")],
    hidden: &[(3, "XSAVES", "IA32_XSS is not switched with the guest"), (4, "XFD", NOT_SWITCHED)],
};

/// Leaf 0x8000_0001, ECX.
pub const EXTENDED_1_ECX: FeatureRegister = FeatureRegister {
    place: (0x8000_0001, 0, 2),
    shown: &[
        (0, "LAHF/SAHF in 64-bit mode"),
        (5, "LZCNT"),
        (6, "SSE4A"),
        (7, "misaligned SSE"),
        (8, "PREFETCHW"),
        (11, "XOP"),
        (16, "FMA4"),
        (21, "TBM"),
        (22, "topology extensions"),
    ],
    hidden: &[
        (1, "CmpLegacy", TOPOLOGY),
        (2, "SVM", NESTED),
        (3, "extended APIC space", "the virtual APIC has none"),
        (4, "alternative encoding of MOV CR8", "its exits are not decoded; MOV CR8 serves 64-bit mode"),
        (9, "OSVW", HOST_ONLY),
        (10, "IBS", TRACE),
        (12, "SKINIT", NESTED),
        (13, "WDT", HOST_ONLY),
        (15, "LWP", TRACE),
        (17, "TCE", "a bit of EFER that is not offered"),
        (19, "NodeId", TOPOLOGY),
        (23, "core performance counters", TRACE),
        (24, "northbridge performance counters", TRACE),
        (26, "data breakpoint extensions", NOT_SWITCHED),
        (27, "performance TSC", TRACE),
        (28, "last-level cache counters", TRACE),
        (29, "MONITORX", "a guest that waits in MWAITX would hold the CPU; HLT gives it up"),
    ],
};

/// Leaf 0x8000_0001, EDX. AMD repeats leaf 1's bits here.
pub const EXTENDED_1_EDX: FeatureRegister = FeatureRegister {
    place: (0x8000_0001, 0, 3),
    shown: &[
        (0, "FPU"),
        (1, "VME"),
        (2, "DE"),
        (3, "PSE"),
        (4, "TSC"),
        (5, "MSR"),
        (6, "PAE"),
        (7, "MCE"),
        (8, "CMPXCHG8B"),
        (11, "SYSCALL"),
        (12, "MTRR"),
        (13, "PGE"),
        (14, "MCA"),
        (15, "CMOV"),
        (16, "PAT"),
        (17, "PSE-36"),
        (20, "NX"),
        (22, "MMX extensions"),
        (23, "MMX"),
        (24, "FXSR"),
        (25, "FFXSR"),
        (26, "1 GiB pages"),
        (29, "long mode"),
        (30, "3DNow! extensions"),
        (31, "3DNow!"),
    ],
    hidden: &[
        (9, "APIC", DYNAMIC),
        (19, "MP", TOPOLOGY),
        (27, "RDTSCP", "IA32_TSC_AUX is not switched with the guest"),
    ],
};

/// Leaf 0x8000_0008, EBX.
pub const EXTENDED_8_EBX: FeatureRegister = FeatureRegister {
    place: (0x8000_0008, 0, 1),
    shown: &[(0, "CLZERO"), (2, "XSAVE keeps error pointers")],
    hidden: &[
        (1, "InstRetCnt", TRACE),
        (3, "INVLPGB", "broadcasts reach other guests' CPUs"),
        (4, "RDPRU", TRACE),
        (6, "MBE", HOST_ONLY),
        (9, "WBNOINVD", "exits as WBINVD does, which is enough"),
        (12, "IBPB", SPECULATION),
        (14, "IBRS", SPECULATION),
        (15, "STIBP", SPECULATION),
        (24, "SSBD", SPECULATION),
        (25, "VIRT_SPEC_CTRL", SPECULATION),
        (27, "CPPC", POWER),
    ],
};

/// Leaf 0x8000_0021, EAX.
pub const EXTENDED_21_EAX: FeatureRegister = FeatureRegister {
    place: (0x8000_0021, 0, 0),
    shown: &[
        (2, "LFENCE serializes"),
        (6, "null selector clears base"),
        (10, "fast short REP STOSB"),
        (11, "fast short REP CMPSB"),
    ],
    hidden: &[
        (3, "SMM page configuration lock", HOST_ONLY),
        (7, "upper address ignore", "guests' linear addresses are checked whole"),
        (8, "automatic IBRS", SPECULATION),
        (17, "CPUID faulting", NOT_SWITCHED),
    ],
};

/// Every register of feature bits.
pub const ALL: [&FeatureRegister; 11] = [
    &LEAF_1_ECX,
    &LEAF_1_EDX,
    &LEAF_7_EBX,
    &LEAF_7_ECX,
    &LEAF_7_EDX,
    &LEAF_7_1_EAX,
    &LEAF_D_1_EAX,
    &EXTENDED_1_ECX,
    &EXTENDED_1_EDX,
    &EXTENDED_8_EBX,
    &EXTENDED_21_EAX,
];
