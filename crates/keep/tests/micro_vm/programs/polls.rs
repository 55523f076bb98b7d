//! `poll` of several descriptors: sockets, counters and both, ready at once, later, or never; alone and with other threads,
//! two of which poll themselves.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;

unsafe extern "C" {
    fn eventfd(start: u32, flags: i32) -> i32;
    fn poll(list: *mut Polled, count: u64, millis: i32) -> i32;
    fn read(fd: i32, to: *mut u64, length: usize) -> isize;
    fn write(fd: i32, from: *const u64, length: usize) -> isize;
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Polled {
    fd: i32,
    wanted: i16,
    found: i16,
}

const IN: i16 = 1;
const OUT: i16 = 4;
const HANG_UP: i16 = 0x10;
const INVALID: i16 = 0x20;

/// What is found of each, after at most so long (for ever: -1).
fn look<const N: usize>(wanted: [(i32, i16); N], millis: i32) -> [i16; N] {
    let mut list = wanted.map(|(fd, wanted)| Polled { fd, wanted, found: -1 });
    let count = unsafe { poll(list.as_mut_ptr(), N as u64, millis) };
    let found = list.map(|polled| polled.found);
    assert_eq!(count, found.iter().filter(|found| **found != 0).count() as i32, "{list:?}");
    found
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (ours, listener.accept().unwrap().0)
}

fn count(fd: i32) {
    assert_eq!(unsafe { write(fd, &1, 8) }, 8);
}

fn take(fd: i32) {
    let mut value = 0;
    assert_eq!((unsafe { read(fd, &mut value, 8) }, value), (8, 1));
}

fn main() {
    let ((mut a, mut at_a), (mut b, mut at_b)) = (pair(), pair());
    let (first, second) = (a.as_raw_fd(), b.as_raw_fd());
    let counters = [(); 2].map(|()| unsafe { eventfd(0, 0) });
    // Alone: what is ready, and time that passes while nothing is.
    assert_eq!(look([], 1), []);
    assert_eq!(look([(first, IN), (second, IN), (counters[0], IN)], 0), [0; 3]);
    assert_eq!(look([(first, IN), (second, IN), (counters[0], IN)], 20), [0; 3]);
    assert_eq!(look([(counters[0], IN), (counters[1], IN)], 1), [0; 2]);
    assert_eq!(look([(first, IN), (second, OUT)], -1), [0, OUT]);
    assert_eq!(look([(first, IN), (-1, IN), (999, IN)], -1), [0, 0, INVALID]);
    assert_eq!(look([(first, IN), (first, IN | OUT)], -1), [0, OUT], "one twice");
    at_b.write_all(b"x").unwrap();
    assert_eq!(look([(first, IN), (second, IN)], -1), [0, IN]);
    b.read_exact(&mut [0]).unwrap();
    count(counters[1]);
    assert_eq!(look([(first, IN), (counters[0], IN), (counters[1], IN)], -1), [0, 0, IN]);
    take(counters[1]);

    // More than the host is asked about at once: the last and some before it.
    let mut pairs: Vec<_> = (0..19).map(|_| pair()).collect();
    let wanted: [(i32, i16); 19] = std::array::from_fn(|index| (pairs[index].0.as_raw_fd(), IN));
    assert_eq!(look(wanted, 5), [0; 19]);
    thread::scope(|scope| {
        for late in [18, 8, 7] {
            let mut theirs = pairs[late].1.try_clone().unwrap();
            scope.spawn(move || theirs.write_all(b"x").unwrap());
            let found = look(wanted, -1);
            assert!(found.iter().enumerate().all(|(index, found)| *found == if index == late { IN } else { 0 }));
            pairs[late].0.read_exact(&mut [0]).unwrap();
        }
    });
    for late in [0, 7, 8, 15, 16, 18] {
        pairs[late].1.write_all(b"x").unwrap();
    }
    assert_eq!(look(wanted, -1), std::array::from_fn(|index| i16::from([0, 7, 8, 15, 16, 18].contains(&index))));
    drop(pairs);

    // Others make them ready, one after the other, while this one waits for all.
    let (done, next) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            for round in 0..60 {
                match round % 3 {
                    0 => at_a.write_all(b"x").unwrap(),
                    1 => at_b.write_all(b"x").unwrap(),
                    _ => count(counters[0]),
                }
                next.recv().unwrap();
            }
            drop(at_b);
            next.recv().unwrap();
        });
        for round in 0..60 {
            let found = look([(first, IN), (second, IN), (counters[0], IN), (counters[1], IN)], -1);
            match round % 3 {
                0 => a.read_exact(&mut [0]).unwrap(),
                1 => b.read_exact(&mut [0]).unwrap(),
                _ => take(counters[0]),
            }
            let mut expected = [0; 4];
            expected[round % 3] = IN;
            assert_eq!(found, expected);
            done.send(()).unwrap();
        }
        // The other may be closed already; nobody asks for it.
        assert_eq!(look([(first, IN), (second, 0)], 5), [0, 0]);
        let found = look([(first, IN), (second, IN | OUT)], -1);
        assert!(found[0] == 0 && found[1] & IN == IN, "{found:?}");
        done.send(()).unwrap();
    });
    // Nobody asks for this either: of one both halves are closed now, of the other the peer's.
    a.shutdown(Shutdown::Write).unwrap();
    assert_eq!(look([(first, 0), (second, 0)], -1), [HANG_UP, 0]);

    // Each of two waits for a counter of its own, and is not disturbed by the other's.
    let backs = [(); 2].map(|()| unsafe { eventfd(0, 0) });
    thread::scope(|scope| {
        for index in 0..2 {
            scope.spawn(move || {
                for _ in 0..50 {
                    assert_eq!(look([(counters[index], IN), (second, 0)], -1), [IN, 0]);
                    take(counters[index]);
                    count(backs[index]);
                }
            });
        }
        for round in 0..100 {
            let index = round / 2 % 2 ^ round % 2;
            count(counters[index]);
            take(backs[index]);
        }
    });
    std::process::exit(42);
}
