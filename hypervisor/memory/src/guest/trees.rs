//! The caches of a guest's map: nested tables for the processor, the window's tables for the hypervisor.

use super::extent::{Extent, ExtentKind};
use base::Hpa;
use paging::{
    Attributes, EntryFormat, Ept, Flush, Geometry, Host, Level, MapError, Npt, OutOfTables, Permissions,
    Span, TableMemory, Tree,
};

/// Whose nested tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NestedFormat {
    /// AMD-V's.
    Npt,
    /// VT-x's.
    Ept,
}

/// From which pages of its nested tables a guest can execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutablePages {
    /// From all that the processor has.
    AnySize,
    /// From those of 4 KiB: on some processors a guest that changes the size of a page under its own code stops the
    /// host by a machine check (CVE-2018-12207).
    SmallOnly,
}

impl ExecutablePages {
    /// The largest leaf of nested tables, where the processor has `largest`. All RAM is executable, so that no larger one
    /// is left.
    const fn limit(self, largest: Level) -> Level {
        match self {
            Self::AnySize => largest,
            Self::SmallOnly => Level::Page,
        }
    }
}

#[derive(Debug)]
enum Nested {
    Npt(Tree<Npt>),
    Ept(Tree<Ept>),
}

/// Both trees of one map.
#[derive(Debug)]
pub(super) struct Trees {
    nested: Nested,
    /// Hangs below one entry of the host's root table.
    window: Tree<Host>,
}

/// Who looks through a tree; the hypervisor never executes a guest's memory.
#[derive(Clone, Copy)]
enum Viewer {
    Guest,
    Hypervisor,
}

impl Trees {
    pub fn new(
        tables: &mut impl TableMemory,
        format: NestedFormat,
        largest_leaf: Level,
        executable: ExecutablePages,
    ) -> Result<Self, OutOfTables> {
        let window = Tree::new(tables, Geometry { root: Level::Pointer, largest_leaf })?;
        let geometry = Geometry { root: Level::Root, largest_leaf: executable.limit(largest_leaf) };
        let nested = match format {
            NestedFormat::Npt => Tree::new(tables, geometry).map(Nested::Npt),
            NestedFormat::Ept => Tree::new(tables, geometry).map(Nested::Ept),
        };
        match nested {
            Ok(nested) => Ok(Self { nested, window }),
            Err(error) => {
                window.destroy(tables);
                Err(error)
            }
        }
    }

    pub fn nested_root(&self) -> Hpa {
        match &self.nested {
            Nested::Npt(tree) => tree.root(),
            Nested::Ept(tree) => tree.root(),
        }
    }

    pub fn window_root(&self) -> Hpa {
        self.window.root()
    }

    /// Makes both trees say what `extent` says.
    pub fn update(&mut self, tables: &mut impl TableMemory, extent: &Extent) -> Result<(), MapError> {
        match &mut self.nested {
            Nested::Npt(tree) => update(tree, tables, extent, Viewer::Guest)?,
            Nested::Ept(tree) => update(tree, tables, extent, Viewer::Guest)?,
        }
        update(&mut self.window, tables, extent, Viewer::Hypervisor)
    }

    /// Shows the guest at `at` what `extent` says of its own place.
    pub fn show(
        &mut self,
        tables: &mut impl TableMemory,
        at: base::Gpa,
        extent: &Extent,
    ) -> Result<(), MapError> {
        let nothing = Extent { start: at, kind: ExtentKind::Device, ..*extent };
        let shown = Extent { start: at, ..*extent };
        for change in [nothing, shown] {
            match &mut self.nested {
                Nested::Npt(tree) => update(tree, tables, &change, Viewer::Guest)?,
                Nested::Ept(tree) => update(tree, tables, &change, Viewer::Guest)?,
            }
        }
        Ok(())
    }

    pub fn destroy(self, tables: &mut impl TableMemory) {
        match self.nested {
            Nested::Npt(tree) => tree.destroy(tables),
            Nested::Ept(tree) => tree.destroy(tables),
        }
        self.window.destroy(tables);
    }
}

/// Makes one tree say what `extent` says: the only place where a guest's memory is mapped. The caller flushes.
fn update<F: EntryFormat>(
    tree: &mut Tree<F>,
    tables: &mut impl TableMemory,
    extent: &Extent,
    viewer: Viewer,
) -> Result<(), MapError> {
    let span = Span { start: extent.start.as_u64(), len_bytes: extent.len_bytes };
    let (hpa, mut permissions) = match extent.kind {
        ExtentKind::Device => return tree.unmap(tables, span).map(callers_flush),
        ExtentKind::Ram(hpa) => (hpa, Permissions::all()),
        ExtentKind::ReadOnly(hpa) => (hpa, Permissions::READ_EXECUTE),
    };
    if let Viewer::Hypervisor = viewer {
        permissions.remove(Permissions::EXECUTE);
    }
    if tree.lookup(tables, span.start).is_some() {
        return tree.protect(tables, span, permissions).map(callers_flush);
    }
    tree.map(tables, span, hpa, Attributes::memory(permissions)).map(callers_flush)
}

/// A map's change flushes everything of its VM at once, so what exactly is stale need not be told.
fn callers_flush(_: Flush) {}
