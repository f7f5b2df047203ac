//! Boot's only contact with firmware and hardware. `unsafe` is needed here for instructions and registers, for memory
//! that firmware hands out as addresses, and for leaving it.

pub(crate) mod console;
pub(crate) mod cpu;
pub(crate) mod esp;
pub(crate) mod heap;
pub(crate) mod leave;
pub(crate) mod machine;
pub(crate) mod pages;
mod panic;
mod uart;
