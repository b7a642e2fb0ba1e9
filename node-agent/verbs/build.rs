//! Compiles the C shim against the system's `infiniband/verbs.h`, the header of the library that is
//! linked.

fn main() {
    println!("cargo::rerun-if-changed=src/sys/shim.c");
    cc::Build::new()
        .file("src/sys/shim.c")
        .std("c11")
        .warnings(true)
        .warnings_into_errors(true)
        .compile("rdmamesh_verbs_shim");
}
