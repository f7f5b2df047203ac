//! Who uses what: never two writers on one volume, and nobody else beside a writer.
//!
//! A claim is of sectors, not of names: a disk and a partition of it, two names of one partition, and two partitions that a
//! damaged table lets overlap all meet here.

use alloc::vec::Vec;
use base::VmName;
use core::fmt;
use core::ops::Range;

/// What sectors are counted on: a disk of the host, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Medium(pub u16);

/// How a volume is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is only read; an overlay's base is.
    Read,
    /// It is written.
    Write,
}

/// One VM's use of some sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who uses them.
    pub vm: VmName,
    /// Of what.
    pub medium: Medium,
    /// Which.
    pub sectors: Range<u64>,
    /// How.
    pub usage: Use,
}

/// Why a claim was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// The claim is for writing, and somebody uses the volume.
    InUse {
        /// Who.
        by: VmName,
    },
    /// Somebody writes to the volume.
    Written {
        /// Who.
        by: VmName,
    },
    /// The host has no memory for another claim.
    NoMemory,
}

impl ClaimError {
    /// Who is in the way.
    pub const fn by(&self) -> Option<VmName> {
        match self {
            Self::InUse { by } | Self::Written { by } => Some(*by),
            Self::NoMemory => None,
        }
    }
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { by } => write!(
                f,
                "vm \"{by}\" uses it, so that nobody else may write to it: end that VM, or write overlay or read_only = true"
            ),
            Self::Written { by } => write!(
                f,
                "vm \"{by}\" writes to it, so that nobody else may use it: end that VM, or write overlay or read_only = true there"
            ),
            Self::NoMemory => f.write_str("no memory is left to note who uses it: give VMs less memory"),
        }
    }
}

impl core::error::Error for ClaimError {}

/// All claims of a host.
#[derive(Debug, Default)]
pub struct Claims {
    held: Vec<Claim>,
}

impl Claims {
    /// Nothing is used.
    pub const fn new() -> Self {
        Self { held: Vec::new() }
    }

    /// Notes `claim`, if it stands beside all others: readers share, a writer is alone.
    ///
    /// # Errors
    /// Whoever is in the way; the same VM can be, with another disk.
    pub fn claim(&mut self, claim: Claim) -> Result<(), ClaimError> {
        let overlaps = |other: &&Claim| {
            other.medium == claim.medium
                && other.sectors.start < claim.sectors.end
                && claim.sectors.start < other.sectors.end
        };
        // A writer is the stronger reason, and never beside another.
        let mut others = self.held.iter().filter(overlaps);
        let first = others.clone().next();
        if let Some(writer) = others.find(|other| other.usage == Use::Write) {
            return Err(ClaimError::Written { by: writer.vm });
        }
        if let (Some(other), Use::Write) = (first, claim.usage) {
            return Err(ClaimError::InUse { by: other.vm });
        }
        self.held.try_reserve(1).map_err(|_| ClaimError::NoMemory)?;
        self.held.push(claim);
        Ok(())
    }

    /// Forgets all claims of a VM that has ended.
    pub fn release(&mut self, vm: VmName) {
        self.held.retain(|claim| claim.vm != vm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claim(vm: &str, medium: Medium, sectors: Range<u64>, usage: Use) -> Claim {
        Claim { vm: VmName::new(vm).unwrap(), medium, sectors, usage }
    }

    #[test]
    fn readers_share_and_writers_are_alone() {
        let mut claims = Claims::new();
        let disk = Medium(0);
        assert_eq!(claims.claim(claim("a", disk, 0..100, Use::Read)), Ok(()));
        assert_eq!(claims.claim(claim("b", disk, 0..100, Use::Read)), Ok(()));
        let refused = claims.claim(claim("c", disk, 0..100, Use::Write)).unwrap_err();
        assert_eq!(
            alloc::format!("{refused}"),
            "vm \"a\" uses it, so that nobody else may write to it: end that VM, or write overlay or read_only = true"
        );
        assert_eq!(claims.claim(claim("c", Medium(1), 0..100, Use::Write)), Ok(()));
        let refused = claims.claim(claim("a", Medium(1), 50..60, Use::Read)).unwrap_err();
        assert_eq!(
            alloc::format!("{refused}"),
            "vm \"c\" writes to it, so that nobody else may use it: end that VM, or write overlay or read_only = true there"
        );
    }

    #[test]
    fn a_disk_and_its_partition_meet_and_two_partitions_do_not() {
        let mut claims = Claims::new();
        let disk = Medium(0);
        assert_eq!(claims.claim(claim("a", disk, 2048..4096, Use::Write)), Ok(()));
        assert_eq!(claims.claim(claim("b", disk, 4096..8192, Use::Write)), Ok(()));
        let by = VmName::new("a").unwrap();
        assert_eq!(claims.claim(claim("c", disk, 0..9000, Use::Write)), Err(ClaimError::Written { by }));
        assert_eq!(claims.claim(claim("c", disk, 4095..4096, Use::Read)), Err(ClaimError::Written { by }));
    }

    #[test]
    fn what_an_ended_vm_had_is_free() {
        let mut claims = Claims::new();
        let whole = |vm| claim(vm, Medium(0), 0..10, Use::Write);
        assert_eq!(claims.claim(whole("a")), Ok(()));
        assert!(claims.claim(whole("b")).is_err());
        claims.release(VmName::new("a").unwrap());
        assert_eq!(claims.claim(whole("b")), Ok(()));
    }

    proptest! {
        #[test]
        fn no_sector_has_a_writer_and_anybody_else(
            asked in prop::collection::vec((0_u64..20, 1_u64..20, any::<bool>(), 0_u16..2), 1..30),
        ) {
            let mut claims = Claims::new();
            for (first, len, writes, disk) in asked {
                let usage = if writes { Use::Write } else { Use::Read };
                let _ = claims.claim(claim("a", Medium(disk), first..first + len, usage));
            }
            for disk in 0..2 {
                for sector in 0..40 {
                    let here = claims.held.iter().filter(|held| held.medium == Medium(disk) && held.sectors.contains(&sector));
                    let users: Vec<_> = here.collect();
                    prop_assert!(users.len() <= 1 || users.iter().all(|user| user.usage == Use::Read));
                }
            }
        }
    }
}
