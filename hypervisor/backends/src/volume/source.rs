//! From what the configuration names to sectors of a disk, or to a file; and what of it a VM claims.

use super::claims::{Claim, Medium, Use};
use super::gpt::{GptError, LocateError, Table, locate};
use alloc::string::String;
use base::VmName;
use config::{Disk, DiskSource, RelativePath};
use core::fmt;

/// A disk of the host.
#[derive(Clone, Debug)]
pub struct HostDisk {
    /// Its name.
    pub name: String,
    /// Its size.
    pub sectors: u64,
    /// What it is known by, if another controller may have it too: then it is in the list twice.
    pub shared_as: Option<u128>,
    /// Its partition table, or why there is none.
    pub table: Result<Table, GptError>,
}

/// A VM gets all of disk `number`, to write to: its table is whatever the guest makes of it from now on.
pub fn give_away(disks: &mut [HostDisk], number: usize) {
    let medium = medium(disks, number);
    for other in 0..disks.len() {
        let is_same = self::medium(disks, other) == medium;
        if let Some(disk) = disks.get_mut(other).filter(|_| is_same) {
            disk.table = Err(GptError::Outdated);
        }
    }
}

/// What the sectors of disk `number` are counted on: the first disk's that is the same one.
fn medium(disks: &[HostDisk], number: usize) -> usize {
    let shared_as = disks.get(number).and_then(|disk| disk.shared_as);
    let first = shared_as.and_then(|id| disks.iter().position(|disk| disk.shared_as == Some(id)));
    first.unwrap_or(number)
}

/// Where a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A file of boot's.
    File(&'a RelativePath),
    /// Sectors of a disk.
    Sectors {
        /// The disk's number among those of the host.
        disk: usize,
        /// The first one.
        first_sector: u64,
        /// How many.
        sectors: u64,
    },
}

/// Why a source is nowhere.
#[derive(Debug, PartialEq, Eq)]
pub enum SourceError<'a> {
    /// The host has no disk of this name.
    NoDisk(&'a str),
    /// The name means no partition.
    NoPartition {
        /// The name.
        name: &'a str,
        /// Why.
        why: LocateError<'a>,
        /// A disk whose table could have told, and what is wrong with it.
        unread: Option<(&'a str, GptError)>,
    },
}

impl fmt::Display for SourceError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDisk(name) => {
                write!(f, "disk:{name}: the host has no disk of this name: correct it, or check the cables")
            }
            Self::NoPartition { name, why, unread } => {
                write!(f, "partition:{name}: {why}")?;
                match unread {
                    Some((disk, error)) => write!(f, "; {disk}: {error}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl core::error::Error for SourceError<'_> {}

/// Where `source` is, on a host with these disks.
///
/// # Errors
/// When it is nowhere.
pub fn find<'a>(source: &'a DiskSource, disks: &'a [HostDisk]) -> Result<Place<'a>, SourceError<'a>> {
    match source {
        DiskSource::File(path) => Ok(Place::File(path)),
        DiskSource::Disk(name) => {
            let disk = disks.iter().position(|disk| disk.name == *name);
            let found = disk.and_then(|index| Some((index, disks.get(index)?.sectors)));
            let place = found.map(|(disk, sectors)| Place::Sectors { disk, first_sector: 0, sectors });
            place.ok_or(SourceError::NoDisk(name))
        }
        DiskSource::Partition(name) => find_partition(name, disks),
    }
}

fn find_partition<'a>(name: &'a str, disks: &'a [HostDisk]) -> Result<Place<'a>, SourceError<'a>> {
    // Numbers among the disks with tables are turned back by name.
    let tables = disks.iter().filter_map(|disk| Some((disk.name.as_str(), disk.table.as_ref().ok()?)));
    let found =
        locate(name, tables).map_err(|why| SourceError::NoPartition { name, why, unread: unread(disks) })?;
    let disk = disks.iter().position(|disk| disk.name == found.disk_name);
    let (first_sector, sectors) = (found.partition.first_sector, found.partition.sectors);
    let place = disk.map(|disk| Place::Sectors { disk, first_sector, sectors });
    place.ok_or(SourceError::NoDisk(found.disk_name))
}

/// The first disk whose table is there and damaged, or could not be read.
fn unread(disks: &[HostDisk]) -> Option<(&str, GptError)> {
    disks.iter().find_map(|disk| match disk.table {
        Err(GptError::NotGpt) | Ok(_) => None,
        Err(error) => Some((disk.name.as_str(), error)),
    })
}

/// What `vm` claims of `place`, which is on one of `disks`, for `disk`; nothing of a file, which is never written and any number
/// may read.
pub fn claim(vm: VmName, disk: &Disk, place: Place<'_>, disks: &[HostDisk]) -> Option<Claim> {
    let Place::Sectors { disk: number, first_sector, sectors } = place else {
        return None;
    };
    let usage = if disk.writes_to_source() { Use::Write } else { Use::Read };
    let medium = Medium(u16::try_from(medium(disks, number)).ok()?);
    Some(Claim { vm, medium, sectors: first_sector..first_sector.saturating_add(sectors), usage })
}

#[cfg(test)]
mod tests {
    use super::super::claims::{ClaimError, Claims};
    use super::super::gpt::{Damage, Guid, Partition};
    use super::*;

    fn disks() -> Vec<HostDisk> {
        let partition = Partition {
            number: 2,
            label: "web-root".into(),
            guid: Guid::from_bytes([2; 16]),
            kind: Guid::from_bytes([1; 16]),
            first_sector: 2048,
            sectors: 4096,
        };
        let table = Table { partitions: vec![partition], primary: Ok(()) };
        let damaged = GptError::Damaged { primary: Damage::HeaderSum, backup: Damage::NoHeader };
        let disk =
            |name: &str, table| HostDisk { name: name.into(), sectors: 10_000, shared_as: None, table };
        vec![disk("vda", Err(GptError::NotGpt)), disk("nvme0n1", Ok(table)), disk("vdb", Err(damaged))]
    }

    /// The disks that a configuration's only VM has by these lines.
    fn configured(sources: &[(&str, &str)]) -> Vec<Disk> {
        let lines =
            sources.iter().map(|(source, more)| format!("[[vm.disk]]\nsource = \"{source}\"\n{more}\n"));
        let text =
            format!("[[vm]]\nname = \"a\"\nmemory = \"4M\"\nkernel = \"k\"\n{}", lines.collect::<String>());
        config::parse(&text).unwrap().vms.remove(0).disks
    }

    #[test]
    fn what_is_there_is_found() {
        let disks = disks();
        let named = configured(&[("disk:vda", ""), ("partition:nvme0n1p2", ""), ("file:x.img", "")]);
        let places: Vec<_> = named.iter().map(|disk| find(&disk.source.value, &disks).unwrap()).collect();
        assert_eq!(places[0], Place::Sectors { disk: 0, first_sector: 0, sectors: 10_000 });
        assert_eq!(places[1], Place::Sectors { disk: 1, first_sector: 2048, sectors: 4096 });
        assert!(matches!(places[2], Place::File(path) if path.as_str() == "x.img"));
    }

    #[test]
    fn no_partition_is_found_on_a_disk_that_a_guest_may_have_divided_anew() {
        let mut disks = disks();
        give_away(&mut disks, 1);
        let named =
            configured(&[("partition:nvme0n1p2", ""), ("partition:web-root", ""), ("disk:nvme0n1", "")]);
        for source in &named[..2] {
            let error = find(&source.source.value, &disks).unwrap_err().to_string();
            assert!(
                error.ends_with(
                    "nvme0n1: a VM has had the whole disk since the host read its GPT: restart the host"
                ),
                "{error}"
            );
        }
        assert!(find(&named[2].source.value, &disks).is_ok());
    }

    #[test]
    fn what_is_not_there_is_named_with_what_could_have_told() {
        let disks = disks();
        let named = configured(&[("disk:nvme1n1", ""), ("partition:db", "")]);
        let messages: Vec<_> =
            named.iter().map(|disk| find(&disk.source.value, &disks).unwrap_err().to_string()).collect();
        assert_eq!(
            messages[0],
            "disk:nvme1n1: the host has no disk of this name: correct it, or check the cables"
        );
        assert_eq!(
            messages[1],
            "partition:db: no partition has this label, UUID, or disk and number: correct the name; vdb: the disk's GPT \
             is damaged: wrong check sum of the header; and in its second copy: no header: repair it, or use the whole disk"
        );
    }

    #[test]
    fn two_names_of_one_partition_and_its_disk_meet_in_claims() {
        let disks = disks();
        let named = configured(&[
            ("partition:web-root", ""),
            ("partition:nvme0n1p2", "overlay = \"1M\""),
            ("disk:nvme0n1", "read_only = true"),
            ("file:x.img", ""),
        ]);
        let mut claims = Claims::new();
        let vm = VmName::new("a").unwrap();
        let mut results = named.iter().filter_map(|disk| {
            let claim = claim(vm, disk, find(&disk.source.value, &disks).unwrap(), &disks)?;
            Some(claims.claim(claim))
        });
        assert_eq!(results.next(), Some(Ok(())));
        assert_eq!(results.next(), Some(Err(ClaimError::Written { by: vm })));
        assert_eq!(results.next(), Some(Err(ClaimError::Written { by: vm })));
        assert_eq!(results.next(), None);
    }

    #[test]
    fn a_disk_behind_two_controllers_is_one() {
        let mut disks = disks();
        disks[0].shared_as = Some(7);
        disks[1].shared_as = Some(7);
        let named = configured(&[("disk:vda", ""), ("partition:web-root", ""), ("disk:vdb", "")]);
        let mut claims = Claims::new();
        let vm = VmName::new("a").unwrap();
        let mut claim = |disk: &Disk| {
            claims.claim(claim(vm, disk, find(&disk.source.value, &disks).unwrap(), &disks).unwrap())
        };
        assert_eq!(claim(&named[0]), Ok(()));
        assert_eq!(claim(&named[1]), Err(ClaimError::Written { by: vm }));
        assert_eq!(claim(&named[2]), Ok(()));
        give_away(&mut disks, 0);
        assert!(find(&named[1].source.value, &disks).is_err());
    }
}
