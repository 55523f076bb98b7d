//! A small OCI client: pushes packages and signed documents, and asks the few questions the CLI has.
//!
//! Owns the order of a push: first what a manifest refers to, then the manifest, then (with it) the tag, so that nobody
//! ever sees half a package. Refuses bytes whose digest is not the one asked for. It speaks to any registry, not only to a
//! Drawbridge. Invariant: what a push returns is a digest computed here, never one the registry told us.

mod account;
mod connection;
mod error;

use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderValue, Method, Request, StatusCode};
use workload::Digest;
use workload::names::{Authority, Repository, Tag};
use workload::package::{Built, Descriptor, MANIFEST, MANIFEST_LIMIT};
use workload::reference::Reference;

pub use account::{Device, DeviceError};
pub use connection::Trust;
pub use error::{ClientError, Explanation};

use crate::http::CONTENT_DIGEST;
use crate::login::Secret;
use connection::{Answer, Connection, Payload};

/// The longest answer to anything but a manifest or blob.
const SMALL: u64 = 64 * 1024;
/// The config of an artifact that has none (OCI image-spec 1.1, "Guidance for an Empty Descriptor").
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";

/// A client of one registry. Requests go one after the other over one connection, which is dialled when needed.
pub struct Client {
    connection: Connection,
    token: Option<Secret>,
}

/// What a push does, as it does it. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The registry has this blob already.
    Present {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
    },
    /// So much of this blob was sent.
    Sent {
        /// The blob.
        digest: Digest,
        /// How much.
        sent: u64,
        /// Its size.
        size: u64,
    },
    /// The manifest was accepted.
    Manifest {
        /// Its digest.
        digest: Digest,
    },
}

impl Client {
    /// A client for this registry. Nothing is dialled yet.
    ///
    /// # Errors
    /// [`ClientError::Tls`] if the TLS configuration cannot be made.
    pub fn new(authority: Authority, trust: Trust) -> Result<Self, ClientError> {
        Ok(Self { connection: Connection::new(authority, trust, None)?, token: None })
    }

    /// A client that shows a certificate (chain in DER, its own first, root included) and holds its key (PKCS#8 DER), as a
    /// Keep does.
    ///
    /// # Errors
    /// [`ClientError::OwnCertificate`] if the two cannot be used.
    pub fn with_certificate(
        authority: Authority,
        trust: Trust,
        chain: Vec<Vec<u8>>,
        key: &[u8],
    ) -> Result<Self, ClientError> {
        Ok(Self { connection: Connection::new(authority, trust, Some((chain, key)))?, token: None })
    }

    /// Shows this token with every request.
    #[must_use]
    pub fn with_token(self, token: Secret) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Pushes a package: its blobs, those that are missing, then its manifest, under this tag if one is given.
    ///
    /// # Errors
    /// See [`ClientError`]. Whatever fails, the tag still points at what it pointed at.
    pub async fn push(
        &self,
        repository: &Repository,
        built: &Built,
        tag: Option<&Tag>,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<Digest, ClientError> {
        for (descriptor, bytes) in &built.blobs {
            self.push_blob(repository, descriptor, bytes, &mut progress).await?;
        }
        let digest = self.put_manifest(repository, MANIFEST, &built.manifest, tag).await?;
        progress(Progress::Manifest { digest });
        Ok(digest)
    }

    /// Pushes a signed document, a release policy for example, as an artifact with this one layer.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Denied`] if the registry does not accept what was signed.
    pub async fn put_signed(
        &self,
        repository: &Repository,
        tag: &Tag,
        artifact_type: &str,
        media_type: &str,
        document: &[u8],
    ) -> Result<Digest, ClientError> {
        let (config, layer) = (Descriptor::of(EMPTY_TYPE, EMPTY), Descriptor::of(media_type, document));
        self.push_blob(repository, &config, EMPTY, &mut |_| {}).await?;
        self.push_blob(repository, &layer, document, &mut |_| {}).await?;
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact_type,
            "config": config,
            "layers": [layer],
        });
        self.put_manifest(repository, MANIFEST, manifest.to_string().as_bytes(), Some(tag)).await
    }

    /// A manifest, and its digest as computed from the bytes. By tag, the digest is whatever the registry chose.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Digest`] if a digest was asked for and other bytes came.
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<(Digest, Vec<u8>), ClientError> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.get(&path, MANIFEST, MANIFEST_LIMIT).await?;
        let found = Digest::of(&answer.body);
        match reference {
            Reference::Digest(expected) if *expected != found => {
                Err(ClientError::Digest { what: format!("GET {path}"), expected: *expected, found: Some(found) })
            }
            Reference::Digest(_) | Reference::Tag(_) => Ok((found, answer.body.into())),
        }
    }

    /// A blob with these digest and size.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Digest`] if other bytes came.
    pub async fn blob(&self, repository: &Repository, descriptor: &Descriptor) -> Result<Vec<u8>, ClientError> {
        let Descriptor { media_type: _, digest, size } = descriptor;
        let path = format!("/v2/{repository}/blobs/{digest}");
        let answer = self.get(&path, "*/*", *size).await?;
        let found = Digest::of(&answer.body);
        if found == *digest {
            Ok(answer.body.into())
        } else {
            Err(ClientError::Digest { what: format!("GET {path}"), expected: *digest, found: Some(found) })
        }
    }

    /// Puts a manifest of this media type, under a tag or only under its digest; what it refers to must be there.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        media_type: &str,
        manifest: &[u8],
        tag: Option<&Tag>,
    ) -> Result<Digest, ClientError> {
        let digest = Digest::of(manifest);
        let reference = tag.cloned().map_or(Reference::Digest(digest), Reference::Tag);
        let path = format!("/v2/{repository}/manifests/{reference}");
        let request = self.build(&Method::PUT, &path).header(CONTENT_TYPE, media_type);
        let what = format!("PUT {path}");
        let payload = Payload::Whole(Bytes::copy_from_slice(manifest));
        let answer = self.success(what, request, payload, SMALL).await?;
        let said = answer.headers.get(CONTENT_DIGEST).and_then(|said| said.to_str().ok()?.parse::<Digest>().ok());
        match said {
            Some(said) if said != digest => {
                Err(ClientError::Digest { what: format!("PUT {path}"), expected: digest, found: Some(said) })
            }
            Some(_) | None => Ok(digest),
        }
    }

    async fn push_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        bytes: &[u8],
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), ClientError> {
        let Descriptor { media_type: _, digest, size } = descriptor;
        let (digest, size) = (*digest, *size);
        let path = format!("/v2/{repository}/blobs/{digest}");
        match self.send(&format!("HEAD {path}"), self.build(&Method::HEAD, &path), Payload::Nothing, SMALL).await? {
            Answer { status: StatusCode::OK, .. } => {
                progress(Progress::Present { digest, size });
                return Ok(());
            }
            // Absent, or as good as absent to us: then it is sent.
            Answer { status: StatusCode::NOT_FOUND, .. } => {}
            Answer { status, headers: _, body } => {
                return Err(ClientError::of_answer(format!("HEAD {path}"), status, &body, self.token.is_some()));
            }
        }
        let path = format!("/v2/{repository}/blobs/uploads/");
        let what = format!("POST {path}");
        let request = self.build(&Method::POST, &path).header(CONTENT_LENGTH, 0);
        let answer = self.success(what.clone(), request, Payload::Nothing, SMALL).await?;
        let location = answer.headers.get(LOCATION).and_then(|location| self.own_path(location.to_str().ok()?));
        let location = location.ok_or(ClientError::Broken { what, text: "no Location of this registry".to_owned() })?;
        let path = format!("{location}{}digest={digest}", if location.contains('?') { '&' } else { '?' });
        let request = self
            .build(&Method::PUT, &path)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, bytes.len());
        let mut watch = |sent| progress(Progress::Sent { digest, sent, size });
        self.success(format!("PUT {path}"), request, Payload::Watched(bytes, &mut watch), SMALL).await.map(|_| ())
    }

    /// The path of a `Location`, which may be absolute; never one on another host, for there our token would go too.
    fn own_path<'a>(&self, location: &'a str) -> Option<&'a str> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(location);
        }
        let rest = location.strip_prefix("https://")?;
        let rest = rest.strip_prefix(self.connection.authority().as_str())?;
        rest.starts_with('/').then_some(rest)
    }

    async fn get(&self, path: &str, accept: &str, limit: u64) -> Result<Answer, ClientError> {
        let request = self.build(&Method::GET, path).header(ACCEPT, accept);
        self.success(format!("GET {path}"), request, Payload::Nothing, limit.max(SMALL)).await
    }

    fn build(&self, method: &Method, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(path).header(HOST, self.connection.authority().as_str());
        let login = self.token.as_ref().map(|token| HeaderValue::from_str(&format!("Bearer {}", token.expose())));
        match login {
            Some(Ok(mut value)) => {
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            // A token that is no header value is no token either: the registry will say so.
            Some(Err(_)) => request.header(AUTHORIZATION, "Bearer"),
            None => request,
        }
    }

    async fn send(
        &self,
        what: &str,
        request: http::request::Builder,
        payload: Payload<'_>,
        limit: u64,
    ) -> Result<Answer, ClientError> {
        self.connection.request(what, request, payload, limit).await
    }

    async fn success(
        &self,
        what: String,
        request: http::request::Builder,
        payload: Payload<'_>,
        limit: u64,
    ) -> Result<Answer, ClientError> {
        let answer = self.send(&what, request, payload, limit).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(ClientError::of_answer(what, answer.status, &answer.body, self.token.is_some()))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client").field("connection", &self.connection).field("token", &self.token).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_elsewhere_is_not_followed() {
        let client = Client::new("registry.example:443".parse().unwrap(), Trust::WebRoots).unwrap();
        for (location, expected) in [
            ("/v2/a/blobs/uploads/1", Some("/v2/a/blobs/uploads/1")),
            ("https://registry.example:443/v2/x?y=z", Some("/v2/x?y=z")),
            ("https://evil.example:443/v2/x", None),
            ("https://registry.example:443.evil.example/v2/x", None),
            ("//evil.example/v2/x", None),
            ("http://registry.example:443/v2/x", None),
        ] {
            assert_eq!(client.own_path(location), expected, "{location}");
        }
    }

    #[test]
    fn debug_shows_no_token() {
        let client = Client::new("registry.example:443".parse().unwrap(), Trust::WebRoots).unwrap();
        let client = client.with_token(Secret::new("swordfish".to_owned()));
        assert!(!format!("{client:?}").contains("swordfish"));
        let request = client.build(&Method::GET, "/v2/").body(()).unwrap();
        assert!(!format!("{request:?}").contains("swordfish"));
        assert_eq!(request.headers()[AUTHORIZATION].to_str().unwrap(), "Bearer swordfish", "control");
    }
}
