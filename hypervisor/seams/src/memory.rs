//! The one way to a guest's memory: copies in, copies out, atomics; never a reference.
//!
//! A guest can change its memory at any moment, so a value is read once and then used from the copy.

use base::Gpa;
use core::fmt;

/// Why an access to guest memory did not happen. Each carries the first address that refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// The guest's map has nothing there.
    Unmapped(Gpa),
    /// The guest's map forbids writing there.
    ReadOnly(Gpa),
    /// A device answers there.
    Device(Gpa),
    /// The page is the guest's alone (encrypted or donated).
    Private(Gpa),
    /// The page is not here yet: try again as a task.
    NotPresent(Gpa),
}

impl MemoryError {
    /// The first address that refused.
    pub const fn address(self) -> Gpa {
        match self {
            Self::Unmapped(gpa)
            | Self::ReadOnly(gpa)
            | Self::Device(gpa)
            | Self::Private(gpa)
            | Self::NotPresent(gpa) => gpa,
        }
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gpa, why) = match self {
            Self::Unmapped(gpa) => (gpa, "is not memory"),
            Self::ReadOnly(gpa) => (gpa, "is read-only"),
            Self::Device(gpa) => (gpa, "belongs to a device"),
            Self::Private(gpa) => (gpa, "is private to the guest"),
            Self::NotPresent(gpa) => (gpa, "is not present yet"),
        };
        write!(f, "guest-physical {gpa} {why}")
    }
}

impl core::error::Error for MemoryError {}

/// Copies to and from one guest's physical memory.
///
/// An access that fails may have copied a part: the error names where it stopped.
pub trait GuestMemory {
    /// Fills `buffer` from `gpa` on.
    ///
    /// # Errors
    /// The first address that refused, and why.
    fn read(&self, gpa: Gpa, buffer: &mut [u8]) -> Result<(), MemoryError>;

    /// Copies `bytes` to `gpa` on.
    ///
    /// # Errors
    /// The first address that refused, and why.
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), MemoryError>;

    /// Sets `len_bytes` from `gpa` on to `value`.
    ///
    /// # Errors
    /// The first address that refused, and why.
    fn fill(&self, gpa: Gpa, len_bytes: u64, value: u8) -> Result<(), MemoryError>;

    /// Replaces the naturally aligned `len_bytes` (1, 2, 4 or 8) at `gpa` by `new` if they equal `current`, atomically;
    /// returns what was there.
    ///
    /// # Errors
    /// The address when it refused; [`MemoryError::Unmapped`] also when it is not aligned or the length is another.
    fn compare_exchange(&self, gpa: Gpa, len_bytes: u8, current: u64, new: u64) -> Result<u64, MemoryError>;

    /// Copies `len_bytes` from `from` on to `to` on in `other`, another guest's memory of the same kind, by way of the
    /// hypervisor's own memory. Where there is a shorter way, an implementation takes it.
    ///
    /// # Errors
    /// The first address of either that refused, and why.
    fn copy_to(&self, from: Gpa, other: &Self, to: Gpa, len_bytes: u64) -> Result<(), MemoryError> {
        copy_by_buffer(self, from, other, to, len_bytes)
    }

    /// Something that does as [`GuestMemory::copy_to`] to `other`, for who copies many times in a row and touches no third
    /// guest's memory meanwhile: where both memories are is found out once.
    fn copier(&self, other: &Self) -> impl Fn(Gpa, Gpa, u64) -> Result<(), MemoryError> {
        |from, to, len_bytes| self.copy_to(from, other, to, len_bytes)
    }

    /// The same memory for who makes many small accesses in a row and touches no other guest's memory meanwhile: where it
    /// is is found out once.
    fn near(&self) -> impl GuestMemory
    where
        Self: Sized,
    {
        self
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// As [`GuestMemory::read`].
    fn read_u8(&self, gpa: Gpa) -> Result<u8, MemoryError> {
        let mut bytes = [0; 1];
        self.read(gpa, &mut bytes).map(|()| u8::from_le_bytes(bytes))
    }

    /// Reads two bytes, little endian.
    ///
    /// # Errors
    /// As [`GuestMemory::read`].
    fn read_u16(&self, gpa: Gpa) -> Result<u16, MemoryError> {
        let mut bytes = [0; 2];
        self.read(gpa, &mut bytes).map(|()| u16::from_le_bytes(bytes))
    }

    /// Reads four bytes, little endian.
    ///
    /// # Errors
    /// As [`GuestMemory::read`].
    fn read_u32(&self, gpa: Gpa) -> Result<u32, MemoryError> {
        let mut bytes = [0; 4];
        self.read(gpa, &mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    /// Reads eight bytes, little endian; one load where they are aligned.
    ///
    /// # Errors
    /// As [`GuestMemory::read`].
    fn read_u64(&self, gpa: Gpa) -> Result<u64, MemoryError> {
        let mut bytes = [0; 8];
        self.read(gpa, &mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    /// Reads sixteen bytes, little endian: as two words, which cost a load each where a copy is a loop.
    ///
    /// # Errors
    /// As [`GuestMemory::read`].
    fn read_u128(&self, gpa: Gpa) -> Result<u128, MemoryError> {
        let behind = gpa.checked_add(8).ok_or(MemoryError::Unmapped(gpa))?;
        let low = self.read_u64(gpa)?;
        Ok(u128::from(low) | u128::from(self.read_u64(behind)?) << 64)
    }

    /// Writes two bytes, little endian; one store where they are aligned.
    ///
    /// # Errors
    /// As [`GuestMemory::write`].
    fn write_u16(&self, gpa: Gpa, value: u16) -> Result<(), MemoryError> {
        self.write(gpa, &value.to_le_bytes())
    }

    /// Writes eight bytes, little endian; one store where they are aligned.
    ///
    /// # Errors
    /// As [`GuestMemory::write`].
    fn write_u64(&self, gpa: Gpa, value: u64) -> Result<(), MemoryError> {
        self.write(gpa, &value.to_le_bytes())
    }

    /// Something that does as [`GuestMemory::read_u64`], but gives `None` also where that would take more than a load:
    /// for hot paths that know another way.
    fn peek(&self) -> impl Fn(Gpa) -> Option<u64> {
        |gpa| self.read_u64(gpa).ok()
    }
}

/// Copies `len_bytes` from one guest's memory to another's by way of the hypervisor's own.
///
/// # Errors
/// As [`GuestMemory::copy_to`].
pub fn copy_by_buffer<M: GuestMemory + ?Sized>(
    source: &M,
    from: Gpa,
    target: &M,
    to: Gpa,
    len_bytes: u64,
) -> Result<(), MemoryError> {
    let mut buffer = [0; 256];
    let mut done = 0;
    while done < len_bytes {
        let len = (len_bytes - done).min(buffer.len() as u64);
        let Some(part) = buffer.get_mut(..len as usize) else { break };
        source.read(from.checked_add(done).ok_or(MemoryError::Unmapped(from))?, part)?;
        target.write(to.checked_add(done).ok_or(MemoryError::Unmapped(to))?, part)?;
        done += len;
    }
    Ok(())
}

/// Shared access is access: a `GuestMemory` works through any reference to it.
impl<M: GuestMemory> GuestMemory for &M {
    fn read(&self, gpa: Gpa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        (**self).read(gpa, buffer)
    }

    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), MemoryError> {
        (**self).write(gpa, bytes)
    }

    fn fill(&self, gpa: Gpa, len_bytes: u64, value: u8) -> Result<(), MemoryError> {
        (**self).fill(gpa, len_bytes, value)
    }

    fn compare_exchange(&self, gpa: Gpa, len_bytes: u8, current: u64, new: u64) -> Result<u64, MemoryError> {
        (**self).compare_exchange(gpa, len_bytes, current, new)
    }
}
