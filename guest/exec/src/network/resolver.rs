//! Names without the host: questions to the name server of the manifest, over UDP and TCP, or over TLS.
//!
//! Owns the conversation. Refuses answers to anything but its own question, by number, name and kind; more than a few
//! questions at once wait. Over TLS nobody but the name server knows what is asked, and nobody else answers; in the clear
//! whoever is on the way does both, the host among them.
//!
//! Invariant: nothing is asked that the policy does not allow: this is behind it.
//!
//! Sources: RFC 1035 section 4, RFC 5452 section 9 (what makes an answer hard to guess), RFC 7766 (TCP), RFC 7858 (TLS).

use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::{Opcode, Rcode};
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::{A, Aaaa};
use gate::message::ADDRESSES;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use workload::manifest::{self, ResolverProof};
use workload::names::DnsName;

use crate::refusal::Refusal;
use crate::tls::{self, Proof};

/// A datagram's answer must be there in this time, and one over a connection in this.
const PATIENCE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(5)];
/// How often it is asked.
const TRIES: usize = 2;
/// Names that are asked for at once.
const LOOKUPS: usize = 64;
/// The longest datagram: a server sends no more than 512 bytes to who does not ask for more.
const DATAGRAM: usize = 4096;
/// Messages over a connection that answer nothing.
const STRAYS: usize = 4;

/// A name server.
pub(super) struct Resolver {
    to: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    lookups: Arc<Semaphore>,
}

/// What came of a question.
enum Answer {
    Addresses(Vec<IpAddr>),
    /// It did not fit.
    Cut,
    /// The server could not, or would not.
    Failed,
}

impl Resolver {
    pub(super) fn new(manifest::Resolver { to, tls }: &manifest::Resolver) -> std::result::Result<Self, Refusal> {
        let tls = match tls {
            None => None,
            Some(ResolverProof::Name(name)) => {
                let name = ServerName::DnsName(name.as_str().to_owned().try_into().map_err(tls::broken)?);
                Some((Proof::default().web()?, name))
            }
            Some(ResolverProof::Pin(key)) => Some((Proof::default().pin(*key), ServerName::from(to.ip()))),
        };
        let tls = match tls {
            Some((proof, name)) => Some((TlsConnector::from(tls::client(proof, None, &[])?), name)),
            None => None,
        };
        Ok(Self { to: *to, tls, lookups: Arc::new(Semaphore::new(LOOKUPS)) })
    }

    /// The addresses of a name, of both kinds; none, if there is no such name.
    pub(super) async fn lookup(&self, name: &DnsName) -> Result<Vec<IpAddr>> {
        let _place = self.lookups.acquire().await.map_err(Error::other)?;
        let kinds = [Rtype::A, Rtype::AAAA];
        let answers = if self.tls.is_some() {
            self.connected(name, &kinds).await?
        } else {
            let (four, six) = tokio::join!(self.clear(name, Rtype::A), self.clear(name, Rtype::AAAA));
            vec![four, six]
        };
        let (mut found, mut failed) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(addresses) => found.extend(addresses),
                Err(error) => failed = Some(error),
            }
        }
        // Half an answer is one, if there is anything in it.
        match failed {
            Some(error) if found.is_empty() => Err(error),
            _ => {
                found.truncate(ADDRESSES);
                Ok(found)
            }
        }
    }

    /// Over UDP, and over TCP if the answer is too long for that.
    async fn clear(&self, name: &DnsName, kind: Rtype) -> Result<Vec<IpAddr>> {
        let mut last = Error::from(ErrorKind::TimedOut);
        for _ in 0..TRIES {
            match timeout(PATIENCE[0], self.datagram(name, kind)).await {
                Ok(Ok(Answer::Addresses(addresses))) => return Ok(addresses),
                Ok(Ok(Answer::Cut)) => {
                    let answer = self.connected(name, &[kind]).await?.pop();
                    return answer.unwrap_or_else(|| Err(ErrorKind::InvalidData.into()));
                }
                Ok(Ok(Answer::Failed)) => last = failed(),
                Ok(Err(error)) => last = error,
                Err(_) => last = ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    /// One question, from a port and by a number that nobody knows before.
    async fn datagram(&self, name: &DnsName, kind: Rtype) -> Result<Answer> {
        let any: IpAddr = if self.to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let question = Question::new(name, kind)?;
        let socket = UdpSocket::bind((any, 0)).await?;
        // From then on nothing comes from elsewhere.
        socket.connect(self.to).await?;
        socket.send(question.0.as_slice()).await?;
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if let Some(answer) = question.answer(buffer.get(..length).unwrap_or_default()) {
                return Ok(answer);
            }
        }
    }

    /// Some questions over a connection.
    async fn connected(&self, name: &DnsName, kinds: &[Rtype]) -> Result<Vec<Result<Vec<IpAddr>>>> {
        let mut last = Error::from(ErrorKind::TimedOut);
        for _ in 0..TRIES {
            let ask = async {
                let stream = TcpStream::connect(self.to).await?;
                stream.set_nodelay(true)?;
                match &self.tls {
                    None => exchange(stream, name, kinds).await,
                    Some((tls, server)) => exchange(tls.connect(server.clone(), stream).await?, name, kinds).await,
                }
            };
            match timeout(PATIENCE[1], ask).await {
                Ok(Ok(answers)) => return Ok(answers),
                Ok(Err(error)) => last = error,
                Err(_) => last = ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }
}

/// All questions at once, and their answers in any order.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    name: &DnsName,
    kinds: &[Rtype],
) -> Result<Vec<Result<Vec<IpAddr>>>> {
    let questions = kinds.iter().map(|kind| Question::new(name, *kind)).collect::<Result<Vec<_>>>()?;
    let mut bytes = Vec::new();
    for Question(message, _) in &questions {
        let message = message.as_slice();
        bytes.extend(u16::try_from(message.len()).map_err(Error::other)?.to_be_bytes());
        bytes.extend(message);
    }
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    let mut answers: Vec<Option<Answer>> = questions.iter().map(|_| None).collect();
    for _ in 0..questions.len().saturating_add(STRAYS) {
        bytes.resize(stream.read_u16().await?.into(), 0);
        stream.read_exact(&mut bytes).await?;
        for (question, answer) in questions.iter().zip(&mut answers) {
            if answer.is_none() {
                *answer = question.answer(&bytes);
            }
        }
        if answers.iter().all(Option::is_some) {
            break;
        }
    }
    let answer = |answer| match answer {
        Some(Answer::Addresses(addresses)) => Ok(addresses),
        Some(Answer::Cut | Answer::Failed) => Err(failed()),
        None => Err(ErrorKind::InvalidData.into()),
    };
    Ok(answers.into_iter().map(answer).collect())
}

fn failed() -> Error {
    Error::other("the name server has no answer")
}

/// A question as it is sent.
struct Question(Message<Vec<u8>>, Rtype);

impl Question {
    fn new(name: &DnsName, kind: Rtype) -> Result<Self> {
        let mut number = [0; 2];
        aws_lc_rs::rand::fill(&mut number).map_err(Error::other)?;
        let name = Name::vec_from_str(name.as_str()).map_err(Error::other)?;
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(u16::from_be_bytes(number));
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        builder.push((name, kind)).map_err(Error::other)?;
        Ok(Self(builder.into_message(), kind))
    }

    /// What a message says, if it is an answer to this.
    fn answer(&self, bytes: &[u8]) -> Option<Answer> {
        let message = Message::from_slice(bytes).ok()?;
        let header = message.header();
        if !message.is_answer(&self.0) || header.opcode() != Opcode::QUERY {
            return None;
        }
        Some(match header.rcode() {
            _ if header.tc() => Answer::Cut,
            Rcode::NXDOMAIN => Answer::Addresses(Vec::new()),
            Rcode::NOERROR => addresses(message, self.1).map_or(Answer::Failed, Answer::Addresses),
            _ => Answer::Failed,
        })
    }
}

/// The addresses of the name that was asked for, or of that which it is another name of, as far as the message says.
fn addresses(message: &Message<[u8]>, kind: Rtype) -> Option<Vec<IpAddr>> {
    let name = message.canonical_name()?;
    let mut found = Vec::new();
    if kind == Rtype::A {
        for record in message.answer().ok()?.limit_to_in::<A>().take(ADDRESSES) {
            let record = record.ok()?;
            found.extend((*record.owner() == name).then(|| IpAddr::from(record.data().addr())));
        }
    } else {
        for record in message.answer().ok()?.limit_to_in::<Aaaa>().take(ADDRESSES) {
            let record = record.ok()?;
            found.extend((*record.owner() == name).then(|| IpAddr::from(record.data().addr())));
        }
    }
    Some(found)
}
