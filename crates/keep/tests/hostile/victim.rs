//! A program that expects nothing true of its host, makes every call of the ring in all its forms, and checks what a host
//! must never change: bytes that it did not ask for, its own memory and descriptors, its threads' sums, its time.
//!
//! Says by its status which of that is broken, 0 for nothing. Errors are no surprise. Whatever it is told it ends: it waits
//! for nothing without a bound but for its own threads. `VICTIM_ROUNDS` at build time says how long it goes on;
//! `VICTIM_LEAKS` has it write a secret to its host, for showing that this is seen.

// The runtime of Rust's library asks what its streams are, and aborts where a host gives no answer.
#![no_main]

use std::arch::asm;
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

const PAGE: usize = 4096;
/// The secret is eight times this byte in a row, which stands nowhere in the file.
const MASKED: u8 = 0xc7 ^ 0xff;
const UNTOUCHED: u8 = 0xa5;

/// What is broken.
#[derive(Clone, Copy)]
enum Broken {
    Count = 101,
    Guard = 102,
    Errno = 103,
    Descriptor = 104,
    Address = 105,
    Poll = 106,
    Event = 107,
    Counter = 108,
    Time = 109,
    Sum = 110,
    Memory = 111,
    Forgotten = 112,
    Random = 113,
    Secret = 114,
    Value = 115,
}

fn end(status: u64) -> ! {
    raw(231, [status, 0, 0, 0, 0, 0]);
    unreachable!()
}

fn check(is: bool, what: Broken) {
    if !is {
        end(what as u64);
    }
}

fn raw(number: u64, [a, b, c, d, e, f]: [u64; 6]) -> u64 {
    let result;
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            in("r9") f, out("rcx") _, out("r11") _, options(nostack));
    }
    result
}

/// A call, of which no result is above `most`.
fn call(number: u64, arguments: [u64; 6], most: u64) -> Result<u64, u64> {
    let result = raw(number, arguments);
    if result > u64::MAX - 4096 {
        let error = result.wrapping_neg();
        check((1..=4095).contains(&error), Broken::Errno);
        return Err(error);
    }
    check(result <= most, Broken::Value);
    Ok(result)
}

fn at<T: ?Sized>(place: *const T) -> u64 {
    place.cast::<u8>() as u64
}

/// Numbers that come again: the host's lies are what differs.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What is open, and which set watches it with which data for what.
struct Open {
    is: [bool; 1024],
    watched: [Option<(u64, u64, u32)>; 1024],
}

impl Open {
    /// A new descriptor, if it is one: it must not be an old one.
    fn new(&mut self, fd: Result<u64, u64>) -> Option<u64> {
        let fd = fd.ok()?;
        check(fd > 3 && fd < 1024 && !self.is[fd as usize], Broken::Descriptor);
        self.is[fd as usize] = true;
        Some(fd)
    }

    fn close(&mut self, fd: u64) {
        _ = call(3, [fd, 0, 0, 0, 0, 0], 0);
        self.is[fd as usize] = false;
        self.watched[fd as usize] = None;
    }
}

#[unsafe(no_mangle)]
extern "C" fn main() {
    let rounds: u64 = option_env!("VICTIM_ROUNDS").and_then(|rounds| rounds.parse().ok()).unwrap_or(4);
    catch_faults();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut open = Open { is: [false; 1024], watched: [None; 1024] };
    let secret = black_box(MASKED) ^ black_box(0xff);
    let on_heap = vec![secret; 64];
    let mut own: Vec<u64> = (0..8192).map(|index| mark(index, 0)).collect();
    let mut time = 0;
    for round in 0..rounds {
        let on_stack = [secret; 48];
        streams(&mut numbers, &on_stack);
        if rounds > 100 {
            often(&mut numbers);
        }
        sockets(&mut open, &mut numbers);
        datagrams(&mut open, &mut numbers);
        time = clocks(time);
        random();
        if round % 12 == 0 {
            threads(&mut numbers, &on_stack);
        }
        if round % 24 == 1 {
            taken_away();
        }
        if round % 4 == 2 {
            platform(round);
        }
        for (index, word) in own.iter_mut().enumerate() {
            check(*word == mark(index, round), Broken::Memory);
            *word = mark(index, round + 1);
        }
        check(black_box(&on_stack).iter().chain(&on_heap).all(|byte| *byte == secret), Broken::Secret);
    }
    if option_env!("VICTIM_LEAKS").is_some() {
        _ = call(1, [1, at(on_heap.as_ptr()), 64, 0, 0, 0], 64);
    }
    end(0);
}

fn mark(index: usize, round: u64) -> u64 {
    (index as u64 ^ round << 32).wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// Reads into the middle of a buffer: no byte changes but those that the result counts.
fn read(fd: u64, length: usize) -> Option<usize> {
    let mut bytes = [UNTOUCHED; 512];
    let result = call(0, [fd, at(&bytes[128]), length as u64, 0, 0, 0], u64::MAX).ok();
    let count = result.unwrap_or(0) as usize;
    check(count <= length, Broken::Count);
    let bytes = black_box(&mut bytes);
    check(bytes[..128].iter().chain(&bytes[128 + count..]).all(|byte| *byte == UNTOUCHED), Broken::Guard);
    result.map(|_| count)
}

fn streams(numbers: &mut Numbers, secrets: &[u8]) {
    read(0, 1 + numbers.below(200) as usize);
    let long = vec![0x2e_u8; 3000];
    _ = call(1, [1, at(long.as_ptr()), numbers.below(3000), 0, 0, 0], 3000);
    // Beside a secret, and as much as comes before it.
    let mut beside = secrets.to_vec();
    beside.splice(0..0, [0x2e; 32]);
    _ = call(1, [1, at(beside.as_ptr()), 1 + numbers.below(32), 0, 0, 0], 32);
    let parts = [(at(long.as_ptr()), 10_u64), (at(long.as_ptr()), numbers.below(90))];
    _ = call(20, [1, at(&parts), 2, 0, 0, 0], 100);
    // Where nothing was written before: the shim has to make the page.
    let fresh = untouched(1);
    _ = call(5, [numbers.below(3), fresh as u64, 0, 0, 0, 0], 0);
    _ = call(8, [0, numbers.below(100), 0, 0, 0, 0], u64::MAX);
    _ = call(16, [1, 0x5413, fresh as u64 + 512, 0, 0, 0], 0);
    _ = call(35, [at(&[0_u64, 1 + numbers.below(1000)]), 0, 0, 0, 0, 0], 0);
    check(unsafe { fresh.byte_add(1024).read_volatile() } == 0, Broken::Memory);
    unmap(fresh, 1);
}

/// Many calls that cost little: each is a chance for a lie.
fn often(numbers: &mut Numbers) {
    let text = [0x2e_u8; 64];
    let mut status = [UNTOUCHED; 152];
    for _ in 0..25 {
        read(0, 1 + numbers.below(60) as usize);
        _ = call(1, [1, at(&text), 1 + numbers.below(60), 0, 0, 0], 60);
        _ = call(8, [0, numbers.below(100), 0, 0, 0, 0], u64::MAX);
        _ = poll(&mut [(1, 4)], 0);
        _ = call(5, [0, at(status.as_mut_ptr()), 0, 0, 0, 0], 0);
        check(black_box(&status)[144..].iter().all(|byte| *byte == UNTOUCHED), Broken::Guard);
    }
}

fn poll(entries: &mut [(u64, u16)], millis: u64) -> Option<()> {
    let mut list: Vec<u64> =
        entries.iter().map(|(fd, wanted)| fd | u64::from(*wanted) << 32).chain([u64::from_ne_bytes([UNTOUCHED; 8])]).collect();
    let count = call(7, [at(list.as_mut_ptr()), entries.len() as u64, millis, 0, 0, 0], entries.len() as u64).ok()?;
    let list = black_box(list);
    let mut found = 0;
    for ((fd, wanted), entry) in entries.iter_mut().zip(&list) {
        check(entry & 0xffff_ffff_ffff == *fd | u64::from(*wanted) << 32, Broken::Poll);
        let told = (entry >> 48) as u16;
        check(told & !(*wanted | 0x38) == 0, Broken::Poll);
        found += u64::from(told != 0);
        *wanted = told;
    }
    check(found == count && list[entries.len()] == u64::from_ne_bytes([UNTOUCHED; 8]), Broken::Poll);
    Some(())
}

/// A call that tells an address: never more than there is room for, nor more than it says.
fn address(number: u64, fd: u64, flags: u64, numbers: &mut Numbers) -> Result<u64, u64> {
    let (mut bytes, room) = ([UNTOUCHED; 64], [0, 4, 16, 28, 60][numbers.below(5) as usize]);
    let mut length = [room as u32, 0x5a5a_5a5a];
    let result = call(number, [fd, at(bytes.as_mut_ptr()), at(length.as_mut_ptr()), flags, 0, 0], 1023);
    let length = black_box(length);
    check(length[1] == 0x5a5a_5a5a, Broken::Address);
    let told = if result.is_ok() { length[0] as usize } else { 0 };
    check(told <= 28, Broken::Address);
    check(black_box(bytes)[told.min(room)..].iter().all(|byte| *byte == UNTOUCHED), Broken::Address);
    result
}

fn sockets(open: &mut Open, numbers: &mut Numbers) {
    const STREAM: u64 = 1 | 0o4000;
    let Some(listener) = open.new(call(41, [2, STREAM, 0, 0, 0, 0], 1023)) else { return };
    let loopback: [u8; 16] = [2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let (on, set) = (1_u32, |fd, level, name, on: &u32| _ = call(54, [fd, level, name, at(on), 4, 0], 0));
    set(listener, 1, 2, &on);
    _ = call(49, [listener, at(&loopback), 16, 0, 0, 0], 0);
    _ = call(50, [listener, 4, 0, 0, 0, 0], 0);
    _ = address(51, listener, 0, numbers);
    let mut known = loopback;
    let mut length = 16_u32;
    _ = call(51, [listener, at(known.as_mut_ptr()), at(&raw mut length), 0, 0, 0], 0);
    let sets: Vec<u64> = (0..2).filter_map(|_| open.new(call(291, [0; 6], 1023))).collect();
    let counter = open.new(call(290, [0, 0o4000, 0, 0, 0, 0], 1023));
    let client = open.new(call(41, [2, STREAM, 0, 0, 0, 0], 1023));
    let mut all = vec![listener];
    all.extend(client);
    if let Some(client) = client {
        set(client, 6, 1, &on);
        _ = call(42, [client, at(&black_box(known)), 16, 0, 0, 0], 0);
        _ = poll(&mut [(listener, 1), (client, 4)], 0);
        _ = poll(&mut [(listener, 1)], 2);
        let server = address(288, listener, 0o4000, numbers);
        if let Some(server) = open.new(server) {
            all.push(server);
            _ = address(52, server, 0, numbers);
            let text = [0x2e_u8; 700];
            for _ in 0..3 {
                _ = call(44, [client, at(&text), 1 + numbers.below(700), 0x4000, 0, 0], 700);
                read(server, 1 + numbers.below(200) as usize);
            }
        }
        let mut error = [0, 0x5a5a_5a5a_u32];
        let mut room = 4_u32;
        _ = call(55, [client, 1, 4, at(error.as_mut_ptr()), at(&raw mut room), 0], 0);
        let error = black_box(error);
        check(error[0] <= 4095 && error[1] == 0x5a5a_5a5a, Broken::Errno);
    }
    events(open, numbers, &sets, counter, &all);
    // Where nobody listens: an error that the host has to tell.
    if let Some(other) = open.new(call(41, [10, STREAM, 0, 0, 0, 0], 1023)) {
        let mut nobody = [0_u8; 28];
        (nobody[0], nobody[3], nobody[23]) = (10, 1, 1);
        _ = call(42, [other, at(&nobody), 28, 0, 0, 0], 0);
        let (mut error, mut room) = (0_u32, 4_u32);
        _ = call(55, [other, 1, 4, at(&raw mut error), at(&raw mut room), 0], 0);
        _ = call(44, [other, at(&nobody), 28, 0x4000, 0, 0], 28);
        _ = call(8, [other, 0, 0, 0, 0, 0], u64::MAX);
        _ = call(48, [other, 2, 0, 0, 0, 0], 0);
        let copy = open.new(call(72, [other, 1030, 0, 0, 0, 0], 1023));
        open.close(other);
        copy.into_iter().for_each(|copy| open.close(copy));
    }
    for fd in all.into_iter().chain(sets).chain(counter) {
        _ = call(48, [fd, numbers.below(3), 0, 0, 0, 0], 0);
        open.close(fd);
    }
}

/// Datagrams to itself: no byte changes but those that the results count, nor of an address more than is told.
fn datagrams(open: &mut Open, numbers: &mut Numbers) {
    const DATAGRAMS: u64 = 2 | 0o4000;
    let Some(socket) = open.new(call(41, [2, DATAGRAMS, 17, 0, 0, 0], 1023)) else { return };
    let mut own: [u8; 16] = [2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    _ = call(49, [socket, at(&own), 16, 0, 0, 0], 0);
    let mut length = 16_u32;
    _ = call(51, [socket, at(own.as_mut_ptr()), at(&raw mut length), 0, 0, 0], 0);
    let text = [0x2e_u8; 700];
    for _ in 0..3 {
        let length = numbers.below(700);
        _ = call(44, [socket, at(&text), length, 0x4000, at(&black_box(own)), 16], length);
        let (mut bytes, wanted) = ([UNTOUCHED; 512], 1 + numbers.below(200));
        let (mut from, room) = ([UNTOUCHED; 64], [0, 4, 16, 28, 60][numbers.below(5) as usize]);
        let mut length = [room as u32, 0x5a5a_5a5a];
        let told = [at(&raw mut bytes[128]), wanted, 0, at(from.as_mut_ptr()), at(length.as_mut_ptr())];
        let result = call(45, [socket, told[0], told[1], told[2], told[3], told[4]], wanted);
        let (bytes, length, count) = (black_box(bytes), black_box(length), result.unwrap_or(0) as usize);
        check(bytes[..128].iter().chain(&bytes[128 + count..]).all(|byte| *byte == UNTOUCHED), Broken::Guard);
        let told = if result.is_ok() { length[0] as usize } else { 0 };
        check(told <= 28 && length[1] == 0x5a5a_5a5a, Broken::Address);
        check(black_box(from)[told.min(room)..].iter().all(|byte| *byte == UNTOUCHED), Broken::Address);
    }
    // How far a datagram may go.
    let (mut hops, mut room) = ([0, 0x5a5a_5a5a_u32], 4_u32);
    _ = call(55, [socket, 0, 2, at(hops.as_mut_ptr()), at(&raw mut room), 0], 0);
    let hops = black_box(hops);
    check(hops[0] <= i32::MAX as u32 && hops[1] == 0x5a5a_5a5a, Broken::Value);
    open.close(socket);
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Event {
    bits: u32,
    data: u64,
}

/// Two sets that watch different descriptors for different things: each tells of its own only.
fn events(open: &mut Open, numbers: &mut Numbers, sets: &[u64], counter: Option<u64>, all: &[u64]) {
    const NOTHING: Event = Event { bits: u32::from_ne_bytes([UNTOUCHED; 4]), data: u64::from_ne_bytes([UNTOUCHED; 8]) };
    let mut sum = 0;
    for (index, fd) in all.iter().chain(&counter).enumerate() {
        let Some(set) = sets.get(index % 2) else { continue };
        let bits = [1, 4, 5, 1 | 1 << 31][numbers.below(4) as usize];
        let event = Event { bits, data: 0xda7a_0000 + fd };
        // Even if the host says that it could not, it is remembered.
        _ = call(233, [*set, 1, *fd, at(&event), 0, 0], 0);
        open.watched[*fd as usize] = Some((*set, event.data, bits));
    }
    if let Some(counter) = counter {
        for more in [3_u64, 1 + numbers.below(5)] {
            if call(1, [counter, at(&more), 8, 0, 0, 0], 8).is_ok() {
                sum += more;
            }
        }
    }
    for round in 0..2 {
        for set in sets {
            let (mut list, most) = ([NOTHING; 24], 1 + numbers.below(20));
            let told = call(232, [*set, at(list.as_mut_ptr()), most, round, 0, 0], u64::MAX).unwrap_or(0);
            check(told <= most, Broken::Count);
            let list = black_box(list);
            for event in &list[..told as usize] {
                let (bits, data) = (event.bits, event.data);
                let watched = open.watched.iter().flatten().find(|watched| watched.1 == data);
                check(watched.is_some_and(|watched| watched.0 == *set), Broken::Event);
                check(watched.is_some_and(|watched| bits & !(watched.2 | 0x18) == 0 && bits != 0), Broken::Event);
            }
            let rest = |event: &Event| (event.bits, event.data) == (NOTHING.bits, NOTHING.data);
            // After an error there may be some that were told before it.
            check(told == 0 || list[told as usize..].iter().all(rest), Broken::Guard);
        }
    }
    if let (Some(set), Some(fd)) = (sets.first(), all.first()) {
        let event = Event { bits: 4, data: 0xda7a_0000 + fd };
        if open.watched[*fd as usize].is_some_and(|watched| watched.0 == *set) {
            _ = call(233, [*set, 3, *fd, at(&event), 0, 0], 0);
            _ = call(233, [*set, 2, *fd, 0, 0, 0], 0);
            open.watched[*fd as usize] = None;
        }
    }
    if let Some(counter) = counter {
        let mut value = [0_u64, 7];
        let result = call(0, [counter, at(value.as_mut_ptr()), 8, 0, 0, 0], 8);
        let value = black_box(value);
        check(if sum > 0 { result == Ok(8) && value[0] == sum } else { result.is_err() }, Broken::Counter);
        check(value[1] == 7, Broken::Guard);
    }
}

/// Time goes on, whoever is asked.
fn clocks(before: u64) -> u64 {
    let mut time = [0_u64; 2];
    for _ in 0..2 {
        let old = time;
        check(call(228, [1, at(time.as_mut_ptr()), 0, 0, 0, 0], 0) == Ok(0), Broken::Time);
        let time = black_box(time);
        check(time[1] < 1_000_000_000 && time >= old, Broken::Time);
    }
    let [seconds, nanos] = black_box(time);
    let now = seconds * 1_000_000_000 + nanos;
    check(now >= before, Broken::Time);
    _ = std::time::Instant::now();
    raw(24, [0; 6]);
    now
}

/// Numbers of the processor's, into nothing but the room for them.
fn random() {
    let mut bytes = [[0_u8; 32], [0; 32], [UNTOUCHED; 32]];
    for place in 0..2 {
        check(call(318, [at(&raw mut bytes[place]), 32, 0, 0, 0, 0], 32) == Ok(32), Broken::Random);
    }
    let [one, other, guard] = black_box(bytes);
    check(one != other && one != [0; 32] && guard == [UNTOUCHED; 32], Broken::Random);
}

/// Says to the platform what a program may say. One read for each reply: what does not come whole is not waited for.
fn platform(round: u64) {
    let ask = |request: &[u8]| {
        let frame = [&(request.len() as u32).to_le_bytes(), request].concat();
        if call(1, [3, at(frame.as_ptr()), frame.len() as u64, 0, 0, 0], frame.len() as u64) == Ok(frame.len() as u64) {
            let mut reply = [UNTOUCHED; 4200];
            let count = call(0, [3, at(reply.as_mut_ptr()), 4096, 0, 0, 0], 4096).unwrap_or(0) as usize;
            check(black_box(reply)[count..].iter().all(|byte| *byte == UNTOUCHED), Broken::Guard);
        }
    };
    ask(&[1]);
    if round % 8 == 2 {
        // Attest, for a direct client.
        ask(&[2, 2, 3, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 5, 6, 7, 8]);
        // SealKey.
        ask(&[6, 2, 0, 0, 0, 9, 9]);
        // Bind.
        ask(&[4, 3, 0, 0, 0, b'w', b'e', b'b']);
    }
}

/// Threads that count together, each with a page and a secret of its own.
fn threads(numbers: &mut Numbers, secret: &[u8]) {
    const EACH: u64 = 20;
    let (sum, secret, seed) = (Mutex::new(0), secret[0], numbers.below(1 << 40));
    let mut begun = 0;
    let sum_of = &sum;
    thread::scope(|scope| {
        for index in 0..2 + numbers.below(2) {
            let work = move || {
                let (page, value, hidden) = (map(2), seed ^ index << 48, [secret; 40]);
                // A result of its own, which others may be told.
                _ = call(1, [1, at(&[0x2e_u8]), 1, 0, 0, 0], 1);
                for turn in 0..EACH {
                    unsafe { page.write_volatile(value + turn) }
                    *sum_of.lock().unwrap() += 1;
                    if turn % 8 == 0 {
                        thread::yield_now();
                    }
                    check(unsafe { page.read_volatile() } == value + turn, Broken::Memory);
                }
                unmap(page, 2);
                check(black_box(hidden) == [secret; 40], Broken::Secret);
            };
            // The host may have no processor for it.
            begun += u64::from(thread::Builder::new().spawn_scoped(scope, work).is_ok());
            _ = call(35, [at(&[0_u64, 1_000_000]), 0, 0, 0, 0, 0], 0);
        }
    });
    check(sum.into_inner().unwrap() == begun * EACH, Broken::Sum);
}

fn map(pages: usize) -> *mut u64 {
    let place = untouched(pages);
    check(unsafe { place.read_volatile() } == 0, Broken::Memory);
    place
}

fn untouched(pages: usize) -> *mut u64 {
    let Ok(place) = call(9, [0, (pages * PAGE) as u64, 3, 0x22, u64::MAX, 0], 1 << 47) else { end(Broken::Memory as u64) };
    place as *mut u64
}

fn unmap(place: *mut u64, pages: usize) {
    check(call(11, [place as u64, (pages * PAGE) as u64, 0, 0, 0, 0], 0) == Ok(0), Broken::Memory);
}

std::thread_local!(static FAULTED: AtomicBool = const { AtomicBool::new(false) });

/// `struct sigaction` of musl.
#[repr(C)]
struct Action {
    handler: extern "C" fn(i32, *mut u64, *mut u64),
    mask: [u64; 16],
    flags: i32,
    restorer: usize,
}

unsafe extern "C" {
    fn sigaction(signal: i32, new: *const Action, old: *mut Action) -> i32;
}

/// Goes on behind the three bytes of the load in `reads`; any other fault is one.
extern "C" fn faulted(_: i32, _: *mut u64, context: *mut u64) {
    FAULTED.with(|faulted| faulted.store(true, Ordering::Relaxed));
    // ucontext: flags, link, stack (24 bytes), then r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
    let rip = unsafe { &mut *context.add(5 + 16) };
    check(unsafe { (*rip as *const [u8; 3]).read_unaligned() } == [0x48, 0x8b, 0x01], Broken::Memory);
    *rip += 3;
}

fn catch_faults() {
    let action = Action { handler: faulted, mask: [0; 16], flags: 4 | 0x4000_0000, restorer: 0 };
    check(unsafe { sigaction(11, &action, std::ptr::null_mut()) } == 0, Broken::Value);
}

/// Whether the page can be read.
fn reads(at: *mut u64) -> bool {
    FAULTED.with(|faulted| faulted.store(false, Ordering::Relaxed));
    // mov rax, [rcx]: three bytes.
    unsafe { asm!(".byte 0x48, 0x8b, 0x01", in("rcx") at, out("rax") _) }
    FAULTED.with(|faulted| !faulted.load(Ordering::Relaxed))
}

/// A page that is taken away while another thread reads it: no load that begins after that succeeds, whatever the host
/// says of its interrupts.
fn taken_away() {
    let (page, at_it, gone, over) = (map(1), AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let place = AtomicUsize::new(page as usize);
    thread::scope(|scope| {
        let reader = || {
            while !over.load(Ordering::SeqCst) {
                let late = gone.load(Ordering::SeqCst);
                let could = reads(place.load(Ordering::SeqCst) as *mut u64);
                check(!(late && could), Broken::Forgotten);
                at_it.fetch_add(1, Ordering::SeqCst);
                if !could {
                    return;
                }
            }
        };
        let begun = thread::Builder::new().spawn_scoped(scope, reader).is_ok();
        // A reader whose processor comes late has the page taken away before it begins.
        for _ in 0..200 {
            if !begun || at_it.load(Ordering::SeqCst) > 0 {
                break;
            }
            thread::yield_now();
        }
        unmap(page, 1);
        gone.store(true, Ordering::SeqCst);
        for _ in 0..2000 {
            std::hint::spin_loop();
        }
        over.store(true, Ordering::SeqCst);
    });
}
