//! Carrying the plan out.
//!
//! Why unsafe: model-specific registers, and instructions that have no other name.

use super::Mitigations;
use super::actions::Actions;
use super::processor::Processor;
use core::arch::asm;
use core::arch::x86_64::__cpuid_count;
use x86_64::registers::model_specific::Msr;

/// IA32_SPEC_CTRL (SDM, volume 4, table 2-2; APM 24593, volume 2, section 3.2.9).
const SPEC_CTRL: u32 = 0x48;
const SPEC_CTRL_IBRS: u64 = 1 << 0;
const SPEC_CTRL_RRSBA_DIS_S: u64 = 1 << 6;
const SPEC_CTRL_BHI_DIS_S: u64 = 1 << 10;
const PRED_CMD: u32 = 0x49;
const PRED_CMD_IBPB: u64 = 1 << 0;
const ARCH_CAPABILITIES: u32 = 0x10a;
const FLUSH_CMD: u32 = 0x10b;
const FLUSH_CMD_L1D: u64 = 1 << 0;
const EFER: u32 = 0xc000_0080;
const EFER_AIBRSE: u64 = 1 << 21;
/// AMD's DE_CFG; bit 9 is what bulletin 7008 names for want of microcode.
const DE_CFG: u32 = 0xc001_1029;
const DE_CFG_ZENBLEED: u64 = 1 << 9;
/// AMD's BP_CFG; bit 4 is BP_SPEC_REDUCE (bulletin 7005).
const BP_CFG: u32 = 0xc001_102e;
const BP_CFG_SPEC_REDUCE: u64 = 1 << 4;

impl Mitigations {
    /// Those of the CPU that executes this.
    pub fn detect() -> Self {
        let cpuid = |leaf, subleaf| {
            let answer = __cpuid_count(leaf, subleaf);
            [answer.eax, answer.ebx, answer.ecx, answer.edx]
        };
        // SAFETY: asked for only where CPUID shows the register; reading it has no effect.
        Self::of(Processor::detect(cpuid, || unsafe { Msr::new(ARCH_CAPABILITIES).read() }))
    }

    /// Does on the CPU that executes this what is done once. It is the one that [`Mitigations::detect`] saw.
    pub fn set_up(&self) {
        let registers = [
            (Actions::KEEP_IBRS, SPEC_CTRL, SPEC_CTRL_IBRS),
            (Actions::NO_RETURN_ALTERNATIVES, SPEC_CTRL, SPEC_CTRL_RRSBA_DIS_S),
            (Actions::NO_GUEST_HISTORY, SPEC_CTRL, SPEC_CTRL_BHI_DIS_S),
            (Actions::AUTO_IBRS, EFER, EFER_AIBRSE),
            (Actions::NO_ZENBLEED, DE_CFG, DE_CFG_ZENBLEED),
            (Actions::REDUCE_SPECULATION, BP_CFG, BP_CFG_SPEC_REDUCE),
        ];
        for (action, register, bit) in registers {
            if self.actions.contains(action) {
                let mut register = Msr::new(register);
                // SAFETY: the plan names the bit only for processors that have it; it restricts speculation and changes
                // no architectural state.
                unsafe {
                    let value = register.read();
                    register.write(value | bit);
                }
            }
        }
    }

    /// Separates the vCPU that this CPU has run from the one that it turns to: branch predictions, lines of the
    /// L1 data cache and quotients do not stay, where they could be read.
    pub fn turn(&self) {
        if self.actions.contains(Actions::BRANCH_BARRIER) {
            // SAFETY: the CPU has the register; writing it changes no architectural state.
            unsafe { Msr::new(PRED_CMD).write(PRED_CMD_IBPB) };
        }
        if self.actions.contains(Actions::FLUSH_L1D) {
            // SAFETY: as above.
            unsafe { Msr::new(FLUSH_CMD).write(FLUSH_CMD_L1D) };
        }
        if self.actions.contains(Actions::CLEAR_DIVIDER) {
            clear_divider();
        }
    }

    /// What the world switch has to do on this CPU.
    pub fn guards(&self) -> Guards {
        let selector: u16;
        // SAFETY: reading a selector has no effect.
        unsafe { asm!("mov {:x}, ss", out(reg) selector, options(nomem, nostack, preserves_flags)) };
        Guards::new(self.actions, selector)
    }
}

/// Divides 0 by 1.
fn clear_divider() {
    // SAFETY: the divisor is not 0, and the quotient fits.
    unsafe {
        asm!("div {divisor:e}", divisor = in(reg) 1, inout("eax") 0 => _, inout("edx") 0 => _,
             options(nomem, nostack));
    }
}

/// What the world switch has to do: bits 7:0 of [`Actions`], and in bits 31:16 the selector of a writable data segment,
/// which VERW wants to be quick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Guards(u32);

impl Guards {
    pub(super) const fn new(actions: Actions, selector: u16) -> Self {
        Self((selector as u32) << 16 | actions.bits() & 0xff)
    }

    /// Whether nothing is to be done: the usual way, tested once on the way into the guest.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 & 0xff == 0
    }

    const fn switch_ibrs(self) -> bool {
        self.0 & Actions::SWITCH_IBRS.bits() != 0
    }

    /// To be called before the world switch.
    pub fn before_entry(self) {
        if self.switch_ibrs() {
            write_ibrs(0);
        }
    }

    /// To be called after the world switch.
    pub fn after_exit(self) {
        if self.switch_ibrs() {
            write_ibrs(SPEC_CTRL_IBRS);
        }
    }
}

fn write_ibrs(value: u64) {
    // SAFETY: the plan asks for it only where CPUID shows the register; it changes no architectural state.
    unsafe { Msr::new(SPEC_CTRL).write(value) };
}

/// Assembly, the last before the instruction that enters the guest: VERW, if the [`Guards`] at `[rsp + offset]` ask for
/// it (SDM, volume 2, VERW; Intel, "Microarchitectural Data Sampling"). Changes flags only.
macro_rules! clear_buffers {
    ($offset:literal) => {
        concat!(
            "test byte ptr [rsp + ",
            $offset,
            "], 1\n",
            "jz 2f\n",
            "verw word ptr [rsp + ",
            $offset,
            " + 2]\n",
            "2:"
        )
    };
}
pub(crate) use clear_buffers;

/// Assembly, before the first return after an exit: fills the return stack with 32 harmless entries, if the [`Guards`] at
/// `[rsp + offset]` ask for it. Changes RCX and flags.
macro_rules! fill_return_stack {
    ($offset:literal) => {
        concat!(
            "test byte ptr [rsp + ",
            $offset,
            "], 2\n",
            "jz 5f\n",
            "mov ecx, 32\n",
            // Who returns speculatively to after the call stops there.
            "3: call 4f\n",
            "int3\n",
            "4: dec ecx\n",
            "jnz 3b\n",
            "add rsp, 32 * 8\n",
            "lfence\n",
            "5:"
        )
    };
}
pub(crate) use fill_return_stack;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_switch_tests_the_bits_that_the_plan_sets() {
        let guards = Guards::new(Actions::CLEAR_BUFFERS | Actions::BRANCH_BARRIER, 0x10);
        assert_eq!(guards.0, 0x0010_0001);
        assert_eq!(Guards::new(Actions::FILL_RETURN_STACK, 0).0, 2);
        assert!(Guards::new(Actions::SWITCH_IBRS, 0).switch_ibrs() && !guards.switch_ibrs());
    }

    /// Runs both pieces of assembly with `guards`, and gives RSP's change.
    fn run(guards: Guards) -> u64 {
        let (before, after): (u64, u64);
        // SAFETY: VERW and calls to the next instruction change nothing but flags, RCX and memory below RSP, which
        // is reserved first.
        unsafe {
            asm!(
                "mov {before}, rsp",
                "sub rsp, 512",
                "push {guards}",
                clear_buffers!("0"),
                fill_return_stack!("0"),
                "pop {guards}",
                "add rsp, 512",
                "mov {after}, rsp",
                before = out(reg) before,
                after = out(reg) after,
                guards = inout(reg) u64::from(guards.0) => _,
                out("rcx") _,
            );
        }
        after.wrapping_sub(before)
    }

    #[test]
    fn the_assembly_leaves_the_stack_as_it_was() {
        let data_segment: u16;
        // SAFETY: reading a selector has no effect.
        unsafe { asm!("mov {:x}, ss", out(reg) data_segment) };
        for actions in [
            Actions::empty(),
            Actions::CLEAR_BUFFERS,
            Actions::FILL_RETURN_STACK,
            Actions::CLEAR_BUFFERS | Actions::FILL_RETURN_STACK,
        ] {
            assert_eq!(run(Guards::new(actions, data_segment)), 0, "{actions:?}");
        }
    }
}
