//! The host's disks as VMs share them: ports on drives, partitions, files, and who uses what.
//!
//! ```text
//!   VM's disk ── Volume ──> port ── take_request, submit ──> driver
//!                            ^                                  │ collect
//!                            └────────── complete <─────────────┘
//! ```
//! The task of all drives is bounded by what is in flight. The CPU's loop has what devices have done collected, lets disks take
//! their steps, and has what these began submitted, before it serves anybody or sleeps.

mod buffer;
mod open;

pub use open::HostVolume;

use crate::devices::HostDevices;
#[cfg(feature = "seeded-faults")]
use crate::faults::{self, Fault};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use backends::volume::claims::Claims;
use backends::volume::gpt::{self, GptError, Numbered, Table};
use backends::volume::port::{Drive, DriveLimits, DriveRequest};
use backends::volume::source::HostDisk;
use base::{ByteSize, Instant, VmName};
use buffer::Pooled;
use drivers::disk::{Action, Command, Completion, Disk, DiskError, DiskGeometry, Refusal, Refused, Unit};
use iommu::{HostBuffer, HostDma};
use log::{info, warn};
use machine::CurrentCpu;
use machine::clock::HostClock;
use seams::{
    BlockAccess, BlockError, BlockGeometry, BlockOperation, Clock, DmaBuffer, DmaMemory, SECTOR_BYTES, Ticket,
};

/// The way to one disk of the host, and the VMs that have a part of it.
struct HostDrive {
    /// Its device's place in [`HostDevices::disks`].
    device: usize,
    unit: Unit,
    ports: Drive<Pooled, CurrentCpu>,
}

/// What one device has been given and not ended.
struct InFlight {
    /// By their commands' tickets.
    requests: Vec<Option<DriveRequest<Pooled, CurrentCpu>>>,
    /// How many of them there are.
    count: usize,
    /// A command for which the device had no room, to be tried again first.
    held: Option<Command<HostBuffer>>,
}

/// All disks.
pub struct Storage {
    dma: HostDma,
    /// What each is called, and what is on it.
    disks: Vec<HostDisk>,
    /// The way to each, in the same order.
    drives: Vec<HostDrive>,
    /// One for each device.
    in_flight: Vec<InFlight>,
    /// The drive whose turn it is to be the first to give its device requests.
    first_drive: usize,
    /// Whether a request has ended as it was submitted, which nobody has been told.
    ended_at_once: Done,
    claims: Claims,
    /// Who has ended before what it had given to devices: that may still be carried out, so its claims stay until then.
    leaving: Vec<VmName>,
}

/// Whether a task has done something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Something has ended, which a VM may wait for.
    Something,
    /// Nothing.
    Nothing,
}

impl Storage {
    /// The disks of `devices`; their partition tables are read now.
    pub fn new(devices: &mut HostDevices, dma: HostDma, clock: &HostClock) -> Self {
        let in_flight = devices
            .disks
            .iter()
            .map(|device| InFlight {
                requests: core::iter::repeat_with(|| None).take(device.driver.depth()).collect(),
                count: 0,
                held: None,
            })
            .collect();
        let found: Vec<_> = devices
            .disks
            .iter()
            .enumerate()
            .flat_map(|(n, d)| d.disks().into_iter().map(move |disk| (n, disk)))
            .collect();
        let mut disks = Vec::new();
        let mut drives = Vec::new();
        for (device, (name, unit, geometry)) in found {
            let table = read_table(devices, device, unit, &geometry, dma, clock);
            tell_table(&name, &table);
            disks.push(HostDisk { name, sectors: geometry.sectors, shared_as: geometry.shared_as, table });
            let limits = DriveLimits {
                transfer_sectors_max: geometry.max_transfer_sectors,
                clear_sectors_max: geometry.max_clear_sectors,
            };
            drives.push(HostDrive { device, unit, ports: Drive::new(shape(&geometry), limits) });
        }
        Self {
            dma,
            disks,
            drives,
            in_flight,
            first_drive: 0,
            ended_at_once: Done::Nothing,
            claims: Claims::new(),
            leaving: Vec::new(),
        }
    }

    /// Whether a VM has a part of a disk, or one that has ended left requests to a device.
    #[inline]
    pub fn is_used(&self) -> bool {
        let is_on_the_way = || self.in_flight.iter().any(|in_flight| !in_flight.is_idle());
        self.drives.iter().any(|drive| drive.ports.ports() != 0) || is_on_the_way()
    }

    /// Takes back what the devices have done.
    pub fn collect(&mut self, devices: &mut HostDevices, now: Instant) -> Done {
        let mut done = core::mem::replace(&mut self.ended_at_once, Done::Nothing);
        for (device, in_flight) in devices.disks.iter_mut().zip(&mut self.in_flight) {
            while let Some(completion) = device.driver.poll(now) {
                in_flight.end(completion, self.dma);
                done = Done::Something;
            }
        }
        if !self.leaving.is_empty() && !self.has_abandoned() {
            self.leaving.drain(..).for_each(|vm| self.claims.release(vm));
        }
        done
    }

    /// Gives the devices what VMs want: of the drives of one device another goes first each time.
    pub fn submit(&mut self, devices: &mut HostDevices, now: Instant) {
        let count = self.drives.len();
        for number in (self.first_drive..count).chain(0..self.first_drive) {
            let Some(drive) = self.drives.get_mut(number) else { continue };
            let device = devices.disks.get_mut(drive.device);
            let (Some(device), Some(in_flight)) = (device, self.in_flight.get_mut(drive.device)) else {
                continue;
            };
            if in_flight.begin(&mut *device.driver, drive, self.dma, now) == Done::Something {
                self.ended_at_once = Done::Something;
            }
        }
        self.first_drive = if self.first_drive + 1 < count { self.first_drive + 1 } else { 0 };
    }

    /// Whether something has ended of which [`Storage::collect`] tells, without an interrupt.
    pub fn has_ended_something(&self) -> bool {
        self.ended_at_once == Done::Something
    }

    /// Whether a device has a request of a VM that has ended.
    fn has_abandoned(&self) -> bool {
        let requests = self.in_flight.iter().flat_map(|in_flight| in_flight.requests.iter().flatten());
        { requests }.any(DriveRequest::is_abandoned)
    }

    /// When [`Storage::collect`] must be called next though no device has interrupted.
    pub fn next_deadline(&self, devices: &HostDevices) -> Instant {
        let deadlines = devices.disks.iter().map(|device| device.driver.next_deadline());
        deadlines.min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// Whether a device that has no interrupt has something to do.
    pub fn needs_polling(&self, devices: &HostDevices) -> bool {
        let mut pairs = devices.disks.iter().zip(&self.in_flight);
        pairs.any(|(device, in_flight)| device.vector.is_none() && !in_flight.is_idle())
    }

    /// A line for each partition, with the name that a source takes.
    pub fn lines(&self) -> Vec<String> {
        let partitions = self.disks.iter().flat_map(|disk| {
            let table = disk.table.iter().flat_map(|table| &table.partitions);
            table.map(move |partition| {
                let size = ByteSize(partition.sectors.saturating_mul(SECTOR_BYTES));
                let name = Numbered { disk_name: &disk.name, number: partition.number };
                format!("  {name}: {:?}, {size}, {}", partition.label, partition.guid)
            })
        });
        partitions.collect()
    }

    /// A VM has ended, and uses nothing any more once the devices have done what it gave them.
    pub fn release(&mut self, vm: VmName) {
        if !self.has_abandoned() {
            self.claims.release(vm);
        } else if !self.leaving.contains(&vm) && self.leaving.try_reserve(1).is_ok() {
            self.leaving.push(vm);
        }
    }
}

impl InFlight {
    fn is_idle(&self) -> bool {
        self.count == 0
    }

    /// Gives `driver` what VMs want of `disk`, as much as it takes.
    fn begin(
        &mut self,
        driver: &mut impl Disk<Buffer = HostBuffer>,
        drive: &mut HostDrive,
        dma: HostDma,
        now: Instant,
    ) -> Done {
        let mut done = Done::Nothing;
        if let Some(command) = self.held.take() {
            done = self.submit(driver, command, dma, now);
        }
        while self.held.is_none()
            && let Some(slot) = self.requests.iter().position(Option::is_none)
            && let Ok(ticket) = u16::try_from(slot)
            && let Some(mut request) = drive.ports.take_request()
        {
            #[cfg(feature = "seeded-faults")]
            if faults::is_chosen(Fault::SkippedFlushes)
                && request.request().operation == BlockOperation::Flush
            {
                request.complete(None, Ok(()));
                done = Done::Something;
                continue;
            }
            let Some(command) = command_for(&mut request, Ticket(ticket), drive.unit) else {
                request.complete(None, Err(BlockError::Medium));
                done = Done::Something;
                continue;
            };
            if let Some(place) = self.requests.get_mut(slot) {
                *place = Some(request);
                self.count += 1;
            }
            if self.submit(driver, command, dma, now) == Done::Something {
                done = Done::Something;
            }
        }
        done
    }

    /// Submits a command whose request is in its place. [`Done::Something`] when it is over already.
    fn submit(
        &mut self,
        driver: &mut impl Disk<Buffer = HostBuffer>,
        command: Command<HostBuffer>,
        dma: HostDma,
        now: Instant,
    ) -> Done {
        let Err(Refused { command, reason }) = driver.submit(command, now) else { return Done::Nothing };
        if reason == Refusal::Full {
            self.held = Some(command);
            return Done::Nothing;
        }
        let result = Err(error_of(reason));
        self.finish(command.ticket, command.action.into_buffer(), result, dma);
        Done::Something
    }

    fn end(&mut self, completion: Completion<HostBuffer>, dma: HostDma) {
        let Completion { ticket, buffer, result } = completion;
        let result = result.map_err(|error| match error {
            DiskError::Unsupported => BlockError::Unsupported,
            DiskError::Device(_) | DiskError::TimedOut | DiskError::Gone => BlockError::Medium,
        });
        self.finish(ticket, buffer, result, dma);
    }

    fn finish(
        &mut self,
        ticket: Ticket,
        buffer: Option<HostBuffer>,
        result: Result<(), BlockError>,
        dma: HostDma,
    ) {
        let request = self.requests.get_mut(usize::from(ticket.0)).and_then(Option::take);
        let buffer = buffer.map(|buffer| Pooled::new(buffer, dma));
        if let Some(request) = request {
            self.count -= 1;
            request.complete(buffer, result);
        }
    }
}

/// The driver's command for a VM's request; `None` when the request lacks its buffer.
fn command_for(
    request: &mut DriveRequest<Pooled, CurrentCpu>,
    ticket: Ticket,
    unit: Unit,
) -> Option<Command<HostBuffer>> {
    let wanted = request.request();
    let mut buffer = || request.take_buffer().and_then(Pooled::into_buffer);
    let action = match wanted.operation {
        BlockOperation::Read => Action::Read(buffer()?),
        BlockOperation::Write => Action::Write(buffer()?),
        BlockOperation::Flush => Action::Flush,
        BlockOperation::Discard => Action::Discard,
        BlockOperation::WriteZeroes => Action::WriteZeroes,
    };
    Some(Command { ticket, unit, first_sector: wanted.first_sector, sectors: wanted.sectors, action })
}

const fn error_of(refusal: Refusal) -> BlockError {
    match refusal {
        Refusal::OutOfRange => BlockError::OutOfRange,
        Refusal::ReadOnly => BlockError::ReadOnly,
        Refusal::Unsupported | Refusal::Misaligned | Refusal::TooLong => BlockError::Unsupported,
        Refusal::Full | Refusal::NoSuchUnit | Refusal::BufferTooShort | Refusal::Gone => BlockError::Medium,
    }
}

const fn shape(geometry: &DiskGeometry) -> BlockGeometry {
    BlockGeometry {
        sectors: geometry.sectors,
        block_bytes: geometry.block_bytes,
        access: if geometry.abilities.write { BlockAccess::ReadWrite } else { BlockAccess::ReadOnly },
    }
}

/// Reads a disk's partition table; nobody else uses the disk yet.
fn read_table(
    devices: &mut HostDevices,
    device: usize,
    unit: Unit,
    geometry: &DiskGeometry,
    mut dma: HostDma,
    clock: &HostClock,
) -> Result<Table, GptError> {
    let Some(device) = devices.disks.get_mut(device) else { return Err(GptError::NotGpt) };
    gpt::read(geometry.sectors, geometry.block_bytes, |first_sector, bytes| {
        let buffer = dma.buffer(bytes.len()).ok_or(BlockError::Medium)?;
        let sectors = (bytes.len() as u64 / SECTOR_BYTES) as u32;
        let command =
            Command { ticket: Ticket(0), unit, first_sector, sectors, action: Action::Read(buffer) };
        device.driver.submit(command, clock.now()).map_err(|refused| error_of(refused.reason))?;
        // The driver ends every command: at its deadline at last.
        let completion = loop {
            if let Some(completion) = device.driver.poll(clock.now()) {
                break completion;
            }
        };
        let buffer = completion.buffer.ok_or(BlockError::Medium)?;
        bytes.iter_mut().zip(buffer.bytes()).for_each(|(to, from)| *to = *from);
        dma.take_back(buffer).map_err(|_| BlockError::Medium)?;
        completion.result.map_err(|_| BlockError::Medium)
    })
}

fn tell_table(name: &str, table: &Result<Table, GptError>) {
    let table = match table {
        Ok(table) => table,
        Err(GptError::NotGpt) => return,
        Err(error) => return warn!("disk {name}: no partitions: {error}"),
    };
    if let Err(damage) = &table.primary {
        warn!("disk {name}: the first copy of its partition table is not used: {damage}");
    }
    for partition in &table.partitions {
        info!("disk {name}: partition {}: {:?}, {}", partition.number, partition.label, partition.guid);
    }
}
