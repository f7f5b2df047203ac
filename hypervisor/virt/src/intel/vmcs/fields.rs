//! The fields of a VMCS: their encodings, widths and names (SDM 325462, volume 3, appendix B).
//!
//! ```text
//!   bit 0        high half of a 64-bit field       never used here: the processor is in 64-bit mode
//!   bits 9:1     index
//!   bits 11:10   control, read-only data, guest state, host state
//!   bits 14:13   16, 64, 32 bits, natural width    the type of the constant
//! ```

use core::fmt;

/// A field of any width, by its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field(u16);

impl Field {
    /// What VMREAD and VMWRITE take.
    #[inline(always)]
    pub const fn encoding(self) -> u64 {
        self.0 as u64
    }

    /// Its name, as in the manual.
    pub fn name(self) -> &'static str {
        let found = NAMES.binary_search_by_key(&self, |(field, _)| *field).ok();
        found.and_then(|index| NAMES.get(index)).map_or("unnamed field", |(_, name)| name)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A type for the fields of one width, and its constants.
macro_rules! fields {
    ($(#[$about:meta])* $width:ident { $($constant:ident = $encoding:literal $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $width(u16);

        impl $width {
            $(
                #[doc = $name]
                #[allow(dead_code, reason = "the manual's fields, whichever are in use")]
                pub const $constant: Self = Self($encoding);
            )*

            /// What VMREAD and VMWRITE take.
            #[inline(always)]
            pub const fn encoding(self) -> u64 {
                self.0 as u64
            }

            /// The field without its width.
            #[inline(always)]
            pub const fn any(self) -> Field {
                Field(self.0)
            }

            /// The names of these fields, ascending by encoding.
            const NAMES: &[(Field, &str)] = &[$((Field($encoding), $name)),*];
        }

        impl From<$width> for Field {
            fn from(field: $width) -> Self {
                field.any()
            }
        }
    };
}

fields! {
    /// A field of 16 bits.
    Field16 {
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
        GUEST_INTERRUPT_STATUS = 0x0810 "guest interrupt status",
        PML_INDEX = 0x0812 "PML index",
        HOST_ES_SELECTOR = 0x0c00 "host ES selector",
        HOST_CS_SELECTOR = 0x0c02 "host CS selector",
        HOST_SS_SELECTOR = 0x0c04 "host SS selector",
        HOST_DS_SELECTOR = 0x0c06 "host DS selector",
        HOST_FS_SELECTOR = 0x0c08 "host FS selector",
        HOST_GS_SELECTOR = 0x0c0a "host GS selector",
        HOST_TR_SELECTOR = 0x0c0c "host TR selector",
    }
}

fields! {
    /// A field of 64 bits.
    Field64 {
        IO_BITMAP_A = 0x2000 "address of I/O bitmap A",
        IO_BITMAP_B = 0x2002 "address of I/O bitmap B",
        MSR_BITMAPS = 0x2004 "address of MSR bitmaps",
        EXIT_MSR_STORE_ADDRESS = 0x2006 "VM-exit MSR-store address",
        EXIT_MSR_LOAD_ADDRESS = 0x2008 "VM-exit MSR-load address",
        ENTRY_MSR_LOAD_ADDRESS = 0x200a "VM-entry MSR-load address",
        PML_ADDRESS = 0x200e "PML address",
        TSC_OFFSET = 0x2010 "TSC offset",
        VIRTUAL_APIC_ADDRESS = 0x2012 "virtual-APIC address",
        APIC_ACCESS_ADDRESS = 0x2014 "APIC-access address",
        POSTED_INTERRUPT_DESCRIPTOR = 0x2016 "posted-interrupt descriptor address",
        EPT_POINTER = 0x201a "EPT pointer",
        EOI_EXIT_BITMAP_0 = 0x201c "EOI-exit bitmap 0",
        EOI_EXIT_BITMAP_1 = 0x201e "EOI-exit bitmap 1",
        EOI_EXIT_BITMAP_2 = 0x2020 "EOI-exit bitmap 2",
        EOI_EXIT_BITMAP_3 = 0x2022 "EOI-exit bitmap 3",
        XSS_EXITING_BITMAP = 0x202c "XSS-exiting bitmap",
        TSC_MULTIPLIER = 0x2032 "TSC multiplier",
        TERTIARY_CONTROLS = 0x2034 "tertiary processor-based controls",
        GUEST_PHYSICAL_ADDRESS = 0x2400 "guest-physical address",
        VMCS_LINK_POINTER = 0x2800 "VMCS link pointer",
        GUEST_DEBUGCTL = 0x2802 "guest IA32_DEBUGCTL",
        GUEST_PAT = 0x2804 "guest IA32_PAT",
        GUEST_EFER = 0x2806 "guest IA32_EFER",
        GUEST_PERF_GLOBAL_CTRL = 0x2808 "guest IA32_PERF_GLOBAL_CTRL",
        GUEST_PDPTE_0 = 0x280a "guest PDPTE 0",
        GUEST_PDPTE_1 = 0x280c "guest PDPTE 1",
        GUEST_PDPTE_2 = 0x280e "guest PDPTE 2",
        GUEST_PDPTE_3 = 0x2810 "guest PDPTE 3",
        GUEST_BNDCFGS = 0x2812 "guest IA32_BNDCFGS",
        HOST_PAT = 0x2c00 "host IA32_PAT",
        HOST_EFER = 0x2c02 "host IA32_EFER",
        HOST_PERF_GLOBAL_CTRL = 0x2c04 "host IA32_PERF_GLOBAL_CTRL",
    }
}

fields! {
    /// A field of 32 bits.
    Field32 {
        PIN_CONTROLS = 0x4000 "pin-based controls",
        PRIMARY_CONTROLS = 0x4002 "primary processor-based controls",
        EXCEPTION_BITMAP = 0x4004 "exception bitmap",
        PAGE_FAULT_MASK = 0x4006 "page-fault error-code mask",
        PAGE_FAULT_MATCH = 0x4008 "page-fault error-code match",
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
        PLE_GAP = 0x4020 "PLE gap",
        PLE_WINDOW = 0x4022 "PLE window",
        INSTRUCTION_ERROR = 0x4400 "VM-instruction error",
        EXIT_REASON = 0x4402 "exit reason",
        EXIT_INTERRUPTION_INFO = 0x4404 "VM-exit interruption information",
        EXIT_INTERRUPTION_ERROR_CODE = 0x4406 "VM-exit interruption error code",
        IDT_VECTORING_INFO = 0x4408 "IDT-vectoring information",
        IDT_VECTORING_ERROR_CODE = 0x440a "IDT-vectoring error code",
        EXIT_INSTRUCTION_LENGTH = 0x440c "VM-exit instruction length",
        EXIT_INSTRUCTION_INFO = 0x440e "VM-exit instruction information",
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
        GUEST_SYSENTER_CS = 0x482a "guest IA32_SYSENTER_CS",
        PREEMPTION_TIMER = 0x482e "VMX-preemption timer value",
        HOST_SYSENTER_CS = 0x4c00 "host IA32_SYSENTER_CS",
    }
}

fields! {
    /// A field of natural width: 64 bits on every processor that can run this hypervisor.
    FieldNatural {
        CR0_MASK = 0x6000 "CR0 guest/host mask",
        CR4_MASK = 0x6002 "CR4 guest/host mask",
        CR0_SHADOW = 0x6004 "CR0 read shadow",
        CR4_SHADOW = 0x6006 "CR4 read shadow",
        EXIT_QUALIFICATION = 0x6400 "exit qualification",
        GUEST_LINEAR_ADDRESS = 0x640a "guest-linear address",
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
        GUEST_RSP = 0x681c "guest RSP",
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
        HOST_RSP = 0x6c14 "host RSP",
        HOST_RIP = 0x6c16 "host RIP",
    }
}

/// All names, ascending by encoding.
const NAMES: [(Field, &str); COUNT] = {
    let mut all = [(Field(0), ""); COUNT];
    let mut next = 0;
    let mut widths: &[&[(Field, &str)]] =
        &[Field16::NAMES, Field64::NAMES, Field32::NAMES, FieldNatural::NAMES];
    while let [width, others @ ..] = widths {
        let mut rest = *width;
        while let [name, tail @ ..] = rest {
            all[next] = *name;
            next += 1;
            rest = tail;
        }
        widths = others;
    }
    all
};

const COUNT: usize =
    Field16::NAMES.len() + Field64::NAMES.len() + Field32::NAMES.len() + FieldNatural::NAMES.len();

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn names_ascend_by_encoding_as_the_search_needs() {
        assert!(NAMES.is_sorted_by(|(a, _), (b, _)| a < b));
    }

    #[test]
    fn the_encoding_of_each_field_tells_the_width_of_its_type() {
        let widths = [Field16::NAMES, Field64::NAMES, Field32::NAMES, FieldNatural::NAMES];
        for (width, fields) in (0..).zip(widths) {
            for (field, name) in fields {
                assert_eq!(field.encoding() >> 13, width, "{name}");
                assert_eq!(field.encoding() & 1, 0, "{name} is a high half");
            }
        }
    }

    #[test]
    fn the_encoding_of_each_field_tells_its_area() {
        for (field, name) in NAMES {
            let area = field.encoding() >> 10 & 3;
            assert_eq!(name.starts_with("host "), area == 3, "{name}");
            assert!(!name.starts_with("guest ") || area == 2 || area == 1, "{name}");
        }
    }

    #[test]
    fn a_field_prints_its_name() {
        assert_eq!(FieldNatural::GUEST_CR0.any().to_string(), "guest CR0");
        assert_eq!(Field(0x7ffe).name(), "unnamed field");
    }
}
