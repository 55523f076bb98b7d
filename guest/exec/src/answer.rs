//! The body of an answer, with its end where its last bytes are.
//!
//! Owns the look ahead: a program writes its last bytes and then says that they were the last, and an HTTP/2 connection
//! that hears both at once writes one record where it would write two. Each is a call of the host.
//!
//! Invariant: every frame passes once and in order, and none waits longer than everybody else had a turn.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::Error;

/// Holds a frame back until it is known what follows, or that nothing does yet. What else it is given is dropped with it:
/// after the last byte, or when the answer is given up.
pub(crate) struct Answer<B, H> {
    body: B,
    next: Option<Result<Frame<Bytes>, Error>>,
    /// The program had its turn since `next` came.
    waited: bool,
    ended: bool,
    _held: H,
}

impl<B, H> Answer<B, H> {
    pub(crate) fn new(body: B, held: H) -> Self {
        Self { body, next: None, waited: false, ended: false, _held: held }
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin, H: Unpin> Body for Answer<B, H> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.next.is_none() && !self.ended {
            self.next = ready!(Pin::new(&mut self.body).poll_frame(context));
            self.ended = self.next.is_none();
        }
        let mut following = None;
        if !self.ended && matches!(&self.next, Some(Ok(frame)) if frame.is_data()) {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(frame) => {
                    self.ended = frame.is_none();
                    following = frame;
                }
                Poll::Pending if !self.waited => {
                    self.waited = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
        }
        self.waited = false;
        Poll::Ready(std::mem::replace(&mut self.next, following))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        // Asked for before the first frame. What is held would only have to be added.
        if self.next.is_none() { self.body.size_hint() } else { SizeHint::default() }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use http_body_util::channel::{Channel, Sender};

    use super::*;

    type Program = Sender<Bytes, Error>;

    fn answer() -> (Program, Answer<Channel<Bytes, Error>, ()>) {
        let (program, body) = Channel::new(4);
        (program, Answer::new(body, ()))
    }

    /// The next bytes, and whether they are the last.
    async fn next(answer: &mut Answer<Channel<Bytes, Error>, ()>) -> (Bytes, bool) {
        let frame = answer.frame().await.unwrap().unwrap();
        (frame.into_data().unwrap(), answer.is_end_stream())
    }

    #[tokio::test]
    async fn the_last_bytes_come_with_the_end() {
        let (mut program, mut answer) = answer();
        tokio::spawn(async move {
            program.send_data(Bytes::from("one")).await.unwrap();
            program.send_data(Bytes::from("two")).await.unwrap();
        });
        assert_eq!(next(&mut answer).await, (Bytes::from("one"), false));
        assert_eq!(next(&mut answer).await, (Bytes::from("two"), true));
        assert!(answer.frame().await.is_none());
    }

    #[tokio::test]
    async fn an_end_is_awaited_for_one_turn() {
        let (mut program, mut answer) = answer();
        program.send_data(Bytes::from("one")).await.unwrap();
        tokio::spawn(async move { drop(program) });
        assert_eq!(next(&mut answer).await, (Bytes::from("one"), true));
    }

    #[tokio::test]
    async fn bytes_do_not_wait_for_a_slow_program() {
        let (mut program, mut answer) = answer();
        for bytes in ["one", "two"] {
            program.send_data(Bytes::from(bytes)).await.unwrap();
            assert_eq!(next(&mut answer).await, (Bytes::from(bytes), false));
        }
        drop(program);
        assert!(answer.frame().await.is_none());
        assert!(answer.is_end_stream());
    }

    #[tokio::test]
    async fn trailers_come_after_the_bytes() {
        let (mut program, mut answer) = answer();
        program.send_data(Bytes::from("one")).await.unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("sum", http::HeaderValue::from_static("3"));
        program.send_trailers(trailers.clone()).await.unwrap();
        assert_eq!(next(&mut answer).await, (Bytes::from("one"), false));
        assert_eq!(answer.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    }

    #[tokio::test]
    async fn a_program_that_gives_up_is_no_end() {
        let (mut program, mut answer) = answer();
        program.send_data(Bytes::from("one")).await.unwrap();
        program.abort(Error::HttpProtocolError);
        assert_eq!(next(&mut answer).await, (Bytes::from("one"), false));
        assert!(answer.frame().await.unwrap().is_err());
    }
}
