//! What blobs cost a Drawbridge over TLS 1.3, beside Debian's `docker-registry` and nginx with the same bytes, in the same run:
//! `cargo build --release -p donjon && cargo run --release -p bench-drawbridge` (`apt-get install docker-registry nginx-light`).
//!
//! One blob of a gibibyte by one client, and ten thousand of four kibibytes by sixteen: pulled from all three, pushed to both
//! registries. The same client for all of them, with the same cipher suite, on the same two processors as the server. They
//! take turns, and the figure is the median of the ratios of each turn. All that is pushed is made anew for each turn.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a report")]

mod client;
mod servers;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use workload::Digest;

use client::{Client, Trust};
use servers::{Kind, Server};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const LARGE: usize = 1 << 30;
const SMALL: usize = 4096;
const MANY: usize = 10_000;
const CLIENTS: usize = 16;
const TURNS: usize = 5;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            eprintln!("hint: cargo build --release -p donjon; apt-get install docker-registry nginx-light");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let trust = Trust::new()?;
    let folder = tempfile::Builder::new().prefix("bench-drawbridge").tempdir()?;
    let large = bytes(LARGE, 0);
    let small: Vec<Vec<u8>> = (0..MANY).map(|number| bytes(SMALL, number as u64 + 1)).collect();
    let servers = [Kind::Drawbridge, Kind::Registry, Kind::Nginx];
    let servers: Vec<Server> =
        servers.into_iter().map(|kind| Server::start(kind, folder.path(), &trust)).collect::<Result<_>>()?;
    for server in &servers {
        server.give(&trust, std::slice::from_ref(&large))?;
        server.give(&trust, &small)?;
    }
    println!("{:<34}{:>12}{:>12}{:>12}{:>16}{:>12}", "", "Drawbridge", "registry", "nginx", "of registry", "of nginx");
    let digest = Digest::of(&large);
    let name = "1 GiB pulled, GB/s";
    report(name, &servers, |server| {
        let begun = Instant::now();
        Client::new(server, &trust)?.pull(&digest, LARGE)?;
        Ok(LARGE as f64 / begun.elapsed().as_secs_f64() / 1e9)
    })?;
    let digests: Vec<Digest> = small.iter().map(|bytes| Digest::of(bytes)).collect();
    report("10,000 of 4 KiB pulled, a second", &servers, |server| {
        each(MANY, || Client::new(server, &trust), |client, number| client.pull(&digests[number], SMALL))
    })?;
    let registries = &servers[..2];
    let mut turn: u64 = 0;
    report("1 GiB pushed, GB/s", registries, |server| {
        turn += 1;
        let mut fresh = large.clone();
        fresh[..8].copy_from_slice(&turn.to_le_bytes());
        let digest = Digest::of(&fresh);
        let begun = Instant::now();
        Client::new(server, &trust)?.push(&fresh, &digest)?;
        Ok(LARGE as f64 / begun.elapsed().as_secs_f64() / 1e9)
    })?;
    report("10,000 of 4 KiB pushed, a second", registries, |server| {
        turn += 1;
        let fresh: Vec<Vec<u8>> = (0..MANY).map(|number| bytes(SMALL, (turn << 32) + number as u64)).collect();
        let digests: Vec<Digest> = fresh.iter().map(|bytes| Digest::of(bytes)).collect();
        each(MANY, || Client::new(server, &trust), |client, number| client.push(&fresh[number], &digests[number]))
    })?;
    for server in &servers {
        println!("{:?}: at most {} MiB in memory", server.kind, server.peak()? / 1024);
    }
    Ok(())
}

/// Lets servers take turns; each figure is the more the better. An argument of the program leaves out what has it not in its name.
fn report(name: &str, servers: &[Server], mut measure: impl FnMut(&Server) -> Result<f64>) -> Result<()> {
    if std::env::args().nth(1).is_some_and(|only| !name.contains(&only)) {
        return Ok(());
    }
    let mut turns: Vec<Vec<f64>> = Vec::new();
    for turn in 0..=TURNS {
        let figures = servers.iter().map(&mut measure).collect::<Result<Vec<_>>>()?;
        // The first one fills caches.
        if turn > 0 {
            turns.push(figures);
        }
    }
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let column = |at: usize| turns.iter().map(|figures| figures.get(at).copied()).collect::<Option<Vec<f64>>>();
    let ratio = |at: usize| column(at).map(|_| median(turns.iter().map(|figures| figures[0] / figures[at]).collect()));
    let figure = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.2}"));
    let [own, registry, nginx] = [0, 1, 2].map(|at| figure(column(at).map(median)));
    let [of_registry, of_nginx] = [1, 2].map(|at| figure(ratio(at)));
    println!("{name:<34}{own:>12}{registry:>12}{nginx:>12}{of_registry:>16}{of_nginx:>12}");
    Ok(())
}

/// So many things by so many clients: how many a second.
fn each<C: Send>(
    many: usize,
    client: impl Fn() -> Result<C> + Sync,
    one: impl Fn(&mut C, usize) -> Result<()> + Sync,
) -> Result<f64> {
    let next = AtomicUsize::new(0);
    let clients = (0..CLIENTS).map(|_| client()).collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    thread::scope(|scope| {
        let work = |mut client| -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= many {
                    return Ok(());
                }
                one(&mut client, number)?;
            }
        };
        let threads: Vec<_> = clients.into_iter().map(|client| scope.spawn(move || work(client))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })?;
    Ok(many as f64 / begun.elapsed().as_secs_f64())
}

/// Bytes that nothing makes shorter, of this seed.
fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(length);
    out
}
