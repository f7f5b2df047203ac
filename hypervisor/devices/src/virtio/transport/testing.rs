//! A device with two queues that does nothing but remember, and a driver of its registers.

use super::{Transport, VirtioFunction};
use crate::device::{Access, Device, Width, WindowOffset};
use crate::pci::{Place, Slot};
use crate::testing::FakeCx;
use crate::virtio::VirtioDevice;
use base::state::{SavedState, StateError};
use minicbor::{Decode, Encode};

/// A feature of the device's own, and one that needs it.
pub(crate) const PLAIN: u64 = 1 << 5;
pub(crate) const NEEDY: u64 = 1 << 40;

/// A device that keeps its configuration and what it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keeper(pub(crate) KeeperState);

#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct KeeperState {
    #[n(0)]
    pub(crate) config: [u8; 6],
    #[n(1)]
    pub(crate) accepted: Option<u64>,
    #[n(2)]
    pub(crate) resets: u32,
}

impl VirtioDevice for Keeper {
    fn device_id(&self) -> u16 {
        4
    }

    fn class(&self) -> u32 {
        0xff_0000
    }

    fn dependencies(&self) -> &'static [(u64, u64)] {
        &[(NEEDY, PLAIN)]
    }

    fn queue_count(&self) -> u16 {
        2
    }

    fn features(&self) -> u64 {
        PLAIN | NEEDY
    }

    fn config_len(&self) -> u32 {
        6
    }

    fn read_config(&self, offset: u32, bytes: &mut [u8]) {
        crate::virtio::read_config_bytes(&self.0.config, offset, bytes);
    }

    fn write_config(&mut self, offset: u32, bytes: &[u8]) {
        for (place, byte) in self.0.config.iter_mut().skip(offset as usize).zip(bytes) {
            *place = *byte;
        }
    }

    fn features_accepted(&mut self, features: u64) {
        self.0.accepted = Some(features);
    }

    fn reset(&mut self) {
        self.0.accepted = None;
        self.0.resets = self.0.resets.wrapping_add(1);
    }
}

impl SavedState for Keeper {
    const SECTION: &'static str = "keeper";
    const VERSION: u16 = 1;
    type Image = KeeperState;

    fn save(&self) -> KeeperState {
        self.0.clone()
    }

    fn load(&mut self, image: KeeperState) -> Result<(), StateError> {
        self.0 = image;
        Ok(())
    }
}

/// A function, and the surroundings that it acts on.
pub(crate) struct Bench {
    pub(crate) function: VirtioFunction<Keeper>,
    pub(crate) cx: FakeCx,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { function: function(), cx: FakeCx::new() }
    }

    pub(crate) fn transport(&mut self) -> &mut Transport {
        self.function.parts_mut().0
    }

    pub(crate) fn read(&mut self, offset: u32, width: Width) -> u32 {
        self.function.read(&mut self.cx, Access { at: Place::Bar(0, WindowOffset(offset)), width })
    }

    pub(crate) fn write(&mut self, offset: u32, width: Width, value: u32) {
        self.function.write(&mut self.cx, Access { at: Place::Bar(0, WindowOffset(offset)), width }, value);
    }

    pub(crate) fn read_config(&mut self, offset: u32, width: Width) -> u32 {
        self.function.read(&mut self.cx, Access { at: Place::Config(WindowOffset(offset)), width })
    }

    pub(crate) fn write_config(&mut self, offset: u32, width: Width, value: u32) {
        self.function.write(&mut self.cx, Access { at: Place::Config(WindowOffset(offset)), width }, value);
    }

    pub(crate) fn read_msix(&mut self, offset: u32) -> u32 {
        let at = Place::Bar(1, WindowOffset(offset));
        self.function.read(&mut self.cx, Access { at, width: Width::Dword })
    }

    pub(crate) fn write_msix(&mut self, offset: u32, value: u32) {
        let at = Place::Bar(1, WindowOffset(offset));
        self.function.write(&mut self.cx, Access { at, width: Width::Dword }, value);
    }

    pub(crate) fn status(&mut self) -> u32 {
        self.read(0x14, Width::Byte)
    }

    pub(crate) fn set_status(&mut self, value: u32) {
        self.write(0x14, Width::Byte, value);
    }

    /// What the device offers.
    pub(crate) fn offered(&mut self) -> u64 {
        let mut half = |select| {
            self.write(0x00, Width::Dword, select);
            u64::from(self.read(0x04, Width::Dword))
        };
        half(0) | half(1) << 32
    }

    /// Chooses `features` and asks whether it may have them; answers whether it may.
    pub(crate) fn negotiate(&mut self, features: u64) -> bool {
        self.set_status(1);
        self.set_status(3);
        for (select, half) in [(0, features), (1, features >> 32)] {
            self.write(0x08, Width::Dword, select);
            self.write(0x0c, Width::Dword, half as u32);
        }
        self.set_status(11);
        self.status() == 11
    }

    /// Puts queue `n` of 8 descriptors at `base`, and enables it: the table there, the available ring 0x1000 further on,
    /// the used ring 0x2000.
    pub(crate) fn enable_queue(&mut self, n: u32, base: u64) {
        self.write(0x16, Width::Word, n);
        self.write(0x18, Width::Word, 8);
        for (area, at) in [base, base + 0x1000, base + 0x2000].into_iter().enumerate() {
            let offset = 0x20 + 8 * area as u32;
            self.write(offset, Width::Dword, at as u32);
            self.write(offset + 4, Width::Dword, (at >> 32) as u32);
        }
        self.write(0x1c, Width::Word, 1);
    }

    /// Brings the device to work with both queues, at 0x1000 and 0x4000.
    pub(crate) fn start(&mut self, features: u64) {
        self.write_config(0x04, Width::Word, 0x6);
        assert!(self.negotiate(features));
        self.enable_queue(0, 0x1000);
        self.enable_queue(1, 0x4000);
        self.set_status(15);
    }

    /// Enables MSI-X with vector n of the table sending 0x50 + n: 0 for the configuration, n + 1 for queue n.
    pub(crate) fn use_messages(&mut self) {
        self.write_config(0x42, Width::Word, 0x8000);
        for n in 0..3 {
            for (offset, value) in [(0, 0xfee0_0000), (8, 0x50 + n), (12, 0)] {
                self.write_msix(16 * n + offset, value);
            }
        }
        self.write(0x10, Width::Word, 0);
        for n in 0..2 {
            self.write(0x16, Width::Word, n);
            self.write(0x1a, Width::Word, n + 1);
        }
    }
}

/// The function after power-on, in slot 3.
pub(crate) fn function() -> VirtioFunction<Keeper> {
    VirtioFunction::new(Keeper::default(), Slot::new(3).unwrap())
}
