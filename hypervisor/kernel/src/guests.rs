//! The VMs of this host: made from the configuration, loaded, and told of when they end.

mod image;
pub mod pci;

use crate::devices::HostDevices;
use crate::network::Networks;
use crate::storage::{HostVolume, Storage};
use alloc::{boxed::Box, format, string::String, vec::Vec};
use base::{Instant, Nanoseconds, VmId, VmName};
use config::{Config, OnReset};
use core::fmt;
use image::Files;
use log::{error, info};
use machine::clock::HostClock;
use memory::{GuestAccess, GuestMap, GuestMapConfig, SharedMemory, View};
use seams::Clock;
use serving::AnyVm;
use vcpu::cpuid::TscStability;
use vmm::vm::{DebugExitPort, ExitProfile};
use vmm::{Host, Lifecycle, RamLayout, Settings};

/// What a VM may take of the hypervisor's memory for its page tables: 4 MiB, and a 64th of its RAM, which is more than
/// tables of small pages for all of it.
const fn table_budget_bytes(ram_bytes: u64) -> u64 {
    4 * base::MIB + ram_bytes / 64
}

/// One VM with what the host knows about it.
pub struct Guest {
    pub config: config::Vm,
    /// How long a CPU has served it.
    pub served: Nanoseconds,
    /// What there is of it now.
    pub body: Body,
    /// Whether it was ever loaded, or tried to.
    was_loaded: bool,
}

/// What there is of a VM.
pub enum Body {
    /// All of it.
    Present(Box<Present>),
    /// Its memory has been given back; this is left to say.
    Gone(String),
}

/// A VM that runs or can run.
pub struct Present {
    pub vm: AnyVm,
    /// When its making began.
    pub made: Instant,
    /// What stands behind its disks, in the order of their slots.
    pub disks: Vec<HostVolume>,
    /// How many NICs it has.
    nics: usize,
    files: Files,
}

/// All VMs, in the order of the configuration: a VM's id is its place there.
pub struct Guests {
    guests: Vec<Guest>,
    /// Whose vCPU is loaded on this CPU.
    pub current: Option<VmId>,
    ground: Ground,
}

/// What stands behind the devices of all VMs.
pub struct Backing {
    pub storage: Storage,
    pub networks: Networks,
    /// Whether any device of the host has no interrupt.
    has_polled: bool,
}

impl Backing {
    /// What stands on `devices`.
    pub fn new(storage: Storage, networks: Networks, devices: &HostDevices) -> Self {
        let has_polled = devices.disks.iter().any(|disk| disk.vector.is_none())
            || devices.cards.iter().any(|card| card.vector.is_none());
        Self { storage, networks, has_polled }
    }

    /// Whether any device of the host is at work for a VM.
    #[inline]
    pub fn uses_devices(&self) -> bool {
        self.storage.is_used() || self.networks.has_uplink()
    }

    /// Whether a device without interrupts has to be asked.
    #[inline]
    pub fn needs_polling(&self, devices: &HostDevices) -> bool {
        self.has_polled && (self.storage.needs_polling(devices) || self.networks.needs_polling(devices))
    }

    /// When the tasks must run next though no device has interrupted and nobody has kicked.
    #[inline]
    pub fn next_deadline(&self, devices: &HostDevices) -> Instant {
        let storage = match self.storage.is_used() {
            true => self.storage.next_deadline(devices),
            false => Instant::FAR_FUTURE,
        };
        storage.min(self.networks.next_deadline())
    }

    /// When a frame that waits is to be tried again.
    #[inline]
    pub fn next_try(&self) -> Instant {
        self.networks.next_deadline()
    }

    /// A VM has ended, and uses nothing any more.
    pub fn release(&mut self, id: VmId, name: VmName) {
        self.storage.release(name);
        self.networks.detach(id);
    }
}

/// What all VMs of a host have in common.
pub struct Ground {
    /// The files that boot has read, as far as a VM may have to be loaded from them.
    pub files: Vec<handoff::File>,
    pub memory: &'static SharedMemory,
    pub clock: &'static HostClock,
    pub tsc_stability: TscStability,
    /// The wall-clock time at [`base::Instant`] zero, since 1970 UTC.
    pub wall_clock_at_zero: Nanoseconds,
}

impl Guests {
    /// Makes the VMs of `config` that start by themselves. One that cannot be made is refused by name; the others are
    /// made all the same.
    pub fn new(config: &Config, ground: Ground, engine: &virt::Engine, backing: &mut Backing) -> Self {
        let make = |(index, vm): (u16, &config::Vm)| {
            let body = if vm.autostart {
                Present::new(VmId(index), vm, &ground, engine, backing)
                    .map_or_else(|reason| Body::refused(vm.name, reason), Body::Present)
            } else {
                Body::Gone(String::from("not started"))
            };
            Guest { config: vm.clone(), served: Nanoseconds(0), body, was_loaded: false }
        };
        let guests = (0..).zip(&config.vms).map(make).collect();
        Self { guests, current: None, ground }
    }

    /// Makes a VM that is not there.
    pub fn create(&mut self, vm: VmId, engine: &virt::Engine, backing: &mut Backing) -> Result<(), String> {
        let ground = &self.ground;
        let Some(guest) = self.guests.get_mut(usize::from(vm.0)) else { return Ok(()) };
        if let Body::Present(_) = guest.body {
            return Err(String::from("it is there already"));
        }
        guest.body = Body::Present(Present::new(vm, &guest.config, ground, engine, backing)?);
        Ok(())
    }

    /// Loads a VM that is there, and gives the files back that no VM needs any more. `None` when there was nothing to load.
    pub fn load(&mut self, vm: VmId, host: &impl Host) -> Option<Result<(), String>> {
        let memory = self.ground.memory;
        let guest = self.get_mut(vm)?;
        let loaded = guest.present()?.start(memory, host);
        guest.was_loaded = true;
        self.give_back_files();
        Some(loaded)
    }

    /// Files stay for a VM that starts again when its guest resets it, and for one that was not loaded yet; those behind
    /// disks stay in any case.
    fn give_back_files(&mut self) {
        let Self { guests, ground, .. } = self;
        let needs = |guest: &&Guest| guest.config.on_reset == OnReset::Restart || !guest.was_loaded;
        let is_needed = |file: &handoff::File| {
            let boot = guests.iter().filter(needs).flat_map(|guest| guest.config.boot_files());
            let disks = guests.iter().flat_map(|guest| guest.config.disk_files());
            boot.chain(disks).any(|(path, _)| path.as_str() == file.path)
        };
        let memory = ground.memory;
        ground.files.retain(|file| {
            let given_back = || View::new(memory, file.range).and_then(View::release).is_ok();
            is_needed(file) || !given_back()
        });
    }

    /// How much memory the files have that are kept.
    pub fn file_bytes(&self) -> u64 {
        let pages = |file: &handoff::File| file.range.len_bytes().next_multiple_of(base::PAGE_BYTES);
        self.ground.files.iter().map(pages).sum()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.guests.len()
    }

    /// All of them with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (VmId, &Guest)> {
        (0..).map(VmId).zip(&self.guests)
    }

    /// All of them with their ids, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (VmId, &mut Guest)> {
        (0..).map(VmId).zip(&mut self.guests)
    }

    /// One of them.
    pub fn get_mut(&mut self, vm: VmId) -> Option<&mut Guest> {
        self.guests.get_mut(usize::from(vm.0))
    }

    /// The one of this name.
    pub fn by_name(&mut self, name: VmName) -> Option<&mut Guest> {
        self.guests.iter_mut().find(|guest| guest.config.name == name)
    }

    /// Brings a VM's vCPU onto this CPU, and takes that of the VM before off it. `None` when the VM is gone.
    #[inline]
    pub fn switch_to(&mut self, vm: VmId, engine: &mut virt::Engine) -> Option<&mut Present> {
        if self.current != Some(vm) {
            self.leave();
            let present = self.get_mut(vm)?.present()?;
            present.vm.load_on_cpu(engine);
            self.current = Some(vm);
        }
        self.get_mut(vm)?.present()
    }

    /// A VM that is there, and all others beside it.
    pub fn split(&mut self, vm: VmId) -> Option<(&mut Present, Others<'_>)> {
        let (before, rest) = self.guests.split_at_mut_checked(usize::from(vm.0))?;
        let (one, after) = rest.split_first_mut()?;
        Some((one.present()?, Others { before, after }))
    }

    /// Gives back what a VM has that will not run again; `last_words` is what is left of it.
    pub fn release(&mut self, vm: VmId, last_words: String) {
        if self.current == Some(vm) {
            self.leave();
        }
        let memory = self.ground.memory;
        let Some(guest) = self.get_mut(vm) else { return };
        if let Body::Present(present) = core::mem::replace(&mut guest.body, Body::Gone(last_words)) {
            present.release(memory);
        }
    }

    /// Takes the vCPU that is loaded on this CPU off it.
    fn leave(&mut self) {
        let before = self.current.take().and_then(|before| self.get_mut(before));
        if let Some(present) = before.and_then(Guest::present) {
            present.vm.unload();
        }
    }
}

/// All VMs but one.
pub struct Others<'a> {
    before: &'a mut [Guest],
    after: &'a mut [Guest],
}

impl Others<'_> {
    /// One of them that is there.
    pub fn get_mut(&mut self, vm: VmId) -> Option<&mut Present> {
        let place = usize::from(vm.0);
        let guest = match place.checked_sub(self.before.len() + 1) {
            Some(place) => self.after.get_mut(place),
            None => self.before.get_mut(place),
        };
        guest.and_then(Guest::present)
    }
}

impl Guest {
    /// The VM, if it is not gone.
    #[inline]
    pub fn present(&mut self) -> Option<&mut Present> {
        match &mut self.body {
            Body::Present(present) => Some(present),
            Body::Gone(_) => None,
        }
    }
}

/// What the VM is doing, for the operator.
impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(last_words) => f.write_str(last_words),
            Self::Present(present) => match present.vm.lifecycle() {
                Lifecycle::Created => f.write_str("starting"),
                Lifecycle::Running => f.write_str("running"),
                Lifecycle::Halted => f.write_str("halted"),
                Lifecycle::Ended(ending) => write!(f, "ended: {ending}"),
            },
        }
    }
}

impl Body {
    /// A VM that could not be made or loaded.
    pub fn refused(name: VmName, reason: String) -> Self {
        error!("vm {name}: cannot start: {reason}");
        Self::Gone(format!("cannot start: {reason}"))
    }
}

impl Present {
    /// On the heap: the stack has room for few copies of it.
    fn new(
        id: VmId,
        config: &config::Vm,
        ground: &Ground,
        engine: &virt::Engine,
        backing: &mut Backing,
    ) -> Result<Box<Self>, String> {
        let made = ground.clock.now();
        let present = Self::with_disks(id, config, ground, engine, backing, made);
        if present.is_err() {
            backing.release(id, config.name);
        }
        present
    }

    fn with_disks(
        id: VmId,
        config: &config::Vm,
        ground: &Ground,
        engine: &virt::Engine,
        backing: &mut Backing,
        made: Instant,
    ) -> Result<Box<Self>, String> {
        let opened = config
            .disks
            .iter()
            .map(|disk| backing.storage.open(config.name, disk, &ground.files, ground.memory));
        let disks = opened.collect::<Result<Vec<_>, String>>()?;
        pci::attach(id, config, &mut backing.networks)?;
        let ram = RamLayout::new(config.memory.0).map_err(|error| format!("{error}"))?;
        let files = Files::of(config, &ground.files)?;
        let map = GuestMap::new(
            ground.memory,
            GuestMapConfig {
                vm: id,
                ram_bytes: config.memory.0,
                format: engine.nested_format(),
                executable: engine.mitigations().executable_pages(),
                budget_bytes: table_budget_bytes(config.memory.0),
            },
        )
        .map_err(|error| format!("{error}"))?;
        #[cfg(feature = "seeded-faults")]
        let (map, withheld) = crate::faults::withhold_if_chosen(map).map_err(|error| format!("{error}"))?;
        #[cfg(not(feature = "seeded-faults"))]
        let withheld = None;
        let nested_root = map.nested_root();
        let access = GuestAccess::new(map).map_err(|error| format!("{error}"))?;
        let vcpu =
            engine.new_vcpu(nested_root, &mut { ground.memory }).map_err(|error| format!("{error}"))?;
        let settings = Settings {
            name: config.name,
            ram,
            withheld,
            on_reset: config.on_reset,
            console: config.console,
            debug_exit: if config.debug_exit { DebugExitPort::Present } else { DebugExitPort::Absent },
            exit_profile: if config.exit_profile { ExitProfile::Kept } else { ExitProfile::NotKept },
            tsc: ground.clock.tsc().scale,
            tsc_stability: ground.tsc_stability,
            wall_clock_at_zero: ground.wall_clock_at_zero,
            devices: pci::of(config, &disks)?,
        };
        Ok(Box::new(Self {
            vm: AnyVm::new(settings, vcpu, access),
            made,
            disks,
            nics: config.nics.len(),
            files,
        }))
    }

    /// Loads the kernel and lets the VM run from its start.
    pub fn start(&mut self, memory: &'static SharedMemory, host: &impl Host) -> Result<(), String> {
        let opened = self.files.open(memory)?;
        let loaded = self.vm.start(&opened.image(&self.files), host).map_err(|error| format!("{error}"))?;
        #[cfg(feature = "seeded-faults")]
        crate::faults::corrupt_if_chosen(&mut self.vm);
        let name = self.vm.name();
        info!("vm {name}: started: {} kernel, entry {:#x}", loaded.kind, loaded.state.rip);
        Ok(())
    }

    /// Tells the log how the VM has ended `now`, how often it left its guest, and how long ago its making began; returns
    /// what remains to be said of it.
    pub fn tell_ending(&self, now: Instant) -> String {
        let Some(line) = self.vm.ending_line() else { return String::from("ended by the host") };
        info!("{line}");
        if let Some(report) = self.vm.crash_report() {
            report.lines().for_each(|line| info!("{line}"));
        }
        self.vm.stats().lines(self.vm.name()).for_each(|line| info!("{line}"));
        #[cfg(feature = "exit-shares")]
        machine::shares::take_marks().for_each(|mark| info!("{mark}"));
        if let Some(profile) = self.vm.profile() {
            profile.lines(self.vm.name()).for_each(|line| info!("{line}"));
        }
        info!("vm {}: lived {} ns", self.vm.name(), now.since(self.made).0);
        match self.vm.lifecycle() {
            Lifecycle::Ended(ending) => format!("ended: {ending}"),
            _ => String::from("ended"),
        }
    }

    fn release(self, memory: &'static SharedMemory) {
        self.vm.release(memory);
    }
}
