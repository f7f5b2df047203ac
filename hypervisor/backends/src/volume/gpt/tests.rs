//! Tables that the `gpt` crate has written, whole and damaged.

use super::*;
use ::gpt::disk::LogicalBlockSize;
use ::gpt::{GptConfig, mbr::ProtectiveMBR, partition_types};
use proptest::prelude::*;
use std::io::Cursor;

const DISK_BYTES: usize = 1 << 20;

/// A disk with the partitions "esp" of 64 KiB and "web-root" of 128 KiB.
fn disk(block: LogicalBlockSize) -> Vec<u8> {
    let mut device = Cursor::new(vec![0; DISK_BYTES]);
    let blocks = (DISK_BYTES as u64 / block.as_u64()) as u32;
    ProtectiveMBR::with_lb_size(blocks - 1).overwrite_lba0(&mut device).unwrap();
    let config = GptConfig::new().writable(true).logical_block_size(block);
    let mut disk = config.create_from_device(&mut device, None).unwrap();
    disk.update_partitions(Default::default()).unwrap();
    disk.add_partition("esp", 64 << 10, partition_types::EFI, 0, None).unwrap();
    disk.add_partition("web-root", 128 << 10, partition_types::LINUX_FS, 0, None).unwrap();
    disk.write().unwrap();
    device.into_inner()
}

fn small() -> Vec<u8> {
    disk(LogicalBlockSize::Lb512)
}

fn read_from(bytes: &[u8], block_bytes: u32) -> Result<Table, GptError> {
    read_but(bytes, block_bytes, &[])
}

/// Reads a disk with sectors that cannot be read, and why.
fn read_but(bytes: &[u8], block_bytes: u32, unreadable: &[(u64, BlockError)]) -> Result<Table, GptError> {
    read(bytes.len() as u64 / 512, block_bytes, |first_sector, chunk| {
        assert_eq!(chunk.len() % block_bytes as usize, 0);
        let sectors = first_sector..first_sector + chunk.len() as u64 / 512;
        if let Some((_, error)) = unreadable.iter().find(|(sector, _)| sectors.contains(sector)) {
            return Err(*error);
        }
        let start = first_sector as usize * 512;
        chunk.copy_from_slice(&bytes[start..start + chunk.len()]);
        Ok(())
    })
}

/// Makes the sums of the first copy right again.
fn seal(bytes: &mut [u8]) {
    let entries = u32::from_le_bytes(bytes[512 + 80..][..4].try_into().unwrap());
    let entry_bytes = u32::from_le_bytes(bytes[512 + 84..][..4].try_into().unwrap());
    let len = entries.saturating_mul(entry_bytes) as usize;
    if let Some(entries) = bytes[1024..].get(..len) {
        let sum = CRC.checksum(entries);
        bytes[512 + 88..][..4].copy_from_slice(&sum.to_le_bytes());
    }
    bytes[512 + 16..][..4].fill(0);
    let sum = CRC.checksum(&bytes[512..512 + 92]);
    bytes[512 + 16..][..4].copy_from_slice(&sum.to_le_bytes());
}

/// The table of a disk whose first copy has `value` at `at`, with sums that are right.
fn with(at: usize, value: &[u8]) -> Damage {
    let mut bytes = small();
    bytes[at..at + value.len()].copy_from_slice(value);
    seal(&mut bytes);
    let table = read_from(&bytes, 512).unwrap();
    assert_eq!(table.partitions.len(), 2, "the second copy is whole");
    table.primary.unwrap_err()
}

fn labels(table: &Table) -> Vec<&str> {
    table.partitions.iter().map(|partition| partition.label.as_str()).collect()
}

#[test]
fn what_another_implementation_wrote_is_read() {
    for (block, block_bytes) in [(LogicalBlockSize::Lb512, 512), (LogicalBlockSize::Lb4096, 4096)] {
        let bytes = disk(block);
        let table = read_from(&bytes, block_bytes).unwrap();
        assert_eq!(table.primary, Ok(()));
        assert_eq!(labels(&table), ["esp", "web-root"]);
        let theirs = GptConfig::new().logical_block_size(block).open_from_device(Cursor::new(bytes)).unwrap();
        for partition in &table.partitions {
            let their = &theirs.partitions()[&partition.number];
            assert_eq!(partition.first_sector * 512, their.bytes_start(block).unwrap());
            assert_eq!(partition.sectors * 512, their.bytes_len(block).unwrap());
            assert_eq!(partition.guid.to_string(), their.part_guid.to_string());
        }
        assert_eq!(table.partitions[0].kind.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }
}

#[test]
fn the_second_copy_stands_in_for_a_damaged_first() {
    for (at, damage) in [
        (512, Damage::NoHeader),
        (512 + 12, Damage::Header(Field::HeaderLength)),
        (512 + 40, Damage::HeaderSum),
        (1024 + 56, Damage::EntriesSum),
    ] {
        let mut bytes = small();
        bytes[at] ^= 0x40;
        let table = read_from(&bytes, 512).unwrap();
        assert_eq!((table.primary, labels(&table)), (Err(damage), vec!["esp", "web-root"]));
    }
}

#[test]
fn the_second_copy_stands_in_for_a_first_that_cannot_be_read() {
    let (failed, gone) = (BlockError::Medium, BlockError::Unsupported);
    let last = DISK_BYTES as u64 / 512 - 1;
    // Its header, the first and the last of its entries.
    for sector in [1, 2, 33] {
        let table = read_but(&small(), 512, &[(sector, failed)]).unwrap();
        assert_eq!((table.primary, labels(&table)), (Err(Damage::Unread), vec!["esp", "web-root"]));
        let both = [(sector, failed), (last, gone)];
        assert_eq!(read_but(&small(), 512, &both), Err(GptError::Disk(failed)));
    }
    // What is not needed is not read.
    assert_eq!(read_but(&small(), 512, &[(last, failed)]).unwrap().primary, Ok(()));
    // One copy is damaged, and the other cannot be read.
    for (damaged, unreadable) in [(512, last), (DISK_BYTES - 512, 1)] {
        let mut bytes = small();
        bytes[damaged] ^= 0x40;
        assert_eq!(read_but(&bytes, 512, &[(unreadable, failed)]), Err(GptError::Disk(failed)));
    }
}

#[test]
fn without_a_whole_copy_there_is_no_table() {
    let mut bytes = small();
    bytes[512] = 0;
    *bytes.last_chunk_mut::<512>().unwrap().first_mut().unwrap() = 0;
    let damaged = read_from(&bytes, 512).unwrap_err();
    assert_eq!(damaged, GptError::Damaged { primary: Damage::NoHeader, backup: Damage::NoHeader });
    assert_eq!(
        damaged.to_string(),
        "the disk's GPT is damaged: no header; and in its second copy: no header: repair it, or use the whole disk"
    );
    let mut bytes = small();
    bytes[446 + 4] = 0x83;
    assert_eq!(read_from(&bytes, 512), Err(GptError::NotGpt));
    assert_eq!(read_from(&[0; 1 << 20], 512), Err(GptError::NotGpt));
    assert_eq!(read_from(&[], 512), Err(GptError::Disk(BlockError::OutOfRange)));
    assert_eq!(read_from(&small(), 1000), Err(GptError::BlockSize(1000)));
    assert_eq!(read(100, 512, |_, _| Err(BlockError::Medium)), Err(GptError::Disk(BlockError::Medium)));
}

#[test]
fn numbers_that_make_no_sense_are_refused_though_their_sums_are_right() {
    let entry = |index: usize, field: usize| 1024 + 128 * index + field;
    let end = (DISK_BYTES as u64 / 512).to_le_bytes();
    for (at, value, damage) in [
        (512 + 24, 2_u64.to_le_bytes(), Damage::Header(Field::OwnPlace)),
        (512 + 40, 1_u64.to_le_bytes(), Damage::Header(Field::UsableRange)),
        (512 + 40, u64::MAX.to_le_bytes(), Damage::Header(Field::UsableRange)),
        (512 + 48, end, Damage::Header(Field::UsableRange)),
        (512 + 48, (DISK_BYTES as u64 / 512 - 1).to_le_bytes(), Damage::Header(Field::UsableRange)),
        // Partitions could have the entries, or those of the other copy.
        (512 + 40, 33_u64.to_le_bytes(), Damage::Header(Field::UsableRange)),
        (512 + 48, (DISK_BYTES as u64 / 512 - 33).to_le_bytes(), Damage::Header(Field::UsableRange)),
        (512 + 72, 100_u64.to_le_bytes(), Damage::Header(Field::Entries)),
        (512 + 72, u64::MAX.to_le_bytes(), Damage::Header(Field::Entries)),
        // Number and length of the entries.
        (512 + 80, [0, 0, 0, 0, 128, 0, 0, 0], Damage::Header(Field::Entries)),
        (512 + 80, [255, 255, 255, 255, 128, 0, 0, 0], Damage::Header(Field::Entries)),
        (512 + 80, [128, 0, 0, 0, 100, 0, 0, 0], Damage::Header(Field::Entries)),
        (512 + 80, [128, 0, 0, 0, 0, 0, 0, 0], Damage::Header(Field::Entries)),
        (512 + 80, [128, 0, 0, 0, 0, 0, 0, 128], Damage::Header(Field::Entries)),
        (entry(1, 32), u64::MAX.to_le_bytes(), Damage::Bounds { number: 2 }),
        (entry(1, 32), 0_u64.to_le_bytes(), Damage::Bounds { number: 2 }),
        (entry(0, 40), end, Damage::Bounds { number: 1 }),
        (entry(0, 40), 300_u64.to_le_bytes(), Damage::Overlap { number: 1, other: 2 }),
    ] {
        assert_eq!(with(at, &value), damage, "{at} {value:?}");
    }
}

#[test]
fn a_label_cannot_drive_a_terminal() {
    let mut bytes = small();
    bytes[1024 + 56..][..8].copy_from_slice(&[0x1b, 0, b'a', 0, 0, 0xd8, 0xe4, 0]);
    bytes[1024 + 56 + 8..][..2].fill(0);
    seal(&mut bytes);
    assert_eq!(read_from(&bytes, 512).unwrap().partitions[0].label, "\u{fffd}a\u{fffd}ä");
}

fn table(partitions: &[(u32, &str, u8)]) -> Table {
    let partition = |&(number, label, guid): &(u32, &str, u8)| Partition {
        number,
        label: label.into(),
        guid: Guid::from_bytes([guid; 16]),
        kind: Guid::from_bytes([1; 16]),
        first_sector: 100 * u64::from(number),
        sectors: 100,
    };
    Table { partitions: partitions.iter().map(partition).collect(), primary: Ok(()) }
}

#[test]
fn a_partition_is_found_by_number_by_uuid_and_by_label() {
    let nvme = table(&[(1, "esp", 0x11), (2, "web-root", 0x22), (12, "vda2", 0x33)]);
    let vda = table(&[(2, "data", 0x44), (3, "11111111-1111-1111-1111-111111111111", 0x55)]);
    let disks = [("nvme0n1", &nvme), ("vda", &vda)];
    let found = |name| locate(name, disks.iter().copied()).map(|found| (found.disk, found.partition.number));
    assert_eq!(found("web-root"), Ok((0, 2)));
    assert_eq!(found("nvme0n1p2"), Ok((0, 2)));
    assert_eq!(found("nvme0n1p12"), Ok((0, 12)));
    assert_eq!(found("22222222-2222-2222-2222-222222222222"), Ok((0, 2)));
    // A label takes no name from a number or a UUID.
    assert_eq!(found("vda2"), Ok((1, 2)));
    assert_eq!(found("11111111-1111-1111-1111-111111111111"), Ok((0, 1)));
    for name in ["nvme0n12", "nvme0n1p3", "nvme0n1p02", "nvme0n1p+2", "vdap2", "web", ""] {
        assert_eq!(found(name), Err(LocateError::NotFound), "{name:?}");
    }
}

#[test]
fn the_name_by_disk_and_number_that_is_told_is_the_one_that_is_taken() {
    let (nvme, vda) = (table(&[(2, "root", 0x22)]), table(&[(12, "root", 0x44)]));
    let disks = [("nvme0n1", &nvme), ("vda", &vda)];
    for (disk_name, number, told) in [("nvme0n1", 2, "nvme0n1p2"), ("vda", 12, "vda12")] {
        let name = Numbered { disk_name, number }.to_string();
        assert_eq!(name, told);
        let found =
            locate(&name, disks.iter().copied()).map(|found| (found.disk_name, found.partition.number));
        assert_eq!(found, Ok((disk_name, number)));
    }
}

#[test]
fn a_name_that_two_have_means_none() {
    let (one, other) = (table(&[(1, "root", 0x11)]), table(&[(4, "root", 0x22)]));
    let disks = [("nvme0n1", &one), ("vda", &other)];
    let refused = locate("root", disks.iter().copied()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "partition 1 of nvme0n1 and partition 4 of vda have this name: write disk and number, such as nvme0n1p1"
    );
}

proptest! {
    #[test]
    fn a_damaged_table_is_the_old_one_or_refused(
        damage in prop::collection::vec((512_usize..512 * 34, any::<u8>()), 1..8),
    ) {
        let whole = read_from(&small(), 512).unwrap().partitions;
        let whole: Vec<_> = whole.iter().map(|partition| (partition.first_sector, partition.sectors)).collect();
        let mut bytes = small();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        let table = read_from(&bytes, 512).unwrap();
        let found: Vec<_> = table.partitions.iter().map(|partition| (partition.first_sector, partition.sectors)).collect();
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn a_hostile_table_with_right_sums_keeps_partitions_apart_and_on_the_disk(
        damage in prop::collection::vec((0_usize..92 + 4 * 128, prop_oneof![any::<u8>(), 0_u8..4]), 1..8),
    ) {
        let mut bytes = small();
        for (at, byte) in damage {
            bytes[if at < 92 { 512 + at } else { 1024 + at - 92 }] = byte;
        }
        seal(&mut bytes);
        if let Ok(table) = read_from(&bytes, 512) {
            let mut free_from = 34;
            let mut partitions = table.partitions;
            partitions.sort_by_key(|partition| partition.first_sector);
            for partition in partitions {
                prop_assert!(partition.first_sector >= free_from && partition.sectors > 0);
                free_from = partition.first_sector + partition.sectors;
            }
            prop_assert!(free_from < DISK_BYTES as u64 / 512);
        }
    }
}
