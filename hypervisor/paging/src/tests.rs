//! The tree against a model: a sorted list of extents.

extern crate std;

use crate::*;
use base::Hpa;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

const PAGE: u64 = 1 << 12;
const LARGE: u64 = 1 << 21;
const HUGE: u64 = 1 << 30;

/// Tables on the host's heap, at most `limit` of them at once. Table `n` is at `n` pages, from 1 on.
struct Tables {
    tables: Vec<Option<[u64; ENTRIES as usize]>>,
    live: usize,
    limit: usize,
}

impl Tables {
    fn with_limit(limit: usize) -> Self {
        Self { tables: std::vec![None], live: 0, limit }
    }

    fn slot(table: Hpa) -> usize {
        usize::try_from(table.as_u64() / PAGE).unwrap()
    }
}

impl TableMemory for Tables {
    fn read_entry(&self, table: Hpa, index: u16) -> u64 {
        self.tables[Self::slot(table)].as_ref().expect("a live table")[usize::from(index)]
    }

    fn write_entry(&mut self, table: Hpa, index: u16, entry: u64) {
        self.tables[Self::slot(table)].as_mut().expect("a live table")[usize::from(index)] = entry;
    }

    fn allocate_table(&mut self) -> Result<Hpa, OutOfTables> {
        if self.live >= self.limit {
            return Err(OutOfTables);
        }
        self.live += 1;
        self.tables.push(Some([0; ENTRIES as usize]));
        Ok(Hpa::new((self.tables.len() as u64 - 1) * PAGE).unwrap())
    }

    fn free_table(&mut self, table: Hpa) {
        self.tables[Self::slot(table)].take().expect("a table is freed once");
        self.live -= 1;
    }
}

/// What should be mapped: extents by their first address, never overlapping.
#[derive(Default)]
struct Model(BTreeMap<u64, (u64, u64, Permissions)>);

impl Model {
    /// Makes an extent begin at `boundary` if one reaches across it.
    fn split(&mut self, boundary: u64) {
        let Some((&start, &(len, hpa, permissions))) = self.0.range(..boundary).next_back() else { return };
        if start + len > boundary {
            let head = boundary - start;
            self.0.insert(start, (head, hpa, permissions));
            self.0.insert(boundary, (len - head, hpa + head, permissions));
        }
    }

    fn isolate(&mut self, span: Span) -> Vec<u64> {
        let end = span.start + span.len_bytes;
        self.split(span.start);
        self.split(end);
        self.0.range(span.start..end).map(|(start, _)| *start).collect()
    }

    fn lookup(&self, address: u64) -> Option<(u64, Permissions)> {
        let (start, (len, hpa, permissions)) = self.0.range(..=address).next_back()?;
        (address < start + len).then(|| (hpa + (address - start), *permissions))
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Map(Span, u64, Permissions),
    Unmap(Span),
    Protect(Span, Permissions),
}

/// Spans whose ends fall on and around the boundaries of all page sizes. Long ones are whole 1 GiB pages: thousands
/// of small pages would only cost time.
fn spans() -> impl Strategy<Value = Span> {
    let around = (0u64..3, 0u64..4, 0u64..3).prop_map(|(huge, large, page)| {
        (huge * HUGE + large * LARGE + page * PAGE).saturating_sub(2 * LARGE)
    });
    let len = (0u64..3, 0u64..3).prop_map(|(large, page)| large * LARGE + page * PAGE);
    let short = (around, len).prop_map(|(start, len_bytes)| Span { start, len_bytes });
    let long =
        (0u64..3, 1u64..3).prop_map(|(start, len)| Span { start: start * HUGE, len_bytes: len * HUGE });
    prop_oneof![3 => short, 1 => long]
}

fn permissions() -> impl Strategy<Value = Permissions> {
    prop_oneof![
        Just(Permissions::READ),
        Just(Permissions::READ_WRITE),
        Just(Permissions::READ_EXECUTE),
        Just(Permissions::all())
    ]
}

fn operations() -> impl Strategy<Value = Operation> {
    let hpa =
        (0u64..8, 0u64..3, 0u64..3).prop_map(|(huge, large, page)| huge * HUGE + large * LARGE + page * PAGE);
    prop_oneof![
        3 => (spans(), hpa, permissions()).prop_map(|(span, hpa, p)| Operation::Map(span, hpa, p)),
        2 => spans().prop_map(Operation::Unmap),
        2 => (spans(), permissions()).prop_map(|(span, p)| Operation::Protect(span, p)),
    ]
}

fn apply<F: EntryFormat>(tree: &mut Tree<F>, tables: &mut Tables, model: &mut Model, operation: &Operation) {
    match *operation {
        Operation::Map(span, hpa, permissions) => {
            let free = model.isolate(span).is_empty();
            let hpa_start = Hpa::new(hpa).unwrap();
            match tree.map(tables, span, hpa_start, Attributes::memory(permissions)) {
                Ok(_) => {
                    assert!(free, "{span:x?} was mapped twice");
                    if span.len_bytes > 0 {
                        model.0.insert(span.start, (span.len_bytes, hpa, permissions));
                    }
                }
                Err(MapError::AlreadyMapped(address)) => assert!(model.lookup(address).is_some()),
                Err(error) => assert_eq!(error, MapError::OutOfTables),
            }
        }
        Operation::Unmap(span) => {
            if tree.unmap(tables, span).is_ok() {
                for start in model.isolate(span) {
                    model.0.remove(&start);
                }
            }
        }
        Operation::Protect(span, permissions) => {
            if tree.protect(tables, span, permissions).is_ok() {
                for start in model.isolate(span) {
                    model.0.get_mut(&start).unwrap().2 = permissions;
                }
            }
        }
    }
}

fn assert_same<F: EntryFormat>(tree: &Tree<F>, tables: &Tables, model: &Model) {
    let all = Span { start: 0, len_bytes: 512 * HUGE };
    let mapped: u64 = tree.mappings(tables, all).map(|mapping| mapping.len_bytes).sum();
    assert_eq!(mapped, model.0.values().map(|(len, ..)| len).sum::<u64>());
    for mapping in tree.mappings(tables, all) {
        for address in [mapping.address, mapping.address + mapping.len_bytes - 1] {
            let hpa = mapping.hpa.as_u64() + (address - mapping.address);
            assert_eq!(model.lookup(address), Some((hpa, mapping.attributes.permissions)), "at {address:#x}");
        }
    }
}

fn geometry(largest_leaf: Level) -> Geometry {
    Geometry { root: Level::Pointer, largest_leaf }
}

fn run<F: EntryFormat>(operations: &[Operation], limit: usize) {
    let mut tables = Tables::with_limit(limit);
    let mut model = Model::default();
    let mut tree = Tree::<F>::new(&mut tables, geometry(Level::Pointer)).unwrap();
    for operation in operations {
        apply(&mut tree, &mut tables, &mut model, operation);
        assert_same(&tree, &tables, &model);
    }
    if model.0.is_empty() {
        assert_eq!(tables.live, 1, "an empty tree is its root");
    }
    tree.destroy(&mut tables);
    assert_eq!(tables.live, 0, "tables leaked");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_format_answers_as_the_model_does(operations in prop::collection::vec(operations(), 1..10)) {
        run::<Host>(&operations, usize::MAX);
        run::<Npt>(&operations, usize::MAX);
        run::<Ept>(&operations, usize::MAX);
    }

    #[test]
    fn running_out_of_tables_changes_no_translation(
        operations in prop::collection::vec(operations(), 1..10),
        limit in 1usize..8,
    ) {
        run::<Npt>(&operations, limit);
    }
}

fn span(start: u64, len_bytes: u64) -> Span {
    Span { start, len_bytes }
}

fn mapped(largest_leaf: Level, at: Span, hpa: u64) -> (Tree<Npt>, Tables) {
    let mut tables = Tables::with_limit(usize::MAX);
    let mut tree = Tree::new(&mut tables, geometry(largest_leaf)).unwrap();
    let attributes = Attributes::memory(Permissions::all());
    assert_eq!(tree.map(&mut tables, at, Hpa::new(hpa).unwrap(), attributes), Ok(Flush::Nothing));
    (tree, tables)
}

#[test]
fn the_largest_aligned_pages_are_used() {
    let (tree, tables) = mapped(Level::Pointer, span(HUGE - PAGE, HUGE + LARGE + 2 * PAGE), HUGE - PAGE);
    let sizes: Vec<_> = tree.mappings(&tables, span(0, 4 * HUGE)).map(|m| m.len_bytes).collect();
    assert_eq!(sizes, [PAGE, HUGE, LARGE, PAGE]);
}

#[test]
fn without_gibibyte_pages_none_is_made() {
    let (tree, tables) = mapped(Level::Directory, span(0, HUGE), 0);
    assert!(tree.mappings(&tables, span(0, HUGE)).all(|m| m.len_bytes == LARGE));
}

#[test]
fn protecting_a_part_splits_just_what_holds_it() {
    let (mut tree, mut tables) = mapped(Level::Pointer, span(0, HUGE), HUGE);
    let flush = tree.protect(&mut tables, span(PAGE, PAGE), Permissions::READ).unwrap();
    assert_eq!(flush, Flush::Span { start: PAGE, len_bytes: PAGE });
    assert_eq!(tree.mappings(&tables, span(0, HUGE)).count(), 512 + 511);
    let page = tree.lookup(&tables, PAGE).unwrap();
    assert_eq!((page.hpa.as_u64(), page.attributes.permissions), (HUGE + PAGE, Permissions::READ));
}

#[test]
fn bad_arguments_are_refused_by_name() {
    let (mut tree, mut tables) = mapped(Level::Pointer, span(0, PAGE), 0);
    let memory = Attributes::memory(Permissions::READ);
    let mut map = |at, hpa, attributes| tree.map(&mut tables, at, Hpa::new(hpa).unwrap(), attributes);
    let end = 512 * HUGE;
    assert_eq!(map(span(1, PAGE), 0, memory), Err(MapError::BadSpan { start: 1, len_bytes: PAGE }));
    assert_eq!(
        map(span(end - PAGE, 2 * PAGE), 0, memory),
        Err(MapError::BadSpan { start: end - PAGE, len_bytes: 2 * PAGE })
    );
    assert_eq!(map(span(PAGE, PAGE), 8, memory), Err(MapError::UnalignedTarget(Hpa::new(8).unwrap())));
    assert_eq!(map(span(0, 2 * PAGE), 0, memory), Err(MapError::AlreadyMapped(0)));
    let unreadable = Attributes::memory(Permissions::EXECUTE);
    assert_eq!(map(span(PAGE, PAGE), 0, unreadable), Err(MapError::Unreadable));
}

#[test]
fn a_lookup_past_the_space_finds_nothing() {
    let (tree, tables) = mapped(Level::Pointer, span(0, PAGE), 0);
    assert_eq!(tree.lookup(&tables, 512 * HUGE), None);
    assert_eq!(tree.lookup(&tables, u64::MAX), None);
}

#[test]
fn an_empty_span_inside_a_page_changes_nothing() {
    let (mut tree, mut tables) = mapped(Level::Pointer, span(0, HUGE), 0);
    assert_eq!(tree.unmap(&mut tables, span(PAGE, 0)), Ok(Flush::Nothing));
    assert_eq!(tree.protect(&mut tables, span(PAGE, 0), Permissions::READ), Ok(Flush::Nothing));
    assert_eq!(tree.lookup(&tables, PAGE).map(|m| m.len_bytes), Some(HUGE));
}
