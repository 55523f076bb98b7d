//! Measures from inside what things take, for `bench`: each command prints nanoseconds, and nothing else.
//!
//! | command | measures |
//! |---|---|
//! | `cpu N` | N rounds of computing, all of it |
//! | `memory N` | N rounds over 16 MiB, all of it |
//! | `inside N` | a system call that a Keep answers by itself, one |
//! | `host N` | a system call that the host answers, one |
//! | `bulk` | standard input to its end, all of it |
//! | `now` | since 1970: a line, no more |
//! | `sieve N`, and other [`kernels`] | N rounds of it, one |

mod kernels;

use std::io::Read;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let rounds = |text: &str| text.parse::<u32>().ok().filter(|rounds| *rounds > 0);
    let nanos = match arguments[..] {
        ["cpu", rounds_of] => rounds(rounds_of).map(|rounds| of(|| (0..rounds).for_each(|_| compute()))),
        ["memory", rounds_of] => rounds(rounds_of).map(memory),
        #[cfg(unix)]
        ["inside", rounds_of] => rounds(rounds_of).map(|rounds| each(rounds, std::process::id)),
        #[cfg(unix)]
        ["host", rounds_of] => rounds(rounds_of).and_then(host),
        ["bulk"] => Some(bulk()),
        ["now"] => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().map(|now| now.as_nanos()),
        [kernel, rounds_of] => {
            kernels::named(kernel).zip(rounds(rounds_of)).map(|(kernel, rounds)| each(rounds, kernel))
        }
        _ => None,
    };
    match nanos {
        Some(nanos) => {
            println!("{nanos}");
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("usage: meter cpu N | memory N | inside N | host N | bulk | now | KERNEL N");
            ExitCode::from(2)
        }
    }
}

fn of(what: impl FnOnce()) -> u128 {
    let start = Instant::now();
    what();
    start.elapsed().as_nanos()
}

fn each<T>(rounds: u32, mut what: impl FnMut() -> T) -> u128 {
    let all = of(|| (0..rounds).for_each(|_| drop(std::hint::black_box(what()))));
    all / u128::from(rounds)
}

/// Some milliseconds of whole numbers, floating point and branches.
fn compute() {
    let (mut state, mut sum) = (0x9e37_79b9_7f4a_7c15_u64, 0.0_f64);
    for _ in 0..1_000_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state & 3 == 0 {
            #[allow(clippy::cast_precision_loss, reason = "it is only to be computed")]
            let number = state as f64;
            sum = sum.mul_add(0.5, number.sqrt());
        }
    }
    std::hint::black_box((state, sum));
}

fn memory(rounds: u32) -> u128 {
    let mut bytes = vec![1u8; 16 << 20];
    of(|| {
        for round in 0..rounds {
            let step = 64 + round as usize % 2 * 64;
            bytes.iter_mut().step_by(step).for_each(|byte| *byte = byte.wrapping_mul(31).wrapping_add(7));
            std::hint::black_box(&mut bytes);
        }
    })
}

#[cfg(unix)]
fn host(rounds: u32) -> Option<u128> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").ok()?;
    Some(each(rounds, || listener.local_addr()))
}

fn bulk() -> u128 {
    let mut buffer = vec![0; 1 << 20];
    of(|| {
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut buffer).is_ok_and(|count| count > 0) {}
    })
}
