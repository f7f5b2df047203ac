//! The frame that stands for a local APIC's page.
//!
//! A processor that runs a guest's local APIC tells accesses to the APIC's page by the frame that the nested tables lead to;
//! what is in that frame is never accessed (Intel SDM, volume 3, section 30.4). So it is no memory of the guest's: no extent
//! speaks of it, and the hypervisor's window does not show it.

use super::extent::{Extent, ExtentKind};
use super::{GuestAccess, GuestMap, GuestMapError};
use base::{Gpa, Hpa, PAGE_BYTES};

/// Where the page is in xAPIC mode, unless the guest has moved it.
const PLACE: Gpa = Gpa::from_low_bits(0xfee0_0000);

impl GuestMap {
    /// Shows the guest's processor `frame` in the local APIC's place, or nothing. The vCPUs must drop their translations.
    ///
    /// # Errors
    /// [`GuestMapError::OutOfTables`] the first time, when the tables do not reach there yet.
    fn show_apic_page(&mut self, frame: Option<Hpa>) -> Result<(), GuestMapError> {
        let kind = frame.map_or(ExtentKind::Device, ExtentKind::Ram);
        let page = Extent { start: PLACE, len_bytes: PAGE_BYTES, kind };
        self.change_trees(|trees, tables| trees.show(tables, PLACE, &page))
    }
}

impl GuestAccess {
    /// Shows the guest's processor `frame` in the local APIC's place, or nothing. The vCPUs must drop their translations.
    ///
    /// # Errors
    /// [`GuestMapError::OutOfTables`] the first time, when the tables do not reach there yet.
    pub fn show_apic_page(&mut self, frame: Option<Hpa>) -> Result<(), GuestMapError> {
        self.window.map.show_apic_page(frame)
    }
}
