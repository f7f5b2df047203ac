//! RDMSR and WRMSR of the registers that `vcpu`'s permission table has emulated; all others fault.

mod eoi;
mod kept;
mod time;

use crate::exits::Stop;
use crate::vm::{Host, Vm};
use devices::lapic::GeneralProtection;
use eoi::EoiFlag;
use kept::Kept;
use seams::GuestMemory;
use time::Clock;
use vcpu::control;
use vcpu::decode::Known;
use vcpu::permission::msr;
use vcpu::{Exception, Gpr, Vcpu};

/// The state of emulated registers that no device and no vCPU holds.
#[derive(Clone, Debug)]
pub(crate) struct Msrs {
    kept: Kept,
    pub(crate) clock: Clock,
    eoi: EoiFlag,
}

impl Msrs {
    /// The registers after power-on, with a clock that begins as `clock` says.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { kept: Kept::new(), clock, eoi: EoiFlag::default() }
    }
}

pub(crate) use time::Clock as VmClock;

/// The local APIC's end-of-interrupt register in x2APIC mode (Intel SDM, volume 3, table 11-6).
const X2APIC_EOI: u32 = 0x80b;

/// The access raises `#GP(0)`.
const REFUSED: Exception = Exception::GENERAL_PROTECTION;

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    #[inline(always)]
    pub(super) fn read_msr(&mut self, host: &impl Host) -> Result<(), Stop> {
        let next = self.next_rip(Known::Rdmsr)?;
        let index = self.vcpu.gprs().get(Gpr::Rcx) as u32;
        let value = self.msr_value(index, host).map_err(|refused| self.refuse_msr(refused))?;
        let gprs = self.vcpu.gprs_mut();
        gprs.set(Gpr::Rax, value & 0xffff_ffff);
        gprs.set(Gpr::Rdx, value >> 32);
        self.vcpu.set_rip(next);
        Ok(())
    }

    #[inline(always)]
    pub(super) fn write_msr(&mut self, host: &impl Host) -> Result<(), Stop> {
        let next = self.next_rip(Known::Wrmsr)?;
        let gprs = self.vcpu.gprs();
        let index = gprs.get(Gpr::Rcx) as u32;
        let value = gprs.get(Gpr::Rdx) << 32 | gprs.get(Gpr::Rax) & 0xffff_ffff;
        self.set_msr(index, value, host).map_err(|refused| self.refuse_msr(refused))?;
        self.vcpu.set_rip(next);
        Ok(())
    }

    fn refuse_msr(&mut self, exception: Exception) -> Exception {
        self.stats.refused_msrs = self.stats.refused_msrs.wrapping_add(1);
        exception
    }

    fn msr_value(&mut self, index: u32, host: &impl Host) -> Result<u64, Exception> {
        match index {
            msr::X2APIC_FIRST..=msr::X2APIC_LAST => {
                let local = &mut self.apic_at(host).local;
                local.lapic.read_msr(index, local.now).map_err(|GeneralProtection| REFUSED)
            }
            msr::TSC_DEADLINE => {
                let local = &mut self.board_at(host).fabric.local;
                Ok(local.lapic.tsc_deadline(local.now))
            }
            msr::TSC => Ok(self.guest_tsc(host)),
            msr::EFER => Ok(self.vcpu.efer()),
            msr::PAT => Ok(self.vcpu.pat()),
            msr::APIC_BASE => Ok(self.board.fabric.local.lapic.apic_base()),
            msr::KVM_SYSTEM_TIME => Ok(self.msrs.clock.system_time_register()),
            msr::KVM_WALL_CLOCK => Ok(self.msrs.clock.wall_clock_register()),
            msr::KVM_PV_EOI => Ok(self.msrs.eoi.register()),
            _ => self.msrs.kept.read(index).ok_or(REFUSED),
        }
    }

    #[inline]
    fn write_x2apic(&mut self, index: u32, value: u64) -> Result<(), Exception> {
        let fabric = &mut self.board.fabric;
        let now = fabric.local.now;
        let written = fabric.local.lapic.write_msr(index, value, now);
        let effect = written.map_err(|GeneralProtection| REFUSED)?;
        fabric.carry_out(effect);
        Ok(())
    }

    fn set_msr(&mut self, index: u32, value: u64, host: &impl Host) -> Result<(), Exception> {
        match index {
            // The end of an interrupt follows each one, and neither needs the time nor moves a deadline.
            X2APIC_EOI => {
                let fabric = self.apic_now();
                let written = fabric.local.lapic.write_eoi_msr(value);
                fabric.carry_out(written.map_err(|GeneralProtection| REFUSED)?);
                Ok(())
            }
            msr::X2APIC_FIRST..=msr::X2APIC_LAST => {
                self.apic_at(host);
                self.write_x2apic(index, value)
            }
            msr::TSC_DEADLINE => {
                let line = *self.msrs.clock.tsc();
                let local = &mut self.board_at(host).fabric.local;
                local.lapic.set_tsc_deadline(value, local.now, &line);
                Ok(())
            }
            msr::TSC => {
                self.set_guest_tsc(value, host);
                Ok(())
            }
            msr::EFER => {
                let current = self.current_controls();
                let effect = control::check_efer(value, &current, self.cpuid.allowed())?;
                self.follow(&current, effect);
                Ok(())
            }
            msr::PAT => {
                self.vcpu.set_pat(Some(value).filter(|value| kept::is_pat(*value)).ok_or(REFUSED)?);
                Ok(())
            }
            msr::APIC_BASE => {
                let lapic = &mut self.apic_at(host).local.lapic;
                lapic.set_apic_base(value).map_err(|GeneralProtection| REFUSED)
            }
            msr::KVM_SYSTEM_TIME => self.set_system_time_register(value, host),
            msr::KVM_WALL_CLOCK => self.set_wall_clock_register(value),
            msr::KVM_PV_EOI => self.set_eoi_register(value),
            _ => {
                let physical_bits = self.cpuid.allowed().physical_bits;
                self.msrs.kept.write(index, value, physical_bits).ok_or(REFUSED)
            }
        }
    }
}
