//! The EFI system partition: a FAT32 file system of just the needed size.

use std::io::{Cursor, Write};

use anyhow::{Context, Result};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};

use super::Contents;

/// Sector of the file system and of the disk.
pub const SECTOR_BYTES: usize = 512;
/// A FAT file system is FAT32 if and only if it has at least this many clusters (Microsoft, "FAT: General
/// Overview of On-Disk Format", 1.03), and firmware may insist on FAT32 on a fixed disk.
const LEAST_CLUSTERS: usize = 65_525;
/// Spare clusters: reserved sectors, both tables and rounding take from the total.
const SPARE_CLUSTERS: usize = 4096;
/// Room that is left free, in bytes, so that an operator can replace a file.
const FREE_BYTES: usize = 4 << 20;
const LARGEST_CLUSTER_BYTES: usize = 32 << 10;
const LABEL: [u8; 11] = *b"COFFERDAM  ";

/// Builds the file system.
pub fn build(contents: &Contents) -> Result<Vec<u8>> {
    let layout = Layout::for_files(contents.files.values().map(Vec::len));
    let mut partition = Cursor::new(vec![0_u8; layout.total_bytes]);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(u32::try_from(layout.cluster_bytes)?)
        .volume_label(LABEL);
    format_volume(&mut partition, options).context("cannot format the partition")?;
    {
        let file_system = FileSystem::new(&mut partition, FsOptions::new())?;
        for (path, bytes) in &contents.files {
            add(&file_system, path, bytes).with_context(|| format!("cannot store {path}"))?;
        }
        file_system.unmount()?;
    }
    Ok(partition.into_inner())
}

/// Writes one file and the folders above it.
fn add(file_system: &FileSystem<&mut Cursor<Vec<u8>>>, path: &str, bytes: &[u8]) -> Result<()> {
    let root = file_system.root_dir();
    for (at, _) in path.match_indices('/') {
        // Opens the folder if it exists.
        root.create_dir(&path[..at])?;
    }
    let mut file = root.create_file(path)?;
    file.truncate()?;
    file.write_all(bytes)?;
    Ok(())
}

/// Sizes of a file system.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    cluster_bytes: usize,
    total_bytes: usize,
}

impl Layout {
    /// The largest cluster with which the file system is still FAT32, and the size for files of these lengths.
    fn for_files(lengths: impl Iterator<Item = usize> + Clone) -> Self {
        let mut layout = Self::with_cluster(SECTOR_BYTES, lengths.clone());
        while layout.cluster_bytes < LARGEST_CLUSTER_BYTES {
            let larger = Self::with_cluster(layout.cluster_bytes * 2, lengths.clone());
            if larger.total_bytes > layout.total_bytes + layout.total_bytes / 8 {
                break;
            }
            layout = larger;
        }
        layout
    }

    fn with_cluster(cluster_bytes: usize, lengths: impl Iterator<Item = usize>) -> Self {
        let used: usize = lengths.map(|length| length.div_ceil(cluster_bytes)).sum();
        let clusters = (used + FREE_BYTES / cluster_bytes).max(LEAST_CLUSTERS) + SPARE_CLUSTERS;
        // Two tables of four bytes for each cluster, beside the cluster itself.
        Self { cluster_bytes, total_bytes: (clusters * (cluster_bytes + 8)).next_multiple_of(SECTOR_BYTES) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_least_file_system_is_fat32_in_some_thirty_mebibytes() {
        let mut contents = Contents::default();
        contents.files.insert("EFI/BOOT/BOOTX64.EFI".into(), b"MZ".to_vec());
        let bytes = build(&contents).unwrap();
        assert!(bytes.len() < 40 << 20, "{}", bytes.len());
        let mut disk = Cursor::new(bytes);
        let file_system = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
        assert_eq!(file_system.fat_type(), FatType::Fat32);
        let mut text = Vec::new();
        file_system.root_dir().open_file("efi/boot/bootx64.efi").unwrap().read_to_end(&mut text).unwrap();
        assert_eq!(text, b"MZ");
    }

    #[test]
    fn larger_files_get_larger_clusters_and_little_waste() {
        let layout = Layout::for_files([300 << 20].into_iter());
        assert!(layout.cluster_bytes >= 4096, "{layout:?}");
        assert!(layout.total_bytes < 350 << 20, "{layout:?}");
    }

    #[test]
    fn many_small_files_have_room() {
        let mut contents = Contents::default();
        for index in 0..100 {
            contents.files.insert(format!("cofferdam/folder/file {index}"), vec![1; 700]);
        }
        build(&contents).unwrap();
    }
}
