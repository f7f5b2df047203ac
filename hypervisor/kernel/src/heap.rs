//! The heap of the hypervisor.

use memory::Heap;

#[global_allocator]
static HEAP: Heap = Heap::new();

/// How much of it is in use.
pub fn usage() -> memory::HeapUsage {
    HEAP.usage()
}
