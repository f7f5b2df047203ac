//! Well-known processors, as their CPUID and ARCH_CAPABILITIES show them with current microcode, and their plans.

use super::actions::Actions;
use super::processor::{Features, Processor, Vendor, arch};
use super::report::{VULNERABILITIES, Verdict};
use super::vulnerabilities::Vulnerabilities as V;
use super::*;
use std::string::ToString;

/// Microcode of 2018 and later for Intel's processors.
const PATCHED: Features = Features::IBRS.union(Features::IBPB).union(Features::AVX);
const BUFFERS: Features = PATCHED.union(Features::MD_CLEAR).union(Features::L1D_FLUSH);
const TOLD: Features = BUFFERS.union(Features::ARCH_CAPABILITIES);
const COMMON: V = V::SPECTRE_V1.union(V::SPECTRE_V2).union(V::SSB).union(V::EXCEPTION_LOOPS);
const EXIT_GUARDS: Actions = Actions::SWITCH_IBRS.union(Actions::FILL_RETURN_STACK);
const CASCADE_LAKE_SAYS: u64 =
    arch::RDCL_NO | arch::IBRS_ALL | arch::SKIP_L1DFL | arch::MDS_NO | arch::TSX_CTRL | arch::GDS_CTRL;
const ICE_LAKE_SAYS: u64 = arch::RDCL_NO
    | arch::IBRS_ALL
    | arch::SKIP_L1DFL
    | arch::MDS_NO
    | arch::PSCHANGE_MC_NO
    | arch::TAA_NO
    | arch::FB_CLEAR
    | arch::GDS_CTRL;
const SAPPHIRE_RAPIDS_SAYS: u64 = ICE_LAKE_SAYS & !arch::FB_CLEAR
    | arch::SBDR_SSDP_NO
    | arch::FBSDP_NO
    | arch::PSDP_NO
    | arch::PBRSB_NO
    | arch::GDS_NO
    | arch::RFDS_NO
    | arch::ITS_NO;

fn intel(signature: u32, features: Features, arch_capabilities: u64) -> Mitigations {
    Mitigations::of(Processor::from_signature(Vendor::Intel, signature, features, arch_capabilities))
}

fn amd(signature: u32, features: Features) -> Mitigations {
    Mitigations::of(Processor::from_signature(Vendor::Amd, signature, features | Features::AVX, 0))
}

fn skylake_sp() -> Mitigations {
    intel(0x5_0654, BUFFERS | Features::RTM, 0)
}

#[track_caller]
fn assert_plan(mitigations: &Mitigations, vulnerabilities: V, actions: Actions) {
    assert_eq!(mitigations.vulnerabilities, vulnerabilities);
    assert_eq!(mitigations.actions, actions);
}

const OLD_CORE: V = COMMON.union(V::MELTDOWN).union(V::L1TF).union(V::MDS).union(V::ITLB_MULTIHIT);
const OLD_CORE_ACTIONS: Actions = EXIT_GUARDS
    .union(Actions::CLEAR_BUFFERS)
    .union(Actions::BRANCH_BARRIER)
    .union(Actions::FLUSH_L1D)
    .union(Actions::SMALL_EXECUTABLE_PAGES);

#[test]
fn haswell_server_gets_all_that_old_cores_need() {
    assert_plan(&intel(0x3_06f2, BUFFERS, 0), OLD_CORE | V::MMIO, OLD_CORE_ACTIONS);
}

#[test]
fn haswell_client_leaks_rdrand_until_microcode_stops_it() {
    let old = intel(0x3_06c3, BUFFERS, 0);
    assert_plan(&old, OLD_CORE | V::SRBDS, OLD_CORE_ACTIONS);
    assert!(old.to_string().contains("SRBDS (CVE-2020-0543)                  vulnerable: the microcode"));
    let new = intel(0x3_06c3, BUFFERS | Features::SRBDS_CTRL, 0);
    assert!(new.to_string().contains("SRBDS (CVE-2020-0543)                  microcode\n"));
}

#[test]
fn broadwell_server_has_transactions_too() {
    let broadwell = intel(0x4_06f1, BUFFERS | Features::RTM, 0);
    assert_plan(&broadwell, OLD_CORE | V::MMIO | V::TAA, OLD_CORE_ACTIONS);
}

#[test]
fn skylake_server_switches_ibrs_for_its_returns() {
    let has = OLD_CORE | V::MMIO | V::TAA | V::RETBLEED | V::GDS;
    assert_plan(&skylake_sp(), has, OLD_CORE_ACTIONS);
    assert!(skylake_sp().to_string().contains("Retbleed (CVE-2022-29900)              IBRS after exits\n"));
}

#[test]
fn cascade_lake_keeps_ibrs_and_needs_no_flush_of_l1d() {
    let cascade_lake = intel(0x5_0657, TOLD, CASCADE_LAKE_SAYS);
    let has =
        COMMON | V::TAA | V::MMIO | V::RETBLEED | V::GDS | V::ITS | V::ITLB_MULTIHIT | V::BHI | V::PBRSB;
    let does = Actions::KEEP_IBRS
        | Actions::BRANCH_BARRIER
        | Actions::CLEAR_BUFFERS
        | Actions::FILL_RETURN_STACK
        | Actions::SMALL_EXECUTABLE_PAGES;
    assert_plan(&cascade_lake, has, does);
}

#[test]
fn ice_lake_server_executes_from_large_pages() {
    let ice_lake = intel(0x6_06a6, TOLD, ICE_LAKE_SAYS);
    let has = COMMON | V::MMIO | V::GDS | V::ITS | V::BHI | V::PBRSB;
    let does =
        Actions::KEEP_IBRS | Actions::BRANCH_BARRIER | Actions::CLEAR_BUFFERS | Actions::FILL_RETURN_STACK;
    assert_plan(&ice_lake, has, does);
    assert_eq!(ice_lake.executable_pages(), ExecutablePages::AnySize);
    assert_eq!(skylake_sp().executable_pages(), ExecutablePages::SmallOnly);
}

#[test]
fn sapphire_rapids_has_nothing_to_do_at_entries_and_exits() {
    let controls = Features::BHI_CTRL | Features::RRSBA_CTRL;
    let sapphire_rapids = intel(0x8_06f8, TOLD | controls, SAPPHIRE_RAPIDS_SAYS);
    let does = Actions::KEEP_IBRS
        | Actions::BRANCH_BARRIER
        | Actions::NO_GUEST_HISTORY
        | Actions::NO_RETURN_ALTERNATIVES;
    assert_plan(&sapphire_rapids, COMMON | V::BHI, does);
    assert_eq!(Guards::new(sapphire_rapids.actions, 0), Guards::default());
}

#[test]
fn alder_lake_n_clears_its_register_files() {
    let says = SAPPHIRE_RAPIDS_SAYS & !arch::RFDS_NO | arch::RFDS_CLEAR;
    let alder_lake_n = intel(0xb_06e0, TOLD | Features::BHI_CTRL, says);
    let does =
        Actions::KEEP_IBRS | Actions::BRANCH_BARRIER | Actions::NO_GUEST_HISTORY | Actions::CLEAR_BUFFERS;
    assert_plan(&alder_lake_n, COMMON | V::BHI | V::RFDS, does);
}

#[test]
fn goldmont_has_large_pages_and_no_buffers_that_leak_but_registers() {
    let goldmont = intel(0x5_06c9, PATCHED | Features::ARCH_CAPABILITIES, arch::RFDS_CLEAR);
    let does = EXIT_GUARDS | Actions::BRANCH_BARRIER | Actions::CLEAR_BUFFERS;
    assert_plan(&goldmont, COMMON | V::MELTDOWN | V::RFDS, does);
}

#[test]
fn silvermont_samples_its_store_buffer_only() {
    let silvermont = intel(0x3_0678, PATCHED | Features::MD_CLEAR, 0);
    let has = (COMMON | V::MELTDOWN | V::MDS) - V::SSB;
    assert_plan(&silvermont, has, EXIT_GUARDS | Actions::BRANCH_BARRIER | Actions::CLEAR_BUFFERS);
}

#[test]
fn zen_1_cannot_stop_its_returns() {
    let zen = amd(0x0080_0f12, Features::IBPB);
    let does = Actions::BRANCH_BARRIER | Actions::FILL_RETURN_STACK | Actions::CLEAR_DIVIDER;
    assert_plan(&zen, COMMON | V::RETBLEED | V::SRSO | V::DIV0, does);
    assert!(zen.to_string().contains("Retbleed (CVE-2022-29900)              vulnerable: not stopped"));
}

#[test]
fn zen_2_is_told_to_keep_its_vector_registers_to_itself_unless_it_is_virtual() {
    let zen2 = amd(0x0083_0f10, Features::IBPB | Features::IBRS);
    let does = Actions::BRANCH_BARRIER | Actions::FILL_RETURN_STACK | Actions::NO_ZENBLEED;
    assert_plan(&zen2, COMMON | V::RETBLEED | V::SRSO | V::ZENBLEED, does);
    let nested = amd(0x0083_0f10, Features::IBPB | Features::IBRS | Features::VIRTUAL);
    assert_eq!(nested.actions, does - Actions::NO_ZENBLEED);
}

#[test]
fn zen_3_clears_buffers_with_newer_microcode() {
    let features = Features::IBPB | Features::IBRS | Features::BTC_NO;
    let has = COMMON | V::SRSO | V::TSA;
    let does = Actions::BRANCH_BARRIER | Actions::FILL_RETURN_STACK;
    assert_plan(&amd(0x00a0_0f11, features), has, does);
    assert_plan(&amd(0x00a0_0f11, features | Features::VERW_CLEAR), has, does | Actions::CLEAR_BUFFERS);
}

#[test]
fn zen_4_has_automatic_ibrs() {
    let features = Features::IBPB | Features::IBRS | Features::BTC_NO | Features::AUTO_IBRS;
    let zen4 = amd(0x00a1_0f11, features | Features::VERW_CLEAR);
    let does = Actions::BRANCH_BARRIER | Actions::AUTO_IBRS | Actions::CLEAR_BUFFERS;
    assert_plan(&zen4, COMMON | V::SRSO | V::TSA, does);
}

#[test]
fn zen_5_reduces_speculation_between_guest_and_host() {
    let features = Features::IBPB | Features::IBRS | Features::BTC_NO | Features::AUTO_IBRS;
    let zen5 = amd(0x00b0_0f21, features | Features::BP_SPEC_REDUCE);
    let does = Actions::BRANCH_BARRIER | Actions::AUTO_IBRS | Actions::REDUCE_SPECULATION;
    assert_plan(&zen5, COMMON | V::SRSO, does);
}

#[test]
fn a_processor_that_denies_all_is_believed() {
    let future = intel(0xd_06f0, PATCHED | Features::ARCH_CAPABILITIES, !arch::RSBA & !arch::RFDS_CLEAR);
    let has = COMMON - V::SSB;
    assert_plan(&future, has, Actions::KEEP_IBRS | Actions::BRANCH_BARRIER);
}

#[test]
fn an_emulated_processor_without_any_of_it_has_nothing_to_do() {
    let emulated = Processor::from_signature(Vendor::Amd, 0x0006_0fb1, Features::VIRTUAL, 0);
    assert_eq!(Mitigations::of(emulated).actions, Actions::empty());
}

#[test]
fn each_vulnerability_has_one_line_that_says_what_has_become_of_it() {
    let mut named = V::empty();
    for (vulnerability, name, judge) in VULNERABILITIES {
        assert!(!named.intersects(vulnerability), "{name} is there twice");
        named |= vulnerability;
        let everything = Mitigations { vulnerabilities: V::all(), ..skylake_sp() };
        assert_ne!(everything.verdict(vulnerability, judge), Verdict::NotAffected, "{name}");
        let nothing = Mitigations { vulnerabilities: V::empty(), ..skylake_sp() };
        assert_eq!(nothing.verdict(vulnerability, judge), Verdict::NotAffected, "{name}");
    }
    assert_eq!(named, V::all());
}

#[test]
fn without_microcode_the_report_says_so() {
    let report = intel(0x5_0654, Features::AVX, 0).to_string();
    for name in ["Spectre v2", "L1TF", "MDS"] {
        let line = report.lines().find(|line| line.contains(name)).unwrap();
        assert!(line.contains("vulnerable: the microcode offers nothing"), "{line}");
    }
}
