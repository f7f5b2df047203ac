//! A handoff survives the way; anything else is refused by name.

use super::*;
use alloc::{string::ToString, vec};
use base::{Hpa, PhysRange};
use proptest::prelude::*;

fn range(start: u64, len_bytes: u64) -> PhysRange {
    PhysRange::new(Hpa::new(start).unwrap(), len_bytes).unwrap()
}

fn sample() -> Handoff {
    let region = |start, len_bytes, kind| MemoryRegion { range: range(start, len_bytes), kind };
    Handoff {
        memory_map: vec![
            region(0, 0x9F000, RegionKind::Usable),
            region(0x10_0000, 0x10_0000, RegionKind::HypervisorImage),
            region(0x20_0000, 0x10_0000, RegionKind::Files),
            region(0x30_0000, 0x1_0000, RegionKind::BootStack),
            region(0x31_0000, 0x1_0000, RegionKind::BootTables),
            region(0x32_0000, 0x10_0000, RegionKind::Handoff),
            region(0xFEC0_0000, 0x1000, RegionKind::Mmio),
        ],
        rsdp: Some(Hpa::new(0xE0000).unwrap()),
        smbios: None,
        entropy: [7; 64],
        entropy_source: EntropySource::Rdrand,
        wall_clock_s: Some(1_800_000_000),
        files: vec![
            File { path: "cofferdam.toml".into(), range: range(0x20_0000, 100), sha256: [1; 32] },
            File { path: "vmlinux".into(), range: range(0x20_1000, 0x2345), sha256: [2; 32] },
        ],
        boot_build_id: "0.1.0 test".into(),
        image: Image {
            range: range(0x10_0000, 0x10_0000),
            virtual_start: 0xFFFF_FFFF_8020_0000,
            segments: vec![
                Segment { offset_bytes: 0, len_bytes: 0x1000, protection: Protection::ReadOnly },
                Segment { offset_bytes: 0x1000, len_bytes: 0x2000, protection: Protection::ReadExecute },
                Segment { offset_bytes: 0x4000, len_bytes: 0x1000, protection: Protection::ReadWrite },
            ],
            sha256: [3; 32],
        },
        boot_stack: range(0x30_0000, 0x1_0000),
        boot_tables: range(0x31_0000, 0x1_0000),
        overrides: "log=debug".into(),
        preserved: vec![],
        tsc_at_start: 1,
        tsc_at_exit: 2,
    }
}

/// The message for the sample after `change`.
fn message(change: impl FnOnce(&mut Handoff)) -> alloc::string::String {
    let mut handoff = sample();
    change(&mut handoff);
    encode(&handoff).unwrap_err().to_string()
}

#[test]
fn what_boot_writes_the_kernel_reads() {
    let block = encode(&sample()).unwrap();
    assert_eq!(parse(&block).unwrap(), sample());
}

#[test]
fn the_header_tells_how_much_to_read() {
    let mut block = encode(&sample()).unwrap();
    let header = Header::parse(block.first_chunk().unwrap()).unwrap();
    assert_eq!(header.total_bytes(), block.len());
    block.resize(block.len() + 4096, 0xAA);
    assert_eq!(parse(&block).unwrap(), sample());
}

#[test]
fn a_short_or_foreign_block_is_refused() {
    let block = encode(&sample()).unwrap();
    assert_eq!(parse(&block[..31]), Err(HandoffError::Truncated { len_bytes: 31 }));
    let cut = block.len() - 1;
    assert_eq!(parse(&block[..cut]), Err(HandoffError::Truncated { len_bytes: cut }));
    assert!(matches!(parse(&[0; 64]), Err(HandoffError::BadMagic(_))));
}

#[test]
fn another_version_is_refused_with_a_remedy() {
    let mut block = encode(&sample()).unwrap();
    block[8] = 2;
    assert_eq!(
        parse(&block).unwrap_err().to_string(),
        "handoff: version 2, not 1; install boot and hypervisor of one release"
    );
}

#[test]
fn fields_of_a_later_build_are_skipped() {
    let block = encode(&sample()).unwrap();
    let mut payload = block[HEADER_BYTES..].to_vec();
    assert_eq!(payload[0], 0xAE, "a map of 14 fields: all but SMBIOS");
    // A map of 15 fields, the last of them number 99: "new".
    payload[0] = 0xAF;
    payload.extend_from_slice(&[0x18, 99, 0x63, b'n', b'e', b'w']);
    let mut later = Header::for_payload(&payload).unwrap().to_bytes().to_vec();
    later.extend_from_slice(&payload);
    assert_eq!(parse(&later).unwrap(), sample());
}

#[test]
fn every_rule_names_the_field_and_the_value() {
    type Change = fn(&mut Handoff);
    let cases: [(&str, Change); 20] = [
        ("memory map: 0 entries", |h| h.memory_map.clear()),
        ("memory map: 0x9f001 is not whole pages", |h| h.memory_map[0].range = range(0, 0x9F001)),
        ("memory map: the range at 0x0 is empty", |h| h.memory_map[0].range = range(0, 0)),
        ("memory map: the range at 0x100000 overlaps another or is out of order", |h| {
            h.memory_map[0].range = range(0, 0x10_1000);
        }),
        ("RSDP: 0x0 is out of range", |h| h.rsdp = Some(Hpa::ZERO)),
        ("entropy: all bytes are zero", |h| h.entropy = [0; 64]),
        ("wall clock: 0xffffffffffffffff is out of range", |h| h.wall_clock_s = Some(u64::MAX)),
        ("files: 0 entries", |h| h.files.clear()),
        ("files: the range at 0x201000 is empty", |h| h.files[1].range = range(0x20_1000, 0)),
        ("files: 0x201004 is not whole pages", |h| h.files[1].range = range(0x20_1004, 4)),
        ("files: the range at 0x2ff000 is not in memory of its kind", |h| {
            h.files[1].range = range(0x2F_F000, 0x1001);
        }),
        ("files: the range at 0x200000 overlaps another or is out of order", |h| {
            h.files[1].range = range(0x20_0000, 1);
        }),
        ("path of a file: 0 bytes that are too many or not printable ASCII", |h| h.files[1].path.clear()),
        ("image: the range at 0x200000 is not in memory of its kind", |h| {
            h.image.range = range(0x20_0000, 0x1000);
        }),
        ("virtual start of the image: 0x80000000 is out of range", |h| h.image.virtual_start = 0x8000_0000),
        ("virtual start of the image: 0xfffffffffffff000 is out of range", |h| {
            h.image.virtual_start = 0xFFFF_FFFF_FFFF_F000;
        }),
        ("segments of the image: the range at 0x1000 overlaps another or is out of order", |h| {
            h.image.segments[0].len_bytes = 0x2000;
        }),
        ("segments of the image: 2 entries", |h| {
            h.image.segments.remove(1);
        }),
        ("boot stack: the range at 0x310000 is not in memory of its kind", |h| h.boot_stack = h.boot_tables),
        ("boot overrides: 2 bytes that are too many or not printable ASCII", |h| h.overrides = "ü".into()),
    ];
    for (expected, change) in cases {
        assert_eq!(message(change), alloc::format!("handoff: {expected}"));
    }
}

#[test]
fn numbers_without_a_meaning_are_refused_in_a_sound_block() {
    let block = encode(&sample()).unwrap();
    let mut payload = block[HEADER_BYTES..].to_vec();
    // Field 4, the source of entropy, follows the 64 bytes of field 3.
    let at = payload.windows(3).rposition(|w| w == [7, 4, 1]).unwrap();
    payload[at + 2] = 9;
    let mut changed = Header::for_payload(&payload).unwrap().to_bytes().to_vec();
    changed.extend_from_slice(&payload);
    assert_eq!(parse(&changed), Err(HandoffError::UnknownNumber(Field::EntropySource, 9)));
}

fn any_map() -> impl Strategy<Value = alloc::vec::Vec<MemoryRegion>> {
    let region = (1_u64..64, 1_u64..64, 0..RegionKind::ALL.len());
    prop::collection::vec(region, 0..40).prop_map(|regions| {
        let mut next = 0x4000_0000;
        let place = |(gap, pages, kind)| {
            let start = next + gap * 4096;
            next = start + pages * 4096;
            MemoryRegion { range: range(start, pages * 4096), kind: RegionKind::ALL[kind] }
        };
        regions.into_iter().map(place).collect()
    })
}

proptest! {
    #[test]
    fn any_handoff_survives_the_way(more in any_map(), clock: Option<u32>, overrides in "[ -~]{0,1024}", tsc: u64) {
        let mut handoff = sample();
        let mmio = handoff.memory_map.pop();
        handoff.memory_map.extend(more);
        handoff.memory_map.extend(mmio);
        handoff.wall_clock_s = clock.map(u64::from);
        handoff.overrides = overrides;
        handoff.tsc_at_exit = tsc;
        let block = encode(&handoff).unwrap();
        prop_assert_eq!(parse(&block), Ok(handoff));
    }

    #[test]
    fn every_flipped_bit_is_detected(at in 0_usize..65536, bit in 0..8) {
        let mut block = encode(&sample()).unwrap();
        let at = at % block.len();
        block[at] ^= 1_u8 << bit;
        prop_assert!(parse(&block).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: alloc::vec::Vec<u8>) {
        prop_assert!(parse(&bytes).is_err());
    }

    #[test]
    fn an_arbitrary_payload_with_a_sound_checksum_never_panics(payload: alloc::vec::Vec<u8>) {
        let mut block = Header::for_payload(&payload).unwrap().to_bytes().to_vec();
        block.extend_from_slice(&payload);
        prop_assert!(parse(&block).is_err());
    }

    #[test]
    fn a_changed_payload_with_a_sound_checksum_never_panics(at in 0_usize..65536, byte: u8) {
        let block = encode(&sample()).unwrap();
        let mut payload = block[HEADER_BYTES..].to_vec();
        let at = at % payload.len();
        payload[at] = byte;
        let mut changed = Header::for_payload(&payload).unwrap().to_bytes().to_vec();
        changed.extend_from_slice(&payload);
        let _ = parse(&changed);
    }
}
