use super::*;
use crate::intel::capabilities::tests::capabilities;
use crate::testing::HostFrames;
use ::vcpu::Vcpu as _;
use ::vcpu::control::{cr0, cr4, efer};
use base::Vector;
use vcpu::{ApicAccess, ApicStatus, ControlRegister, CpuMode, Event, Exception, Segment};

/// A vCPU that was never entered, on no CPU: its VMCS is an image.
fn vcpu() -> Vcpu {
    vcpu_with(capabilities())
}

fn vcpu_with(capabilities: Capabilities) -> Vcpu {
    let at = Hpa::from_low_bits;
    let maps = PermissionMaps {
        msrs: at(0x1000),
        msrs_and_apic: at(0x4000),
        apic_page: at(0x5000),
        ports_a: at(0x2000),
        ports_b: at(0x3000),
    };
    Vcpu::build(capabilities, maps, Method::Fxsave, at(0x6000), &mut HostFrames).unwrap()
}

/// What `vcpu` makes of an exit for `reason`, which left `fields`.
fn exit_with(vcpu: &mut Vcpu, reason: u32, fields: &[(Field, u64)]) -> Option<Exit> {
    // What an exit takes back, and what it leaves unless told otherwise.
    let queued = vcpu.vmcs.read(Field::EntryInterruptionInfo);
    vcpu.vmcs.write(Field::EntryInterruptionInfo, queued & !(1 << 31));
    for field in [Field::VectoringInfo, Field::ExitInterruptionInfo, Field::Qualification] {
        vcpu.vmcs.write(field, 0);
    }
    vcpu.vmcs.write(Field::ExitReason, reason.into());
    for (field, value) in fields {
        vcpu.vmcs.write(*field, *value);
    }
    vcpu.outcome = Outcome::Exited;
    vcpu.after_exit().or_else(|| vcpu.rare_exit())
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
    (state.cr2, state.dr6, state.lstar) = (0x1234, 0xffff_4ff0, 7);
    state.dr0_to_3 = [1, 2, 3, 4];
    let mut vcpu = vcpu();
    vcpu.load(&state);
    assert_eq!(vcpu.save(), state);
}

#[test]
fn what_vmx_needs_of_the_control_registers_is_hidden_from_the_guest() {
    let mut vcpu = vcpu();
    vcpu.set_cr0(cr0::ET | cr0::CD);
    vcpu.set_cr4(cr4::PAE);
    assert_eq!(vcpu.vmcs.read(Field::Cr0), cr0::ET | cr0::NE);
    assert_eq!(vcpu.vmcs.read(Field::Cr4), cr4::PAE | cr4::VMXE | cr4::MCE);
    assert_eq!((vcpu.cr0(), vcpu.cr4()), (cr0::ET | cr0::CD, cr4::PAE));
}

#[test]
fn the_guest_switches_its_task_switched_flag_itself() {
    let mut vcpu = vcpu();
    vcpu.set_cr0(cr0::PE | cr0::NE);
    assert_eq!(vcpu.vmcs.read(Field::Cr0Mask), !(cr0::TS | cr0::MP));
    vcpu.vmcs.write(Field::Cr0, cr0::PE | cr0::NE | cr0::TS);
    assert_eq!(vcpu.cr0(), cr0::PE | cr0::NE | cr0::TS);
}

#[test]
fn the_mode_of_the_entry_follows_long_mode() {
    let mut vcpu = vcpu();
    let is_long = |vcpu: &Vcpu| vcpu.vmcs.read(Field::EntryControls) & 1 << 9 != 0;
    assert!(!is_long(&vcpu));
    vcpu.set_efer(efer::LME | efer::LMA);
    assert!(is_long(&vcpu));
    vcpu.set_efer(efer::LME);
    assert!(!is_long(&vcpu));
}

#[test]
fn directory_pointers_reach_the_vmcs() {
    let mut vcpu = vcpu();
    vcpu.set_pdptes([1, 2, 3, 4]);
    assert_eq!(vcpu.vmcs.read(Field::Pdpte0), 1);
    assert_eq!(vcpu.vmcs.read(Field::Pdpte3), 4);
}

#[test]
fn an_exit_brings_rip_and_rsp_back() {
    let mut vcpu = vcpu();
    let exit = exit_with(&mut vcpu, reason::CPUID, &[(Field::Rip, 0x1000), (Field::Rsp, 2)]);
    assert_eq!(exit, Some(Exit::Cpuid));
    assert_eq!((vcpu.rip(), vcpu.gprs().get(Gpr::Rsp)), (0x1000, 2));
}

#[test]
fn a_vmcs_is_launched_once() {
    let mut vcpu = vcpu();
    assert_eq!(vcpu.entry, Entry::Launch);
    exit_with(&mut vcpu, 33 | reason::ENTRY_FAILURE, &[]);
    assert_eq!(vcpu.entry, Entry::Launch, "the entry failed");
    exit_with(&mut vcpu, reason::CPUID, &[]);
    assert_eq!(vcpu.entry, Entry::Resume);
}

#[test]
fn an_interrupted_delivery_is_queued_again_and_a_stale_one_is_not() {
    let mut vcpu = vcpu();
    let fault = (Field::VectoringErrorCode, 7);
    exit_with(&mut vcpu, reason::EPT_VIOLATION, &[(Field::VectoringInfo, 0x8000_0b0e), fault]);
    vcpu.set_cr0(cr0::PE);
    exit_with(&mut vcpu, reason::EPT_VIOLATION, &[(Field::VectoringInfo, 0x8000_0b0e), fault]);
    assert_eq!(vcpu.queued_event(), Some(Event::Exception(Exception::page_fault(7))));
    exit_with(&mut vcpu, reason::EPT_VIOLATION, &[(Field::VectoringInfo, 0xb0e), fault]);
    assert_eq!(vcpu.queued_event(), None);
}

#[test]
fn an_event_that_led_to_a_task_switch_is_not_queued_again() {
    let mut vcpu = vcpu();
    let exit = exit_with(&mut vcpu, reason::TASK_SWITCH, &[(Field::VectoringInfo, 0x8000_0030)]);
    assert_eq!((exit, vcpu.queued_event()), (Some(Exit::TaskSwitch), None));
}

#[test]
fn an_nmi_whose_delivery_was_interrupted_is_delivered_anew() {
    let mut vcpu = vcpu();
    let fields = [(Field::VectoringInfo, 0x8000_0202), (Field::Interruptibility, 8)];
    exit_with(&mut vcpu, reason::EPT_VIOLATION, &fields);
    assert_eq!(vcpu.queued_event(), Some(Event::Nmi));
    assert!(!vcpu.interrupt_state().nmi_masked);
}

#[test]
fn an_iret_that_faults_leaves_nmis_masked() {
    let mut vcpu = vcpu();
    exit_with(&mut vcpu, reason::EPT_VIOLATION, &[(Field::Qualification, 1 << 12)]);
    assert!(vcpu.interrupt_state().nmi_masked);
    vcpu.vmcs.write(Field::Interruptibility, 0);
    exit_with(&mut vcpu, reason::EXCEPTION_OR_NMI, &[(Field::ExitInterruptionInfo, 0x8000_1b11)]);
    assert!(vcpu.interrupt_state().nmi_masked);
}

#[test]
fn windows_open_while_they_are_wanted_and_exit_once() {
    let open = |vcpu: &Vcpu| vcpu.vmcs.read(Field::PrimaryControls) & (1 << 2 | 1 << 22);
    let mut vcpu = vcpu();
    assert_eq!(open(&vcpu), 0);
    vcpu.want_interrupt_window(Wanted::Yes);
    vcpu.want_nmi_window(Wanted::Yes);
    assert_eq!(exit_with(&mut vcpu, reason::INTERRUPT_WINDOW, &[]), Some(Exit::InterruptWindow));
    assert_eq!(open(&vcpu), 1 << 22);
    assert_eq!(exit_with(&mut vcpu, reason::NMI_WINDOW, &[]), Some(Exit::NmiWindow));
    assert_eq!(open(&vcpu), 0);
}

#[test]
fn an_instruction_that_was_done_for_the_guest_ends_its_shadow_and_its_resume_flag() {
    let mut vcpu = vcpu();
    vcpu.vmcs.write(Field::Interruptibility, 1 | NMIS);
    vcpu.vmcs.write(Field::Rflags, rflags::RF | rflags::IF);
    assert!(!vcpu.interrupt_state().accepts_interrupt());
    vcpu.set_rip(0x1002);
    assert_eq!((vcpu.rip(), vcpu.vmcs.read(Field::Rip), vcpu.rflags()), (0x1002, 0x1002, rflags::IF));
    assert!(vcpu.interrupt_state().accepts_interrupt() && vcpu.interrupt_state().nmi_masked);
}

const NMIS: u64 = 1 << 3;

#[test]
fn a_guest_that_steps_itself_is_trapped_behind_an_instruction_that_was_done_for_it() {
    let mut vcpu = vcpu();
    vcpu.kept.dr6 = 0xffff_0ff1;
    vcpu.set_rip(0x1000);
    assert_eq!(vcpu.queued_event(), None);
    vcpu.set_rflags(rflags::TF);
    vcpu.vmcs.write(Field::PendingDebug, 1 << 14);
    vcpu.set_rip(0x1002);
    assert_eq!(vcpu.queued_event(), Some(Event::Exception(Exception::DEBUG)));
    assert_eq!((vcpu.save().dr6, vcpu.vmcs.read(Field::PendingDebug)), (0xffff_4ff0, 0));
}

#[test]
fn exceptions_that_their_own_delivery_can_raise_leave_the_guest() {
    for (vector, information, error_code) in [(1, 0x8000_0301, None), (17, 0x8000_0b11, Some(0))] {
        let mut vcpu = vcpu();
        assert_ne!(vcpu.vmcs.read(Field::ExceptionBitmap) & 1 << vector, 0);
        let exception = Exception { vector: Vector(vector), error_code };
        let exit =
            exit_with(&mut vcpu, reason::EXCEPTION_OR_NMI, &[(Field::ExitInterruptionInfo, information)]);
        assert_eq!(exit, Some(Exit::Exception(exception)));
    }
}

#[test]
fn a_debug_exception_that_exits_updates_the_debug_registers_first() {
    let mut vcpu = vcpu();
    vcpu.kept.dr6 = 0xffff_0ff8;
    vcpu.vmcs.write(Field::Dr7, 0x2400);
    let fields = [(Field::ExitInterruptionInfo, 0x8000_0301), (Field::Qualification, 0x2001)];
    exit_with(&mut vcpu, reason::EXCEPTION_OR_NMI, &fields);
    assert_eq!((vcpu.save().dr6, vcpu.dr7()), (0xffff_2ff1, 0x400));
}

#[test]
fn the_trap_of_int1_is_taken_behind_it() {
    let mut vcpu = vcpu();
    let fields =
        [(Field::ExitInterruptionInfo, 0x8000_0501), (Field::Rip, 0x1000), (Field::InstructionLength, 1)];
    let exit = exit_with(&mut vcpu, reason::EXCEPTION_OR_NMI, &fields);
    assert_eq!((exit, vcpu.rip()), (Some(Exit::Exception(Exception::DEBUG)), 0x1001));
}

#[test]
fn a_software_interrupt_returns_behind_its_instruction() {
    let mut vcpu = vcpu();
    vcpu.set_rip(0x1002);
    vcpu.inject(Event::SoftwareInterrupt(Vector(0x80)));
    let pushed = vcpu.vmcs.read(Field::Rip) + vcpu.vmcs.read(Field::EntryInstructionLength);
    assert_eq!(pushed, 0x1002);
}

#[test]
fn a_fall_of_the_task_priority_is_told_while_that_is_wanted_and_no_entry_fails_for_it() {
    let mut vcpu = vcpu();
    let threshold = |vcpu: &Vcpu| vcpu.vmcs.read(Field::TprThreshold);
    vcpu.set_task_priority(9);
    vcpu.want_task_priority_exits(Wanted::Yes);
    assert_eq!(threshold(&vcpu), 9);
    // The guest lowers it.
    vcpu.page.set_task_priority(7);
    assert_eq!(exit_with(&mut vcpu, reason::TPR_BELOW_THRESHOLD, &[]), None);
    assert_eq!((threshold(&vcpu), vcpu.task_priority()), (7, 7));
    vcpu.set_task_priority(3);
    assert_eq!(threshold(&vcpu), 3);
    vcpu.want_task_priority_exits(Wanted::No);
    assert_eq!(threshold(&vcpu), 0);
}

#[test]
fn without_a_tpr_shadow_reads_of_cr8_are_answered_and_writes_are_told() {
    let mut vcpu = vcpu();
    vcpu.set_task_priority(9);
    let fields = [(Field::Qualification, 0x318), (Field::Rip, 0x1000), (Field::InstructionLength, 4)];
    assert_eq!(exit_with(&mut vcpu, reason::CR_ACCESS, &fields), None);
    assert_eq!((vcpu.gprs().get(Gpr::Rbx), vcpu.rip()), (9, 0x1004));
    let exit = exit_with(&mut vcpu, reason::CR_ACCESS, &[(Field::Qualification, 8)]);
    assert_eq!(exit, Some(Exit::WriteControlRegister(ControlRegister::Cr8)));
}

#[test]
fn under_a_new_vpid_everything_is_dropped_with_the_first_entry_and_a_flush_drops_the_guests() {
    let mut vcpu = vcpu();
    vcpu.due = Due::empty();
    vcpu.assign_tag(Assigned::Kept);
    assert_eq!(vcpu.due, Due::empty());
    vcpu.flush_tlb();
    assert_eq!(vcpu.due, Due::GUEST);
    vcpu.assign_tag(Assigned::Stale);
    vcpu.assign_tag(Assigned::Kept);
    assert_eq!(vcpu.due, Due::GUEST | Due::NESTED);
}

#[test]
fn the_instruction_length_is_told_only_where_an_instruction_exited() {
    let mut vcpu = vcpu();
    exit_with(&mut vcpu, reason::EPT_VIOLATION, &[(Field::InstructionLength, 3)]);
    assert_eq!(vcpu.instruction_length(), None);
    exit_with(&mut vcpu, reason::CPUID, &[(Field::InstructionLength, 2)]);
    assert_eq!(vcpu.instruction_length(), Some(2));
    exit_with(&mut vcpu, reason::CPUID, &[(Field::InstructionLength, 0)]);
    assert_eq!(vcpu.instruction_length(), None);
}

#[test]
fn the_address_behind_a_port_access_has_32_bits_outside_64_bit_mode() {
    let next = |vcpu: &mut Vcpu| {
        let fields = [(Field::Rip, 0xffff_ffff), (Field::InstructionLength, 1)];
        match exit_with(vcpu, reason::IO, &fields) {
            Some(Exit::Io(io)) => io.next_rip,
            _ => unreachable!(),
        }
    };
    let mut vcpu = vcpu();
    assert_eq!(next(&mut vcpu), 0);
    let mut state = VcpuState::reset();
    (state.efer, state.cs.attributes) = (efer::LMA | efer::LME, 0x29b);
    vcpu.load(&state);
    assert_eq!(next(&mut vcpu), 0x1_0000_0000);
}

#[test]
fn a_state_that_the_processor_refuses_is_told_with_the_fields_at_fault() {
    let mut vcpu = vcpu();
    vcpu.vmcs.write(Field::LdtrRights, 0x93);
    let exit = exit_with(&mut vcpu, 33 | reason::ENTRY_FAILURE, &[]);
    let Some(Exit::EntryFailure(failure)) = exit else { unreachable!() };
    assert_eq!(failure.code, u64::from(33 | reason::ENTRY_FAILURE));
    assert!(failure.fields.iter().any(|field| field.name.contains("LDTR")), "{failure:?}");
}

#[test]
fn a_vcpu_after_reset_and_one_in_long_mode_pass_every_check() {
    let mut long = VcpuState::reset();
    (long.cr0, long.cr4, long.efer) = (0x8000_0033, cr4::PAE, efer::LME | efer::LMA);
    (long.cs.attributes, long.cs.limit, long.rflags) = (0xa9b, u32::MAX, rflags::FIXED);
    for state in [VcpuState::reset(), long] {
        let mut vcpu = vcpu();
        vcpu.load(&state);
        let exit = exit_with(&mut vcpu, 33 | reason::ENTRY_FAILURE, &[]);
        let Some(Exit::EntryFailure(failure)) = exit else { unreachable!() };
        assert!(failure.reason.contains("none of the documented checks"), "{failure:?}");
    }
}

#[test]
fn controls_that_the_processor_refuses_are_told() {
    let mut vcpu = vcpu();
    vcpu.outcome = Outcome::Refused;
    vcpu.vmcs.write(Field::InstructionError, 7);
    vcpu.vmcs.write(Field::Vpid, 0);
    let Some(Exit::EntryFailure(failure)) = vcpu.rare_exit() else { unreachable!() };
    assert_eq!(failure.code, 7);
    assert!(failure.fields.iter().any(|field| field.name == "VPID"), "{failure:?}");
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

#[test]
fn the_vmcs_follows_the_local_apic_and_a_new_way_to_it_drops_translations() {
    let mut vcpu = vcpu();
    assert!(vcpu.apic_page().is_some() && vcpu.pending_interrupts().is_some());
    vcpu.due = Due::empty();
    let status = ApicStatus {
        access: ApicAccess::Emulated,
        requested: Some(Vector(0x41)),
        in_service: Some(Vector(0x30)),
        exiting_ends: [0, 2, 0, 1 << 63],
    };
    vcpu.follow_apic(&status);
    assert_eq!(vcpu.vmcs.read(Field::GuestInterruptStatus), 0x3041);
    assert_eq!(vcpu.vmcs.read(Field::EoiExitBitmap1), 2);
    assert_eq!(vcpu.vmcs.read(Field::EoiExitBitmap3), 1 << 63);
    assert_eq!(vcpu.due, Due::empty());
    let ways =
        |vcpu: &Vcpu| (vcpu.vmcs.read(Field::SecondaryControls) & 0x11, vcpu.vmcs.read(Field::MsrBitmap));
    for (access, expected) in [
        (ApicAccess::Msrs, (0x10, 0x4000)),
        (ApicAccess::Page, (1, 0x1000)),
        (ApicAccess::Emulated, (0, 0x1000)),
    ] {
        vcpu.due = Due::empty();
        vcpu.follow_apic(&ApicStatus { access, ..status });
        assert_eq!((ways(&vcpu), vcpu.due), (expected, Due::GUEST | Due::NESTED), "{access:?}");
    }
}

#[test]
fn a_processor_that_runs_no_apics_has_no_page_of_one() {
    let mut without = capabilities();
    without.secondary &= !0x300;
    without.pin &= !0x80;
    let mut vcpu = vcpu_with(without);
    assert!(vcpu.apic_page().is_none() && vcpu.pending_interrupts().is_none());
    vcpu.follow_apic(&ApicStatus { requested: Some(Vector(0x41)), ..ApicStatus::default() });
    assert_eq!(vcpu.vmcs.read(Field::GuestInterruptStatus), 0);
}

#[test]
fn what_the_processor_does_not_do_of_the_local_apic_is_told() {
    let mut vcpu = vcpu();
    let mut exit =
        |reason, qualification| exit_with(&mut vcpu, reason, &[(Field::Qualification, qualification)]);
    assert_eq!(exit(reason::VIRTUALIZED_EOI, 0x51), Some(Exit::EndOfInterrupt(Vector(0x51))));
    assert_eq!(exit(reason::APIC_WRITE, 0x320), Some(Exit::ApicWrite(0x32)));
    let Some(Exit::NestedFault(fault)) = exit(reason::APIC_ACCESS, 0x10a0) else { unreachable!() };
    assert_eq!(fault.gpa.as_u64(), 0xfee0_00a0);
}
