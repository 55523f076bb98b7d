//! A service that is told to end: whom it answers is answered, nobody else is accepted, and it ends with 0.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;

use crate::http::{Answer, Service};
use crate::support::{HANGS, eventually, read, tell, wait};

const SIGNALS: [&str; 2] = ["TERM", "INT"];

/// Until nobody is accepted: then it has heard.
#[track_caller]
fn closed(address: SocketAddr) {
    eventually("nobody is accepted any more", || TcpStream::connect(address).is_err());
}

/// A request that runs: half of it is there, and was echoed. With what came so far.
fn half(service: &Service) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\none").unwrap();
    let mut came = Vec::new();
    while !came.ends_with(b"one") && !came.ends_with(b"one\r\n") {
        let (back, byte) = read(stream, 1);
        stream = back;
        came.extend(byte);
    }
    (stream, came)
}

#[test]
fn a_request_that_runs_is_answered_and_nobody_else_is() {
    for signal in SIGNALS {
        let (mut service, _dir) = Service::start("");
        let mut silent = TcpStream::connect(service.address).unwrap();
        let mut kept = TcpStream::connect(service.address).unwrap();
        kept.write_all(b"HEAD /time HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let (mut kept, _) = read(kept, b"HTTP/1.1 200 OK\r\n".len());
        let (mut stream, mut answer) = half(&service);
        tell(&service.donjon, signal);
        closed(service.address);
        // Who asks nothing has nothing to wait for.
        for idle in [&mut silent, &mut kept] {
            _ = idle.read_to_end(&mut Vec::new());
        }
        assert!(service.donjon.try_wait().unwrap().is_none(), "{signal}: it has somebody to answer");
        stream.write_all(b"two").unwrap();
        stream.read_to_end(&mut answer).unwrap();
        let answer = Answer::parse(&answer);
        assert_eq!((answer.status, answer.text()), (200, "onetwo"), "{signal}");
        assert_eq!(wait(&mut service.donjon).code(), Some(0), "{signal}");
    }
}

/// The body of a request, of which more may come.
struct Body(mpsc::UnboundedReceiver<Bytes>);

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// The same over HTTP/2, where a connection is told that nothing else is answered on it.
#[test]
fn a_request_that_runs_over_http_2_is_answered_and_no_other_is() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for signal in SIGNALS {
        let (mut service, _dir) = Service::start("");
        let asked = async {
            let stream = TokioIo::new(tokio::net::TcpStream::connect(service.address).await.unwrap());
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let none = || Body(mpsc::unbounded_channel().1);
            let (more, body) = mpsc::unbounded_channel();
            more.send(Bytes::from("one")).unwrap();
            let url = format!("http://{}/echo", service.address);
            let mut answer = sender.send_request(Request::post(&url).body(Body(body)).unwrap()).await.unwrap();
            let first = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
            tell(&service.donjon, signal);
            closed(service.address);
            // The connection hears of it when it is read next.
            let more_of_them = || Request::get(format!("http://{}/time", service.address)).body(none()).unwrap();
            while sender.send_request(more_of_them()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            more.send(Bytes::from("two")).unwrap();
            drop(more);
            let rest = answer.collect().await.unwrap().to_bytes();
            assert_eq!((&first[..], &rest[..]), (&b"one"[..], &b"two"[..]), "{signal}");
            connection.await.unwrap().unwrap();
        };
        runtime.block_on(async { tokio::time::timeout(HANGS, asked).await }).expect("it is answered in time");
        assert_eq!(wait(&mut service.donjon).code(), Some(0), "{signal}");
    }
}

#[test]
fn a_second_signal_waits_for_nobody() {
    let (mut service, _dir) = Service::start("");
    let (mut stream, mut answer) = half(&service);
    tell(&service.donjon, "TERM");
    closed(service.address);
    tell(&service.donjon, "TERM");
    assert_eq!(wait(&mut service.donjon).code(), Some(143));
    // It is cut off, by an end or by an error: the last chunk did not come.
    _ = stream.read_to_end(&mut answer);
    assert!(!answer.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&answer));
}
