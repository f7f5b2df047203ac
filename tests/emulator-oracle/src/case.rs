//! One instruction with everything that it works on.

/// Where a test's memory begins: one page for reading only, two pages, and one that is not there.
pub const PAGE: usize = 4096;
/// The pages whose contents are compared.
pub const MEMORY_BYTES: usize = 3 * PAGE;

/// Registers that both sides begin with and are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Registers {
    /// In encoding order.
    pub gprs: [u64; 16],
    /// RFLAGS.
    pub rflags: u64,
    /// Room, so that what follows is aligned.
    pub reserved: [u64; 7],
    /// YMM0 to YMM15.
    pub vectors: [[u8; 32]; 16],
}

/// One instruction with everything that it works on.
#[derive(Clone, Debug)]
pub struct Case {
    /// The instruction as the table calls it.
    pub name: &'static str,
    /// The instruction.
    pub code: Vec<u8>,
    /// What it begins with.
    pub registers: Registers,
    /// The memory it begins with.
    pub memory: Vec<u8>,
    /// The flags that the manual leaves undefined.
    pub undefined: u64,
}

/// What an instruction ended in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It completed.
    Completed,
    /// An exception with its vector, error code and, for a page fault, CR2.
    Fault(u8, u32, u64),
}

/// All that is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Result {
    /// How it ended.
    pub ending: Ending,
    /// The registers afterwards.
    pub registers: Registers,
    /// The memory afterwards.
    pub memory: Vec<u8>,
}
