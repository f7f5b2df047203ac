//! Physical addresses of the host and of a guest, and ranges of host-physical memory.
//!
//! Both address types are at most 52 bits wide, the architectural limit of a physical address
//! (AMD APM 24593, volume 2, section 5.1; Intel SDM 325462, volume 3, section 4.1.4).

use core::fmt;

/// The width of the largest physical address that the architecture allows.
pub const PHYSICAL_ADDRESS_BITS: u32 = 52;

const LIMIT: u64 = 1 << PHYSICAL_ADDRESS_BITS;

/// A number that is no physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// The value needs more than 52 bits.
    TooWide(u64),
    /// The range's end would lie past the 52-bit space: its start and length.
    RangeTooWide(u64, u64),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooWide(value) => write!(f, "{value:#x} is wider than a 52-bit physical address"),
            Self::RangeTooWide(start, len) => {
                write!(f, "{len:#x} bytes from {start:#x} reach past the 52-bit physical space")
            }
        }
    }
}

impl core::error::Error for AddressError {}

macro_rules! physical_address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Address zero.
            pub const ZERO: Self = Self(0);

            /// The address `value`.
            ///
            /// # Errors
            /// [`AddressError::TooWide`] when it needs more than 52 bits.
            pub const fn new(value: u64) -> Result<Self, AddressError> {
                if value < LIMIT { Ok(Self(value)) } else { Err(AddressError::TooWide(value)) }
            }

            /// The address in the low 52 bits of `value`; the rest is dropped, as hardware does with a table entry.
            pub const fn from_low_bits(value: u64) -> Self {
                Self(value & (LIMIT - 1))
            }

            /// The address as a number.
            pub const fn as_u64(self) -> u64 {
                self.0
            }

            /// The address `bytes` further up, or `None` past the 52-bit space.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(value) if value < LIMIT => Some(Self(value)),
                    _ => None,
                }
            }

            /// The bytes from `base` up to here, or `None` when this lies below `base`.
            pub const fn offset_from(self, base: Self) -> Option<u64> {
                self.0.checked_sub(base.0)
            }

            /// The address rounded down to a multiple of `alignment`, a power of two.
            pub const fn align_down(self, alignment: u64) -> Self {
                Self(self.0 & !alignment.wrapping_sub(1))
            }

            /// Whether the address is a multiple of `alignment`, a power of two.
            pub const fn is_aligned(self, alignment: u64) -> bool {
                self.0 & alignment.wrapping_sub(1) == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl TryFrom<u64> for $name {
            type Error = AddressError;

            fn try_from(value: u64) -> Result<Self, AddressError> {
                Self::new(value)
            }
        }
    };
}

physical_address! {
    /// A host-physical address: where a byte is in the machine's memory.
    Hpa
}

physical_address! {
    /// A guest-physical address: where a guest believes a byte to be. It means nothing without the guest's map.
    Gpa
}

/// A non-wrapping range of host-physical memory; it may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PhysRange {
    start: Hpa,
    len_bytes: u64,
}

impl PhysRange {
    /// `len_bytes` from `start`.
    ///
    /// # Errors
    /// [`AddressError::RangeTooWide`] when the end lies past the 52-bit space.
    pub const fn new(start: Hpa, len_bytes: u64) -> Result<Self, AddressError> {
        match start.0.checked_add(len_bytes) {
            Some(end) if end <= LIMIT => Ok(Self { start, len_bytes }),
            _ => Err(AddressError::RangeTooWide(start.0, len_bytes)),
        }
    }

    /// The first byte.
    pub const fn start(self) -> Hpa {
        self.start
    }

    /// The length in bytes.
    pub const fn len_bytes(self) -> u64 {
        self.len_bytes
    }

    /// Whether the range holds no byte.
    pub const fn is_empty(self) -> bool {
        self.len_bytes == 0
    }

    /// One past the last byte, as a number: it may be 2^52, which is no address.
    pub const fn end_u64(self) -> u64 {
        self.start.0 + self.len_bytes
    }

    /// Whether `address` lies in the range.
    pub const fn contains(self, address: Hpa) -> bool {
        address.0 >= self.start.0 && address.0 < self.end_u64()
    }

    /// Whether all of `other` lies in this range.
    pub const fn encloses(self, other: Self) -> bool {
        other.start.0 >= self.start.0 && other.end_u64() <= self.end_u64()
    }

    /// Whether the two ranges share a byte.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start.0 < other.end_u64() && other.start.0 < self.end_u64()
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start.0, self.end_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_wider_than_52_bits_is_refused_with_its_value() {
        assert_eq!(Gpa::new(1 << 52), Err(AddressError::TooWide(1 << 52)));
        assert_eq!(Gpa::new((1 << 52) - 1).map(Gpa::as_u64), Ok((1 << 52) - 1));
    }

    #[test]
    fn addition_never_leaves_the_physical_space() {
        let last = Hpa::new((1 << 52) - 1).unwrap();
        assert_eq!(last.checked_add(1), None);
        assert_eq!(last.checked_add(u64::MAX), None);
        assert_eq!(last.checked_add(0), Some(last));
    }

    #[test]
    fn a_range_may_end_at_the_top_but_not_past_it() {
        let start = Hpa::new((1 << 52) - 4096).unwrap();
        assert!(PhysRange::new(start, 4096).is_ok());
        assert!(PhysRange::new(start, 4097).is_err());
    }

    #[test]
    fn neighbouring_ranges_do_not_overlap() {
        let a = PhysRange::new(Hpa::ZERO, 0x1000).unwrap();
        let b = PhysRange::new(Hpa::new(0x1000).unwrap(), 0x1000).unwrap();
        assert!(!a.overlaps(b));
        assert!(a.overlaps(PhysRange::new(Hpa::new(0xfff).unwrap(), 2).unwrap()));
    }
}
