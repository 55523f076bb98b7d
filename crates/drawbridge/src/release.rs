//! Who may see a confidential repository: the release policy that its owner signed, applied to a Keep's certificate.
//!
//! Owns the policy's place (the reserved tag `release`), what makes a pushed policy acceptable, and the question what a
//! peer may see (`trust.md`, 13, 14 and "Who checks what"). Refuses everybody by default: no certificate, no policy, a
//! policy of another owner, a Keep that does not satisfy it, and any failure on the way all end in [`Sight::Nothing`].
//! Tokens are not looked at: writers and owners see nothing either.
//! Invariant: content of a confidential repository leaves through a [`Sight::Granted`], and after [`Sight::record`].

use std::collections::BTreeSet;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use identity::chain::{ChainError, verify_chain};
use identity::release::{RELEASE_MEDIA_TYPE, ReleasePolicy};
use identity::{Algorithm, OwnerSigned, Verifier};
use workload::names::{Name, Repository};

use crate::digest::Digest;
use crate::http::Refusal;
use crate::references::References;
use crate::store::{Kind, Record, Store, StoreError, StoredManifest};
use crate::tls::Peer;

/// `artifactType` of a release policy in a registry. Its one layer is the signed policy, `identity::release::RELEASE_MEDIA_TYPE`.
pub const RELEASE_ARTIFACT_TYPE: &str = "application/vnd.donjon.release.v1";
/// The tag of a confidential repository that only its owner's key can move.
pub const RELEASE_TAG: &str = "release";
/// The longest envelope that is read; the policy in it is bounded more tightly by its own reader.
const ENVELOPE_LIMIT: u64 = 128 * 1024;

/// What a peer sees of a repository.
#[derive(Debug)]
pub(crate) enum Sight {
    /// Everything: it is public.
    Open,
    /// One workload: its manifest and what the manifest refers to.
    Granted(Release),
    /// As if it were not there.
    Nothing,
}

/// One Keep that may have one workload.
#[derive(Debug)]
pub(crate) struct Release {
    repository: Repository,
    workload: workload::Digest,
    serial: String,
    keep: String,
    policy: u64,
    until: u64,
}

impl Sight {
    /// Whether this manifest of the repository is for the peer: the workload, or what is about it (its signatures).
    pub(crate) async fn manifest(&self, store: &Store, digest: &Digest) -> Result<bool, StoreError> {
        match self {
            Self::Open => Ok(true),
            Self::Granted(Release { repository, workload, .. }) => {
                store.is_of(repository, &Digest::from(*workload), digest, Kind::Manifest).await
            }
            Self::Nothing => Ok(false),
        }
    }

    /// Whether this blob of the repository is for the peer: one that such a manifest refers to.
    pub(crate) async fn blob(&self, store: &Store, digest: &Digest) -> Result<bool, StoreError> {
        match self {
            Self::Open => Ok(true),
            Self::Granted(Release { repository, workload, .. }) => {
                store.is_of(repository, &Digest::from(*workload), digest, Kind::Blob).await
            }
            Self::Nothing => Ok(false),
        }
    }

    /// Whether the peer may ask what is about this manifest.
    pub(crate) fn subject(&self, digest: &Digest) -> bool {
        match self {
            Self::Open => true,
            Self::Granted(release) => Digest::from(release.workload) == *digest,
            Self::Nothing => false,
        }
    }

    /// When this ends, Unix seconds: with the certificate, or with the age that the policy allows.
    pub(crate) const fn until(&self) -> u64 {
        match self {
            Self::Open => u64::MAX,
            Self::Granted(release) => release.until,
            Self::Nothing => 0,
        }
    }

    /// Writes down that these bytes are released; before the first of them leaves. When this returns, it is on the disk.
    pub(crate) async fn record(&self, store: &Store, what: &'static str, digest: &Digest) -> Result<(), StoreError> {
        match self {
            Self::Granted(release) => release.record(store, what, digest).await,
            Self::Open | Self::Nothing => Ok(()),
        }
    }
}

impl Release {
    async fn record(&self, store: &Store, what: &str, digest: &Digest) -> Result<(), StoreError> {
        let Self { repository, workload, serial, keep, policy, until: _ } = self;
        store.record(&Record { repository, workload, what, digest, serial, keep, policy: *policy }).await?;
        tracing::info!(target: "drawbridge::release", %repository, %workload, what, %digest, serial, keep, policy, "released");
        Ok(())
    }

    /// Writes down that this version of a secret is released, for the workload.
    pub(crate) async fn record_secret(&self, store: &Store, name: &Name, version: u64) -> Result<(), StoreError> {
        self.record(store, &format!("secret {name} {version}"), &Digest::from(self.workload)).await
    }
}

/// What a peer sees of a confidential repository with this owner, at `now` (Unix seconds).
pub(crate) async fn sight(
    store: &Store,
    repository: &Repository,
    owner: &workload::Digest,
    peer: &Peer,
    now: u64,
) -> Sight {
    if peer.0.is_empty() {
        return Sight::Nothing;
    }
    release(store, repository, owner, peer, None, now).await.map_or(Sight::Nothing, Sight::Granted)
}

/// Leave for a peer to have these secrets of a confidential repository with this owner, at `now` (Unix seconds).
pub(crate) async fn secrets(
    store: &Store,
    repository: &Repository,
    owner: &workload::Digest,
    peer: &Peer,
    names: &BTreeSet<Name>,
    now: u64,
) -> Option<Release> {
    if peer.0.is_empty() {
        return None;
    }
    release(store, repository, owner, peer, Some(names), now).await
}

async fn release(
    store: &Store,
    repository: &Repository,
    owner: &workload::Digest,
    peer: &Peer,
    secrets: Option<&BTreeSet<Name>>,
    now: u64,
) -> Option<Release> {
    match decide(store, repository, owner, peer, secrets, now).await {
        Ok(release) => Some(release),
        // The operator may know why; the peer may not even know that there was something to be refused.
        Err(refused) => {
            tracing::warn!(target: "drawbridge::release", %repository, %refused, "not released");
            None
        }
    }
}

/// Why a Keep gets nothing; for the log only.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("there is no release policy")]
    NoPolicy,
    #[error("the release policy is signed by {found}, the settings name owner {expected}")]
    Owner { expected: workload::Digest, found: workload::Digest },
    #[error("{0}")]
    Chain(#[from] ChainError),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Decision(Vec<identity::release::Refusal>),
    #[error("the workload {0} is not in this repository")]
    NoWorkload(workload::Digest),
    #[error("{0}")]
    Store(#[from] StoreError),
}

async fn decide(
    store: &Store,
    repository: &Repository,
    owner: &workload::Digest,
    peer: &Peer,
    secrets: Option<&BTreeSet<Name>>,
    now: u64,
) -> Result<Release, Refused> {
    let (_, policy) = in_force(store, repository).await?.ok_or(Refused::NoPolicy)?;
    if policy.owner() != owner {
        return Err(Refused::Owner { expected: *owner, found: *policy.owner() });
    }
    let anchors: Vec<workload::Digest> = policy.anchors.iter().copied().collect();
    let keep = verify_chain(&peer.0, &anchors, now, &AwsLc)?;
    // A Keep asks for the workload it was launched for; the policy says whether it may have it.
    let workload = keep.ear.workload;
    let decided = match secrets {
        None => policy.decide(&keep, &workload, now),
        Some(names) => policy.decide_secrets(&keep, &workload, names, now),
    };
    let grant = decided.map_err(Refused::Decision)?;
    let manifest = Digest::from(workload);
    if !store.is_of(repository, &manifest, &manifest, Kind::Manifest).await? {
        return Err(Refused::NoWorkload(workload));
    }
    Ok(Release {
        repository: grant.repository,
        workload: grant.workload,
        serial: hex::encode(&keep.serial),
        keep: keep.id.to_string(),
        policy: grant.policy_version,
        until: grant.until,
    })
}

/// The policy in force, of whatever owner; `None` before the first was pushed.
async fn in_force(
    store: &Store,
    repository: &Repository,
) -> Result<Option<(Digest, OwnerSigned<ReleasePolicy>)>, StoreError> {
    let Some(manifest) = store.policy(repository).await? else { return Ok(None) };
    let damaged = || StoreError::Damaged { what: format!("the release policy of {repository}") };
    // Its signature is checked anew: what opens a repository is never only a row that was once looked at.
    let policy = open(store, repository, &manifest).await.map_err(|_| damaged())?;
    if policy.repository == *repository { Ok(Some((manifest.digest, policy))) } else { Err(damaged()) }
}

/// Whether the tag `release` may be moved to this manifest: a policy of this repository, signed by its owner, and no step
/// back. The same policy again is fine. Gives the manifest of the policy it replaces. Who shows what the owner signed for
/// this repository is told which version is in force, so that the owner can go on from there; nothing of what is in it.
pub(crate) async fn admit(
    store: &Store,
    repository: &Repository,
    owner: &workload::Digest,
    manifest: &StoredManifest,
) -> Result<Option<Digest>, Refusal> {
    let policy = open(store, repository, manifest).await?;
    if policy.repository != *repository {
        return Err(Refusal::PolicyRepository { expected: repository.clone(), found: policy.repository.clone() });
    }
    if policy.owner() != owner {
        return Err(Refusal::PolicyOwner { expected: *owner, found: *policy.owner() });
    }
    let Some((replaces, current)) = in_force(store, repository).await? else { return Ok(None) };
    // An owner whom the operator replaced in the settings has no say in what the new one begins with.
    if current.owner() == owner && current.digest() != policy.digest() {
        policy.follows(&current).map_err(|error| {
            let (version, digest) = (current.version, *current.digest());
            Refusal::PolicyOrder { error, version, digest }
        })?;
    }
    Ok(Some(replaces))
}

async fn open(
    store: &Store,
    repository: &Repository,
    manifest: &StoredManifest,
) -> Result<OwnerSigned<ReleasePolicy>, Refusal> {
    let references = References::parse(&manifest.media_type, &manifest.bytes)?;
    let reserved = || Refusal::Reserved { expected: RELEASE_ARTIFACT_TYPE };
    let [_config, layer] = references.blobs.as_slice() else { return Err(reserved()) };
    if references.artifact_type.as_deref() != Some(RELEASE_ARTIFACT_TYPE) || layer.media_type != RELEASE_MEDIA_TYPE {
        return Err(reserved());
    }
    let envelope = store.small(repository, &layer.digest, ENVELOPE_LIMIT).await?.ok_or_else(reserved)?;
    Ok(ReleasePolicy::open(&envelope, &AwsLc)?)
}

/// ECDSA by aws-lc-rs, for `identity`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AwsLc;

impl Verifier for AwsLc {
    fn verify(&self, algorithm: Algorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let rule = match algorithm {
            Algorithm::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
            Algorithm::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
        };
        // aws-lc-rs takes an SPKI as well as a bare point; `identity` has already checked which curve it names.
        UnparsedPublicKey::new(rule, spki).verify(message, signature).is_ok()
    }
}
