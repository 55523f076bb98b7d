//! Whom a program talks to: the one way in and out, for every version of WASI.
//!
//! Owns the manifest's policy (`spec/manifest.md`, "listen", "connect", "network"), the TLS that the Keep speaks in the
//! program's place, and names, which the host or a name server resolves. Refuses what no key of the manifest allows, and says which would.
//!
//! Invariant: no packet leaves for a destination, and no question for a name, that the manifest does not list. An address
//! is allowed by itself, or because it was given for a name that is: the host can lead packets anywhere, names or not. The
//! Keep itself asks the name server, which is nobody that the program reaches by that.

mod options;
mod policy;
mod resolver;
mod socket;
mod stream;
mod udp;

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use workload::brief::Brief;
use workload::manifest::{Connect, Listen, Manifest, Place, Protocol, Stdio, Trust};
use workload::names::Name;
use workload::secrets::Released;

use crate::clock;
use crate::enrol::Identity;
use crate::platform::{Platform, patiently};
use crate::refusal::{Refusal, Step};
use crate::tls::{self, Keeps, Proof};
pub(crate) use options::Choice;
pub(crate) use policy::NoName;
use policy::{Key, Policy, Way};
use resolver::Resolver;
pub(crate) use socket::Socket;
pub(crate) use stream::{CHUNK, Reader, Stream, Writer};
pub(crate) use udp::{Datagram, Datagrams};

/// A TLS handshake must be done in this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes of one listener at once; more wait in its backlog.
const HANDSHAKES: usize = 512;
/// While more than this run, new ones must be done in less time: somebody may only pretend.
const MANY: usize = HANDSHAKES / 4;
const HURRY: Duration = Duration::from_secs(2);
/// Connections that wait for a program to accept them.
const BACKLOG: u32 = 1024;
/// Refusals that are told; whoever goes on is not told of more.
const TOLD: usize = 64;

/// All that a program can reach and be reached by.
pub(crate) struct Network {
    platform: Mutex<Platform>,
    policy: Mutex<Policy>,
    resolver: Option<Resolver>,
    listen: Vec<Arc<Service>>,
    connect: Vec<Target>,
    web: OnceLock<TlsConnector>,
    told: Mutex<BTreeSet<String>>,
    stderr: Stdio,
    /// The manifest says that everything is allowed.
    open: bool,
}

/// A listener of the manifest.
pub(crate) struct Service {
    pub(crate) listen: Listen,
    tls: Option<(TlsAcceptor, Arc<Identity>)>,
}

/// A connection of the manifest.
pub(crate) struct Target {
    pub(crate) connect: Connect,
    /// With the identity that is shown, if it is.
    tls: Option<(TlsConnector, Option<Arc<Identity>>)>,
}

impl Network {
    /// `files`: of the package and of the Drawbridge.
    pub(crate) fn new(
        platform: Platform,
        brief: &Brief,
        manifest: &Manifest,
        files: &[(Place, Vec<u8>)],
        secrets: &Released,
        identity: Option<&Arc<Identity>>,
    ) -> Result<Self, Refusal> {
        let proof = |name: &Name, trust: &[Trust], roles: &[Name]| {
            let mut proof = Proof::default();
            for trust in trust {
                proof = match trust {
                    Trust::Web => proof.web()?,
                    Trust::Pin(key) => proof.pin(*key),
                    Trust::Steward => proof.keeps(Keeps::new(name, roles, brief, identity)?),
                    Trust::Pem(path) => {
                        let pem = files.iter().find(|(at, _)| at == path).map(|(_, pem)| pem.as_slice());
                        proof.pem(path.as_str(), pem.unwrap_or_default())?
                    }
                };
            }
            Ok::<_, Refusal>(proof)
        };
        let mut listen = Vec::new();
        for section in &manifest.listen {
            let proof = if section.clients.is_empty() {
                None
            } else {
                Some(proof(&section.name, &section.clients, &section.roles)?)
            };
            // Without an identity there is no TLS at all.
            let given = section.certificate.as_ref().filter(|_| identity.is_some()).map(|name| {
                // Never the Keep's own in its place: clients of the one do not know the other.
                let secret = secrets.get(name).map(|secret| secret.current.as_slice());
                tls::given(name, secret.unwrap_or_default())
            });
            let given = given.transpose()?;
            listen.push(Arc::new(Service::new(section.clone(), identity, given, proof)?));
        }
        let mut connect = Vec::new();
        for section in &manifest.connect {
            let trust = if section.trust.is_empty() { &[Trust::Web][..] } else { &section.trust };
            let tls = if section.protocol.tls() {
                let identity = identity.filter(|_| section.trust.contains(&Trust::Steward));
                let protocols: &[&[u8]] = if section.protocol.http() { &[b"http/1.1"] } else { &[] };
                let proof = proof(&section.name, trust, &section.roles)?;
                Some((TlsConnector::from(tls::client(proof, identity, protocols)?), identity.cloned()))
            } else {
                None
            };
            connect.push(Target { connect: section.clone(), tls });
        }
        Ok(Self {
            platform: Mutex::new(platform),
            policy: Mutex::new(Policy::new(manifest)),
            resolver: manifest.network.resolver.as_ref().map(Resolver::new).transpose()?,
            listen,
            connect,
            web: OnceLock::new(),
            told: Mutex::default(),
            stderr: manifest.stdio(brief).stderr,
            open: manifest.debug.insecure_network,
        })
    }

    /// The listener for HTTP, if the manifest has one.
    pub(crate) fn http(&self) -> Option<&Arc<Service>> {
        self.listen.iter().find(|service| service.listen.protocol.http())
    }

    /// The listeners for sockets, in the manifest's order.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.listen.iter().filter(|service| !service.listen.protocol.http())
    }

    /// The connections for sockets, in the manifest's order.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.connect.iter().filter(|target| !target.connect.protocol.http())
    }

    fn policy(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask<T>(&self, ask: impl FnOnce(&mut Platform) -> Result<T, Refusal>) -> std::io::Result<T> {
        let mut platform = self.platform.lock().unwrap_or_else(PoisonError::into_inner);
        // A platform that breaks the protocol has no answer now, and none at the program's end, which is where the Keep says so.
        ask(&mut platform).map_err(|_| Error::other("the platform does not answer"))
    }

    /// The addresses of a name.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, NoName> {
        let name = match policy::name(name)? {
            Ok(address) => return Ok(vec![address]),
            Err(name) => name,
        };
        let known = self.policy().known(&name);
        match known {
            Ok(Some(addresses)) => return Ok(addresses),
            Ok(None) => {}
            Err(key) if self.allows(&format!("to look up {name}"), &key) => {}
            Err(_) => return Err(NoName::Denied),
        }
        let addresses: Vec<_> = match &self.resolver {
            Some(resolver) => resolver.lookup(&name).await.map_err(|_| NoName::Unknown)?,
            None => {
                // The port is there because an authority has one; it is not asked for.
                let authority = format!("{name}:1");
                let found = patiently(|| self.ask(|platform| platform.lookup(&authority))).await;
                found.ok().flatten().ok_or(NoName::Unknown)?.iter().map(SocketAddr::ip).collect()
            }
        };
        let addresses: Vec<_> = addresses.iter().map(IpAddr::to_canonical).collect();
        self.policy().learn(name, &addresses);
        if addresses.is_empty() { Err(NoName::Unknown) } else { Ok(addresses) }
    }

    /// Connects to an address.
    pub(crate) async fn connect(&self, socket: TcpSocket, to: SocketAddr) -> std::io::Result<Stream> {
        let way = self.policy().way(to);
        let target = match way {
            Ok(Way::Plain) => None,
            Ok(Way::Target(index)) => self.connect.get(index),
            Err(key) if self.allows(&format!("to connect to {to}"), &key) => None,
            Err(_) => return Err(ErrorKind::PermissionDenied.into()),
        };
        let stream = socket.connect(to).await?;
        match target {
            Some(target) => target.shield(stream).await,
            None => Stream::tcp(stream),
        }
    }

    /// Connects to a target of the manifest.
    pub(crate) async fn reach(&self, target: &Target) -> std::io::Result<Stream> {
        let stream = self.dial(target.connect.to.host(), target.connect.to.port()).await?;
        target.shield(stream).await
    }

    /// Connects to what a program names by a path: a target of the manifest, or `host:port`.
    pub(crate) async fn named(&self, name: &str) -> std::io::Result<Stream> {
        if let Some(target) = self.targets().find(|target| target.connect.name.as_str() == name) {
            return self.reach(target).await;
        }
        let authority = name.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let (host, port) = authority.ok_or(ErrorKind::NotFound)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let section = self.targets().any(|target| target.connect.to.host() == host && target.connect.to.port() == port);
        let allowed = if section { Ok(()) } else { self.policy().request(host, port) };
        if let Err(key) = allowed
            && !self.allows(&format!("to connect to {name}"), &key)
        {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let mut failed = None;
        for address in self.resolve(host).await.map_err(unresolved)? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            match self.connect(socket, SocketAddr::new(address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| ErrorKind::NotFound.into()))
    }

    /// Connects to a name that was allowed.
    async fn dial(&self, host: &str, port: u16) -> std::io::Result<TcpStream> {
        let addresses = self.resolve(host).await.map_err(unresolved)?;
        let addresses: Vec<_> = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        TcpStream::connect(&addresses[..]).await
    }

    /// Where a request by HTTP goes, `tls`: over TLS. With public web roots as proof if no section says another.
    pub(crate) async fn request(&self, host: &str, port: u16, tls: bool) -> std::io::Result<Stream> {
        let protocol = if tls { Protocol::Https } else { Protocol::Http };
        let section = self.connect.iter().find(|target| {
            let Connect { to, protocol: spoken, .. } = &target.connect;
            to.host() == host && to.port() == port && *spoken == protocol
        });
        if let Some(target) = section {
            return self.reach(target).await;
        }
        let allowed = self.policy().request(host, port);
        if let Err(key) = allowed
            && !self.allows(&format!("to send a request to {host}:{port}"), &key)
        {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let stream = self.dial(host, port).await?;
        if !tls {
            return Stream::tcp(stream);
        }
        handshake(self.web()?, None, host, stream).await
    }

    /// For servers under the public web roots. Made when it is first needed: there are many roots, and most programs ask
    /// nobody so.
    fn web(&self) -> std::io::Result<&TlsConnector> {
        if let Some(web) = self.web.get() {
            return Ok(web);
        }
        let web = Proof::default().web().and_then(|proof| tls::client(proof, None, &[b"http/1.1"]));
        let web = web.map_err(|_| Error::other("no TLS"))?;
        Ok(self.web.get_or_init(|| TlsConnector::from(web)))
    }

    /// The listener of the manifest that a program means by a port, or none if it may bind there as it says.
    pub(crate) fn service(&self, port: u16) -> std::io::Result<Option<Arc<Service>>> {
        if let Some(service) = self.services().find(|service| service.listen.port == port) {
            return Ok(Some(Arc::clone(service)));
        }
        let allowed = self.policy().listen(port);
        match allowed {
            Err(key) if !self.allows(&format!("to listen at port {port}"), &key) => {
                Err(ErrorKind::PermissionDenied.into())
            }
            Ok(()) | Err(_) => Ok(None),
        }
    }

    /// Whether datagrams may go to an address.
    fn may_send(&self, to: SocketAddr) -> std::io::Result<()> {
        let allowed = self.policy().datagrams(to);
        match allowed {
            Err(key) if !self.allows(&format!("to send a datagram to {to}"), &key) => {
                Err(ErrorKind::PermissionDenied.into())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether a socket for datagrams at this port takes them from everybody, if it may be bound there.
    fn hears_all(&self, port: u16) -> std::io::Result<bool> {
        let allowed = self.policy().bind(port);
        match allowed {
            Ok(all) => Ok(all || self.open),
            Err(key) if self.allows(&format!("to take datagrams at port {port}"), &key) => Ok(true),
            Err(_) => Err(ErrorKind::PermissionDenied.into()),
        }
    }

    /// Where the host wants it, if it cares.
    pub(crate) fn wish(&self, service: &Service) -> std::io::Result<Option<SocketAddr>> {
        match self.ask(|platform| platform.bind(service.listen.name.as_str()))? {
            Some(address) => address.parse().map(Some).map_err(|_| no_address(&address)),
            None => Ok(None),
        }
    }

    /// A listener of the manifest at the place that it or the host says.
    pub(crate) fn open(&self, service: &Service) -> Result<Listener, Refusal> {
        let name = service.listen.name.as_str();
        let mut address = format!("[::]:{}", service.listen.port);
        let refused = |address: &str, error: Error| {
            let (code, hint) = match error.kind() {
                ErrorKind::AddrInUse => (
                    "listen.in-use",
                    format!("end the program that holds it, or choose another with `--listen {name}=127.0.0.1:0`"),
                ),
                ErrorKind::InvalidInput => ("listen.address", "write it as 127.0.0.1:8443 or [::1]:8443".to_owned()),
                _ => ("listen.bind", format!("choose an address of this host with `--listen {name}=ADDRESS:PORT`")),
            };
            let message = format_args!("listener `{name}` cannot be bound to {address}: {error}");
            Refusal::new(Step::Program, code, message, hint)
        };
        if let Some(wish) = self.ask(|platform| platform.bind(name)).map_err(|error| refused(&address, error))? {
            address = wish;
        }
        let to: SocketAddr = address.parse().map_err(|_| refused(&address, no_address(&address)))?;
        let bind = || {
            let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.bind(to)?;
            socket.listen(BACKLOG)
        };
        let listener = bind().and_then(|listener| self.listener(listener, Some(service)));
        listener.map_err(|error| refused(&address, error))
    }

    /// Says that somebody listens.
    pub(crate) fn listener(&self, listener: TcpListener, service: Option<&Service>) -> std::io::Result<Listener> {
        if let Some(service) = service {
            let local = listener.local_addr()?;
            self.ask(|platform| platform.listening(service.listen.name.as_str(), &local.to_string()))?;
        }
        let tls = service.and_then(|service| service.tls.clone());
        Ok(Listener { listener: Arc::new(listener), tls, handshakes: JoinSet::new(), ready: None })
    }

    /// Whether what no key allows is allowed all the same. If not, people are told so, where the program's own words go; if
    /// so, the platform is, by the key that would have allowed it. Once each.
    fn allows(&self, what: &str, key: &Key) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = told.len() < TOLD && told.insert(key.to_string());
        if fresh && self.open {
            // Whoever is not told has no platform any more, which shows elsewhere.
            _ = self.ask(|platform| platform.milestone(Step::Program, &key.to_string()));
        } else if fresh && self.stderr == Stdio::Host {
            let line = format!("denied: {what}\nhint: the manifest does not allow it; add: {}\n", key.section());
            // If nobody reads it there is nobody to tell.
            _ = std::io::stderr().write_all(line.as_bytes());
        }
        self.open
    }
}

impl Service {
    /// `given`: the certificate that the manifest has shown in the place of the Keep's.
    pub(crate) fn new(
        listen: Listen,
        identity: Option<&Arc<Identity>>,
        given: Option<CertifiedKey>,
        proof: Option<Proof>,
    ) -> Result<Self, Refusal> {
        let tls = match (listen.protocol.tls(), identity) {
            (false, _) => None,
            (true, Some(identity)) => {
                let protocols = if listen.protocol.http() { &tls::HTTP[..] } else { &[] };
                Some((TlsAcceptor::from(tls::server(identity, given, proof, protocols)?), Arc::clone(identity)))
            }
            (true, None) => {
                return Err(Refusal::new(
                    Step::Program,
                    "listen.certificate",
                    format_args!(
                        "listener `{}` wants TLS, but this Keep has no certificate: no Steward was named",
                        listen.name
                    ),
                    format_args!(
                        "deploy it, or say `protocol = \"{}\"` for a local run",
                        if listen.protocol.http() { "http" } else { "tcp" }
                    ),
                ));
            }
        };
        Ok(Self { listen, tls })
    }

    pub(crate) fn tls(&self) -> bool {
        self.tls.is_some()
    }
}

impl Target {
    /// Over TLS, if the manifest says so.
    async fn shield(&self, stream: TcpStream) -> std::io::Result<Stream> {
        match &self.tls {
            Some((tls, identity)) => handshake(tls, identity.as_deref(), self.connect.to.host(), stream).await,
            None => Stream::tcp(stream),
        }
    }
}

async fn handshake(
    tls: &TlsConnector,
    identity: Option<&Identity>,
    host: &str,
    stream: TcpStream,
) -> std::io::Result<Stream> {
    let ends = identity.map(left);
    _ = stream.set_nodelay(true);
    let name = ServerName::try_from(host.to_owned()).map_err(|error| Error::new(ErrorKind::InvalidInput, error))?;
    let stream = tokio::time::timeout(PATIENCE, tls.connect(name, stream)).await;
    Stream::tls(stream.map_err(|_| Error::from(ErrorKind::TimedOut))??.into(), ends)
}

fn unresolved(error: NoName) -> Error {
    match error {
        NoName::Denied => ErrorKind::PermissionDenied.into(),
        NoName::Invalid | NoName::Unknown => Error::new(ErrorKind::NotFound, "the name has no address"),
    }
}

/// Numeric only: a Keep resolves no names to listen at.
fn no_address(address: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("`{address}` is not an address and port"))
}

/// How long the certificate that is shown now lasts.
fn left(identity: &Identity) -> Duration {
    identity.dates().1.saturating_sub(clock::now())
}

/// Accepts connections. Handshakes run in tasks of their own: who is slow keeps nobody waiting.
pub(crate) struct Listener {
    listener: Arc<TcpListener>,
    tls: Option<(TlsAcceptor, Arc<Identity>)>,
    handshakes: JoinSet<std::io::Result<Stream>>,
    ready: Option<Stream>,
}

impl Listener {
    /// Until there is a connection to accept.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.ready.is_none() {
            self.ready = Some(ready!(self.poll_next(context))?);
        }
        Poll::Ready(Ok(()))
    }

    /// The next connection.
    pub(crate) fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<Stream>> {
        match self.ready.take() {
            Some(stream) => Poll::Ready(Ok(stream)),
            None => self.poll_next(context),
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<Stream>> {
        while self.handshakes.len() < HANDSHAKES {
            match self.listener.poll_accept(context) {
                Poll::Pending => break,
                // The peer is gone already.
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::ConnectionAborted => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok((stream, _))) => match &self.tls {
                    None => match Stream::tcp(stream) {
                        Ok(stream) => return Poll::Ready(Ok(stream)),
                        Err(_) => continue,
                    },
                    Some((tls, identity)) => {
                        _ = stream.set_nodelay(true);
                        let ends = left(identity);
                        let patience = if self.handshakes.len() > MANY { HURRY } else { PATIENCE };
                        let handshake = tokio::time::timeout(patience, tls.accept(stream));
                        self.handshakes.spawn(async move {
                            let stream = handshake.await.map_err(|_| Error::from(ErrorKind::TimedOut))??;
                            Stream::tls(stream.into(), Some(ends))
                        });
                    }
                },
            }
        }
        loop {
            match self.handshakes.poll_join_next(context) {
                Poll::Ready(Some(Ok(Ok(stream)))) => return Poll::Ready(Ok(stream)),
                // Whoever does not get through it was not accepted.
                Poll::Ready(Some(Ok(Err(_)) | Err(_))) => {}
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    pub(crate) fn inner(&self) -> &Arc<TcpListener> {
        &self.listener
    }
}

/// For whoever shares it.
pub(crate) type Shared = Arc<Network>;
