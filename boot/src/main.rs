//! boot.
fn main() {}
