//! Making a VM's disk of what its configuration names.

use super::Storage;
use super::buffer::Pooled;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use backends::volume::Volume;
use backends::volume::port::{BufferNeed, PortDisk};
use backends::volume::source::{self, Place};
use base::VmName;
use config::{Disk, DiskAccess, DiskSource};
use core::fmt;
use iommu::HostDma;
use machine::CurrentCpu;
use memory::{SharedMemory, View};
use seams::{BlockAccess, BlockGeometry, DmaMemory};

/// What stands behind a VM's disk.
pub type HostVolume = Volume<View, Pooled, CurrentCpu>;

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
        let place = source::find(&disk.source.value, &self.disks).map_err(|error| format!("{error}"))?;
        let named = |reason: &dyn fmt::Display| format!("{}: {reason}", disk.source.value);
        if let Some(claim) = source::claim(vm, disk, place, &self.disks) {
            let under_way = |by: VmName| {
                format!(
                    "{}: requests to the host's disks from before vm \"{by}\" ended are still under way: try again in a moment",
                    disk.source.value
                )
            };
            // A VM's claims are released all at once: a new one would go with those that are waiting.
            if self.leaving.contains(&vm) {
                return Err(under_way(vm));
            }
            self.claims.claim(claim).map_err(|error| match error.by() {
                Some(by) if self.leaving.contains(&by) => under_way(by),
                _ => named(&error),
            })?;
        }
        match place {
            Place::File(path) => {
                let found = files.iter().find(|file| file.path == path.as_str());
                let file = found.ok_or_else(|| named(&"boot has not read it"))?;
                let view = View::new(memory, file.range).map_err(|error| named(&error))?;
                Volume::file(view, access(disk), disk.overlay).map_err(|error| named(&error))
            }
            Place::Sectors { disk: number, first_sector, sectors } => {
                if disk.writes_to_source() && matches!(disk.source.value, DiskSource::Disk(_)) {
                    source::give_away(&mut self.disks, number);
                }
                let port =
                    self.connect(disk, number, first_sector, sectors).map_err(|error| named(&error))?;
                Volume::drive(port, disk.overlay).map_err(|error| named(&error))
            }
        }
    }

    fn connect(
        &mut self,
        disk: &Disk,
        number: usize,
        first_sector: u64,
        sectors: u64,
    ) -> Result<PortDisk<Pooled, CurrentCpu>, String> {
        let ports = &mut self.drives.get_mut(number).ok_or("the disk is gone")?.ports;
        let buffers =
            buffers(self.dma, ports.buffer_need()).ok_or("the host has no memory for its buffers")?;
        let whole = ports.geometry();
        let writes = disk.writes_to_source();
        if writes && whole.access == BlockAccess::ReadOnly {
            return Err(String::from("the disk takes no writes: give it `read_only = true` or an overlay"));
        }
        let access = if writes { BlockAccess::ReadWrite } else { BlockAccess::ReadOnly };
        let part = BlockGeometry { sectors, access, ..whole };
        ports.connect(first_sector, part, buffers).map_err(|error| format!("{error}"))
    }
}

fn buffers(mut dma: HostDma, need: BufferNeed) -> Option<Vec<Pooled>> {
    (0..need.count).map(|_| dma.buffer(need.len_bytes).map(|buffer| Pooled::new(buffer, dma))).collect()
}

const fn access(disk: &Disk) -> BlockAccess {
    match disk.access {
        DiskAccess::ReadWrite => BlockAccess::ReadWrite,
        DiskAccess::ReadOnly => BlockAccess::ReadOnly,
    }
}
