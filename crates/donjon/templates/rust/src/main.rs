//! Greets whom the arguments name.

fn main() {
    for name in std::env::args().skip(1) {
        println!("Hello from Rust, {name}!");
    }
}
