//! Making a VM's disk of what its configuration names.

use super::buffer::Pooled;
use super::{HostDisk, Storage};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use backends::volume::Volume;
use backends::volume::claims::{Claim, Medium, Use};
use backends::volume::gpt::{Partition, locate};
use base::VmName;
use config::{Disk, DiskAccess, DiskSource};
use core::ops::Range;
use machine::CurrentCpu;
use memory::{SharedMemory, View};
use seams::{BlockAccess, BlockGeometry, DmaMemory};

/// What stands behind a VM's disk.
pub type HostVolume = Volume<View, Pooled, CurrentCpu>;

/// What one disk of a VM can have under way: buffers of this size, contiguous.
const PORT_BUFFERS: usize = 16;
const PORT_BUFFER_BYTES: usize = 64 << 10;

impl Storage {
    /// The volume that `disk` of the VM `vm` names.
    ///
    /// # Errors
    /// What the operator has to know: what is missing, or who is in the way.
    pub fn open(
        &mut self,
        vm: VmName,
        disk: &Disk,
        files: &[handoff::File],
        memory: &'static SharedMemory,
    ) -> Result<HostVolume, String> {
        let source = &disk.source.value;
        let opened = match source {
            DiskSource::File(path) => self.open_file(vm, disk, path.as_str(), files, memory),
            DiskSource::Disk(name) => {
                let found = self.disks.iter().position(|disk| disk.name == *name);
                let number =
                    found.ok_or_else(|| format!("the host has no such disk, but {}", self.names()))?;
                self.open_part(vm, disk, number, None)
            }
            DiskSource::Partition(name) => {
                let (number, sectors) = self.partition(name)?;
                self.open_part(vm, disk, number, Some(sectors))
            }
        };
        opened.map_err(|reason| format!("{source}: {reason}"))
    }

    fn open_file(
        &mut self,
        vm: VmName,
        disk: &Disk,
        path: &str,
        files: &[handoff::File],
        memory: &'static SharedMemory,
    ) -> Result<HostVolume, String> {
        let found = files.iter().enumerate().find(|(_, file)| file.path == path);
        let (number, file) = found.ok_or("boot has not read it")?;
        let view = View::new(memory, file.range).map_err(|error| format!("{error}"))?;
        // Writes go to an overlay in any case: the file itself is only read.
        self.claim(vm, Medium::File(number as u16), 0..u64::MAX, Use::Read)?;
        Volume::file(view, access(disk), disk.overlay).map_err(|error| format!("{error}"))
    }

    fn open_part(
        &mut self,
        vm: VmName,
        disk: &Disk,
        number: usize,
        sectors: Option<Range<u64>>,
    ) -> Result<HostVolume, String> {
        let Some(HostDisk { drive, .. }) = self.disks.get(number) else {
            return Err(String::from("it is gone"));
        };
        let whole = drive.geometry();
        let sectors = sectors.unwrap_or(0..whole.sectors);
        if disk.writes_to_source() && whole.access == BlockAccess::ReadOnly {
            return Err(String::from("the disk takes no writes: give it `read_only = true` or an overlay"));
        }
        let usage = if disk.writes_to_source() { Use::Write } else { Use::Read };
        self.claim(vm, Medium::Disk(number as u16), sectors.clone(), usage)?;
        let buffers = self.buffers().ok_or("the host has no memory for its buffers")?;
        let Some(HostDisk { drive, .. }) = self.disks.get_mut(number) else {
            return Err(String::from("it is gone"));
        };
        let length = sectors.end.saturating_sub(sectors.start);
        let access = if disk.writes_to_source() { BlockAccess::ReadWrite } else { BlockAccess::ReadOnly };
        let part = BlockGeometry { sectors: length, access, ..whole };
        let port = drive.connect(sectors.start, part, buffers).map_err(|error| format!("{error}"))?;
        Volume::drive(port, disk.overlay).map_err(|error| format!("{error}"))
    }

    fn claim(&mut self, vm: VmName, medium: Medium, sectors: Range<u64>, usage: Use) -> Result<(), String> {
        self.claims.claim(Claim { vm, medium, sectors, usage }).map_err(|error| format!("{error}"))
    }

    /// The disk and the sectors of a partition.
    fn partition(&self, name: &str) -> Result<(usize, Range<u64>), String> {
        let with_table = |(number, disk): (usize, &'_ HostDisk)| disk.table.as_ref().map(|_| number);
        let numbers: Vec<usize> = self.disks.iter().enumerate().filter_map(with_table).collect();
        let tables = self.disks.iter().filter_map(|disk| Some((disk.name.as_str(), disk.table.as_ref()?)));
        let found = locate(name, tables).map_err(|error| format!("partition:{name}: {error}"))?;
        let number = numbers.get(found.disk).copied().unwrap_or_default();
        let Partition { first_sector, sectors, .. } = found.partition;
        Ok((number, *first_sector..first_sector.saturating_add(*sectors)))
    }

    fn buffers(&mut self) -> Option<Vec<Pooled>> {
        let dma = self.dma;
        (0..PORT_BUFFERS)
            .map(|_| self.dma.buffer(PORT_BUFFER_BYTES).map(|buffer| Pooled::new(buffer, dma)))
            .collect()
    }

    /// The names of all disks, for an operator who has misspelt one.
    fn names(&self) -> String {
        if self.disks.is_empty() {
            return String::from("none at all");
        }
        let names: Vec<&str> = self.disks.iter().map(|disk| disk.name.as_str()).collect();
        names.join(", ")
    }
}

const fn access(disk: &Disk) -> BlockAccess {
    match disk.access {
        DiskAccess::ReadWrite => BlockAccess::ReadWrite,
        DiskAccess::ReadOnly => BlockAccess::ReadOnly,
    }
}
