//! system.
fn main() {}
