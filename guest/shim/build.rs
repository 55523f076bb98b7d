//! Links the shim at its place, where there is one.

fn main() {
    println!("cargo::rerun-if-changed=shim.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        let script = std::path::Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("shim.ld");
        println!("cargo::rustc-link-arg-bins=-T{}", script.display());
    }
}
