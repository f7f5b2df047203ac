//! A VM with the vCPU of this machine's vendor. The choice is made once a turn, not at each exit.

use crate::Serving;
use backends::VmConsole;
use base::{Hpa, Instant, VmName};
use devices::pci::Slot;
use devices::virtio::net::Link;
use devices::virtio::rng::Entropy;
use devices::virtio::{Broken, Progress};
use memory::{GuestAccess, SharedMemory};
use seams::Block;
#[cfg(feature = "seeded-faults")]
use vcpu::VcpuState;
use virt::{CpuResident, Either, OfVcpu, either, map_either};
use vmm::loader::{Image, LoadError, Loaded};
use vmm::vm::{BrokenDevice, CrashReport, EndingLine, NetStep, Profile, Slots};
use vmm::{Host, Lifecycle, PageInMap, Served, Settings, Stats, Vm};

/// What is made for a vCPU here.
struct Vms;

impl OfVcpu for Vms {
    type Of<V: CpuResident> = Vm<V, GuestAccess>;
}

/// A VM.
pub struct AnyVm(Either<Vms>);

/// Methods of [`Vm`].
macro_rules! delegate {
    ($(fn $name:ident(&self) -> $out:ty;)* @mut $(fn $name_mut:ident(&mut self $(, $arg:ident: $ty:ty)*) -> $out_mut:ty;)*) => {
        $(#[doc = concat!("As [`Vm::", stringify!($name), "`].")]
        pub fn $name(&self) -> $out {
            either!(&self.0, vm => vm.$name())
        })*
        $(#[doc = concat!("As [`Vm::", stringify!($name_mut), "`].")]
        pub fn $name_mut(&mut self $(, $arg: $ty)*) -> $out_mut {
            either!(&mut self.0, vm => vm.$name_mut($($arg),*))
        })*
    };
}

impl AnyVm {
    /// As [`Vm::new`], on the CPU that executes this.
    pub fn new(settings: Settings, vcpu: virt::Vcpu, access: GuestAccess) -> Self {
        Self(map_either!(vcpu, vcpu => Vm::new(settings, vcpu, access, machine::cpu::cpuid)))
    }

    delegate! {
        fn name(&self) -> VmName;
        fn lifecycle(&self) -> Lifecycle;
        fn stats(&self) -> &Stats;
        fn profile(&self) -> Option<&Profile>;
        fn has_kicked_queues(&self) -> bool;
        fn kicked_devices(&self) -> Slots;
        fn ending_line(&self) -> Option<EndingLine>;
        fn crash_report(&self) -> Option<CrashReport>;
        @mut
        fn console_mut(&mut self) -> &mut VmConsole;
        fn wants_cpu(&mut self, now: Instant) -> bool;
        fn run_console(&mut self, slot: Slot, now: Instant) -> ();
        fn run_disk(&mut self, slot: Slot, now: Instant, medium: &mut impl Block) -> ();
        fn run_entropy(&mut self, slot: Slot, now: Instant, entropy: &mut impl Entropy) -> ();
        fn set_link(&mut self, slot: Slot, now: Instant, link: Link) -> ();
        fn take_broken(&mut self, now: Instant) -> Option<BrokenDevice>;
        fn start(&mut self, image: &Image<'_>, host: &impl Host) -> Result<Loaded, LoadError>;
    }

    /// As [`Vm::run_net`].
    pub fn run_net<T>(
        &mut self,
        slot: Slot,
        now: Instant,
        step: impl FnOnce(NetStep<'_, GuestAccess>) -> Result<(Progress, T), Broken>,
    ) -> Option<T> {
        either!(&mut self.0, vm => vm.run_net(slot, now, step))
    }

    /// As [`Vm::with_net`].
    pub fn with_net<T>(
        &mut self,
        slot: Slot,
        now: Instant,
        step: impl FnOnce(NetStep<'_, GuestAccess>) -> Result<(Progress, T), Broken>,
    ) -> Option<T> {
        either!(&mut self.0, vm => vm.with_net(slot, now, step))
    }

    /// As [`Vm::memory`].
    pub fn memory(&self) -> &GuestAccess {
        either!(&self.0, vm => vm.memory())
    }

    /// Does what [`Served::ApicPage`] asks for; `frame` stands for APICs' pages on this machine.
    pub fn show_apic_page(&mut self, wanted: PageInMap, frame: Option<Hpa>) {
        let shown = frame.filter(|_| wanted == PageInMap::Shown);
        let page = match self.change_memory(|memory| memory.show_apic_page(shown)) {
            Ok(()) => wanted,
            Err(error) => {
                log::warn!("vm {}: its local APIC is emulated in xAPIC mode: {error}", self.name());
                PageInMap::Impossible
            }
        };
        either!(&mut self.0, vm => vm.apic_page_is(page));
    }

    /// As [`Vm::change_memory`].
    pub fn change_memory<T>(&mut self, change: impl FnOnce(&mut GuestAccess) -> T) -> T {
        either!(&mut self.0, vm => vm.change_memory(change))
    }

    /// As [`Vm::change_state`].
    #[cfg(feature = "seeded-faults")]
    pub fn change_state(&mut self, change: impl FnOnce(&mut VcpuState)) {
        either!(&mut self.0, vm => vm.change_state(change));
    }

    /// As [`Vm::serve`]: all of it for one vendor's vCPU.
    pub fn serve(&mut self, host: &mut Serving<'_>) -> Served {
        either!(&mut self.0, vm => vm.serve(host))
    }

    /// Loads its vCPU on `engine`'s CPU, the one that executes this.
    pub fn load_on_cpu(&mut self, engine: &mut virt::Engine) {
        either!(&mut self.0, vm => CpuResident::load_on_cpu(vm.vcpu_mut(), engine));
    }

    /// Takes its vCPU off this CPU.
    pub fn unload(&mut self) {
        either!(&mut self.0, vm => CpuResident::unload(vm.vcpu_mut()));
    }

    /// Gives its memory back.
    pub fn release(self, memory: &'static SharedMemory) {
        either!(self.0, vm => {
            let (vcpu, access) = vm.into_parts();
            CpuResident::release(vcpu, &mut { memory });
            // The vCPU is gone, so nothing runs in the map any more.
            drop(access);
        });
    }
}
