//! The FADT: ACPI's fixed hardware (5.2.9).

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::platform::{PM_TIMER, PM1A_CONTROL, PM1A_EVENT, RESET_CONTROL, SCI_GSI};
use crate::{reset::ResetControl, rtc_cmos};
use acpi_tables::fadt::{FADT, FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use base::Port;

/// There are devices on the ISA bus (5.2.9.3). The keyboard controller's bit stays clear: a driver must not look for
/// keyboards.
const BOOT_LEGACY_DEVICES: u16 = 1 << 0;
/// There is no VGA to probe.
const BOOT_NO_VGA: u16 = 1 << 2;
/// Latencies in microseconds that say that C2 and C3 do not exist.
const NO_C2: u16 = 101;
const NO_C3: u16 = 1001;
/// Who made the machine, for guests that ask (5.2.9, offset 268).
const HYPERVISOR_VENDOR: [u8; 8] = *b"COFFERDM";

const EVENT_LEN_BYTES: u8 = 4;
const CONTROL_LEN_BYTES: u8 = 2;
const TIMER_LEN_BYTES: u8 = 4;

fn port(Port(port): Port, len_bytes: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8 * len_bytes, 0, access, port.into())
}

/// The table that points to the FACS at `facs` and the DSDT at `dsdt`.
///
/// SMI_CMD stays 0: there is no legacy mode to leave. There are no general-purpose events.
pub(super) fn build(facs: u32, dsdt: u32) -> FADT {
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .firmware_ctrl_32(facs)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless);
    // Both of the DSDT's fields are wanted by one reader or another.
    fadt.dsdt = dsdt.into();
    fadt.x_dsdt = u64::from(dsdt).into();
    fadt.sci_int = (SCI_GSI.0 as u16).into();
    fadt.pm1a_evt_blk = u32::from(PM1A_EVENT.0).into();
    fadt.pm1a_cnt_blk = u32::from(PM1A_CONTROL.0).into();
    fadt.pm_tmr_blk = u32::from(PM_TIMER.0).into();
    (fadt.pm1_evt_len, fadt.pm1_cnt_len, fadt.pm_tmr_len) =
        (EVENT_LEN_BYTES, CONTROL_LEN_BYTES, TIMER_LEN_BYTES);
    fadt.x_pm1a_evt_blk = port(PM1A_EVENT, EVENT_LEN_BYTES, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = port(PM1A_CONTROL, CONTROL_LEN_BYTES, AccessSize::WordAccess);
    fadt.x_pm_tmr_blk = port(PM_TIMER, TIMER_LEN_BYTES, AccessSize::DwordAccess);
    fadt.reset_reg = port(RESET_CONTROL, 1, AccessSize::ByteAccess);
    fadt.reset_value = ResetControl::RESET_VALUE;
    (fadt.p_lvl2_lat, fadt.p_lvl3_lat) = (NO_C2.into(), NO_C3.into());
    fadt.century = rtc_cmos::CENTURY;
    fadt.iapc_boot_arch = (BOOT_LEGACY_DEVICES | BOOT_NO_VGA).into();
    fadt.hypervisor_vendor_identity = u64::from_le_bytes(HYPERVISOR_VENDOR).into();
    fadt.finalize()
}
