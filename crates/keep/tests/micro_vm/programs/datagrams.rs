//! Datagrams over the host's sockets: as long as any, empty, cut short; to a peer, and to nobody any more; and the options of
//! such a socket. The platform's descriptor is none.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::thread;

unsafe extern "C" {
    fn connect(fd: i32, to: *const u8, length: u32) -> i32;
    fn sendto(fd: i32, from: *const u8, length: usize, flags: i32, to: *const u8, size: u32) -> isize;
    fn recvfrom(fd: i32, to: *mut u8, length: usize, flags: i32, from: *mut u8, size: *mut u32) -> isize;
}

const NOT_A_SOCKET: i32 = 88;
const TOO_LONG: i32 = 90;
const NO_SUCH_OPTION: i32 = 92;

fn bound() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn main() {
    let (one, other, third) = (bound(), bound(), bound());
    let [at_one, at_other] = [&one, &other].map(|socket| socket.local_addr().unwrap());
    let most = vec![7; 65_508];
    for length in [0, 1, 700, 65_507] {
        let mut bytes = vec![0; 70_000];
        assert_eq!(one.send_to(&most[..length], at_other).unwrap(), length);
        assert_eq!(other.recv_from(&mut bytes).unwrap(), (length, at_one));
        assert!(bytes[..length] == most[..length] && bytes[length..].iter().all(|byte| *byte == 0), "{length}");
    }
    assert_eq!(one.send_to(&most, at_other).unwrap_err().raw_os_error(), Some(TOO_LONG));

    // What there is no room for is gone.
    let mut few = [0; 6];
    one.send_to(b"0123456789", at_other).unwrap();
    one.send_to(b"next", at_other).unwrap();
    assert_eq!((other.recv_from(&mut few[..4]).unwrap(), few), ((4, at_one), *b"0123\0\0"));
    assert_eq!((other.recv_from(&mut few).unwrap(), few), ((4, at_one), *b"next\0\0"));

    // One waits while the other does not send yet.
    let waits = thread::spawn({
        let other = other.try_clone().unwrap();
        move || other.recv_from(&mut [0; 6]).unwrap()
    });
    thread::yield_now();
    one.send_to(b"late", at_other).unwrap();
    assert_eq!(waits.join().unwrap(), (4, at_one));

    other.connect(at_one).unwrap();
    third.send_to(b"third", at_other).unwrap();
    one.send_to(b"one", at_other).unwrap();
    assert_eq!((other.recv(&mut few).unwrap(), &few[..3]), (3, &b"one"[..]), "others are not heard");
    for text in [&b"four"[..], b""] {
        other.send(text).unwrap();
        assert_eq!(one.recv_from(&mut few).unwrap(), (text.len(), at_other));
    }
    assert_eq!(other.peer_addr().unwrap(), at_one);
    assert_eq!(unsafe { connect(other.as_raw_fd(), [0; 128].as_ptr(), 128) }, 0);
    assert_eq!(other.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);

    one.set_nonblocking(true).unwrap();
    assert_eq!(one.recv_from(&mut few).unwrap_err().kind(), ErrorKind::WouldBlock);
    one.set_ttl(42).unwrap();
    assert_eq!(one.ttl().unwrap(), 42);
    assert_eq!(one.set_broadcast(true).unwrap_err().raw_os_error(), Some(NO_SUCH_OPTION));
    assert_eq!(one.broadcast().unwrap_err().raw_os_error(), Some(NO_SUCH_OPTION));

    let (mut address, mut size) = ([2, 0, 0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 16);
    for fd in [3, -1] {
        let sent = unsafe { sendto(fd, b"x".as_ptr(), 1, 0, address.as_ptr(), 16) };
        let error = std::io::Error::last_os_error().raw_os_error();
        assert_eq!((sent, error), (-1, Some(if fd == 3 { NOT_A_SOCKET } else { 9 })));
        assert_eq!(unsafe { recvfrom(fd, few.as_mut_ptr(), 6, 0, address.as_mut_ptr(), &mut size) }, -1);
    }
    std::process::exit(42);
}
