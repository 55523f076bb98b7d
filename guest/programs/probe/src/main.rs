//! A command for tests: it does the one thing its first argument names, and nothing else.
//!
//! | arguments | does |
//! |---|---|
//! | `exit N` | ends with status N |
//! | `file PATH …` | copies these files to standard output |
//! | `cat` | copies standard input to standard output; the number of bytes on standard error |
//! | `args` | its arguments after this one, one a line |
//! | `env` | its environment, sorted, `NAME=VALUE` a line |
//! | `trap unreachable`, `trap oob`, `trap stack` | traps in that way |
//! | `call` | makes a system call that no Keep answers, where a program can make one |
//! | `sleep MS` | waits, then ends with status 0 |
//!
//! Anything else ends with status 64 and this list in short. It is built for `wasm32-wasip1`, `wasm32-wasip2` and as a
//! native program.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["exit", status] => match status.parse() {
            Ok(status) => std::process::exit(status),
            Err(_) => Ok(usage()),
        },
        ["file", paths @ ..] => {
            paths
                .iter()
                .try_for_each(|path| io::copy(&mut std::fs::File::open(path)?, &mut io::stdout()).map(|_| ()))?;
            Ok(ExitCode::SUCCESS)
        }
        ["call"] => std::process::Command::new("/bin/true").status().map(|_| ExitCode::SUCCESS),
        ["cat"] => cat(),
        ["args", rest @ ..] => {
            let mut out = io::stdout();
            rest.iter().try_for_each(|argument| writeln!(out, "{argument}"))?;
            Ok(ExitCode::SUCCESS)
        }
        ["env"] => {
            let mut all: Vec<_> = std::env::vars().collect();
            all.sort();
            let mut out = io::stdout();
            all.iter().try_for_each(|(name, value)| writeln!(out, "{name}={value}"))?;
            Ok(ExitCode::SUCCESS)
        }
        ["trap", "unreachable"] => trap_unreachable(),
        ["trap", "oob"] => Ok(ExitCode::from(trap_oob())),
        ["trap", "stack"] => Ok(ExitCode::from(trap_stack(0).to_le_bytes()[0])),
        ["sleep", milliseconds] => match milliseconds.parse() {
            Ok(milliseconds) => {
                std::thread::sleep(Duration::from_millis(milliseconds));
                Ok(ExitCode::SUCCESS)
            }
            Err(_) => Ok(usage()),
        },
        _ => Ok(usage()),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: probe exit N | file PATH … | cat | args … | env | trap unreachable|oob|stack | call | sleep MS");
    ExitCode::from(64)
}

fn cat() -> io::Result<ExitCode> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0_u64;
    loop {
        let count = input.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        total += count as u64;
        output.write_all(&buffer[..count])?;
        // What came is passed on now: somebody may wait for it before he says more.
        output.flush()?;
    }
    eprintln!("{total}");
    Ok(ExitCode::SUCCESS)
}

#[inline(never)]
fn trap_unreachable() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

/// Reads the last byte of the address space, which no memory of less than 4 GiB has.
#[inline(never)]
fn trap_oob() -> u8 {
    let last = black_box(usize::MAX) as *const u8;
    // SAFETY: not sound anywhere but in WebAssembly, where an address outside of memory is a defined trap, and that trap
    // is what is asked for. The read is volatile and the address opaque, so the compiler cannot leave it out.
    unsafe { last.read_volatile() }
}

/// Recurses until the stack is used up.
#[inline(never)]
#[allow(unconditional_recursion, reason = "that is what is asked for")]
fn trap_stack(depth: u64) -> u64 {
    black_box(trap_stack(black_box(depth) + 1)) + 1
}
