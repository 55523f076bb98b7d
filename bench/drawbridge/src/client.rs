//! A client: HTTP/1.1 over TLS 1.3 on a kept connection, with one cipher suite, so that no server is helped by another.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use workload::Digest;

use crate::Result;
use crate::servers::Server;

/// Who the servers are: one certificate for all of them.
pub(crate) struct Trust {
    pub(crate) certificate: String,
    pub(crate) key: String,
    config: Arc<ClientConfig>,
}

impl Trust {
    pub(crate) fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let kx_groups = vec![aws_lc_rs::kx_group::X25519];
        let provider = CryptoProvider { cipher_suites, kx_groups, ..aws_lc_rs::default_provider() };
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        Ok(Self { certificate, key, config: Arc::new(config) })
    }
}

pub(crate) struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
    paths: String,
    authorization: String,
}

impl Client {
    pub(crate) fn new(server: &Server, trust: &Trust) -> Result<Self> {
        let stream = TcpStream::connect(server.address)?;
        stream.set_nodelay(true)?;
        let connection = ClientConnection::new(Arc::clone(&trust.config), ServerName::try_from("localhost")?)?;
        let (stream, buffer) = (StreamOwned::new(connection, stream), vec![0; 256 * 1024]);
        Ok(Self { stream, buffer, paths: server.paths(), authorization: server.authorization() })
    }

    pub(crate) fn pull(&mut self, digest: &Digest, length: usize) -> Result<()> {
        let request = format!("GET {}/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n", self.paths);
        self.stream.write_all(request.as_bytes())?;
        match self.answer()? {
            (200, found, _) if found == length => Ok(()),
            (status, found, _) => Err(format!("{status}, {found} bytes").into()),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], digest: &Digest) -> Result<()> {
        let Self { paths, authorization, .. } = &*self;
        let head = format!("Host: localhost\r\n{authorization}Content-Length: ");
        let begin = format!("POST {paths}/uploads/ HTTP/1.1\r\n{head}0\r\n\r\n");
        self.stream.write_all(begin.as_bytes())?;
        let (202, _, Some(location)) = self.answer()? else { return Err("no upload".into()) };
        let path = location.strip_prefix("https://localhost").unwrap_or(&location);
        let more = if path.contains('?') { '&' } else { '?' };
        let end = format!("PUT {path}{more}digest={digest} HTTP/1.1\r\n{head}{}\r\n\r\n", bytes.len());
        self.stream.write_all(end.as_bytes())?;
        self.stream.write_all(bytes)?;
        match self.answer()? {
            (201, ..) => Ok(()),
            (status, ..) => Err(format!("{status} to a push").into()),
        }
    }

    /// Status, length of the body, and `Location`. The body is read and dropped.
    fn answer(&mut self) -> Result<(u16, usize, Option<String>)> {
        let mut filled = 0;
        let end = loop {
            let read = self.stream.read(&mut self.buffer[filled..])?;
            if read == 0 {
                return Err("the connection ended".into());
            }
            filled += read;
            if let Some(end) = self.buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..end])?;
        let status = head.get(9..12).ok_or("no status")?.parse()?;
        let field = |name: &str| {
            let line = head
                .lines()
                .find_map(|line| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name)));
            line.map(|(_, value)| value.to_owned())
        };
        let length = field("content-length").map_or(Ok(0), |length| length.parse())?;
        let location = field("location");
        let mut got = filled - end;
        while got < length {
            let read = self.stream.read(&mut self.buffer)?;
            if read == 0 {
                return Err("the body ended".into());
            }
            got += read;
        }
        Ok((status, length, location))
    }
}
