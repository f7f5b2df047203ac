//! Links the guests as static ELF files at 1 MiB, the way a kernel is.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=guest.ld");
    let target = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let directory = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    if target == "none" {
        println!("cargo:rustc-link-arg-bins=-T{directory}/guest.ld");
        // The target links position-independent executables by default.
        println!("cargo:rustc-link-arg-bins=--no-pie");
        println!("cargo:rustc-link-arg-bins=-zmax-page-size=0x1000");
    }
}
