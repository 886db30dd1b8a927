//! Compiles the C loop that the table benchmark compares with, always with `-O2`, whatever this package's profile.

fn main() {
    println!("cargo::rerun-if-changed=c/maglev.c");
    cc::Build::new().file("c/maglev.c").opt_level(2).std("c11").warnings_into_errors(true).compile("maglev");
}
