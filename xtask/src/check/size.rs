//! The hypervisor's size: small enough to be read, and to be loaded in no time.

use anyhow::{Result, ensure};

use crate::build;

/// The most that the stripped hypervisor may have.
const MOST_BYTES: usize = 1 << 20;

/// Builds the hypervisor and measures what goes on the image.
pub fn check() -> Result<String> {
    let hypervisor = build::hypervisor()?;
    let bytes = build::stripped_len_bytes(&hypervisor.kernel)?;
    ensure!(bytes <= MOST_BYTES, "the stripped hypervisor has {bytes} bytes, more than {MOST_BYTES}");
    Ok(format!("{} KiB of at most {} KiB", bytes.div_ceil(1024), MOST_BYTES / 1024))
}
