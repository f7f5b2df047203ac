//! The `[[vm.disk]]` tables.

use super::{SIZE, parse_size};
use crate::error::{ConfigError, Problem, Subject};
use crate::position::Located;
use crate::reader::{Table, excerpt};
use crate::storage::{Disk, DiskAccess, DiskSource};
use crate::{MAX_DISKS, MAX_MEMORY_BYTES, MIN_OVERLAY_BYTES};
use alloc::vec::Vec;
use base::{ByteSize, VmName};

const KEYS: [&str; 3] = ["source", "overlay", "read_only"];

/// The disks of the VM of this name, whose table is `vm`.
pub(super) fn read(vm: &Table<'_>, name: VmName) -> Result<Vec<Disk>, ConfigError> {
    const EXPECTED: &str = "[[vm.disk]], with two brackets, before each disk";
    let mut disks = Vec::new();
    for (ordinal, found) in (1..).zip(vm.tables("disk", EXPECTED, MAX_DISKS, "disks")?) {
        let subject = Subject::Disk(name, ordinal);
        let table = Table { entries: found.value, subject, position: found.position, lines: vm.lines };
        disks.push(read_disk(&table)?);
    }
    Ok(disks)
}

fn read_disk(table: &Table<'_>) -> Result<Disk, ConfigError> {
    table.refuse_unknown_keys(&KEYS)?;
    let text = table.required_string("source", "\"partition:NAME\", \"disk:NAME\" or \"file:PATH\"")?;
    let source = DiskSource::parse(text.value).map_err(|problem| {
        table.error("source", text.position, Problem::BadSource { text: excerpt(text.value), problem })
    })?;
    let access =
        if table.boolean("read_only", false)? { DiskAccess::ReadOnly } else { DiskAccess::ReadWrite };
    Ok(Disk {
        position: table.position,
        source: Located { value: source, position: text.position },
        overlay: read_overlay(table, access)?,
        access,
    })
}

fn read_overlay(table: &Table<'_>, access: DiskAccess) -> Result<Option<ByteSize>, ConfigError> {
    let Some(text) = table.string("overlay", SIZE)? else {
        return Ok(None);
    };
    if access == DiskAccess::ReadOnly {
        return Err(table.error("overlay", text.position, Problem::OverlayOfReadOnly));
    }
    let size = parse_size(table, "overlay", &text)?;
    if !(MIN_OVERLAY_BYTES..=MAX_MEMORY_BYTES).contains(&size.0) {
        return Err(table.error("overlay", text.position, Problem::BadOverlay(size)));
    }
    Ok(Some(size))
}
