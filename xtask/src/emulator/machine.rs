//! What an emulated computer is made of. How that is said to an emulator is the emulator's own file.

use std::io::Write;
use std::path::PathBuf;

use super::{Accel, Bare, Emulator, Error, bochs, qemu};

/// Whose processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Vendor {
    /// AMD, with AMD-V.
    Amd,
    /// Intel, with VT-x.
    Intel,
}

/// Which of Bochs' Intel processors; each lacks more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Model {
    /// All that Cofferdam uses: APICv with posted interrupts, EPT with accessed and dirty bits.
    SkylakeX,
    /// No posted interrupts.
    Haswell,
    /// No APICv: neither APIC-register virtualization nor virtual-interrupt delivery. No pages of 1 GiB.
    IvyBridge,
    /// No unrestricted guest.
    Lynnfield,
    /// No EPT.
    Penryn,
    /// No VT-x.
    Prescott,
}

/// What the firmware of an Intel computer has done about VT-x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Virtualization {
    /// Nothing: who wants it switches it on.
    Open,
    /// Switched it off, and locked that.
    LockedOff,
}

/// What becomes of cached translations when a guest is entered or left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translations {
    /// They go: the emulators' own way, which is permitted, and hides a flush that is missing.
    Dropped,
    /// They stay under their tags, as on processors (Bochs, slower).
    Kept,
}

/// How the disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Disk {
    /// A virtio block device (QEMU).
    Virtio,
    /// An NVMe controller (QEMU).
    Nvme,
    /// An ATA disk (Bochs).
    Ata,
}

/// What network the computer is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// None: it has no NIC.
    None,
    /// It has a virtio NIC on QEMU's user-mode network, 10.0.2.0/24. There 10.0.2.2 answers, and leads on to the outside.
    Outside,
    /// The same, but 10.0.2.2 leads nowhere; and 10.0.2.100 sends back what comes to its TCP port 7.
    Closed,
}

/// What follows when the computer's software asks for a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReset {
    /// The computer starts again, as a real one does.
    Restart,
    /// The run ends with [`super::Ending::Reset`].
    End,
}

/// Whether the computer waits for a debugger before its first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debugger {
    /// No debugger.
    None,
    /// Waits for gdb on TCP port 1234.
    Wait,
}

/// What makes the computer's clock tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The host's clock. On Bochs it is executed instructions that are kept from running ahead of that clock.
    Host,
    /// Executed instructions, 32 ns each (10 ns on Bochs): this computer's speed does not matter. Not under KVM; one CPU.
    Instructions,
    /// Executed instructions, 1 ns each: as fast as a real computer, so that timers tick as often as there. Firmware, which
    /// waits a lot, takes minutes.
    FastInstructions,
}

/// What a computer starts at power-on.
pub(super) enum Start {
    /// Firmware, which finds a boot loader on this disk image.
    Disk(PathBuf),
    /// This program (Bochs).
    Bare(Bare),
}

/// A computer, not yet powered on.
pub struct Machine {
    pub(super) start: Start,
    pub(super) disk: Option<Disk>,
    pub(super) network: Network,
    pub(super) memory_mib: u32,
    pub(super) cpus: u32,
    pub(super) vendor: Vendor,
    pub(super) model: Option<Model>,
    pub(super) excluded: Vec<String>,
    pub(super) virtualization: Virtualization,
    pub(super) translations: Translations,
    pub(super) accel: Option<Accel>,
    pub(super) time: Time,
    pub(super) on_reset: OnReset,
    pub(super) debugger: Debugger,
    pub(super) extra: Vec<String>,
    pub(super) copy: Option<Box<dyn Write + Send>>,
}

impl Machine {
    /// One AMD processor, 1 GiB of memory, `disk_image` on what the emulator usually has, executed by the emulator, ending
    /// at reset.
    #[must_use]
    pub fn new(disk_image: impl Into<PathBuf>) -> Self {
        Self::starting(Start::Disk(disk_image.into()), Vendor::Amd)
    }

    /// One Intel processor that executes `program` at once, without firmware and disk.
    #[must_use]
    pub fn bare(program: Bare) -> Self {
        Self::starting(Start::Bare(program), Vendor::Intel)
    }

    fn starting(start: Start, vendor: Vendor) -> Self {
        Self {
            start,
            disk: None,
            network: Network::None,
            memory_mib: 1024,
            cpus: 1,
            vendor,
            model: None,
            excluded: Vec::new(),
            virtualization: Virtualization::Open,
            translations: Translations::Dropped,
            accel: None,
            time: Time::Host,
            on_reset: OnReset::End,
            debugger: Debugger::None,
            extra: Vec::new(),
            copy: None,
        }
    }

    /// How the disk is attached.
    #[must_use]
    pub fn disk(self, disk: Disk) -> Self {
        Self { disk: Some(disk), ..self }
    }

    /// What network it is on; none unless told otherwise.
    #[must_use]
    pub fn network(self, network: Network) -> Self {
        Self { network, ..self }
    }

    /// Memory, in MiB.
    #[must_use]
    pub fn memory_mib(self, memory_mib: u32) -> Self {
        Self { memory_mib, ..self }
    }

    /// Number of processors.
    #[must_use]
    pub fn cpus(self, cpus: u32) -> Self {
        Self { cpus, ..self }
    }

    /// Whose processors.
    #[must_use]
    pub fn vendor(self, vendor: Vendor) -> Self {
        Self { vendor, ..self }
    }

    /// Which of Bochs' processors; a Skylake-X unless told otherwise.
    #[must_use]
    pub fn model(self, model: Model) -> Self {
        Self { model: Some(model), ..self }
    }

    /// Takes a feature, by its name in Bochs (`exclude_features`), from the processor.
    #[must_use]
    pub fn without_feature(mut self, feature: impl Into<String>) -> Self {
        self.excluded.push(feature.into());
        self
    }

    /// What firmware has done about VT-x, on Bochs.
    #[must_use]
    pub fn virtualization(self, virtualization: Virtualization) -> Self {
        Self { virtualization, ..self }
    }

    /// What becomes of cached translations when a guest is entered or left.
    #[must_use]
    pub fn translations(self, translations: Translations) -> Self {
        Self { translations, ..self }
    }

    /// Who executes the instructions; what emulates the vendor's processors unless told otherwise.
    #[must_use]
    pub fn accel(self, accel: Accel) -> Self {
        Self { accel: Some(accel), ..self }
    }

    /// What makes the clock tick.
    #[must_use]
    pub fn time(self, time: Time) -> Self {
        Self { time, ..self }
    }

    /// What follows a reset.
    #[must_use]
    pub fn on_reset(self, on_reset: OnReset) -> Self {
        Self { on_reset, ..self }
    }

    /// Whether to wait for a debugger.
    #[must_use]
    pub fn debugger(self, debugger: Debugger) -> Self {
        Self { debugger, ..self }
    }

    /// More arguments for QEMU, after all others.
    #[must_use]
    pub fn qemu_args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, args: I) -> Self {
        self.extra.extend(args.into_iter().map(Into::into));
        self
    }

    /// Also writes all that appears on the serial line to `copy`, as it comes.
    #[must_use]
    pub fn copy_serial_to(self, copy: impl Write + Send + 'static) -> Self {
        Self { copy: Some(Box::new(copy)), ..self }
    }

    /// Powers the computer on.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a combination that the emulator cannot do, and what else keeps it from starting.
    pub fn start(self) -> Result<Emulator, Error> {
        self.check()?;
        let scratch = tempfile::Builder::new()
            .prefix("cofferdam-")
            .tempdir()
            .map_err(|source| Error::Scratch { path: std::env::temp_dir(), source })?;
        match self.executor() {
            Accel::Tcg | Accel::Kvm => qemu::start(self, scratch),
            Accel::Bochs => bochs::start(self, scratch),
        }
    }

    /// Refuses what the emulator cannot do, in our words instead of its. [`Self::start`] does so too.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn check(&self) -> Result<(), Error> {
        let refusal = match self.executor() {
            Accel::Tcg | Accel::Kvm => qemu::refusal(self),
            Accel::Bochs => bochs::refusal(self),
        };
        refusal.map_or(Ok(()), |what| Err(Error::Unsupported { what: what.into() }))
    }

    /// Who executes the instructions.
    pub(super) fn executor(&self) -> Accel {
        self.accel.unwrap_or(Accel::emulating(self.vendor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendor_chooses_the_emulator_unless_one_is_named() {
        assert_eq!(Machine::new("d").executor(), Accel::Tcg);
        assert_eq!(Machine::new("d").vendor(Vendor::Intel).executor(), Accel::Bochs);
        assert_eq!(Machine::new("d").vendor(Vendor::Intel).accel(Accel::Kvm).executor(), Accel::Kvm);
    }
}
