//! The fields that the checks look at: their encodings and the manual's names (SDM 325462, volume 3, appendix B).

use core::fmt;

/// A field of a VMCS, by its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(u16);

macro_rules! fields {
    ($($constant:ident = $encoding:literal $name:literal,)*) => {
        impl Field {
            $(
                #[doc = $name]
                pub const $constant: Self = Self($encoding);
            )*
        }

        const ENCODINGS: &[u16] = &[$($encoding),*];

        /// The names in the same order, each on a line: one string takes less room than a table of them.
        const NAMES: &str = concat!($($name, "\n"),*);
    };
}

fields! {
    VPID = 0x0000 "VPID",
    POSTED_INTERRUPT_VECTOR = 0x0002 "posted-interrupt notification vector",
    GUEST_ES_SELECTOR = 0x0800 "guest ES selector",
    GUEST_CS_SELECTOR = 0x0802 "guest CS selector",
    GUEST_SS_SELECTOR = 0x0804 "guest SS selector",
    GUEST_DS_SELECTOR = 0x0806 "guest DS selector",
    GUEST_FS_SELECTOR = 0x0808 "guest FS selector",
    GUEST_GS_SELECTOR = 0x080a "guest GS selector",
    GUEST_LDTR_SELECTOR = 0x080c "guest LDTR selector",
    GUEST_TR_SELECTOR = 0x080e "guest TR selector",
    HOST_ES_SELECTOR = 0x0c00 "host ES selector",
    HOST_CS_SELECTOR = 0x0c02 "host CS selector",
    HOST_SS_SELECTOR = 0x0c04 "host SS selector",
    HOST_DS_SELECTOR = 0x0c06 "host DS selector",
    HOST_FS_SELECTOR = 0x0c08 "host FS selector",
    HOST_GS_SELECTOR = 0x0c0a "host GS selector",
    HOST_TR_SELECTOR = 0x0c0c "host TR selector",
    IO_BITMAP_A = 0x2000 "address of I/O bitmap A",
    IO_BITMAP_B = 0x2002 "address of I/O bitmap B",
    MSR_BITMAPS = 0x2004 "address of MSR bitmaps",
    EXIT_MSR_STORE_ADDRESS = 0x2006 "VM-exit MSR-store address",
    EXIT_MSR_LOAD_ADDRESS = 0x2008 "VM-exit MSR-load address",
    ENTRY_MSR_LOAD_ADDRESS = 0x200a "VM-entry MSR-load address",
    PML_ADDRESS = 0x200e "PML address",
    VIRTUAL_APIC_ADDRESS = 0x2012 "virtual-APIC address",
    APIC_ACCESS_ADDRESS = 0x2014 "APIC-access address",
    POSTED_INTERRUPT_DESCRIPTOR = 0x2016 "posted-interrupt descriptor address",
    EPT_POINTER = 0x201a "EPT pointer",
    TSC_MULTIPLIER = 0x2032 "TSC multiplier",
    TERTIARY_CONTROLS = 0x2034 "tertiary processor-based controls",
    VMCS_LINK_POINTER = 0x2800 "VMCS link pointer",
    GUEST_DEBUGCTL = 0x2802 "guest IA32_DEBUGCTL",
    GUEST_PAT = 0x2804 "guest IA32_PAT",
    GUEST_EFER = 0x2806 "guest IA32_EFER",
    GUEST_PDPTE_0 = 0x280a "guest PDPTE 0",
    GUEST_PDPTE_1 = 0x280c "guest PDPTE 1",
    GUEST_PDPTE_2 = 0x280e "guest PDPTE 2",
    GUEST_PDPTE_3 = 0x2810 "guest PDPTE 3",
    GUEST_BNDCFGS = 0x2812 "guest IA32_BNDCFGS",
    HOST_PAT = 0x2c00 "host IA32_PAT",
    HOST_EFER = 0x2c02 "host IA32_EFER",
    PIN_CONTROLS = 0x4000 "pin-based controls",
    PRIMARY_CONTROLS = 0x4002 "primary processor-based controls",
    CR3_TARGET_COUNT = 0x400a "CR3-target count",
    EXIT_CONTROLS = 0x400c "VM-exit controls",
    EXIT_MSR_STORE_COUNT = 0x400e "VM-exit MSR-store count",
    EXIT_MSR_LOAD_COUNT = 0x4010 "VM-exit MSR-load count",
    ENTRY_CONTROLS = 0x4012 "VM-entry controls",
    ENTRY_MSR_LOAD_COUNT = 0x4014 "VM-entry MSR-load count",
    ENTRY_INTERRUPTION_INFO = 0x4016 "VM-entry interruption information",
    ENTRY_EXCEPTION_ERROR_CODE = 0x4018 "VM-entry exception error code",
    ENTRY_INSTRUCTION_LENGTH = 0x401a "VM-entry instruction length",
    TPR_THRESHOLD = 0x401c "TPR threshold",
    SECONDARY_CONTROLS = 0x401e "secondary processor-based controls",
    EXIT_REASON = 0x4402 "exit reason",
    GUEST_ES_LIMIT = 0x4800 "guest ES limit",
    GUEST_CS_LIMIT = 0x4802 "guest CS limit",
    GUEST_SS_LIMIT = 0x4804 "guest SS limit",
    GUEST_DS_LIMIT = 0x4806 "guest DS limit",
    GUEST_FS_LIMIT = 0x4808 "guest FS limit",
    GUEST_GS_LIMIT = 0x480a "guest GS limit",
    GUEST_LDTR_LIMIT = 0x480c "guest LDTR limit",
    GUEST_TR_LIMIT = 0x480e "guest TR limit",
    GUEST_GDTR_LIMIT = 0x4810 "guest GDTR limit",
    GUEST_IDTR_LIMIT = 0x4812 "guest IDTR limit",
    GUEST_ES_RIGHTS = 0x4814 "guest ES access rights",
    GUEST_CS_RIGHTS = 0x4816 "guest CS access rights",
    GUEST_SS_RIGHTS = 0x4818 "guest SS access rights",
    GUEST_DS_RIGHTS = 0x481a "guest DS access rights",
    GUEST_FS_RIGHTS = 0x481c "guest FS access rights",
    GUEST_GS_RIGHTS = 0x481e "guest GS access rights",
    GUEST_LDTR_RIGHTS = 0x4820 "guest LDTR access rights",
    GUEST_TR_RIGHTS = 0x4822 "guest TR access rights",
    GUEST_INTERRUPTIBILITY = 0x4824 "guest interruptibility state",
    GUEST_ACTIVITY = 0x4826 "guest activity state",
    EXIT_QUALIFICATION = 0x6400 "exit qualification",
    GUEST_CR0 = 0x6800 "guest CR0",
    GUEST_CR3 = 0x6802 "guest CR3",
    GUEST_CR4 = 0x6804 "guest CR4",
    GUEST_ES_BASE = 0x6806 "guest ES base",
    GUEST_CS_BASE = 0x6808 "guest CS base",
    GUEST_SS_BASE = 0x680a "guest SS base",
    GUEST_DS_BASE = 0x680c "guest DS base",
    GUEST_FS_BASE = 0x680e "guest FS base",
    GUEST_GS_BASE = 0x6810 "guest GS base",
    GUEST_LDTR_BASE = 0x6812 "guest LDTR base",
    GUEST_TR_BASE = 0x6814 "guest TR base",
    GUEST_GDTR_BASE = 0x6816 "guest GDTR base",
    GUEST_IDTR_BASE = 0x6818 "guest IDTR base",
    GUEST_DR7 = 0x681a "guest DR7",
    GUEST_RIP = 0x681e "guest RIP",
    GUEST_RFLAGS = 0x6820 "guest RFLAGS",
    GUEST_PENDING_DEBUG = 0x6822 "guest pending debug exceptions",
    GUEST_SYSENTER_ESP = 0x6824 "guest IA32_SYSENTER_ESP",
    GUEST_SYSENTER_EIP = 0x6826 "guest IA32_SYSENTER_EIP",
    HOST_CR0 = 0x6c00 "host CR0",
    HOST_CR3 = 0x6c02 "host CR3",
    HOST_CR4 = 0x6c04 "host CR4",
    HOST_FS_BASE = 0x6c06 "host FS base",
    HOST_GS_BASE = 0x6c08 "host GS base",
    HOST_TR_BASE = 0x6c0a "host TR base",
    HOST_GDTR_BASE = 0x6c0c "host GDTR base",
    HOST_IDTR_BASE = 0x6c0e "host IDTR base",
    HOST_SYSENTER_ESP = 0x6c10 "host IA32_SYSENTER_ESP",
    HOST_SYSENTER_EIP = 0x6c12 "host IA32_SYSENTER_EIP",
    HOST_RIP = 0x6c16 "host RIP",
}

impl Field {
    /// What VMREAD takes.
    pub const fn encoding(self) -> u64 {
        self.0 as u64
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        let place = ENCODINGS.iter().position(|encoding| *encoding == self.0);
        place.and_then(|place| NAMES.lines().nth(place)).unwrap_or("unnamed field")
    }

    /// All of them.
    #[cfg(test)]
    pub fn all() -> std::vec::Vec<Self> {
        ENCODINGS.iter().copied().map(Self).collect()
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_name_of_its_own() {
        assert_eq!(ENCODINGS.len(), NAMES.lines().count());
        assert!(ENCODINGS.is_sorted_by(|a, b| a < b));
        assert_eq!(Field::VPID.name(), "VPID");
        assert_eq!(Field::GUEST_CR0.name(), "guest CR0");
        assert_eq!(Field::HOST_RIP.name(), "host RIP");
        assert_eq!(Field(0x7ffe).name(), "unnamed field");
    }

    #[test]
    fn the_name_tells_the_area_that_the_encoding_tells() {
        for field in Field::all() {
            let area = field.encoding() >> 10 & 3;
            assert_eq!(field.name().starts_with("host "), area == 3, "{field}");
            assert_eq!(field.encoding() & 1, 0, "{field} is a high half");
        }
    }
}
