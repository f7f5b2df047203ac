//! Buffers of ports, which go back to the host's memory with their VM.

use iommu::{HostBuffer, HostDma};
use log::warn;
use seams::{BusAddress, DmaBuffer};

/// A buffer that no device has. One that is dropped is freed; a driver gets it by [`Pooled::into_buffer`].
pub struct Pooled {
    /// There until it is taken.
    buffer: Option<HostBuffer>,
    dma: HostDma,
}

impl Pooled {
    /// Takes charge of a buffer that no device has.
    pub const fn new(buffer: HostBuffer, dma: HostDma) -> Self {
        Self { buffer: Some(buffer), dma }
    }

    /// The buffer, for a driver.
    pub fn into_buffer(mut self) -> Option<HostBuffer> {
        self.buffer.take()
    }
}

impl DmaBuffer for Pooled {
    fn bus_address(&self) -> BusAddress {
        self.buffer.as_ref().map_or(BusAddress(0), HostBuffer::bus_address)
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], HostBuffer::bytes)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut().map_or(&mut [], HostBuffer::bytes_mut)
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take()
            && let Err(error) = self.dma.take_back(buffer)
        {
            warn!("a disk's buffer stays unused: {error}");
        }
    }
}
