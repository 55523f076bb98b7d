//! Compiles the C program with the plain `cc`, for Linux only; elsewhere there is nothing to run.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=src/main.c");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return ExitCode::SUCCESS;
    }
    let out = env::var_os("OUT_DIR").unwrap_or_default();
    let object = Path::new(&out).join("main.o");
    // Headers may be those of another C library than the one it is linked with: no shortcuts into theirs.
    let compiled =
        Command::new("cc").args(["-c", "-O2", "-fPIE", "-U_FORTIFY_SOURCE", "src/main.c", "-o"]).arg(&object).status();
    if !compiled.is_ok_and(|status| status.success()) {
        println!("cargo::error=cc did not compile src/main.c");
        return ExitCode::FAILURE;
    }
    println!("cargo::rustc-link-arg-bins={}", object.display());
    // Behind what needs it.
    println!("cargo::rustc-link-arg-bins=-lc");
    ExitCode::SUCCESS
}
