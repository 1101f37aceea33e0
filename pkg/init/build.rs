//! Gives the linker `image.ld` when the binary is one for an image: profile `image`, and musl.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=image.ld");
    let is = |name, value| var(name).is_ok_and(|v| v == value);
    // Nothing tells a build script how a panic ends; `z` is what only the profile `image` has.
    if is("OPT_LEVEL", "z") && is("CARGO_CFG_TARGET_ENV", "musl") {
        println!("cargo::rustc-link-arg-bins=-T{}/image.ld", env!("CARGO_MANIFEST_DIR"));
    }
}
