//! The Cofferdam hypervisor.
fn main() {}
