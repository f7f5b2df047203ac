//! The stacks that a CPU switches to on NMI, double fault and machine check, and what the epitaph knows of all stacks.
//!
//! Unsafe because stacks are memory that is given to the processor.

use core::cell::UnsafeCell;
use handoff::{Handoff, Image};
use machine::descriptors::{self, EmergencyStacks};
use machine::epitaph::{self, Scene, StackRange};
use machine::{PerCpu, interrupts};
use memory::{HostMemoryError, SharedMemory, StackTop};

use crate::version;

/// The length of an emergency stack.
const EMERGENCY_BYTES: u64 = 16 * base::KIB;

/// What the stacks of one CPU take.
pub const PER_CPU_BYTES: u64 = memory::STACK_BYTES + 3 * EMERGENCY_BYTES;

/// Emergency stacks for the time before there is memory. They have no guard pages, and are left soon.
#[repr(C, align(16))]
struct FirstStacks(UnsafeCell<[[u8; EMERGENCY_BYTES as usize]; 3]>);

// SAFETY: only the processor writes there, on exceptions of the boot CPU.
unsafe impl Sync for FirstStacks {}

static FIRST: FirstStacks = FirstStacks(UnsafeCell::new([[0; EMERGENCY_BYTES as usize]; 3]));

/// Takes exceptions on stacks in the image.
pub fn install_first() {
    let bottom = FIRST.0.get().expose_provenance() as u64;
    let top = |index: u64| bottom + index * EMERGENCY_BYTES;
    let stacks = EmergencyStacks { nmi_top: top(1), double_fault_top: top(2), machine_check_top: top(3) };
    // SAFETY: this is the boot CPU with interrupts masked, and the stacks are for this alone.
    unsafe { descriptors::install(PerCpu::boot_cpu(), &stacks) }
}

/// Takes exceptions on stacks above guard pages, and tells the epitaph of them.
pub fn install_guarded(memory: &'static SharedMemory, handoff: &Handoff) -> Result<(), HostMemoryError> {
    let mut host = memory.lock();
    let [nmi, double_fault, machine_check] = [
        host.allocate_stack(EMERGENCY_BYTES)?,
        host.allocate_stack(EMERGENCY_BYTES)?,
        host.allocate_stack(EMERGENCY_BYTES)?,
    ];
    let main = host.boot_stack();
    let main = StackRange { bottom: main.start, top: main.end };
    drop(host);
    let stacks = EmergencyStacks {
        nmi_top: nmi.0,
        double_fault_top: double_fault.0,
        machine_check_top: machine_check.0,
    };
    // SAFETY: this is the boot CPU with interrupts masked; the stacks were made for this and are never freed.
    unsafe { descriptors::install(PerCpu::boot_cpu(), &stacks) }
    let below = |top: StackTop, len_bytes| StackRange { bottom: top.0 - len_bytes, top: top.0 };
    tell_epitaph(
        &handoff.image,
        &[
            main,
            below(nmi, EMERGENCY_BYTES),
            below(double_fault, EMERGENCY_BYTES),
            below(machine_check, EMERGENCY_BYTES),
        ],
    );
    Ok(())
}

/// The stack that boot gave us.
pub fn of_boot(handoff: &Handoff) -> StackRange {
    let range = handoff.boot_stack;
    StackRange { bottom: range.start().as_u64(), top: range.end_u64() }
}

/// Tells the epitaph where the image is and which stacks it may read.
pub fn tell_epitaph(image: &Image, stacks: &[StackRange]) {
    let scene = Scene {
        image_base: image.virtual_start,
        image_bytes: image.range.len_bytes(),
        build: version::BUILD_ID,
        stacks: stacks.iter().copied().take(epitaph::MAX_STACKS).collect(),
        finally: interrupts::halt_for_ever,
    };
    // SAFETY: the stacks are mapped for as long as they are the ones in use.
    unsafe { epitaph::set_scene(scene) }
}
