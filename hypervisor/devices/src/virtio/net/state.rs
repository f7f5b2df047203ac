//! What of a network device is saved. Its address and MTU are the VM's configuration, its queues the transport's.

use super::Net;
use crate::virtio::VirtioDevice;
use base::state::{SavedState, StateError};
use minicbor::{Decode, Encode};

/// A network device as saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NetState {
    /// What the driver has accepted of what is offered.
    #[n(0)]
    pub(super) features: u64,
    #[n(1)]
    pub(super) is_link_up: bool,
    #[n(2)]
    pub(super) malformed_frames: u64,
}

impl NetState {
    /// After power-on.
    pub(super) const fn new() -> Self {
        Self { features: 0, is_link_up: true, malformed_frames: 0 }
    }
}

impl SavedState for Net {
    const SECTION: &'static str = "virtio-net";
    const VERSION: u16 = 1;
    type Image = NetState;

    fn save(&self) -> NetState {
        self.state.clone()
    }

    fn load(&mut self, image: NetState) -> Result<(), StateError> {
        if image.features & !self.features() != 0 {
            return Err(StateError::OutOfRange { section: Self::SECTION, field: "features" });
        }
        self.state = image;
        Ok(())
    }
}
