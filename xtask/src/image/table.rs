//! The disk around the partition: a partition table, written sparsely.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::esp::SECTOR_BYTES;

/// The first sector of the partition: 1 MiB, aligned for any disk.
const FIRST_SECTOR: u64 = 2048;
/// Sectors after the partition for GPT's second copy.
const LAST_SECTORS: u64 = 34;
/// Images are whole cylinders of 16 heads and 63 sectors: emulated BIOS disks insist on it.
const CYLINDER_SECTORS: u64 = 16 * 63;
/// The partition type "EFI system partition" of an MBR (UEFI 2.10, 5.2.2).
const MBR_TYPE_ESP: u8 = 0xef;
/// What is written at once; pieces of zeros are left as holes.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// The kind of partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Table {
    /// What UEFI prefers.
    Gpt,
    /// The old one, which UEFI reads too.
    Mbr,
}

impl Table {
    /// Writes a disk with the one partition to `out`.
    pub fn write(self, partition: &[u8], out: &Path) -> Result<()> {
        let partition_sectors = partition.len().div_ceil(SECTOR_BYTES) as u64;
        let sectors = (FIRST_SECTOR + partition_sectors + LAST_SECTORS).next_multiple_of(CYLINDER_SECTORS);
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(out)?;
        file.set_len(sectors * SECTOR_BYTES as u64)?;
        match self {
            Self::Gpt => write_gpt(&mut file, sectors, partition_sectors)?,
            Self::Mbr => write_mbr(&mut file, partition_sectors)?,
        }
        let start = FIRST_SECTOR * SECTOR_BYTES as u64;
        for (index, piece) in partition.chunks(PIECE_BYTES).enumerate() {
            if piece.iter().any(|byte| *byte != 0) {
                file.write_all_at(piece, start + (index * PIECE_BYTES) as u64)?;
            }
        }
        Ok(())
    }
}

fn write_gpt(file: &mut File, sectors: u64, partition_sectors: u64) -> Result<()> {
    write_protective_mbr(file, sectors)?;
    let config = gpt::GptConfig::new().writable(true).logical_block_size(gpt::disk::LogicalBlockSize::Lb512);
    let mut disk = config.create_from_device(file, None).context("GPT")?;
    // The partition's number and name are as an operator's tools will show them.
    disk.add_partition_at("Cofferdam", 1, FIRST_SECTOR, partition_sectors, gpt::partition_types::EFI, 0)
        .context("GPT partition")?;
    disk.write().context("GPT")?;
    Ok(())
}

/// Writes the MBR that keeps tools without GPT off a disk of `sectors`.
pub(super) fn write_protective_mbr(file: &mut File, sectors: u64) -> Result<()> {
    let size = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    gpt::mbr::ProtectiveMBR::with_lb_size(size).overwrite_lba0(file).context("protective MBR")?;
    Ok(())
}

fn write_mbr(file: &mut File, partition_sectors: u64) -> Result<()> {
    let mut mbr = mbrman::MBR::new_from(file, SECTOR_BYTES as u32, *b"CFDM")?;
    mbr[1] = mbrman::MBRPartitionEntry {
        boot: mbrman::BOOT_INACTIVE,
        first_chs: mbrman::CHS::empty(),
        sys: MBR_TYPE_ESP,
        last_chs: mbrman::CHS::empty(),
        starting_lba: FIRST_SECTOR as u32,
        sectors: u32::try_from(partition_sectors).context("an MBR partition holds at most 2 TiB: use GPT")?,
    };
    mbr.write_into(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(table: Table) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("disk.img");
        let mut partition = vec![0; 1 << 20];
        partition[0] = 0xeb;
        table.write(&partition, &out).unwrap();
        (dir, out)
    }

    #[test]
    fn the_partition_begins_at_one_mebibyte_under_both_tables() {
        for table in [Table::Gpt, Table::Mbr] {
            let (_dir, out) = disk(table);
            let bytes = std::fs::read(out).unwrap();
            assert_eq!(bytes[1 << 20], 0xeb);
            assert_eq!(bytes[510..512], [0x55, 0xaa]);
            assert_eq!(bytes.len() as u64 % (CYLINDER_SECTORS * 512), 0);
        }
    }

    #[test]
    fn a_gpt_reads_back_as_written() {
        let (_dir, out) = disk(Table::Gpt);
        let disk = gpt::GptConfig::new().open(out).unwrap();
        let partition = &disk.partitions()[&1];
        assert_eq!((partition.first_lba, partition.last_lba), (2048, 2048 + 2047));
        assert_eq!(partition.part_type_guid, gpt::partition_types::EFI);
    }

    #[test]
    fn an_mbr_reads_back_as_written() {
        let (_dir, out) = disk(Table::Mbr);
        let mbr = mbrman::MBR::read_from(&mut File::open(out).unwrap(), 512).unwrap();
        assert_eq!((mbr[1].sys, mbr[1].starting_lba, mbr[1].sectors), (MBR_TYPE_ESP, 2048, 2048));
    }
}
