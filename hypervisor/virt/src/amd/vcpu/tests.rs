use super::*;
use crate::amd::capabilities::capabilities;
use crate::amd::event;
use crate::testing::HostFrames;
use ::vcpu::Vcpu as _;
use ::vcpu::control::{cr0, efer};
use base::Vector;
use vcpu::{ControlRegister, CpuMode, Event, Exception, Segment};

/// A vCPU that was never entered, as on a CPU with all features.
pub fn vcpu() -> Vcpu {
    let maps = PermissionMaps { msrs: Hpa::from_low_bits(0x1000), ports: Hpa::from_low_bits(0x3000) };
    let root = Hpa::from_low_bits(0x6000);
    let mut vcpu =
        Vcpu::build(capabilities(16, u32::MAX), maps, Method::Fxsave, root, &mut HostFrames).unwrap();
    vcpu.vmcb_mut().control.asid = 1;
    vcpu
}

/// Does `ask` as if `vcpu` were loaded.
fn in_cpu<T>(vcpu: &mut Vcpu, ask: impl FnOnce(&mut Vcpu) -> T) -> T {
    vcpu.host = Some(Hpa::from_low_bits(0x7000));
    let answer = ask(vcpu);
    vcpu.host = None;
    answer
}

/// What `vcpu` makes of an exit with `exit_code`.
fn exit_with(vcpu: &mut Vcpu, exit_code: u64) -> Option<Exit> {
    vcpu.vmcb_mut().control.exit_code = exit_code;
    vcpu.after_exit().or_else(|| in_cpu(vcpu, Vcpu::rare_exit))
}

fn clean(vcpu: &Vcpu) -> CleanBits {
    CleanBits::from_bits_retain(vcpu.vmcb().control.clean)
}

#[test]
fn a_vcpu_that_is_loaded_nowhere_does_not_run() {
    let mut vcpu = vcpu();
    assert_eq!(vcpu.enter(), None);
    assert!(matches!(vcpu.rare_exit(), Some(Exit::EntryFailure(_))));
}

#[test]
fn what_was_loaded_is_what_is_saved() {
    let mut state = VcpuState::reset();
    state.gprs.set(Gpr::R9, 9);
    state.gprs.set(Gpr::Rsp, 0x8000);
    (state.cr8, state.efer, state.kernel_gs_base) = (5, 0x500, 0xffff_8880_0000_0000);
    state.dr0_to_3 = [1, 2, 3, 4];
    let mut vcpu = vcpu();
    vcpu.load(&state);
    assert_eq!(vcpu.save(), state);
}

#[test]
fn the_guest_never_sees_the_extension_in_efer() {
    let mut vcpu = vcpu();
    vcpu.set_efer(0xd01);
    assert_eq!(vcpu.efer(), 0xd01);
    assert_eq!(vcpu.vmcb().save.efer, 0x1d01);
}

#[test]
fn an_exit_brings_rax_and_rsp_back_and_makes_everything_clean() {
    let mut vcpu = vcpu();
    (vcpu.vmcb_mut().save.rax, vcpu.vmcb_mut().save.rsp) = (1, 2);
    assert_eq!(exit_with(&mut vcpu, code::CPUID), Some(Exit::Cpuid));
    assert_eq!((vcpu.gprs().get(Gpr::Rax), vcpu.gprs().get(Gpr::Rsp)), (1, 2));
    assert_eq!(clean(&vcpu), CleanBits::all());
}

#[test]
fn every_setter_takes_its_clean_bit_back() {
    type Change = fn(&mut Vcpu);
    let cases: [(Change, CleanBits); 9] = [
        (|v| v.set_cr0(0), CleanBits::CONTROL_REGISTERS),
        (|v| v.set_cr4(0), CleanBits::CONTROL_REGISTERS),
        (|v| v.set_efer(0), CleanBits::CONTROL_REGISTERS),
        (|v| v.set_cr2(0), CleanBits::CR2),
        (|v| v.set_task_priority(1), CleanBits::INTERRUPTS),
        (|v| v.want_task_priority_exits(Wanted::Yes), CleanBits::INTERCEPTS),
        (|v| v.set_tsc_offset(1), CleanBits::INTERCEPTS),
        (|v| v.want_interrupt_window(Wanted::Yes), CleanBits::INTERRUPTS.union(CleanBits::INTERCEPTS)),
        (|v| v.load(&VcpuState::reset()), CleanBits::all()),
    ];
    for (change, bits) in cases {
        let mut vcpu = vcpu();
        exit_with(&mut vcpu, code::CPUID);
        change(&mut vcpu);
        assert!(!clean(&vcpu).intersects(bits), "{bits:?}");
    }
}

#[test]
fn an_interrupted_delivery_is_queued_again_and_a_stale_one_is_not() {
    let mut vcpu = vcpu();
    vcpu.vmcb_mut().control.exit_int_info = event::encode(Event::Interrupt(Vector(0x40)));
    exit_with(&mut vcpu, code::NPF);
    assert_eq!(vcpu.queued_event(), Some(Event::Interrupt(Vector(0x40))));
    vcpu.vmcb_mut().control.exit_int_info &= !(1 << 31);
    exit_with(&mut vcpu, code::NPF);
    assert_eq!(vcpu.queued_event(), None);
}

#[test]
fn the_interrupt_window_is_a_pending_interrupt_that_exits_once() {
    let mut vcpu = vcpu();
    vcpu.want_interrupt_window(Wanted::Yes);
    assert_eq!(vcpu.vmcb().control.interrupt_control, 0x11f_0100);
    assert_eq!(vcpu.vmcb().control.intercepts1 & 1 << 4, 1 << 4);
    assert_eq!(exit_with(&mut vcpu, code::VINTR), Some(Exit::InterruptWindow));
    assert_eq!(vcpu.vmcb().control.interrupt_control, 0x100_0000);
    assert_eq!(vcpu.vmcb().control.intercepts1 & 1 << 4, 0);
}

#[test]
fn an_nmi_masks_the_next_until_its_handler_returns() {
    let mut vcpu = vcpu();
    assert!(vcpu.interrupt_state().accepts_nmi());
    vcpu.inject(Event::Nmi);
    exit_with(&mut vcpu, code::CPUID);
    assert!(vcpu.interrupt_state().nmi_masked);
    vcpu.set_rip(0x1000);
    assert_eq!(exit_with(&mut vcpu, code::IRET), None);
    assert!(vcpu.interrupt_state().nmi_masked);
    vcpu.set_rip(0x2000);
    assert!(!vcpu.interrupt_state().nmi_masked);
}

#[test]
fn an_nmi_that_is_replaced_before_entry_masks_nothing() {
    let mut vcpu = vcpu();
    vcpu.inject(Event::Nmi);
    vcpu.inject(Event::Exception(Exception::GENERAL_PROTECTION));
    assert!(!vcpu.interrupt_state().nmi_masked);
}

#[test]
fn the_nmi_window_opens_after_a_step_over_the_iret_that_the_guest_does_not_see() {
    let mut vcpu = vcpu();
    vcpu.inject(Event::Nmi);
    exit_with(&mut vcpu, code::CPUID);
    vcpu.want_nmi_window(Wanted::Yes);
    assert_eq!(exit_with(&mut vcpu, code::IRET), None);
    assert_eq!(vcpu.vmcb().save.rflags & rflags::TF, rflags::TF);
    assert_eq!(vcpu.rflags() & rflags::TF, 0);
    vcpu.vmcb_mut().save.rflags = rflags::FIXED;
    vcpu.vmcb_mut().save.dr6 = 1 << 14;
    assert_eq!(exit_with(&mut vcpu, code::EXCEPTION_DB), Some(Exit::NmiWindow));
    assert_eq!(vcpu.vmcb().save.dr6, 0);
    assert!(vcpu.interrupt_state().accepts_nmi());
}

#[test]
fn exceptions_that_their_own_delivery_can_raise_leave_the_guest() {
    let mut vcpu = vcpu();
    for (vector, error_code) in [(1, None), (17, Some(0))] {
        assert_ne!(vcpu.vmcb().control.intercept_exceptions & 1 << vector, 0);
        let exception = Exception { vector: Vector(vector), error_code };
        let exit = exit_with(&mut vcpu, code::EXCEPTION_0 + u64::from(vector));
        assert_eq!(exit, Some(Exit::Exception(exception)));
        vcpu.inject(Event::Exception(exception));
        assert_eq!(vcpu.queued_event(), Some(Event::Exception(exception)));
    }
}

#[test]
fn a_guest_that_steps_itself_is_trapped_behind_an_instruction_that_was_done_for_it() {
    let mut vcpu = vcpu();
    vcpu.vmcb_mut().save.dr6 = 0xffff_0ff1;
    vcpu.set_rip(0x1000);
    assert_eq!(vcpu.queued_event(), None);
    vcpu.set_rflags(rflags::TF);
    vcpu.set_rip(0x1002);
    assert_eq!(vcpu.queued_event(), Some(Event::Exception(Exception::DEBUG)));
    assert_eq!(vcpu.vmcb().save.dr6, 0xffff_4ff0);
}

#[test]
fn a_step_of_the_hypervisor_is_no_trap_of_the_guest() {
    let mut vcpu = vcpu();
    vcpu.inject(Event::Nmi);
    exit_with(&mut vcpu, code::CPUID);
    vcpu.want_nmi_window(Wanted::Yes);
    exit_with(&mut vcpu, code::IRET);
    vcpu.set_rip(0x1000);
    assert_eq!(vcpu.queued_event(), None);
}

#[test]
fn a_write_of_the_task_priority_exits_while_that_is_wanted() {
    let mut vcpu = vcpu();
    vcpu.want_task_priority_exits(Wanted::Yes);
    assert_eq!(vcpu.vmcb().control.intercept_cr, 0x110_0000);
    let exit = exit_with(&mut vcpu, code::CR8_WRITE);
    assert_eq!(exit, Some(Exit::WriteControlRegister(ControlRegister::Cr8)));
    vcpu.want_task_priority_exits(Wanted::No);
    assert_eq!(vcpu.vmcb().control.intercept_cr, 0x10_0000);
}

#[test]
fn a_flush_is_asked_for_once() {
    let mut vcpu = vcpu();
    exit_with(&mut vcpu, code::CPUID);
    vcpu.flush_tlb();
    assert_eq!(vcpu.vmcb().control.tlb_control, TlbControl::FlushGuest as u32);
    exit_with(&mut vcpu, code::CPUID);
    assert_eq!(vcpu.vmcb().control.tlb_control, 0);
}

#[test]
fn under_a_new_asid_everything_is_flushed_with_the_first_entry_and_not_before() {
    let mut vcpu = vcpu();
    exit_with(&mut vcpu, code::CPUID);
    vcpu.assign_tag(Assigned::Stale);
    vcpu.assign_tag(Assigned::Kept);
    assert_eq!(vcpu.vmcb().control.tlb_control, TlbControl::FlushGuest as u32);
    exit_with(&mut vcpu, code::INVALID);
    assert_eq!(vcpu.vmcb().control.tlb_control, TlbControl::FlushGuest as u32, "the entry was refused");
    exit_with(&mut vcpu, code::CPUID);
    assert_eq!(vcpu.vmcb().control.tlb_control, TlbControl::Keep as u32);
}

#[test]
fn a_processor_that_cannot_flush_one_asid_flushes_all() {
    let maps = PermissionMaps { msrs: Hpa::from_low_bits(0x1000), ports: Hpa::from_low_bits(0x3000) };
    let root = Hpa::from_low_bits(0x6000);
    let mut vcpu = Vcpu::build(capabilities(16, 1), maps, Method::Fxsave, root, &mut HostFrames).unwrap();
    vcpu.assign_tag(Assigned::Stale);
    assert_eq!(vcpu.vmcb().control.tlb_control, TlbControl::FlushAll as u32);
}

#[test]
fn the_instruction_length_is_told_only_where_the_hardware_knows() {
    let mut vcpu = vcpu();
    vcpu.set_rip(0x1000);
    vcpu.vmcb_mut().control.next_rip = 0;
    assert_eq!(vcpu.instruction_length(), None);
    vcpu.vmcb_mut().control.next_rip = 0x1002;
    assert_eq!(vcpu.instruction_length(), Some(2));
}

#[test]
fn a_refusal_names_the_check() {
    let mut vcpu = vcpu();
    vcpu.vmcb_mut().control.asid = 0;
    let Some(Exit::EntryFailure(failure)) = exit_with(&mut vcpu, code::INVALID_32) else { unreachable!() };
    assert!(failure.reason.contains("ASID"));
}

#[test]
fn a_refusal_is_explained_even_when_the_registers_are_overwritten() {
    let mut vcpu = vcpu();
    vcpu.set_cr0(cr0::NW);
    vcpu.vmcb_mut().save.cr0 = 0x11;
    let Some(Exit::EntryFailure(failure)) = exit_with(&mut vcpu, code::INVALID) else { unreachable!() };
    assert!(failure.reason.contains("CR0.NW"));
}

#[test]
fn modes_follow_the_registers() {
    let mut vcpu = vcpu();
    assert_eq!(vcpu.mode(), CpuMode::Real);
    let mut state = VcpuState::reset();
    state.cr0 |= cr0::PE;
    vcpu.load(&state);
    assert_eq!(vcpu.mode(), CpuMode::Protected16);
    state.efer = efer::LMA | efer::LME;
    state.cs.attributes |= Segment::LONG;
    vcpu.load(&state);
    assert_eq!(vcpu.mode(), CpuMode::Long64);
}
