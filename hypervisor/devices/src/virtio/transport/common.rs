//! The common configuration (VIRTIO 4.1.4.3).
//!
//! | offset | register | written by the driver |
//! |---|---|---|
//! | 0x00 | `device_feature_select` | yes |
//! | 0x04 | `device_feature` | |
//! | 0x08 | `driver_feature_select` | yes |
//! | 0x0C | `driver_feature` | until FEATURES_OK |
//! | 0x10 | `config_msix_vector`, `num_queues` | the vector |
//! | 0x14 | `device_status`, `config_generation`, `queue_select` | status and select |
//! | 0x18 | `queue_size`, `queue_msix_vector` | yes |
//! | 0x1C | `queue_enable`, `queue_notify_off` | 1 to enable |
//! | 0x20 | `queue_desc`, `queue_driver`, `queue_device`, 64 bits each | until the queue is enabled |
//! | 0x38 | `queue_notif_config_data`, `queue_reset`: of features that are not offered | |
//!
//! A register takes a write of its own width, and one of 64 bits takes halves (4.1.3.1); other writes are dropped.

use super::status::Features;
use super::{Effect, Phase, TRANSPORT_FEATURES, Transport, Width};
use crate::cx::Cx;
use crate::pci::NO_VECTOR;
use crate::virtio::{Area, feature};

const DEVICE_FEATURE_SELECT: u32 = 0x00;
const DEVICE_FEATURE: u32 = 0x04;
const DRIVER_FEATURE_SELECT: u32 = 0x08;
const DRIVER_FEATURE: u32 = 0x0c;
const CONFIG_VECTOR: u32 = 0x10;
const STATUS: u32 = 0x14;
const QUEUE_SELECT: u32 = 0x16;
const QUEUE_SIZE: u32 = 0x18;
const QUEUE_VECTOR: u32 = 0x1a;
const QUEUE_ENABLE: u32 = 0x1c;
const QUEUE_ADDRESSES: u32 = 0x20;
const QUEUE_ADDRESSES_LAST: u32 = 0x34;

impl Transport {
    /// The 32 bits at `offset`, a multiple of 4.
    pub(super) fn read_common(&self, offset: u32) -> u32 {
        match offset {
            DEVICE_FEATURE_SELECT => self.offered_select,
            DEVICE_FEATURE => half(self.offered(), self.offered_select),
            DRIVER_FEATURE_SELECT => self.accepted_select,
            DRIVER_FEATURE => half(self.accepted, self.accepted_select),
            CONFIG_VECTOR => pair(self.config_vector, self.traits.queue_count),
            STATUS => {
                let generation = u16::from(self.config_generation) << 8;
                pair(u16::from(self.status.bits()) | generation, self.queue_select)
            }
            QUEUE_SIZE..=QUEUE_ADDRESSES_LAST => self.read_queue(offset),
            _ => 0,
        }
    }

    /// A register of the selected queue. All are 0 where there is none: above all its size, which says so.
    fn read_queue(&self, offset: u32) -> u32 {
        let Some(it) = self.slot(self.queue_select) else { return 0 };
        match offset {
            QUEUE_SIZE => pair(it.queue.size(), it.vector),
            QUEUE_ENABLE => pair(it.queue.is_enabled().into(), self.queue_select),
            _ => area(offset).map_or(0, |(area, select)| half(it.queue.address(area), select)),
        }
    }

    /// Writes the register at `offset`.
    pub(super) fn write_common(&mut self, cx: &mut impl Cx, offset: u32, width: Width, value: u32) -> Effect {
        match (offset, width) {
            (STATUS, Width::Byte) => return self.write_status(value as u8),
            (DEVICE_FEATURE_SELECT, Width::Dword) => self.offered_select = value,
            (DRIVER_FEATURE_SELECT, Width::Dword) => self.accepted_select = value,
            (DRIVER_FEATURE, Width::Dword) => self.choose_features(value),
            (CONFIG_VECTOR, Width::Word) => self.config_vector = self.vector(value),
            (QUEUE_SELECT, Width::Word) => self.queue_select = value as u16,
            (QUEUE_SIZE..=QUEUE_ADDRESSES_LAST, _) => self.write_queue(cx, offset, width, value),
            _ => {}
        }
        Effect::None
    }

    fn write_queue(&mut self, cx: &mut impl Cx, offset: u32, width: Width, value: u32) {
        let (vector, negotiated) = (self.vector(value), self.status.phase() >= Phase::FeaturesOk);
        let features = self.accepted;
        let Some(it) = self.slot_mut(self.queue_select) else { return };
        match (offset, width) {
            (QUEUE_SIZE, Width::Word) => it.queue.set_size(value as u16),
            (QUEUE_VECTOR, Width::Word) => it.vector = vector,
            (QUEUE_ENABLE, Width::Word) if value == 1 && negotiated => {
                if let Err(broken) = it.queue.enable(features) {
                    self.fail(cx, broken);
                }
            }
            (_, Width::Dword) => {
                if let Some((area, select)) = area(offset) {
                    let whole = with_half(it.queue.address(area), select, value);
                    it.queue.set_address(area, whole);
                }
            }
            _ => {}
        }
    }

    fn write_status(&mut self, value: u8) -> Effect {
        if value == 0 {
            self.reset();
            return Effect::Reset;
        }
        let before = self.status.phase();
        let features = if self.accepts() { Features::Acceptable } else { Features::Refused };
        self.status.write(value, features);
        let after = self.status.phase();
        if before < Phase::DriverOk && after == Phase::DriverOk {
            self.kick_all();
        }
        if before < Phase::FeaturesOk && after >= Phase::FeaturesOk {
            return Effect::Accepted(self.accepted);
        }
        Effect::None
    }

    /// Sets 32 of the features that the driver chooses. They are settled once FEATURES_OK is set.
    fn choose_features(&mut self, value: u32) {
        if self.status.phase() >= Phase::FeaturesOk {
            return;
        }
        match self.accepted_select {
            0 | 1 => self.accepted = with_half(self.accepted, self.accepted_select, value),
            _ => self.accepted_beyond |= value != 0,
        }
    }

    const fn offered(&self) -> u64 {
        self.traits.features | TRANSPORT_FEATURES
    }

    /// Whether the driver may have what it chose (2.2.2): nothing that was not offered, no legacy interface, and nothing
    /// without what it needs.
    pub(super) fn accepts(&self) -> bool {
        let accepted = self.accepted;
        let mut dependencies = self.traits.dependencies.iter();
        !self.accepted_beyond
            && accepted & !self.offered() == 0
            && accepted & feature::VERSION_1 != 0
            && dependencies.all(|&(feature, one_of)| accepted & feature == 0 || accepted & one_of != 0)
    }

    /// The vector that `value` assigns: none if the table does not have it (4.1.5.1.2).
    pub(super) const fn vector(&self, value: u32) -> u16 {
        let vector = value as u16;
        if vector < self.function.vectors() { vector } else { NO_VECTOR }
    }
}

/// Two registers of 16 bits, the lower address first.
fn pair(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

/// The half of `whole` that `select` chooses: 0 is the low one, and there are but two.
const fn half(whole: u64, select: u32) -> u32 {
    match select {
        0 => whole as u32,
        1 => (whole >> 32) as u32,
        _ => 0,
    }
}

/// `whole` with another half.
fn with_half(whole: u64, select: u32, value: u32) -> u64 {
    match select {
        0 => whole >> 32 << 32 | u64::from(value),
        1 => whole & u64::from(u32::MAX) | u64::from(value) << 32,
        _ => whole,
    }
}

/// Which area's address is at `offset`, and which half of it.
const fn area(offset: u32) -> Option<(Area, u32)> {
    let Some(from_first) = offset.checked_sub(QUEUE_ADDRESSES) else { return None };
    let area = match from_first / 8 {
        0 => Area::Descriptors,
        1 => Area::Driver,
        2 => Area::Device,
        _ => return None,
    };
    match from_first % 8 {
        0 => Some((area, 0)),
        4 => Some((area, 1)),
        _ => None,
    }
}
