//! A thread that waits for a set of descriptors or reads a counter is woken by another that counts it up; a connection
//! between two threads; and the end of the program while others wait for ever.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

unsafe extern "C" {
    fn eventfd(start: u32, flags: i32) -> i32;
    fn epoll_create1(flags: i32) -> i32;
    fn epoll_ctl(set: i32, operation: i32, fd: i32, event: *const Event) -> i32;
    fn epoll_wait(set: i32, events: *mut Event, most: i32, millis: i32) -> i32;
    fn read(fd: i32, to: *mut u64, length: usize) -> isize;
    fn write(fd: i32, from: *const u64, length: usize) -> isize;
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Event {
    bits: u32,
    data: u64,
}

fn main() {
    set();
    full();
    counter();
    connection();
    end();
}

fn set() {
    let (set, counter) = unsafe { (epoll_create1(0), eventfd(0, 0o4000)) };
    // In, edges.
    let event = Event { bits: 1 | 1 << 31, data: 77 };
    assert_eq!(unsafe { epoll_ctl(set, 1, counter, &event) }, 0);
    let (told, heard) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..50 {
                let mut found = [Event { bits: 0, data: 0 }; 4];
                let count = unsafe { epoll_wait(set, found.as_mut_ptr(), 4, -1) };
                let data = found[0].data;
                assert_eq!((count, data), (1, 77));
                let mut value = 0;
                assert_eq!(unsafe { read(counter, &mut value, 8) }, 8);
                told.send(value).unwrap();
            }
            let mut none = Event { bits: 0, data: 0 };
            assert_eq!(unsafe { epoll_wait(set, &mut none, 1, 5) }, 0, "nothing more");
        });
        for n in 1..=50 {
            assert_eq!(unsafe { write(counter, &n, 8) }, 8);
            assert_eq!(heard.recv().unwrap(), n);
        }
    });
}

/// Two are ready and there is room for one: that one is told, and the other the next time.
fn full() {
    let set = unsafe { epoll_create1(0) };
    for data in [5, 6] {
        let event = Event { bits: 1 | 1 << 31, data };
        assert_eq!(unsafe { epoll_ctl(set, 1, eventfd(1, 0o4000), &event) }, 0);
    }
    let mut data: Vec<u64> = (0..2)
        .map(|_| {
            let mut found = Event { bits: 0, data: 0 };
            assert_eq!(unsafe { epoll_wait(set, &mut found, 1, 0) }, 1);
            found.data
        })
        .collect();
    data.sort_unstable();
    assert_eq!(data, [5, 6]);
}

fn counter() {
    let (there, back) = unsafe { (eventfd(0, 0), eventfd(0, 0)) };
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..50 {
                let mut value = 0;
                assert_eq!(unsafe { read(there, &mut value, 8) }, 8);
                value += 1;
                assert_eq!(unsafe { write(back, &value, 8) }, 8);
            }
        });
        for n in 1..=50 {
            let mut answer = 0;
            assert_eq!(unsafe { write(there, &n, 8) }, 8);
            assert_eq!(unsafe { read(back, &mut answer, 8) }, 8);
            assert_eq!(answer, n + 1);
        }
    });
}

fn connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        peer.write_all(&all).unwrap();
    });
    let mut client = TcpStream::connect(address).unwrap();
    let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    client.write_all(&sent).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert!(back == sent);
    server.join().unwrap();
}

fn end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (ready, at_it) = mpsc::channel();
    let also = ready.clone();
    thread::spawn(move || {
        ready.send(()).unwrap();
        listener.accept().map(drop)
    });
    thread::spawn(move || {
        also.send(()).unwrap();
        loop {
            std::hint::spin_loop();
        }
    });
    at_it.recv().unwrap();
    at_it.recv().unwrap();
    std::process::exit(42);
}
