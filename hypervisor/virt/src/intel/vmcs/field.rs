//! The fields in use, with their encodings (SDM, volume 3, appendix B).
//!
//! ```text
//!   14 13   12  11 10   9        1   0
//!   width    0   kind     index     high half     width: 16, 64, 32 bits, natural; kind: control, exit, guest, host
//! ```

/// What a field is for: bits 11:10 of its encoding (SDM 25.11.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the processor is asked for.
    Control,
    /// What it says about an exit; read-only.
    Exit,
    /// The guest's state.
    Guest,
    /// The host's state, loaded by every exit.
    Host,
}

macro_rules! fields {
    ($($name:ident = $encoding:literal,)*) => {
        /// A field. The names are the manual's, shortened; those without `Host` in front hold the guest's state.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum Field {
            $($name,)*
        }

        impl Field {
            /// All of them, in the order of their numbers.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$name,)*];
            /// How many there are.
            pub const COUNT: usize = [$($encoding,)*].len();

            /// The encoding that VMREAD and VMWRITE take.
            #[inline(always)]
            pub const fn encoding(self) -> u64 {
                match self {
                    $(Self::$name => $encoding,)*
                }
            }
        }
    };
}

fields! {
    Vpid = 0x0000,
    PostedVector = 0x0002,
    EsSelector = 0x0800,
    CsSelector = 0x0802,
    SsSelector = 0x0804,
    DsSelector = 0x0806,
    FsSelector = 0x0808,
    GsSelector = 0x080a,
    LdtrSelector = 0x080c,
    TrSelector = 0x080e,
    GuestInterruptStatus = 0x0810,
    HostEsSelector = 0x0c00,
    HostCsSelector = 0x0c02,
    HostSsSelector = 0x0c04,
    HostDsSelector = 0x0c06,
    HostFsSelector = 0x0c08,
    HostGsSelector = 0x0c0a,
    HostTrSelector = 0x0c0c,
    IoBitmapA = 0x2000,
    IoBitmapB = 0x2002,
    MsrBitmap = 0x2004,
    TscOffset = 0x2010,
    VirtualApicAddress = 0x2012,
    ApicAccessAddress = 0x2014,
    PostedDescriptor = 0x2016,
    EptPointer = 0x201a,
    EoiExitBitmap0 = 0x201c,
    EoiExitBitmap1 = 0x201e,
    EoiExitBitmap2 = 0x2020,
    EoiExitBitmap3 = 0x2022,
    GuestPhysicalAddress = 0x2400,
    LinkPointer = 0x2800,
    DebugControl = 0x2802,
    Pat = 0x2804,
    Efer = 0x2806,
    Pdpte0 = 0x280a,
    Pdpte1 = 0x280c,
    Pdpte2 = 0x280e,
    Pdpte3 = 0x2810,
    HostPat = 0x2c00,
    HostEfer = 0x2c02,
    PinControls = 0x4000,
    PrimaryControls = 0x4002,
    ExceptionBitmap = 0x4004,
    ExitControls = 0x400c,
    EntryControls = 0x4012,
    EntryInterruptionInfo = 0x4016,
    EntryErrorCode = 0x4018,
    EntryInstructionLength = 0x401a,
    TprThreshold = 0x401c,
    SecondaryControls = 0x401e,
    PauseLoopGap = 0x4020,
    PauseLoopWindow = 0x4022,
    InstructionError = 0x4400,
    ExitReason = 0x4402,
    ExitInterruptionInfo = 0x4404,
    ExitErrorCode = 0x4406,
    VectoringInfo = 0x4408,
    VectoringErrorCode = 0x440a,
    InstructionLength = 0x440c,
    EsLimit = 0x4800,
    CsLimit = 0x4802,
    SsLimit = 0x4804,
    DsLimit = 0x4806,
    FsLimit = 0x4808,
    GsLimit = 0x480a,
    LdtrLimit = 0x480c,
    TrLimit = 0x480e,
    GdtrLimit = 0x4810,
    IdtrLimit = 0x4812,
    EsRights = 0x4814,
    CsRights = 0x4816,
    SsRights = 0x4818,
    DsRights = 0x481a,
    FsRights = 0x481c,
    GsRights = 0x481e,
    LdtrRights = 0x4820,
    TrRights = 0x4822,
    Interruptibility = 0x4824,
    ActivityState = 0x4826,
    SysenterCs = 0x482a,
    HostSysenterCs = 0x4c00,
    Cr0Mask = 0x6000,
    Cr4Mask = 0x6002,
    Cr0Shadow = 0x6004,
    Cr4Shadow = 0x6006,
    Qualification = 0x6400,
    Cr0 = 0x6800,
    Cr3 = 0x6802,
    Cr4 = 0x6804,
    EsBase = 0x6806,
    CsBase = 0x6808,
    SsBase = 0x680a,
    DsBase = 0x680c,
    FsBase = 0x680e,
    GsBase = 0x6810,
    LdtrBase = 0x6812,
    TrBase = 0x6814,
    GdtrBase = 0x6816,
    IdtrBase = 0x6818,
    Dr7 = 0x681a,
    Rsp = 0x681c,
    Rip = 0x681e,
    Rflags = 0x6820,
    PendingDebug = 0x6822,
    SysenterEsp = 0x6824,
    SysenterEip = 0x6826,
    HostCr0 = 0x6c00,
    HostCr3 = 0x6c02,
    HostCr4 = 0x6c04,
    HostFsBase = 0x6c06,
    HostGsBase = 0x6c08,
    HostTrBase = 0x6c0a,
    HostGdtrBase = 0x6c0c,
    HostIdtrBase = 0x6c0e,
    HostSysenterEsp = 0x6c10,
    HostSysenterEip = 0x6c12,
    HostRsp = 0x6c14,
    HostRip = 0x6c16,
}

impl Field {
    /// What it is for.
    pub const fn kind(self) -> Kind {
        match self.encoding() >> 10 & 3 {
            0 => Kind::Control,
            1 => Kind::Exit,
            2 => Kind::Guest,
            _ => Kind::Host,
        }
    }

    /// The bits that it has, by its width: bits 14:13 of the encoding.
    pub const fn mask(self) -> u64 {
        match self.encoding() >> 13 & 3 {
            0 => 0xffff,
            2 => 0xffff_ffff,
            _ => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_tell_width_and_kind() {
        assert_eq!((Field::Vpid.mask(), Field::Vpid.kind()), (0xffff, Kind::Control));
        assert_eq!((Field::ExitReason.mask(), Field::ExitReason.kind()), (0xffff_ffff, Kind::Exit));
        assert_eq!((Field::Efer.mask(), Field::Efer.kind()), (u64::MAX, Kind::Guest));
        assert_eq!((Field::HostRip.mask(), Field::HostRip.kind()), (u64::MAX, Kind::Host));
    }

    #[test]
    fn no_encoding_is_used_twice_and_none_names_a_high_half() {
        for (index, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, index);
            assert_eq!(field.encoding() & 1, 0, "{field:?}");
            assert!(Field::ALL[..index].iter().all(|other| other.encoding() < field.encoding()), "{field:?}");
        }
    }
}
