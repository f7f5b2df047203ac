//! Disks for guests: a GPT with named partitions, filled or empty.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::table::{PIECE_BYTES, write_protective_mbr};

const SECTOR_BYTES: u64 = 512;
/// Partitions begin at multiples of this: what partitioning tools do.
const ALIGNMENT_BYTES: u64 = 1 << 20;

/// A partition.
#[derive(Clone, Copy, Debug)]
pub struct Partition<'a> {
    /// Its label.
    pub label: &'a str,
    /// What it begins with; the rest is zero.
    pub contents: &'a [u8],
    /// Its size in MiB: at least one, and room for the contents.
    pub size_mib: u64,
}

/// Writes a disk with `partitions` to `out`, sparsely. Returns where each begins, in bytes.
///
/// # Errors
/// When it cannot be written, or contents do not fit.
pub fn write_disk(partitions: &[Partition<'_>], out: &Path) -> Result<Vec<u64>> {
    let used: u64 = partitions.iter().map(|partition| partition.size_mib << 20).sum();
    // The table, and its second copy at the end.
    let sectors = (used + 2 * ALIGNMENT_BYTES) / SECTOR_BYTES;
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(out)?;
    file.set_len(sectors * SECTOR_BYTES)?;
    write_protective_mbr(&mut file, sectors)?;
    let config = gpt::GptConfig::new().writable(true).logical_block_size(gpt::disk::LogicalBlockSize::Lb512);
    let mut disk = config.create_from_device(&mut file, None).context("GPT")?;
    let mut starts = Vec::new();
    let mut start = ALIGNMENT_BYTES;
    for (number, partition) in (1..).zip(partitions) {
        let (first, length) = (start / SECTOR_BYTES, (partition.size_mib << 20) / SECTOR_BYTES);
        let kind = gpt::partition_types::LINUX_FS;
        disk.add_partition_at(partition.label, number, first, length, kind, 0).context("GPT partition")?;
        starts.push(start);
        start += partition.size_mib << 20;
    }
    disk.write().context("GPT")?;
    for (start, Partition { label, contents, size_mib }) in starts.iter().zip(partitions) {
        anyhow::ensure!(contents.len() as u64 <= size_mib << 20, "{label}: the contents do not fit");
        for (index, piece) in contents.chunks(PIECE_BYTES).enumerate() {
            if piece.iter().any(|byte| *byte != 0) {
                file.write_all_at(piece, start + (index * PIECE_BYTES) as u64)?;
            }
        }
    }
    Ok(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_read_back_as_written_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("disk.img");
        let partitions = [
            Partition { label: "web-root", contents: b"first", size_mib: 2 },
            Partition { label: "data", contents: b"second", size_mib: 1 },
        ];
        let starts = write_disk(&partitions, &out).unwrap();
        let disk = gpt::GptConfig::new().open(&out).unwrap();
        let bytes = std::fs::read(&out).unwrap();
        for (number, partition) in (1..).zip(&partitions) {
            let found = &disk.partitions()[&number];
            assert_eq!(found.name, partition.label);
            let start = found.first_lba as usize * 512;
            assert_eq!(starts[number as usize - 1], start as u64);
            assert_eq!(&bytes[start..start + partition.contents.len()], partition.contents);
        }
        assert_eq!(disk.partitions()[&2].first_lba, disk.partitions()[&1].last_lba + 1);
    }

    #[test]
    fn contents_that_do_not_fit_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let contents = vec![1; (1 << 20) + 1];
        let partition = Partition { label: "a", contents: &contents, size_mib: 1 };
        assert!(write_disk(&[partition], &dir.path().join("disk.img")).is_err());
    }
}
