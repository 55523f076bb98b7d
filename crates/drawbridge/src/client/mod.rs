//! A small OCI client: pushes packages and signed documents, and asks the few questions the CLI has.
//!
//! Owns the order of a push: first what a manifest refers to, then the manifest, then (with it) the tag, so that nobody
//! ever sees half a package. Refuses bytes whose digest is not the one asked for. It speaks to any registry, not only to a
//! Drawbridge. Invariant: what a push returns is a digest computed here, never one the registry told us.

mod account;
mod connection;
mod error;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST, LINK, LOCATION, RANGE};
use http::{HeaderValue, Method, Request, StatusCode};
use identity::publisher::{PAYLOAD_MEDIA_TYPE, SIGNATURE_ANNOTATION, SIGNATURE_ARTIFACT_TYPE, Signature};
use tokio::time::sleep;
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
/// The longest page of a list, in bytes, and the most tags of all pages.
const PAGE: u64 = 32 * 1024 * 1024;
const TAGS: usize = 10_000_000;
/// How long to wait before an upload that broke off goes on.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10)];
/// The config of an artifact that has none (OCI image-spec 1.1, "Guidance for an Empty Descriptor").
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";

/// The config of an OCI image.
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A client of one registry. Requests go one after the other over one connection, which is dialled when needed.
pub struct Client {
    connection: Connection,
    token: Option<Secret>,
}

/// An upload in flight, and how much of it is there.
struct Begun {
    path: String,
    at: u64,
}

/// One line of what is about a manifest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// Of its manifest.
    pub digest: Digest,
    /// What kind of thing it is.
    #[serde(default)]
    pub artifact_type: String,
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

    /// Puts a publisher's signature beside a workload, which is described as its subject: as a referrer, and under the tag by
    /// which cosign looks for it, beside the signatures of others that are there already and can be seen.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put_signature(
        &self,
        repository: &Repository,
        workload: &Descriptor,
        signature: &Signature,
    ) -> Result<Digest, ClientError> {
        let tag = signature_tag(&workload.digest)?;
        let payload = Descriptor::of(PAYLOAD_MEDIA_TYPE, signature.payload());
        let mut layer = serde_json::json!(payload);
        layer["annotations"] = serde_json::json!({ SIGNATURE_ANNOTATION: STANDARD.encode(signature.signature()) });
        let mut layers = match self.manifest(repository, &Reference::Tag(tag.clone())).await {
            Ok((_, there)) => layers_of(&there),
            // What is confidential nobody sees; nobody but Keeps reads it either.
            Err(ClientError::Absent { .. } | ClientError::Unauthorized { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        if !layers.contains(&layer) {
            layers.push(layer);
        }
        // As cosign writes it, and its readers want it: an image without a system.
        let diffs: Vec<_> = layers.iter().filter_map(|layer| layer.get("digest")).collect();
        let config = serde_json::json!({
            "architecture": "", "os": "", "config": {}, "rootfs": { "type": "layers", "diff_ids": diffs },
        });
        let config = config.to_string();
        let described = Descriptor::of(IMAGE_CONFIG, config.as_bytes());
        self.push_blob(repository, &described, config.as_bytes(), &mut |_| {}).await?;
        self.push_blob(repository, &payload, signature.payload(), &mut |_| {}).await?;
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": SIGNATURE_ARTIFACT_TYPE,
            "config": described,
            "layers": layers,
            "subject": workload,
        });
        self.put_manifest(repository, MANIFEST, manifest.to_string().as_bytes(), Some(&tag)).await
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
        let mut upload: Option<Begun> = None;
        for pause in PAUSES.map(Some).into_iter().chain([None]) {
            let sent = self.send_blob(repository, digest, bytes, &mut upload, progress).await;
            match (sent, pause) {
                // What came over stays there: the next attempt goes on after it.
                (Err(ClientError::Broken { .. } | ClientError::Unreachable { .. }), Some(pause)) => sleep(pause).await,
                (sent, _) => return sent,
            }
        }
        Ok(())
    }

    /// Begins an upload, or goes on with one.
    async fn send_blob(
        &self,
        repository: &Repository,
        digest: Digest,
        bytes: &[u8],
        upload: &mut Option<Begun>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), ClientError> {
        let size = bytes.len() as u64;
        let location = |answer: &Answer| {
            let said = answer.headers.get(LOCATION).and_then(|location| self.own_path(location.to_str().ok()?));
            said.map(str::to_owned)
        };
        if let Some(Begun { path, at }) = upload {
            let what = format!("GET {path}");
            let answer = self.send(&what, self.build(&Method::GET, path), Payload::Nothing, SMALL).await?;
            match answer.status {
                StatusCode::NO_CONTENT => {
                    let range = answer.headers.get(RANGE).and_then(|range| range.to_str().ok()?.split_once('-'));
                    let last = range.and_then(|(_, last)| last.parse::<u64>().ok());
                    // Of nothing registries say 0-0 as well.
                    *at = last.filter(|last| *last > 0 && *last < size).map_or(0, |last| last.saturating_add(1));
                    *path = location(&answer).unwrap_or_else(|| path.clone());
                }
                // It still waits for what does not come any more.
                StatusCode::CONFLICT => {
                    return Err(ClientError::Broken { what, text: "the last attempt is not over there".to_owned() });
                }
                _ => *upload = None,
            }
        }
        if upload.is_none() {
            let path = format!("/v2/{repository}/blobs/uploads/");
            let what = format!("POST {path}");
            let request = self.build(&Method::POST, &path).header(CONTENT_LENGTH, 0);
            let answer = self.success(what.clone(), request, Payload::Nothing, SMALL).await?;
            let path = location(&answer);
            let path = path.ok_or(ClientError::Broken { what, text: "no Location of this registry".to_owned() })?;
            *upload = Some(Begun { path, at: 0 });
        }
        let Some(Begun { path, at }) = upload.as_ref() else { return Ok(()) };
        let path = format!("{path}{}digest={digest}", if path.contains('?') { '&' } else { '?' });
        let from = usize::try_from(*at).unwrap_or(usize::MAX).min(bytes.len());
        let rest = bytes.get(from..).unwrap_or_default();
        let mut request = self
            .build(&Method::PUT, &path)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, rest.len());
        if from > 0 {
            request = request.header(CONTENT_RANGE, format!("{from}-{}", size.saturating_sub(1)));
        }
        let mut watch = |sent| progress(Progress::Sent { digest, sent: sent + from as u64, size });
        self.success(format!("PUT {path}"), request, Payload::Watched(rest, &mut watch), SMALL).await.map(|_| ())
    }

    /// A part of a blob, from this byte on, as it comes: not checked, for the rest may come later. Gives how much came; an error
    /// only if nothing did.
    ///
    /// # Errors
    /// See [`ClientError`]; what `sink` fails with.
    pub async fn fetch(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        from: u64,
        sink: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
    ) -> Result<u64, ClientError> {
        let Descriptor { media_type: _, digest, size } = descriptor;
        let path = format!("/v2/{repository}/blobs/{digest}");
        let what = format!("GET {path}");
        let mut request = self.build(&Method::GET, &path).header(ACCEPT, "*/*");
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let (mut came, mut skip, mut refusal) = (0_u64, 0_u64, Vec::new());
        let (mut begun, mut failed) = (false, None);
        let mut take = |(status, _): &connection::Head, chunk: &[u8]| {
            if !std::mem::replace(&mut begun, true) && *status == StatusCode::OK {
                // It does not know ranges: what is here already comes again.
                skip = from;
            }
            if !status.is_success() {
                refusal.extend_from_slice(chunk);
                return Ok(());
            }
            let over = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip = skip.saturating_sub(over as u64);
            let new = chunk.get(over..).unwrap_or_default();
            came = came.saturating_add(new.len() as u64);
            sink(new).map_err(|error| {
                let text = error.to_string();
                failed = Some(error);
                ClientError::Broken { what: what.clone(), text }
            })
        };
        let ended = self.connection.exchange(&what, request, Payload::Nothing, (*size).max(SMALL), &mut take).await;
        match ended {
            Ok((status, _)) if !status.is_success() => {
                Err(ClientError::of_answer(what, status, &refusal, self.token.is_some()))
            }
            Err(ClientError::Broken { .. }) if came > 0 && failed.is_none() => Ok(came),
            ended => ended.map(|_| came),
        }
    }

    /// All tags of a repository, in the registry's order.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, ClientError> {
        #[derive(serde::Deserialize)]
        struct Page {
            tags: Option<Vec<Tag>>,
        }
        let mut path = format!("/v2/{repository}/tags/list");
        let mut all = Vec::new();
        loop {
            let answer = self.get(&path, "application/json", PAGE).await?;
            let what = format!("GET {path}");
            let page: Page = serde_json::from_slice(&answer.body).map_err(|error| ClientError::Broken {
                what: what.clone(),
                text: format!("no list of tags: {error}"),
            })?;
            let page = page.tags.unwrap_or_default();
            let more = answer.headers.get(LINK).and_then(|link| self.next(link.to_str().ok()?));
            // A list that goes on with nothing would never end.
            let ended = page.is_empty();
            all.extend(page);
            match more {
                Some(_) if ended || all.len() > TAGS => {
                    return Err(ClientError::Broken { what, text: "the list of tags has no end".to_owned() });
                }
                Some(next) => path = next,
                None => return Ok(all),
            }
        }
    }

    /// What is about a manifest, such as its signatures.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn referrers(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Referrer>, ClientError> {
        #[derive(serde::Deserialize)]
        struct Index {
            manifests: Vec<Referrer>,
        }
        let path = format!("/v2/{repository}/referrers/{digest}");
        let answer = self.get(&path, "application/vnd.oci.image.index.v1+json", PAGE).await?;
        let index: Index = serde_json::from_slice(&answer.body).map_err(|error| ClientError::Broken {
            what: format!("GET {path}"),
            text: format!("no list of referrers: {error}"),
        })?;
        Ok(index.manifests)
    }

    /// Deletes a tag, or a manifest by its digest, with the tags that point at it.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Refused`] with status 405 if something refers to it.
    pub async fn delete(&self, repository: &Repository, reference: &Reference) -> Result<(), ClientError> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let request = self.build(&Method::DELETE, &path);
        self.success(format!("DELETE {path}"), request, Payload::Nothing, SMALL).await.map(|_| ())
    }

    /// The path of a `Link` to the next page (RFC 8288).
    fn next(&self, link: &str) -> Option<String> {
        let (path, rest) = link.strip_prefix('<')?.split_once('>')?;
        rest.contains("rel=\"next\"").then(|| self.own_path(path).map(str::to_owned)).flatten()
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

/// The tag under which cosign has the signatures of a manifest.
fn signature_tag(workload: &Digest) -> Result<Tag, ClientError> {
    let tag = format!("sha256-{}.sig", hex::encode(workload.as_bytes()));
    tag.parse().map_err(|error| ClientError::Broken { what: format!("the tag {tag}"), text: format!("{error}") })
}

/// The layers of what is there already; none if it is something else.
fn layers_of(manifest: &[u8]) -> Vec<serde_json::Value> {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap_or_default();
    manifest.get("layers").and_then(serde_json::Value::as_array).cloned().unwrap_or_default()
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
