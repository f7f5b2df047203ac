//! guests.
fn main() {}
