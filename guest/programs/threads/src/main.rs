//! What a native program of Rust's standard library does in a Keep, with the same output each time: four threads that
//! count under a lock and report over a channel, a map, a file if there is one, an echo over TCP to itself, and a panic
//! that only ends its thread.
//!
//! Its argument is its exit status; without one it is 0.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

const FILE: &str = "/donjon/identity/certificates.pem";

fn main() -> io::Result<ExitCode> {
    count();
    file()?;
    println!("echo: {}", echo()?);
    panics();
    let status = std::env::args().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(ExitCode::from(status))
}

fn count() {
    const EACH: u32 = 1000;
    let total = Arc::new(Mutex::new(0));
    let (tell, told) = mpsc::channel();
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (total, tell) = (Arc::clone(&total), tell.clone());
            thread::spawn(move || {
                for _ in 0..EACH {
                    *total.lock().expect("nobody panics with it") += number;
                }
                tell.send((number, number * EACH)).expect("somebody listens");
            })
        })
        .collect();
    drop(tell);
    let mut shares: Vec<_> = told.iter().collect::<HashMap<_, _>>().into_iter().collect();
    shares.sort_unstable();
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
    println!("shares: {shares:?}, total {}", total.lock().expect("nobody panics with it"));
}

fn file() -> io::Result<()> {
    match fs::read_to_string(FILE) {
        Ok(text) => println!("certificates: {}", text.matches("BEGIN CERTIFICATE").count()),
        Err(error) if error.kind() == ErrorKind::NotFound => println!("no certificates"),
        Err(error) => return Err(error),
    }
    let error = fs::write(FILE, "").expect_err("files are for reading");
    println!("writing: {:?}", error.kind());
    Ok(())
}

fn echo() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        stream.write_all(&heard)
    });
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"hello, hello")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard)?;
    server.join().expect("the server does not panic")?;
    Ok(heard)
}

fn panics() {
    std::panic::set_hook(Box::new(|_| {}));
    let ended = thread::spawn(|| panic!("as it should")).join().expect_err("it panics");
    println!("a panic: {}", ended.downcast_ref::<&str>().unwrap_or(&"of another kind"));
}
