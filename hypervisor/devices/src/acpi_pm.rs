//! ACPI's fixed hardware: the PM1a event and control blocks and the PM timer.
//!
//! | port | width | register |
//! |---|---|---|
//! | 0x600 | 2 | PM1 status; writing ones clears |
//! | 0x602 | 2 | PM1 enable |
//! | 0x604 | 2 | PM1 control |
//! | 0x608 | 4 | PM timer: 32 bits at 3.579545 MHz |
//!
//! An event that is set in status and enable asserts the SCI, a level. The machine is always in ACPI mode: there is no
//! SMI command port and SCI_EN is always set.
//!
//! Source: ACPI specification 6.5, sections 4.8.3 (power management) and 4.8.3.3 (timer).

use crate::cx::{Cx, Request};
use crate::device::{Access, Device, Width};
use crate::platform::{PM_TIMER, PM1A_CONTROL, PM1A_EVENT, SCI_GSI};
use crate::ticks::Rate;
use base::state::{SavedState, StateError};
use base::{Instant, Port};
use bitflags::bitflags;
use minicbor::{Decode, Encode};
use seams::Level;

/// The PM timer's clock (4.8.2.1).
const CLOCK: Rate = Rate(3_579_545);
/// The timer's status is set whenever its top bit changes (4.8.3.3).
const TIMER_TOP_BIT: u32 = 31;

/// The sleep type that the DSDT's `\_S5` names for soft-off.
pub const SLEEP_TYPE_S5: u8 = 5;

bitflags! {
    /// The bits that PM1 status and PM1 enable share (4.8.4.1, tables 4.13 and 4.14).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Events: u16 {
        const TIMER = 1 << 0;
        const GLOBAL_LOCK = 1 << 5;
        const POWER_BUTTON = 1 << 8;
        /// Kept, but never raised: there is no sleep that an alarm could end.
        const RTC = 1 << 10;
    }
}

// PM1 control (4.8.4.2, table 4.15).
const CONTROL_SCI_ENABLE: u16 = 1 << 0;
const CONTROL_BUS_MASTER_RELOAD: u16 = 1 << 1;
const CONTROL_SLEEP_TYPE: u16 = 7 << 10;
const CONTROL_SLEEP_TYPE_SHIFT: u32 = 10;
/// Write-only: enters the sleep type.
const CONTROL_SLEEP_ENABLE: u16 = 1 << 13;
const CONTROL_KEPT: u16 = CONTROL_BUS_MASTER_RELOAD | CONTROL_SLEEP_TYPE;

/// The first port.
const BASE: u16 = PM1A_EVENT.0;
/// Offsets of the registers from it.
const STATUS: u16 = 0;
const ENABLE: u16 = 2;
const CONTROL: u16 = PM1A_CONTROL.0 - BASE;
const TIMER: u16 = PM_TIMER.0 - BASE;
const TIMER_LAST: u16 = TIMER + 3;

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AcpiPmState {
    #[n(0)]
    status: u16,
    #[n(1)]
    enable: u16,
    #[n(2)]
    control: u16,
    /// How often the timer's top bit had changed when that was last looked at.
    #[n(3)]
    top_bit_changes: u64,
    /// The SCI is driven.
    #[n(4)]
    line_asserted: bool,
}

/// The fixed hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcpiPm {
    state: AcpiPmState,
}

impl Default for AcpiPm {
    fn default() -> Self {
        Self::new()
    }
}

impl AcpiPm {
    /// The fixed hardware after power-on: no event is enabled.
    pub const fn new() -> Self {
        let state =
            AcpiPmState { status: 0, enable: 0, control: 0, top_bit_changes: 0, line_asserted: false };
        Self { state }
    }

    /// Presses the power button: the guest is asked to shut down in its own time.
    pub fn press_power_button(&mut self, cx: &mut impl Cx) {
        self.state.status |= Events::POWER_BUTTON.bits();
        self.update_line(cx);
    }

    /// Brings the timer's status bit up to now.
    fn catch_up(&mut self, now: Instant) {
        let changes = CLOCK.ticks_at(now) >> TIMER_TOP_BIT;
        if changes != self.state.top_bit_changes {
            self.state.top_bit_changes = changes;
            self.state.status |= Events::TIMER.bits();
        }
    }

    fn update_line(&mut self, cx: &mut impl Cx) {
        let asserted = self.state.status & self.state.enable != 0;
        if asserted == self.state.line_asserted {
            return;
        }
        self.state.line_asserted = asserted;
        cx.set_line(SCI_GSI, if asserted { Level::Asserted } else { Level::Deasserted });
    }

    fn read_byte(&self, now: Instant, offset: u16) -> u8 {
        let of_word = |word: u16, first: u16| (word >> (8 * (offset - first))) as u8;
        match offset {
            STATUS..ENABLE => of_word(self.state.status, STATUS),
            ENABLE..CONTROL => of_word(self.state.enable, ENABLE),
            CONTROL | 5 => of_word(self.state.control | CONTROL_SCI_ENABLE, CONTROL),
            TIMER..=TIMER_LAST => (CLOCK.ticks_at(now) >> (8 * (offset - TIMER))) as u8,
            _ => 0xff,
        }
    }

    /// Writes `bits`, those of the bytes that the access covers being set in `mask`, to the 16-bit register at `offset`.
    fn write_word(&mut self, cx: &mut impl Cx, offset: u16, bits: u16, mask: u16) {
        let merged = |old: u16, kept: u16| ((old & !mask) | (bits & mask)) & kept;
        match offset {
            STATUS => self.state.status &= !(bits & mask),
            ENABLE => self.state.enable = merged(self.state.enable, Events::all().bits()),
            CONTROL => {
                self.state.control = merged(self.state.control, CONTROL_KEPT);
                let sleep_type = (self.state.control & CONTROL_SLEEP_TYPE) >> CONTROL_SLEEP_TYPE_SHIFT;
                if bits & mask & CONTROL_SLEEP_ENABLE != 0 && sleep_type == SLEEP_TYPE_S5.into() {
                    cx.request(Request::PowerOff);
                }
            }
            // The PM timer is read-only.
            _ => {}
        }
    }
}

impl Device for AcpiPm {
    type Address = Port;

    fn read(&mut self, cx: &mut impl Cx, access: Access<Port>) -> u32 {
        let (now, Port(port)) = (cx.now(), access.at);
        let offset = port.wrapping_sub(BASE);
        if offset == TIMER && access.width == Width::Dword {
            return CLOCK.ticks_at(now) as u32;
        }
        self.catch_up(now);
        self.update_line(cx);
        (0..access.width.bytes()).fold(0, |value, i| {
            let byte = self.read_byte(now, offset.wrapping_add(i.into()));
            value | u32::from(byte) << (8 * u32::from(i))
        })
    }

    fn write(&mut self, cx: &mut impl Cx, access: Access<Port>, value: u32) {
        self.catch_up(cx.now());
        let (Port(port), width) = (access.at, access.width);
        let offset = port.wrapping_sub(BASE);
        let covered = u32::MAX >> (32 - 8 * u32::from(width.bytes()));
        // At most three words are touched: an odd offset moves the first byte to the upper half of its word.
        let shift = 8 * u64::from(offset & 1);
        let (bits, mask) = (u64::from(value & covered) << shift, u64::from(covered) << shift);
        for (word, shift) in
            [(offset & !1, 0), (offset.wrapping_add(2) & !1, 16), (offset.wrapping_add(4) & !1, 32)]
        {
            let (bits, mask) = ((bits >> shift) as u16, (mask >> shift) as u16);
            if mask != 0 {
                self.write_word(cx, word, bits, mask);
            }
        }
        self.update_line(cx);
    }

    fn reset(&mut self, cx: &mut impl Cx) {
        cx.set_line(SCI_GSI, Level::Deasserted);
        *self = Self::new();
        self.state.top_bit_changes = CLOCK.ticks_at(cx.now()) >> TIMER_TOP_BIT;
    }

    /// The timer's next change of its top bit, ten minutes apart, if the guest asked to be told.
    #[inline]
    fn next_deadline(&self) -> Option<Instant> {
        if self.state.enable & Events::TIMER.bits() == 0 {
            return None;
        }
        let next = self.state.top_bit_changes.saturating_add(1);
        Some(CLOCK.instant_of(next.saturating_mul(1 << TIMER_TOP_BIT)))
    }

    fn advance(&mut self, cx: &mut impl Cx) {
        self.catch_up(cx.now());
        self.update_line(cx);
    }
}

impl SavedState for AcpiPm {
    const SECTION: &'static str = "acpi-pm";
    const VERSION: u16 = 1;
    type Image = AcpiPmState;

    fn save(&self) -> AcpiPmState {
        self.state.clone()
    }

    fn load(&mut self, image: AcpiPmState) -> Result<(), StateError> {
        let out_of_range = |field| Err(StateError::OutOfRange { section: Self::SECTION, field });
        if Events::from_bits(image.status).is_none() {
            return out_of_range("status");
        }
        if Events::from_bits(image.enable).is_none() {
            return out_of_range("enable");
        }
        if image.control & !CONTROL_KEPT != 0 {
            return out_of_range("control");
        }
        self.state = image;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, FakeCx, outb};
    use proptest::prelude::*;

    fn access(port: u16, width: Width) -> Access<Port> {
        Access { at: Port(port), width }
    }

    fn read16(pm: &mut AcpiPm, cx: &mut FakeCx, port: u16) -> u16 {
        pm.read(cx, access(port, Width::Word)) as u16
    }

    fn write16(pm: &mut AcpiPm, cx: &mut FakeCx, port: u16, value: u16) {
        pm.write(cx, access(port, Width::Word), value.into());
    }

    fn timer(pm: &mut AcpiPm, cx: &mut FakeCx) -> u32 {
        pm.read(cx, access(0x608, Width::Dword))
    }

    #[test]
    fn the_timer_counts_at_3_579545_mhz_and_wraps_at_32_bits() {
        let (mut pm, mut cx) = (AcpiPm::new(), FakeCx::new());
        cx.now = Instant(1_000_000_000);
        assert_eq!(timer(&mut pm, &mut cx), 3_579_545);
        assert_eq!(pm.read(&mut cx, access(0x609, Width::Byte)), 3_579_545 >> 8 & 0xff);
        cx.now = CLOCK.instant_of(1 << 32);
        assert_eq!(timer(&mut pm, &mut cx), 0);
    }

    #[test]
    fn the_timer_status_is_set_when_the_top_bit_changes() {
        let (mut pm, mut cx) = (AcpiPm::new(), FakeCx::new());
        write16(&mut pm, &mut cx, 0x602, 0x0001);
        let change = CLOCK.instant_of(1 << 31);
        assert_eq!(pm.next_deadline(), Some(change));
        testing::run_until(&mut pm, &mut cx, change);
        assert!(cx.asserted(SCI_GSI));
        write16(&mut pm, &mut cx, 0x600, 0x0001);
        assert!(!cx.asserted(SCI_GSI));
        assert_eq!(pm.next_deadline(), Some(CLOCK.instant_of(2 << 31)));
    }

    #[test]
    fn entering_s5_asks_for_power_off() {
        let (mut pm, mut cx) = (AcpiPm::new(), FakeCx::new());
        // As Linux does: the type first, then type and enable.
        write16(&mut pm, &mut cx, 0x604, 0x1401);
        assert!(cx.requests.is_empty());
        write16(&mut pm, &mut cx, 0x604, 0x3401);
        assert_eq!(cx.requests, [Request::PowerOff]);
        assert_eq!(read16(&mut pm, &mut cx, 0x604), 0x1401, "the enable bit reads as zero, SCI_EN as one");
    }

    #[test]
    fn the_sleep_bits_work_by_their_byte_too() {
        let (mut pm, mut cx) = (AcpiPm::new(), FakeCx::new());
        outb(&mut pm, &mut cx, 0x605, 0x34);
        assert_eq!(cx.requests, [Request::PowerOff]);
    }

    #[test]
    fn other_sleep_types_do_nothing() {
        let (mut pm, mut cx) = (AcpiPm::new(), FakeCx::new());
        for sleep_type in [0, 1, 2, 3, 4, 6, 7] {
            write16(&mut pm, &mut cx, 0x604, 0x2000 | sleep_type << 10);
        }
        assert!(cx.requests.is_empty());
    }

    #[test]
    fn the_power_button_asserts_the_sci_until_its_status_is_cleared() {
        let (mut pm, mut cx) = (AcpiPm::new(), FakeCx::new());
        pm.press_power_button(&mut cx);
        assert!(!cx.asserted(SCI_GSI), "not enabled yet");
        write16(&mut pm, &mut cx, 0x602, 0x0100);
        assert!(cx.asserted(SCI_GSI));
        assert_eq!(read16(&mut pm, &mut cx, 0x600), 0x0100);
        write16(&mut pm, &mut cx, 0x600, 0x0021);
        assert!(cx.asserted(SCI_GSI));
        write16(&mut pm, &mut cx, 0x600, 0x0100);
        assert!(!cx.asserted(SCI_GSI));
    }

    #[test]
    fn the_event_of_the_clock_can_be_enabled() {
        let (mut pm, mut cx) = (AcpiPm::new(), FakeCx::new());
        write16(&mut pm, &mut cx, 0x602, 0xffff);
        assert_eq!(read16(&mut pm, &mut cx, 0x602), 0x0521);
    }

    #[test]
    fn status_and_enable_can_be_accessed_as_one() {
        let (mut pm, mut cx) = (AcpiPm::new(), FakeCx::new());
        pm.press_power_button(&mut cx);
        pm.write(&mut cx, access(0x600, Width::Dword), 0x0120_0000);
        assert_eq!(pm.read(&mut cx, access(0x600, Width::Dword)), 0x0120_0100);
    }

    #[test]
    fn saved_events_that_do_not_exist_are_refused() {
        let mut pm = AcpiPm::new();
        let image = AcpiPmState { enable: 0x8000, ..pm.save() };
        assert_eq!(pm.load(image), Err(StateError::OutOfRange { section: "acpi-pm", field: "enable" }));
    }

    proptest! {
        #[test]
        fn a_hostile_driver_breaks_nothing(acts in testing::acts(0x5f8..0x618u32)) {
            testing::survive(AcpiPm::new(), AcpiPm::new(), &acts, |pm, cx, _| pm.press_power_button(cx));
        }
    }
}
