//! A command for tests: it does the one thing its first argument names, and nothing else.
//!
//! | arguments | does |
//! |---|---|
//! | `exit N` | ends with status N |
//! | `file PATH …` | copies these files to standard output |
//! | `put PATH TEXT` | writes the text at the end of this file, which it makes if there is none, and copies all of it to standard output |
//! | `list PATH` | what is in this directory, sorted, a name a line |
//! | `name` | its argument 0 |
//! | `cat` | copies standard input to standard output; the number of bytes on standard error |
//! | `args` | its arguments after this one, one a line |
//! | `env` | its environment, sorted, `NAME=VALUE` a line |
//! | `trap unreachable`, `trap oob`, `trap stack` | traps in that way |
//! | `memory` | takes memory until there is none |
//! | `call` | makes a system call that no Keep answers, where a program can make one |
//! | `sleep MS` | waits, then ends with status 0 |
//! | `spin N` | says a line, and has N threads compute for ever |
//! | `echo AT` | accepts a connection, gives back what comes over it until its end, and says how many bytes that were |
//! | `dial AT TEXT` | connects, says the text and that nothing follows, and copies what comes to standard output |
//! | `door PATH TEXT` | opens this file, writes the text as a line, and copies the line that comes back to standard output |
//! | `answer PATH` | opens this file, and writes the line that comes out of it back in capitals |
//! | `renewed PATH` | waits until this file has another content, and copies what is in it now, and what one that was opened before has |
//! | `ask AT TEXT` | sends the text as a datagram from any port, and copies the first that comes back to standard output |
//! | `send AT TEXT` | connects a socket at any port, and sends the text as a datagram |
//! | `tell AT` | takes a datagram at `HOST:PORT`, gives it back to who sent it in capitals, and says it |
//! | `lookup NAME` | the addresses of a name, sorted, one a line |
//! | `get URL` | asks by `wasi:http`, and copies status and body to standard output; as a component |
//! | `gate …` | for each line of standard input: writes on descriptor 3, and what is answered |
//!
//! `AT` is `HOST:PORT`, or `fd:N` for a descriptor that it began with.
//!
//! A line for `gate` has the bytes of each write in hexadecimal, separated by blanks. What comes back is the payload of one
//! reply, in hexadecimal, or `error` and the number with which a write failed.
//!
//! Anything else ends with status 64 and this list in short. It is built for `wasm32-wasip1`, `wasm32-wasip2` and as a
//! native program.

use std::hint::black_box;
use std::io::{self, Read, Seek, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
#[cfg(any(target_env = "p1", target_os = "linux"))]
use std::os::fd::FromRawFd;
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
        ["put", path, text] => {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).read(true).open(path)?;
            file.write_all(text.as_bytes())?;
            file.seek(io::SeekFrom::Start(0))?;
            io::copy(&mut file, &mut io::stdout()).map(|_| ExitCode::SUCCESS)
        }
        ["list", path] => {
            let names = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name()));
            let mut names = names.collect::<io::Result<Vec<_>>>()?;
            names.sort();
            let mut out = io::stdout();
            names.iter().try_for_each(|name| writeln!(out, "{}", name.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        ["name"] => {
            println!("{}", std::env::args().next().unwrap_or_default());
            Ok(ExitCode::SUCCESS)
        }
        ["memory"] => {
            let mut all: Vec<Vec<u8>> = Vec::new();
            loop {
                all.push(vec![1; 1 << 20]);
                black_box(&all);
            }
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
        ["spin", threads] => match threads.parse() {
            Ok(threads) => spin(threads),
            Err(_) => Ok(usage()),
        },
        ["echo", at] => {
            let (mut stream, _) = listen(at)?.accept()?;
            let mut all = Vec::new();
            stream.read_to_end(&mut all)?;
            stream.write_all(&all)?;
            println!("{}", all.len());
            Ok(ExitCode::SUCCESS)
        }
        ["dial", at, text] => {
            let mut stream = dial(at)?;
            stream.write_all(text.as_bytes())?;
            stream.shutdown(Shutdown::Write)?;
            io::copy(&mut stream, &mut io::stdout()).map(|_| ExitCode::SUCCESS)
        }
        ["door", path, text] => {
            let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
            if file.stream_position().is_ok() {
                return Err(io::Error::other("a place in a connection"));
            }
            writeln!(file, "{text}")?;
            println!("{}", line(&mut file)?);
            Ok(ExitCode::SUCCESS)
        }
        ["answer", path] => {
            let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
            let said = line(&mut file)?;
            writeln!(file, "{}", said.to_uppercase()).map(|()| ExitCode::SUCCESS)
        }
        ["renewed", path] => {
            let mut before = std::fs::File::open(path)?;
            let first = std::fs::read(path)?;
            let now = loop {
                let now = std::fs::read(path)?;
                if now != first {
                    break now;
                }
                std::thread::sleep(Duration::from_millis(50));
            };
            let mut kept = Vec::new();
            before.read_to_end(&mut kept)?;
            if kept != first {
                return Err(io::Error::other("an open file changed"));
            }
            io::stdout().write_all(&[now, kept].concat()).map(|()| ExitCode::SUCCESS)
        }
        ["ask", at, text] => {
            let (socket, to) = datagrams(at)?;
            socket.send_to(text.as_bytes(), to)?;
            let mut bytes = vec![0; 64 * 1024];
            let (count, _) = socket.recv_from(&mut bytes)?;
            io::stdout().write_all(&bytes[..count]).map(|()| ExitCode::SUCCESS)
        }
        ["send", at, text] => {
            let (socket, to) = datagrams(at)?;
            socket.connect(to)?;
            socket.send(text.as_bytes()).map(|_| ExitCode::SUCCESS)
        }
        ["tell", at] => {
            let socket = UdpSocket::bind(at)?;
            let mut bytes = vec![0; 64 * 1024];
            let (count, from) = socket.recv_from(&mut bytes)?;
            socket.send_to(&bytes[..count].to_ascii_uppercase(), from)?;
            io::stdout().write_all(&bytes[..count]).map(|()| ExitCode::SUCCESS)
        }
        ["lookup", name] => {
            let mut addresses: Vec<_> = (*name, 1).to_socket_addrs()?.map(|address| address.ip()).collect();
            addresses.sort();
            addresses.dedup();
            addresses.iter().for_each(|address| println!("{address}"));
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(all(target_os = "wasi", target_env = "p2"))]
        ["get", url] => request::get(url),
        #[cfg(target_os = "linux")]
        ["gate", ..] => gate::talk(),
        _ => Ok(usage()),
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: probe exit N | file PATH … | put PATH TEXT | list PATH | name | cat | args … | env | \
         trap unreachable|oob|stack | call | sleep MS | spin N | echo AT | dial AT TEXT | door PATH TEXT | answer PATH | renewed PATH | ask AT TEXT | send AT TEXT | tell AT | \
         lookup NAME | get URL | gate"
    );
    ExitCode::from(64)
}

/// What comes before the end of a line.
fn line(file: &mut std::fs::File) -> io::Result<String> {
    let mut line = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(file), &mut line)?;
    Ok(line.trim_end().to_owned())
}

/// The descriptor that `fd:N` names.
fn descriptor(at: &str) -> Option<i32> {
    at.strip_prefix("fd:")?.parse().ok()
}

#[cfg(any(target_env = "p1", target_os = "linux"))]
fn given<T: FromRawFd>(fd: i32) -> io::Result<T> {
    // SAFETY: the caller of this program says that it is open and of this kind; nothing else here uses it.
    Ok(unsafe { T::from_raw_fd(fd) })
}

#[cfg(target_env = "p2")]
fn given<T>(_: i32) -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

fn listen(at: &str) -> io::Result<TcpListener> {
    descriptor(at).map_or_else(|| TcpListener::bind(at), given)
}

fn dial(at: &str) -> io::Result<TcpStream> {
    descriptor(at).map_or_else(|| TcpStream::connect(at), given)
}

/// A socket for datagrams to there.
fn datagrams(at: &str) -> io::Result<(UdpSocket, SocketAddr)> {
    let to = at.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let socket = if to.is_ipv4() {
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
    }?;
    Ok((socket, to))
}

/// One request, as the world `wasi:http/proxy` makes them.
#[cfg(all(target_os = "wasi", target_env = "p2"))]
mod request {
    use std::io::{self, Write};
    use std::process::ExitCode;

    use wasip2::http::outgoing_handler;
    use wasip2::http::types::{Fields, OutgoingRequest, Scheme};
    use wasip2::io::streams::StreamError;

    pub(crate) fn get(url: &str) -> io::Result<ExitCode> {
        let (scheme, rest) = url.split_once("://").ok_or(io::ErrorKind::InvalidInput)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let request = OutgoingRequest::new(Fields::new());
        let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        let said = (
            request.set_scheme(Some(&scheme)),
            request.set_authority(Some(authority)),
            request.set_path_with_query(Some(&format!("/{path}"))),
        );
        if said != (Ok(()), Ok(()), Ok(())) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let failed = |error: &dyn std::fmt::Debug| io::Error::other(format!("{error:?}"));
        let answer = outgoing_handler::handle(request, None).map_err(|error| failed(&error))?;
        answer.subscribe().block();
        let response = answer.get().ok_or(io::ErrorKind::WouldBlock)?;
        let response = response.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        println!("{}", response.status());
        let body = response.consume().map_err(|()| failed(&"the body"))?;
        let stream = body.stream().map_err(|()| failed(&"the stream"))?;
        loop {
            match stream.blocking_read(64 * 1024) {
                Ok(bytes) => io::stdout().write_all(&bytes)?,
                Err(StreamError::Closed) => return Ok(ExitCode::SUCCESS),
                Err(error) => return Err(failed(&error)),
            }
        }
    }
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

fn spin(threads: usize) -> ! {
    for _ in 1..threads {
        std::thread::spawn(spin_alone);
    }
    println!("spins");
    spin_alone()
}

fn spin_alone() -> ! {
    loop {
        black_box(());
    }
}

/// Descriptor 3, byte by byte as somebody outside wants it.
#[cfg(target_os = "linux")]
mod gate {
    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::os::fd::FromRawFd;
    use std::process::ExitCode;

    pub(crate) fn talk() -> io::Result<ExitCode> {
        // SAFETY: it is open from the start (spec/gate.md), and nothing else here uses it.
        let mut gate = unsafe { File::from_raw_fd(3) };
        for line in io::stdin().lines() {
            let writes: Vec<Vec<u8>> = line?.split_whitespace().map(bytes).collect();
            let answer = match writes.iter().try_for_each(|part| gate.write_all(part)) {
                Ok(()) => reply(&mut gate)?.iter().map(|byte| format!("{byte:02x}")).collect(),
                Err(error) => format!("error {}", error.raw_os_error().unwrap_or(0)),
            };
            println!("{answer}");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn reply(gate: &mut File) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        gate.read_exact(&mut length)?;
        let mut payload = vec![0; u32::from_le_bytes(length) as usize];
        gate.read_exact(&mut payload)?;
        Ok(payload)
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |byte: u8| (byte as char).to_digit(16).expect("hexadecimal") as u8;
        hex.as_bytes().chunks(2).map(|pair| pair.iter().fold(0, |value, byte| value << 4 | digit(*byte))).collect()
    }
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
