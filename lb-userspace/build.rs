//! Puts the eBPF object where `dataplane::OBJECT` includes it from. The object is built by another compiler, so this
//! script only looks for it.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=SLUICE_BPF_OBJECT");
    let object = env::var_os("SLUICE_BPF_OBJECT").map_or_else(default_object, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    let Ok(bytes) = fs::read(&object) else {
        println!("cargo::error=no eBPF object at {}: run `cargo xtask build-ebpf` first", object.display());
        return;
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("sluice.o");
    fs::write(&out, bytes).expect("OUT_DIR is writable");
}

/// `target/bpf/sluice.o` of the workspace.
fn default_object() -> PathBuf {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..");
    root.join("target/bpf/sluice.o")
}
