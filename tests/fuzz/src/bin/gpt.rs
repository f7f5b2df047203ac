//! GUID partition tables: any disk gives a table or an error that can be shown. Partitions that it gives lie on the disk
//! and behind the first header, and have no sector in common. Reading takes whole blocks of the disk, and a bounded number of
//! them. Only of a disk that fails it is said.
//!
//! The input: size of a block u8, length of the disk in blocks u16, a block that cannot be read u16; then what stands at the
//! blocks: where u16, length in bytes u16, those bytes. With a first byte of 128 and more the sums of the first copy are right.

#![no_main]

use backends::volume::gpt::{self, Damage, GptError};
use crc::{CRC_32_ISO_HDLC, Crc};
use fuzz::Bytes;
use libfuzzer_sys::fuzz_target;
use seams::BlockError;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// The most blocks of a disk: it is all in memory.
const BLOCKS_MAX: u64 = 256;

/// Makes the sums of the first copy right, where it has a possible length.
fn seal(disk: &mut [u8], block_bytes: usize) {
    let u32_at = |disk: &[u8], at: usize| {
        disk.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let entries_len = u64::from(u32_at(disk, block_bytes + 80)) * u64::from(u32_at(disk, block_bytes + 84));
    let entries_at = u64::from(u32_at(disk, block_bytes + 72)) * block_bytes as u64;
    let entries_end = entries_at.saturating_add(entries_len);
    if let Some(entries) = disk.get(entries_at as usize..entries_end as usize) {
        let sum = CRC.checksum(entries).to_le_bytes();
        if let Some(place) = disk.get_mut(block_bytes + 88..block_bytes + 92) {
            place.copy_from_slice(&sum);
        }
    }
    let header_len = u32_at(disk, block_bytes + 12) as usize;
    if let Some(header) = disk.get_mut(block_bytes..).and_then(|rest| rest.get_mut(..header_len))
        && header.len() >= 20
    {
        header[16..20].fill(0);
        let sum = CRC.checksum(header).to_le_bytes();
        header[16..20].copy_from_slice(&sum);
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::new(data);
    let first = input.u8();
    let block_bytes = [512, 4096, 2048, 513][usize::from(first % 4)];
    let blocks = u64::from(input.u16()) % BLOCKS_MAX;
    let unreadable = u64::from(input.u16());
    let mut disk = vec![0; blocks as usize * block_bytes as usize];
    if let Some(mbr) = disk.get_mut(..512) {
        mbr[446 + 4] = 0xee;
        mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    }
    while !input.is_empty() && blocks != 0 {
        let at = u64::from(input.u16()) % blocks * u64::from(block_bytes);
        let len = input.u16();
        let bytes = input.take(len.into());
        if let Some(place) = disk.get_mut(at as usize..).and_then(|rest| rest.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }
    if first >= 128 {
        seal(&mut disk, block_bytes as usize);
    }
    let sectors = disk.len() as u64 / 512;
    let (mut reads, mut has_failed) = (0, false);
    let table = gpt::read(sectors, block_bytes, |first_sector, chunk| {
        reads += 1;
        assert!(chunk.len().is_multiple_of(block_bytes as usize) && !chunk.is_empty());
        let start = first_sector as usize * 512;
        let at = first_sector * 512 / u64::from(block_bytes);
        if (at..at + chunk.len() as u64 / u64::from(block_bytes)).contains(&unreadable) {
            has_failed = true;
            return Err(BlockError::Medium);
        }
        chunk.copy_from_slice(&disk[start..start + chunk.len()]);
        Ok(())
    });
    assert!(reads < 300, "{reads} reads");
    match table {
        Ok(table) => {
            assert!(table.primary != Err(Damage::Unread) || has_failed);
            let mut partitions = table.partitions;
            for partition in &partitions {
                let disks = [("vda", &gpt::Table { partitions: vec![partition.clone()], primary: Ok(()) })];
                let name = partition.guid.to_string();
                assert!(gpt::locate(&name, disks.iter().copied()).is_ok());
            }
            partitions.sort_by_key(|partition| partition.first_sector);
            let mut free_from = 2 * u64::from(block_bytes) / 512;
            for partition in partitions {
                assert!(partition.first_sector >= free_from && partition.sectors > 0);
                free_from = partition.first_sector + partition.sectors;
            }
            assert!(free_from <= sectors - u64::from(block_bytes) / 512);
        }
        Err(error) => {
            assert!(error != GptError::Disk(BlockError::Medium) || has_failed);
            assert!(error.to_string().contains(':'));
        }
    }
});
