//! Looking up names for a Keep, without keeping it waiting: whoever asks is told at once what is known by now.
//!
//! Owns the lookups that are under way, each in a thread of its own, because the system's resolver blocks. Refuses to have
//! more than a few: who asks for another name meanwhile asks again.
//! Invariant: an answer is given once, and what nobody comes back for makes place for others.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use gate::message::ADDRESSES;

/// Lookups at once.
const LOOKUPS: usize = 16;
/// The longest `host:port`: a DNS name has 253 bytes.
const AUTHORITY: usize = 300;

type Resolver = Arc<dyn Fn(&str) -> Vec<SocketAddr> + Send + Sync>;

pub(crate) struct Names {
    resolver: Resolver,
    asked: Vec<Asked>,
}

struct Asked {
    authority: String,
    answer: Receiver<Vec<SocketAddr>>,
}

impl Names {
    /// As this host resolves them.
    pub(crate) fn system() -> Self {
        Self::by(|authority| authority.to_socket_addrs().into_iter().flatten().collect())
    }

    pub(crate) fn by(resolver: impl Fn(&str) -> Vec<SocketAddr> + Send + Sync + 'static) -> Self {
        Self { resolver: Arc::new(resolver), asked: Vec::new() }
    }

    /// The addresses of `host:port`, as the gate has them; none if there is no such name. It may take a while.
    pub(crate) fn resolve(&self, authority: &str) -> String {
        if authority.len() > AUTHORITY { String::new() } else { joined((self.resolver)(authority)) }
    }

    /// The same at once; `None`: ask again.
    pub(crate) fn lookup(&mut self, authority: &str) -> Option<String> {
        if authority.len() > AUTHORITY {
            return Some(String::new());
        }
        if let Some(at) = self.asked.iter().position(|asked| asked.authority == authority) {
            let found = self.asked[at].answer.try_recv();
            if found != Err(TryRecvError::Empty) {
                self.asked.remove(at);
            }
            return match found {
                Ok(addresses) => Some(joined(addresses)),
                Err(TryRecvError::Empty) => None,
                // The resolver panicked.
                Err(TryRecvError::Disconnected) => Some(String::new()),
            };
        }
        if self.asked.len() >= LOOKUPS {
            let forgotten = self.asked.iter().position(|asked| asked.answer.try_recv() != Err(TryRecvError::Empty))?;
            self.asked.remove(forgotten);
        }
        let (tell, answer) = channel();
        let (resolver, asked) = (Arc::clone(&self.resolver), authority.to_owned());
        let thread = std::thread::Builder::new().name("names".to_owned());
        // An error, if nobody came back for it.
        let started = thread.spawn(move || _ = tell.send(resolver(&asked)));
        if started.is_err() {
            return Some(String::new());
        }
        self.asked.push(Asked { authority: authority.to_owned(), answer });
        None
    }
}

fn joined(addresses: Vec<SocketAddr>) -> String {
    let addresses: Vec<_> = addresses.into_iter().take(ADDRESSES).map(|address| address.to_string()).collect();
    addresses.join(" ")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::Sender;

    use super::*;

    /// Names that are answered when the test says so, and how it does.
    fn slow() -> (Names, Sender<()>) {
        let (tell, told) = channel();
        let told = Mutex::new(told);
        let resolver = move |authority: &str| {
            // An error: the test is over.
            _ = told.lock().unwrap().recv();
            authority.parse().into_iter().collect()
        };
        (Names::by(resolver), tell)
    }

    fn until(names: &mut Names, authority: &str) -> String {
        loop {
            match names.lookup(authority) {
                Some(found) => return found,
                None => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn nobody_waits_for_a_name() {
        let (mut names, tell) = slow();
        for _ in 0..3 {
            assert_eq!(names.lookup("192.0.2.1:1"), None);
        }
        assert_eq!(names.asked.len(), 1, "the same question is one");
        tell.send(()).unwrap();
        assert_eq!(until(&mut names, "192.0.2.1:1"), "192.0.2.1:1");
        assert_eq!(names.lookup("192.0.2.1:1"), None, "an answer is given once");
    }

    #[test]
    fn no_more_than_a_few_are_under_way() {
        let (mut names, tell) = slow();
        let at = |port: usize| format!("192.0.2.1:{port}");
        for port in 1..=LOOKUPS + 9 {
            assert_eq!(names.lookup(&at(port)), None);
        }
        assert_eq!(names.asked.len(), LOOKUPS);
        // Whoever was too much is asked for once there is place.
        drop(tell);
        for port in (1..=LOOKUPS + 9).rev() {
            assert_eq!(until(&mut names, &at(port)), at(port));
        }
    }

    #[test]
    fn what_nobody_comes_back_for_makes_place() {
        let (mut names, tell) = slow();
        drop(tell);
        for port in 1..=9 * LOOKUPS {
            let authority = format!("192.0.2.1:{port}");
            // Not before one of those before has its answer.
            while !names.asked.iter().any(|asked| asked.authority == authority) {
                assert_eq!(names.lookup(&authority), None);
            }
            assert!(names.asked.len() <= LOOKUPS);
        }
    }

    #[test]
    fn what_is_no_name_has_no_addresses() {
        let mut names = Names::by(|_| (1..100).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect());
        let long = format!("{}:1", "x".repeat(AUTHORITY));
        assert_eq!((names.lookup(&long), names.resolve(&long)), (Some(String::new()), String::new()));
        assert_eq!(names.resolve("x:1").split(' ').count(), ADDRESSES, "control");
        let mut names = Names::by(|_| panic!("on purpose"));
        assert_eq!(until(&mut names, "x:1"), "");
    }
}
