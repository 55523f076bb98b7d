//! Rust's toolchain brings what is needed to link `main.c`, which has the `main`: a C library for static programs.
//! Nothing of this file is in the program.

#![no_main]
